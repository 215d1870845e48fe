#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
#
# The main job: a VM goes to another site and home again, and its guest, its
# chip, the home's record and the command line tell one story.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

lab_begin move
guest_build
lab_site north
lab_site south
lab_peers north south
lab_host north n1
lab_host south s1
HOSTS="n1 s1"
EK=$(chip_ek n1)

it "a VM is added, and off"
run --json vm add web1 --home n1 --memory 256 --kernel "$GUEST_DIR/vmlinuz" \
	--initrd "$GUEST_DIR/initrd.gz" --append "$GUEST_APPEND" --accel tcg \
	--cpu max
exits 0
has_keys . ok vm id home tpm at state epoch
same home north/n1 "$(key_of .home)"
same state off "$(key_of .state)"
same place null "$(key_of .at)"

it "it starts at its home, and its guest finds the TPM"
guest_start north web1 n1 >"$LAB/out" 2>"$LAB/err" || no "it does not start"
vm_at north n1 web1
matches n1 web1 n1

it "vm show tells the manager's word and the home's record"
run --json vm show web1
exits 0
has_keys . ok vm id home tpm at state epoch record definition
has_keys .record state epoch holder seq disk_ok vault
same "epoch" 1 "$(key_of .record.epoch)"
same "the manager's epoch" 1 "$(key_of .epoch)"

it "a dry run says what would be done, and does nothing"
run --json migrate web1 --to south/s1 --dry-run
exits 0
same allowed true "$(key_of .allowed)"
has_keys . steps allowed why
has_keys '.steps[0]' step what whom undo would
same "first step" authorise "$(key_of '.steps[0].step')"
run migrate web1 --to south/s1 --dry-run
exits 0
out authorise
[ ! -d "$LAB/s1/run/web1" ] || no "the destination has heard of it"
run --json status
same "open migrations" 0 "$(key_of '.migrations | length')"

it "a migration tells its steps and its progress, one object a line"
RUN_SECONDS=120 run --json migrate web1 --to south/s1 --wait --bandwidth 40M
exits 0
cp "$LAB/out" "$LAB/events"
jq -es 'length > 5' "$LAB/events" >/dev/null || no "not JSON on every line"
for step in planned preparing copying committed cleaned; do
	jq -es "any(.[]; .event == \"step\" and .step == \"$step\")" \
		"$LAB/events" >/dev/null || no "no step $step"
done
jq -cs '[.[] | select(.event == "progress")] | .[length / 2 | floor]' \
	"$LAB/events" >"$LAB/out"
has_keys . phase bytes total remaining rate dirty_rate elapsed_ms \
	downtime_ms commands percent eta_ms
jq -es '[.[] | select(.event == "progress") | .bytes] | . == sort and
	.[-1] > .[0]' "$LAB/events" >/dev/null || no "bytes went back"
jq -es '[.[] | select(.event == "progress") | .percent] |
	all(. >= 0 and . <= 100)' "$LAB/events" >/dev/null || no "odd percents"

it "its last line says what it came to"
tail -n 1 "$LAB/events" >"$LAB/out"
has_keys . ok migration vm from to home epoch total_ms downtime_ms \
	memory_bytes tpm_state_bytes commands_before commands_after
same from north/n1 "$(key_of .from)"
same to south/s1 "$(key_of .to)"
same "TPM state" 0 "$(key_of .tpm_state_bytes)"
same epoch 2 "$(key_of .epoch)"
jq -e '.memory_bytes > 1000000 and .commands_after >= .commands_before' \
	"$LAB/out" >/dev/null || no "its numbers make no sense"

it "it runs at the other site, and its TPM is still that of its home"
vm_at south s1 web1
same epoch 2 "$(vm_says web1 .record.epoch)"
matches s1 web1 n1

it "why it stood still is over with the migration"
[ -z "$(vm_says web1 .why)" ] || no "still: $(vm_says web1 .why)"

it "the migration can be shown when it is over"
id=$(jq -rs 'first(.[] | .migration // empty)' "$LAB/events")
run --json migrate show "$id"
exits 0
has_keys . ok migration vm from to home state fate epoch
same state cleaned "$(key_of .state)"
same fate claimed "$(key_of .fate)"

it "it comes home, and people are told so in a sentence"
run migrate web1 --to n1 --wait
exits 0
out web1
out n1
vm_at north n1 web1
same epoch 3 "$(vm_says web1 .record.epoch)"
matches n1 web1 n1

it "without --wait a migration only begins, and ends by itself"
run --json migrate web1 --to s1
exits 0
id=$(key_of .migration)
lives 60 "end of migration $id" over "$id"
vm_at south s1 web1
matches s1 web1 n1

it "what is stopped is off, and its lease is given back"
run vm stop web1 --force
exits 0
lives 20 "record that says detached" vm_is web1 .record.state detached
same state off "$(vm_says web1 .state)"
no_qemu s1 web1 || no "its QEMU still runs"

tell
