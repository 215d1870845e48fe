#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# make demo [RTT=MS]: a real VM leaves site north for site south, goes on to a
# third host and comes home, while its TPM commands go on reaching the TPM it
# was born on. Ends with what was proved, and one JSON object as its last line.
set -u
LAB_RTT=${RTT:-0}
. tests/lab/lab.sh
. tests/lab/guest.sh

VM=web1
HOME_HOST=north1
failures=0 first_json=

step() {
	printf '\n\033[1m%s\033[0m\n' "$*"
}

check() { # WHAT WANT GOT: sets RESULT
	if [ -n "$2" ] && [ "$2" = "$3" ]; then
		RESULT=true
		printf '  ok   %s\n' "$1"
	else
		RESULT=false
		failures=$((failures + 1))
		printf '  BAD  %s: %s against %s\n' "$1" "${2:-nothing}" "${3:-nothing}"
	fi
}

# At rest, what the guest knows must be what the home's chip knows.
compare() {
	guest_rest "$1" "$VM" || { failures=$((failures + 1)); return; }
	check "endorsement key: the guest's is that of $HOME_HOST's TPM" \
		"$(guest_field ek)" "$ek"
	ek_match=$RESULT
	check "PCR 11: the guest's own log gives the chip's value" \
		"$(guest_field pcr11)" "$(chip_pcr "$HOME_HOST" 11)"
	pcr_match=$RESULT
	check "PCR 12: likewise" \
		"$(guest_field pcr12)" "$(chip_pcr "$HOME_HOST" 12)"
	[ $RESULT = true ] || pcr_match=false
	check "NV counter: $(guest_field nv), without a gap or a repeat" \
		"$(guest_field nv)" "$(chip_nv "$HOME_HOST")"
	nv_match=$RESULT
	check "no TPM command of $(guest_field commands) failed" \
		"0" "$(guest_field failed)"
	commands=$(guest_field commands)
	guest_ask "$1" "$VM" resume resumed
}

move() { # FROM TO
	step "Migrating $VM from $1 to $2"
	lab_cli north migrate "$VM" --to "$2" --wait >"$LAB/move.txt" || {
		failures=$((failures + 1))
		return 1
	}
	cat "$LAB/move.txt"
	[ -n "$first_json" ] || first_json=$(lab_cli north --json migrate show \
		"$(sed -n 's/.*(migration \(.*\))$/\1/p' "$LAB/move.txt")")
	compare "${2##*/}"
}

lab_begin demo
step "Building two sites on this machine, each with manager, CA, hosts and chips"
guest_build
lab_site north
lab_site south
lab_peers north south
lab_host north north1
lab_host south south1
lab_host south south2
lab_cli north host list
[ "$LAB_RTT" = 0 ] || echo "Every connection between hosts and sites has a round trip of $LAB_RTT ms."

ek=$(chip_ek "$HOME_HOST")

step "Starting $VM at $HOME_HOST, bound to the TPM there"
guest_add north "$VM" "$HOME_HOST" || exit 1
guest_start north "$VM" "$HOME_HOST" || exit 1
compare "$HOME_HOST"
commands_before=${commands:-0}

move north1 south/south1
move south1 south/south2
move south2 north/north1

step "Where it all stands"
lab_cli north status

step "Summary"
number() {
	printf '%s' "$first_json" | lab_json "$1"
}
total_ms=$(number total_ms) downtime_ms=$(number downtime_ms)
memory_bytes=$(number memory_bytes) state_bytes=$(number tpm_state_bytes)
epoch=$(lab_cli north --json vm show "$VM" | lab_json epoch)
migrated=true
[ $failures = 0 ] || migrated=false
cat <<TEXT
  $VM left site north for site south ($((${memory_bytes:-0} / 1048576)) MiB in ${total_ms:-?} ms, stopped for ${downtime_ms:-?} ms),
  went on to a third host, and came home. Three leases, epoch $epoch.
  Its TPM stayed at $HOME_HOST: ${state_bytes:-?} bytes of TPM state were in the stream.
  TPM commands before: $commands_before, after: ${commands:-0}; failed checks: $failures.
TEXT
printf '{"migrated":%s,"vm":"%s","from":"north1","to":"south1","home":"%s","total_ms":%s,"downtime_ms":%s,"memory_bytes":%s,"tpm_state_bytes":%s,"ek_match":%s,"pcr_match":%s,"nv_match":%s,"commands_before":%s,"commands_after":%s,"epoch":%s,"rtt_ms":%s}\n' \
	$migrated "$VM" "$HOME_HOST" "${total_ms:-null}" "${downtime_ms:-null}" \
	"${memory_bytes:-null}" "${state_bytes:-null}" "${ek_match:-false}" \
	"${pcr_match:-false}" "${nv_match:-false}" "$commands_before" \
	"${commands:-0}" "${epoch:-null}" "$LAB_RTT"
[ $migrated = true ] && [ "${state_bytes:-1}" = 0 ]
