# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# What the measurements share: starting and stopping processes, keys, the ways
# to a TPM ("paths"), and numbers. POSIX sh, read with `.`; needs $BUILD.
#
# A path NAME is one function, path_NAME_start N. It finds
#	TARGET_UNIX, TARGET_PORT	where the TPM (or the sink) listens
#	DELAY_MS			one way between its two ends; 0: none
# and leaves
#	EP	what to give to tpmload or pump; %d: 0 .. N-1
#	PIDS	the processes under test, with commas; may be empty
# What it starts with `spawn` is stopped by path_down. If it has more to clear
# away, it defines path_NAME_stop. One that carries bulk bytes another way
# defines path_NAME_bulk_start; one that cannot, path_NAME_no_bulk=1.

BIN=$BUILD/bench

say() {
	printf '%s\n' "$*" >&2
}

# --- processes ---------------------------------------------------------------

bench_begin() {
	T=$(mktemp -d "${TMPDIR:-/tmp}/lybench.XXXXXX") || exit 2
	MINE=
	ALL=
	PORT_NEXT=$((20000 + $$ % 9000))
	trap bench_end EXIT
	trap 'exit 130' INT TERM HUP PIPE
	# a connection is two descriptors at most of the ways
	# shellcheck disable=SC3045
	ulimit -n "$(ulimit -Hn)" 2>/dev/null || :
}

bench_end() {
	! is_function migrate_clear || migrate_clear
	# shellcheck disable=SC2086
	kill_all $ALL
	if [ -n "${BENCH_KEEP:-}" ]; then
		say "kept: $T"
	else
		rm -rf "$T"
	fi
}

# spawn NAME COMMAND ...: in the background, its output in $T/NAME.log
spawn() {
	spawn_log=$T/$1.log
	shift
	"$@" >>"$spawn_log" 2>&1 </dev/null &
	SPAWNED=$!
	MINE="$MINE $SPAWNED"
	ALL="$ALL $SPAWNED"
}

kill_all() {
	for kill_pid; do
		kill "$kill_pid" 2>/dev/null || :
	done
	for kill_pid; do
		wait "$kill_pid" 2>/dev/null || :
		ALL=$(printf '%s ' "$ALL" |
		    sed "s/ $kill_pid / /; s/ *\$//")
	done
}

# within 10 s, or a complaint
wait_until() {
	wait_n=0
	until "$@"; do
		wait_n=$((wait_n + 1))
		if [ "$wait_n" -gt 200 ]; then
			say "waited in vain: $*"
			return 1
		fi
		sleep 0.05
	done
}

is_socket() {
	[ -S "$1" ]
}

port_listens() {
	cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
	    awk -v port="$(printf ':%04X' "$1")" '
	    $4 == "0A" && substr($2, length($2) - 4) == port { found = 1 }
	    END { exit !found }'
}

# sets PORT; below the range the kernel gives away
free_port() {
	PORT_NEXT=$((PORT_NEXT + 1))
	while port_listens "$PORT_NEXT"; do
		PORT_NEXT=$((PORT_NEXT + 1))
	done
	PORT=$PORT_NEXT
}

# sets PORT to one that leads to port $1 of this machine, DELAY_MS away
wan_between() {
	PORT=$1
	[ "${DELAY_MS:-0}" != 0 ] || return 0
	free_port
	spawn wanrelay "$BIN/wanrelay" -d "$DELAY_MS" \
	    "tcp:127.0.0.1:$PORT=tcp:127.0.0.1:$1"
	wait_until port_listens "$PORT"
}

# --- keys --------------------------------------------------------------------

# P-256: ca.pem, near.pem and near.key, far.pem and far.key in $T/keys
keys_make() {
	[ ! -d "$T/keys" ] || return 0
	mkdir -m 700 "$T/keys"
	keys_new="openssl req -nodes -newkey ec"
	keys_new="$keys_new -pkeyopt ec_paramgen_curve:P-256"
	$keys_new -x509 -days 2 -subj "/CN=bench CA" -keyout "$T/keys/ca.key" \
	    -out "$T/keys/ca.pem" 2>>"$T/keys.log" || return 1
	for end in near far; do
		$keys_new -subj "/CN=$end" -keyout "$T/keys/$end.key" \
		    -out "$T/keys/$end.csr" 2>>"$T/keys.log" &&
		    openssl x509 -req -days 2 -in "$T/keys/$end.csr" \
		    -CA "$T/keys/ca.pem" -CAkey "$T/keys/ca.key" \
		    -CAcreateserial -out "$T/keys/$end.pem" \
		    2>>"$T/keys.log" || return 1
	done
}

# --- paths -------------------------------------------------------------------

# the TPM itself
path_direct_start() {
	EP=unix:$TARGET_UNIX
	PIDS=
}

# the same by TCP, the way a network would be crossed without anything
path_tcp_start() {
	wan_between "$TARGET_PORT" || return 1
	EP=tcp:127.0.0.1:$PORT
	PIDS=
}

