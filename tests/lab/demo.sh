#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# make demo [RTT=MS]: a real VM leaves site north for site south, goes on to a
# third host and comes home, while its TPM commands go on reaching the TPM it
# was born on. Each host proves what it booted before it gets any memory; one
# that booted something else gets none. Then five VMs evacuate a site. Ends with
# what was proved, and one JSON object as its last line.
set -u
LAB_RTT=${RTT:-0}
LAB_ATTEST=1
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

# refused WHAT TEXT: by the last command, with these words among its own.
refused() {
	if [ "$status" != 0 ] && grep -q "$2" "$LAB/refused.txt"; then
		printf '  ok   %s:\n' "$1"
		sed 's/^/         /' "$LAB/refused.txt"
	else
		failures=$((failures + 1))
		printf '  BAD  %s: %s\n' "$1" "$(cat "$LAB/refused.txt")"
	fi
}

lab_begin demo
step "Building two sites on this machine, each with manager, CA, policy key, hosts"
guest_build
lab_site north
lab_site south
lab_peers north south
lab_host north north1 5
lab_host south south1
lab_host south south2
LAB_KERNEL=linux-of-somebody-else
lab_host south south3
LAB_KERNEL=
lab_cli north host list
[ "$LAB_RTT" = 0 ] || echo "Every connection between hosts and sites has a round trip of $LAB_RTT ms."
echo
lab_cli south host show south1

step "Approving what north1, south1 and south2 have booted"
lab_approve north north1 && lab_approve south south1 ||
	failures=$((failures + 1))
lab_cli south policy show

ek=$(chip_ek "$HOME_HOST")

step "Starting $VM at $HOME_HOST, bound to the TPM there"
guest_add north "$VM" "$HOME_HOST" || exit 1
guest_start north "$VM" "$HOME_HOST" || exit 1
compare "$HOME_HOST"
commands_before=${commands:-0}

step "Asking for south3, a genuine host that has booted another kernel"
lab_cli north migrate "$VM" --to south/south3 --wait >"$LAB/refused.txt" 2>&1
status=$?
refused "refused before anything left north1" "PCR"

move north1 south/south1
mig=$(sed -n 's/.*(migration \(.*\))$/\1/p' "$LAB/move.txt")

step "What was asked, quoted, approved and verified"
lab_cli north audit --mig "$mig"

step "The receipt, checked with openssl alone"
lab_cli north audit --receipt "$mig" --out "$LAB/receipt" &&
	(cd "$LAB/receipt" && openssl x509 -in manager.pem -noout -pubkey >manager.pub &&
		openssl dgst -sha256 -verify manager.pub -signature receipt.sig receipt.txt &&
		sed -n 's/^file //p' receipt.txt | sha256sum -c --quiet) ||
	failures=$((failures + 1))

step "Where is $VM, by the word of two TPMs"
lab_cli north attest "$VM" || failures=$((failures + 1))

move south1 south/south2
move south2 north/north1

step "Evacuating site north: five VMs to site south"
for n in 2 3 4 5; do
	GUEST_MEMORY=160 guest_add north "web$n" "$HOME_HOST" >/dev/null &&
		guest_start north "web$n" "$HOME_HOST" >/dev/null ||
		failures=$((failures + 1))
done
lab_cli north evacuate north --to south --parallel 2 || failures=$((failures + 1))
compare_at=$(lab_cli north --json vm show "$VM" | jq -r .at)
compare "${compare_at##*/}"

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
  went on to a third host, came home, and left again with four others.
  Before each move both ends and the home proved their state to one nonce; the
  key was opened by the destination's TPM alone; the memory was compared with
  what the source had signed before one instruction ran. Epoch $epoch.
  A host in a state nobody had approved got nothing.
  Its TPM stayed at $HOME_HOST: ${state_bytes:-?} bytes of TPM state were in the stream.
  TPM commands before: $commands_before, after: ${commands:-0}; failed checks: $failures.
TEXT
printf '{"migrated":%s,"vm":"%s","from":"north1","to":"south1","home":"%s","total_ms":%s,"downtime_ms":%s,"memory_bytes":%s,"tpm_state_bytes":%s,"ek_match":%s,"pcr_match":%s,"nv_match":%s,"commands_before":%s,"commands_after":%s,"epoch":%s,"rtt_ms":%s}\n' \
	$migrated "$VM" "$HOME_HOST" "${total_ms:-null}" "${downtime_ms:-null}" \
	"${memory_bytes:-null}" "${state_bytes:-null}" "${ek_match:-false}" \
	"${pcr_match:-false}" "${nv_match:-false}" "$commands_before" \
	"${commands:-0}" "${epoch:-null}" "$LAB_RTT"
[ $migrated = true ] && [ "${state_bytes:-1}" = 0 ]
