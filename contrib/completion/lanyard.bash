# SPDX-License-Identifier: Apache-2.0
#
# bash completion for lanyard(1). Verbs and options are asked of the program
# itself (lanyard help --table), once a shell; hosts and VMs of the manager,
# if it answers within a second.

# _lanyard_names LIST KEY: names in an answer
_lanyard_names() {
	"${COMP_WORDS[0]}" "$1" list --json --timeout 1 2>/dev/null |
	    grep -o "\"$2\":\"[^\"]*\"" | cut -d '"' -f 4
}

# _lanyard_values KIND: words for a value of that kind
_lanyard_values() {
	case $1 in
	file | path) compgen -f -- "$cur" ;;
	vm) compgen -W "$(_lanyard_names vm vm)" -- "$cur" ;;
	host) compgen -W "$(_lanyard_names host host)" -- "$cur" ;;
	esac
}

# _lanyard_kind VERB OPTION: what its value is
_lanyard_kind() {
	awk -F '\t' -v verb="$1" -v opt="$2" \
	    '($1 == verb || $1 == "*") && $2 == opt { print $3; exit }' \
	    <<<"$_lanyard_table"
}

_lanyard() {
	local cur prev verb kind opts i n=0 words=()

	cur=${COMP_WORDS[COMP_CWORD]}
	prev=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	[ -n "${_lanyard_table:-}" ] ||
	    _lanyard_table=$("${COMP_WORDS[0]}" help --table 2>/dev/null)

	# The words before the cursor that are neither options nor values.
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--manager | --timeout) ((i++)) ;;
		-*) ;;
		*) words+=("${COMP_WORDS[i]}") ;;
		esac
	done
	for verb in "${words[0]:-} ${words[1]:-}" "${words[0]:-}"; do
		grep -qxF -e "$verb" <<<"$_lanyard_table" && break
		verb=
	done

	if [ -z "$verb" ] || { [ "${#words[@]}" = 1 ] && [[ $cur != -* ]] &&
	    [[ $prev != -* ]]; }; then
		opts=$(awk -F '\t' -v first="${words[0]:-}" 'NF == 1 {
			n = split($1, w, " ")
			if (first == "")
				print w[1]
			else if (n == 2 && w[1] == first)
				print w[2]
		}' <<<"$_lanyard_table" | sort -u)
		mapfile -t COMPREPLY < <(compgen -W "$opts" -- "$cur")
		[ -z "$verb" ] && return
	fi
	if [[ $prev == --* ]]; then
		kind=$(_lanyard_kind "$verb" "$prev")
		if [ -n "$kind" ] && [ "$kind" != flag ]; then
			mapfile -t COMPREPLY < <(_lanyard_values "$kind")
			return
		fi
	fi
	if [[ $cur == -* ]]; then
		opts=$(awk -F '\t' -v verb="$verb" \
		    '($1 == verb || $1 == "*") && $2 ~ /^--/ { print $2 }' \
		    <<<"$_lanyard_table")
		mapfile -t COMPREPLY < <(compgen -W "$opts" -- "$cur")
		return
	fi
	kind=$(awk -F '\t' -v verb="$verb" \
	    '$1 == verb && NF == 3 && $2 !~ /^--/ { print $3; exit }' \
	    <<<"$_lanyard_table")
	n=$(wc -w <<<"$verb")
	if [ "${#words[@]}" -le "$n" ] && [ -n "$kind" ]; then
		mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY \
		    < <(_lanyard_values "$kind")
	fi
}

complete -o filenames -F _lanyard lanyard