stunnel_conf() {
	cat <<-END
		foreground = yes
		pid =
		debug = 4
		syslog = no
		sslVersion = TLSv1.3
		ciphersuites = TLS_AES_256_GCM_SHA384
		curves = P-256
		socket = l:TCP_NODELAY=1
		socket = r:TCP_NODELAY=1
		[tpm]
		client = $2
		cert = $T/keys/$1.pem
		key = $T/keys/$1.key
		CAfile = $T/keys/ca.pem
		verifyChain = yes
		accept = $3
		connect = $4
	END
}

# Unix in, TLS 1.3 with both certificates verified, Unix out
path_stunnel_start() {
	command -v stunnel >/dev/null || return 1
	keys_make || return 1
	free_port
	stunnel_id=$PORT
	stunnel_conf far no "127.0.0.1:$PORT" "$TARGET_UNIX" \
	    >"$T/stunnel$stunnel_id.far"
	spawn stunnel stunnel "$T/stunnel$stunnel_id.far"
	PIDS=$SPAWNED
	wait_until port_listens "$PORT" || return 1
	wan_between "$PORT" || return 1
	stunnel_conf near yes "$T/stunnel$stunnel_id.sock" "127.0.0.1:$PORT" \
	    >"$T/stunnel$stunnel_id.near"
	spawn stunnel stunnel "$T/stunnel$stunnel_id.near"
	PIDS=$PIDS,$SPAWNED
	wait_until is_socket "$T/stunnel$stunnel_id.sock" || return 1
	EP=unix:$T/stunnel$stunnel_id.sock
}

ssh_keys_make() {
	[ ! -d "$T/ssh" ] || return 0
	mkdir -m 700 "$T/ssh"
	ssh-keygen -q -t ed25519 -N '' -f "$T/ssh/host" &&
	    ssh-keygen -q -t ed25519 -N '' -f "$T/ssh/user" || return 1
	cp "$T/ssh/user.pub" "$T/ssh/authorized"
	printf 'bench %s\n' "$(cut -d' ' -f1,2 "$T/ssh/host.pub")" \
	    >"$T/ssh/known"
	# where sshd started by root drops its rights
	[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
}

# who cannot read /etc/shadow finds every account locked, unless PAM is asked
sshd_conf() {
	sshd_pam=yes
	[ "$(id -u)" != 0 ] || sshd_pam=no
	cat <<-END
		ListenAddress 127.0.0.1:$1
		HostKey $T/ssh/host
		AuthorizedKeysFile $T/ssh/authorized
		PidFile none
		StrictModes no
		UsePAM $sshd_pam
		PasswordAuthentication no
		KbdInteractiveAuthentication no
		PermitRootLogin prohibit-password
		AllowStreamLocalForwarding yes
		Ciphers aes256-gcm@openssh.com
		LogLevel ERROR
	END
}

# ssh -L unix:unix, with a server, host key and configuration of our own
path_ssh_start() {
	ssh_server=$(PATH=$PATH:/usr/sbin:/sbin command -v sshd) || return 1
	ssh_keys_make || return 1
	free_port
	ssh_id=$PORT
	sshd_conf "$PORT" >"$T/ssh/conf$ssh_id"
	spawn sshd "$ssh_server" -D -e -f "$T/ssh/conf$ssh_id"
	PIDS=$SPAWNED
	wait_until port_listens "$PORT" || return 1
	wan_between "$PORT" || return 1
	spawn ssh ssh -F none -N -T -p "$PORT" -i "$T/ssh/user" \
	    -c aes256-gcm@openssh.com -o IdentitiesOnly=yes \
	    -o IdentityAgent=none -o BatchMode=yes -o HostKeyAlias=bench \
	    -o UserKnownHostsFile="$T/ssh/known" -o ControlPath=none \
	    -o ExitOnForwardFailure=yes \
	    -L "$T/ssh$ssh_id.sock:$TARGET_UNIX" 127.0.0.1
	PIDS=$PIDS,$SPAWNED
	wait_until is_socket "$T/ssh$ssh_id.sock" || return 1
	EP=unix:$T/ssh$ssh_id.sock
}

is_function() {
	case $(command -V "$1" 2>/dev/null) in
	*function*) ;;
	*) return 1 ;;
	esac
}

# path_up NAME N [bulk]: EP_NAME and PIDS_NAME hold what it left
# shellcheck disable=SC2034
path_up() {
	MINE=
	EP=
	PIDS=
	path_how=path_$1_start
	if [ "${3:-}" = bulk ]; then
		eval "[ -z \"\${path_$1_no_bulk:-}\" ]" || return 1
		! is_function "path_$1_bulk_start" ||
		    path_how=path_$1_bulk_start
	fi
	if ! "$path_how" "$2"; then
		say "$1: could not be started, left out; the logs end with"
		tail -qn 2 "$T"/*.log >&2
		# shellcheck disable=SC2086
		kill_all $MINE
		return 1
	fi
	eval "EP_$1=\$EP PIDS_$1=\$PIDS MINE_$1=\$MINE"
}

path_down() {
	! is_function "path_$1_stop" || "path_$1_stop"
	eval "MINE=\$MINE_$1 MINE_$1="
	# shellcheck disable=SC2086
	kill_all $MINE
}

# --- numbers -----------------------------------------------------------------

# field KEY: the number of that key in the JSON read
field() {
	sed -n 's/.*"'"$1"'":\([-0-9.e+]*\).*/\1/p' | tail -n 1
}

# median: of the numbers read, one a line; nothing if there are none
median() {
	sort -g | awk '
	    { v[NR] = $1 }
	    END {
		if (NR)
			print (v[int((NR + 1) / 2)] + v[int((NR + 2) / 2)]) / 2
	    }'
}

# for awk: a number as people read it
awk_short='function short(v) {
	v += 0
	return v >= 1000 || v <= -1000 ? sprintf("%.0f", v) : sprintf("%.3g", v)
}
'

# spread: median (least-most) of the numbers read, one a line
spread() {
	sort -g | awk "$awk_short"'
	    { v[NR] = $1 }
	    END {
		m = (v[int((NR + 1) / 2)] + v[int((NR + 2) / 2)]) / 2
		if (NR)
			print short(m) " (" short(v[1]) "-" short(v[NR]) ")"
		else
			print "-"
	    }'
}

# ratio A B
ratio() {
	awk -v a="$1" -v b="$2" 'BEGIN { if (a != "" && b + 0) print a / b }'
}

# sample METRIC PATH ROUND VALUE
sample() {
	[ -z "$4" ] || printf '%s %s %s %s\n' "$@" >>"$T/samples"
}

# samples_of METRIC PATH
samples_of() {
	[ -f "$T/samples" ] || return 0
	awk -v m="$1" -v p="$2" '$1 == m && $2 == p { print $4 }' "$T/samples"
}

# added FROM TO BASE: TO = FROM less that of the path BASE in the same round
added() {
	awk -v from="$1" -v to="$2" -v base="$3" '
	    $1 == from { v[$2, $3] = $4; path[$2]; round[$3] }
	    END {
		for (p in path) for (r in round)
			if (p != base && (p, r) in v && (base, r) in v)
				print to, p, r, v[p, r] - v[base, r]
	    }' "$T/samples" >"$T/added" 2>/dev/null || :
	cat "$T/added" >>"$T/samples"
}

# Reads rows NAME|UNIT|BETTER|PEER|RULE|NUMBER (BETTER low or high; RULE what
# the target is: `fixed` NUMBER, `peer` NUMBER times the peer's value, `more`
# NUMBER above it, `none`)
# and writes the list for OUR path as JSON. The target is in the row's unit.
rows_json() {
	rows_sep='['
	while IFS='|' read -r name unit better peer rule number; do
		printf '%s\n' "$rows_sep"
		rows_sep=','
		awk -v name="$name" -v unit="$unit" -v better="$better" \
		    -v peer="$peer" -v rule="$rule" -v number="$number" \
		    -v value="$(samples_of "$name" "$1" | median)" \
		    -v theirs="$(samples_of "$name" "$peer" | median)" '
		function num(v) { return v == "" ? "null" : sprintf("%.6g", v) }
		BEGIN {
			target = r = ""
			if (rule == "fixed")
				target = number
			if (rule == "more" && theirs != "")
				target = theirs + number
			if (rule == "peer" && theirs != "")
				target = number * theirs
			if (value != "" && theirs + 0)
				r = value / theirs
			good = value + 0 >= target + 0
			if (better == "low")
				good = value + 0 <= target + 0
			met = good ? "true" : "false"
			if (value == "" || target == "")
				met = "null"
			printf "{\"name\":\"%s\",\"value\":%s," \
			    "\"unit\":\"%s\",\"peer\":\"%s\"," \
			    "\"peer_value\":%s,\"ratio\":%s," \
			    "\"target\":%s,\"met\":%s}", name, num(value), unit,
			    peer, num(theirs), num(r), num(target), met
		}'
	done
	printf '\n]\n'
}

# json_table: what rows_json wrote, for people
json_table() {
	printf '%-22s %-8s %10s   %-8s %10s %7s %11s  %s\n' what unit ours \
	    peer "peer's" ratio target met
	sed -n 's/^{//p' | tr -d '"}' | awk -F, "$awk_short"'{
		for (i = 1; i <= NF; i++) {
			sub(/^[a-z_]*:/, "", $i)
			if ($i == "null")
				$i = "-"
			else if ($i ~ /^[-0-9.e+]+$/)
				$i = short($i)
		}
		met = $8 == "true" ? "yes" : $8 == "false" ? "NO" : "-"
		printf "%-22s %-8s %10s   %-8s %10s %7s %11s  %s\n", $1, $3,
		    $2, $4, $5, $6, $7, met
	}'
}

# paths_table "PATH ...": reads the same rows; medians (least-most) of each path
paths_table() {
	printf '%-22s %-8s' what unit
	for p in $1; do
		printf ' %24s' "$p"
	done
	printf '\n'
	cut -d'|' -f1,2 | awk '!seen[$0]++' |
	while IFS='|' read -r name unit; do
		printf '%-22s %-8s' "$name" "$unit"
		for p in $1; do
			printf ' %24s' "$(samples_of "$name" "$p" | spread)"
		done
		printf '\n'
	done
}
