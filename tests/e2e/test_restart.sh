#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# The home comes back: after kill -9 under an idle guest, with a record that
# is damaged, and from a disk that was full.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

lab_begin restart
guest_build
lab_site north
lab_site south
lab_peers north south
# A disk of its own for the home's record, so that it can be full.
small() {
	mkdir -p "$LAB/n1/state" &&
		mount -t tmpfs -o size=64k,mode=700 lanyard-test "$LAB/n1/state"
}
large() {
	story_status=$?
	umount -l "$LAB/n1/state" 2>/dev/null
	(exit $story_status)
	lab_end
}
trap large EXIT
disk=$(small 2>&1) && disk=
lab_host north n1 2
lab_host south s1
HOSTS="n1 s1"
EK=$(chip_ek n1)

# The one version there is: it changes its name with each write.
records() {
	RECORDS=$(echo "$LAB"/n1/state/vault.*)
}
guest_add north web1 n1 >/dev/null || lab_die "vm add"
guest_start north web1 n1 >/dev/null || lab_die "the guest does not start"
lab_cli north migrate web1 --to s1 --wait >/dev/null 2>"$LAB/err" ||
	lab_die "no migration: $(cat "$LAB/err")"

links() {
	grep -c 'link: up to spiffe://north/host/n1' "$LAB/agent-s1.log"
}

links_over() {
	[ "$(links)" -gt "$1" ]
}

it "the home's agent is killed under an idle guest, and the guest goes on"
vm_at south s1 web1
guest_ask s1 web1 pause paused || no "the guest does not pause"
seq=$(vm_says web1 .record.seq)
was=$(links)
lab_kill agent-n1 KILL
same "state at its home gone" running "$(lab_cli north --json vm list |
	jq -r '.vms[0].state' | sed 's/.*running.*/running/')"
lab_agent_start n1
lives 30 "agent of n1" lab_up north n1
lives 30 "link" links_over "$was"
same "seq" "$seq" "$(vm_says web1 .record.seq)"
guest_ask s1 web1 resume resumed || no "the guest does not resume"
guest_ask s1 web1 status status || no "the guest does not answer"
before=$(guest_field commands)
vm_at south s1 web1
matches s1 web1 n1
[ "$(guest_field commands)" -gt "$before" ] || no "no command got through"
same "epoch" 2 "$(vm_says web1 .record.epoch)"

it "a second agent on the same run or state directory is refused"
for of in run state; do
	sed "s|^$of = .*|$of = $LAB/n1/o|" "$LAB/n1/agent.conf" >"$LAB/other.conf"
	timeout 20 "$BUILD/lanyard-agent" -c "$LAB/other.conf" >"$LAB/out" 2>&1
	same "exit status" 1 $?
	other=state
	[ $of = run ] || other=run
	grep -q "another lanyard-agent uses this $other" "$LAB/out" ||
		no "it says: $(tail -n 1 "$LAB/out")"
done

it "a record that is damaged is refused at the start, by its name"
guest_ask s1 web1 pause paused || no "the guest does not pause"
lab_kill agent-n1 KILL
records
cp "$RECORDS" "$LAB/records.good"
printf 'X' | dd of="$RECORDS" bs=1 seek=600 conv=notrunc 2>/dev/null
timeout 20 "$BUILD/lanyard-agent" -c "$LAB/n1/agent.conf" >"$LAB/out" \
	2>"$LAB/err" </dev/null
status=$?
[ "$status" != 0 ] && [ "$status" != 124 ] || no "it started: $status"
err "$RECORDS"
err damaged

it "so is one that is cut short, and one that is none"
head -c 100 "$LAB/records.good" >"$RECORDS"
timeout 20 "$BUILD/lanyard-agent" -c "$LAB/n1/agent.conf" >"$LAB/out" \
	2>"$LAB/err" </dev/null
status=$?
[ "$status" != 0 ] && [ "$status" != 124 ] || no "it started: $status"
err "$RECORDS"
echo "not a record at all, but a letter to the operator" >"$RECORDS"
timeout 20 "$BUILD/lanyard-agent" -c "$LAB/n1/agent.conf" >"$LAB/out" \
	2>"$LAB/err" </dev/null
status=$?
[ "$status" != 0 ] && [ "$status" != 124 ] || no "it started: $status"
err "$RECORDS"

it "with the good record back, the guest goes on where it was"
cp "$LAB/records.good" "$RECORDS"
lab_agent_start n1
lives 30 "agent of n1" lab_up north n1
guest_ask s1 web1 resume resumed || no "the guest does not resume"
vm_at south s1 web1
matches s1 web1 n1

fill() {
	dd if=/dev/zero of="$LAB/n1/state/filler" bs=4096 2>/dev/null
	[ "$(df --output=avail "$LAB/n1/state" | tail -n 1)" -eq 0 ]
}

if [ -n "$disk" ]; then
	story_end
	echo "skip a home whose disk is full: no small disk can be made: $disk"
	tell
fi

# Neither the lease nor its abort can be written, so the outcome is open until
# there is room; the VM stays where it is.
it "a home whose disk is full refuses the lease, and the VM runs on"
records
cp "$RECORDS" "$LAB/records.good"
fill || no "the disk is not full"
run migrate web1 --to n1 --wait
exits 3
err "prepare at north/n1"
cmp -s "$RECORDS" "$LAB/records.good" || no "the record was touched"
same "files there" "approved filler lock revoked ${RECORDS##*/}" \
	"$(ls "$LAB/n1/state" | sort | tr '\n' ' ' | sed 's/ $//')"
vm_at south s1 web1
matches s1 web1 n1

it "and vm show and the log say that its disk is not well"
run --json vm show web1
exits 0
same disk_ok false "$(key_of .record.disk_ok)"
run vm show web1
grep -qi disk "$LAB/out" || no "people are not told"
grep -q 'records not written: .*No space' "$LAB/agent-n1.log" ||
	no "nothing in the log"

it "nor is a VM bound to it"
run vm add web2 --home n1 --tpm chip1 --memory 256
exits 1
same "VMs" 1 "$(lab_cli north --json vm list | jq '.vms | length')"

it "once there is room again that ends, and another one migrates"
id=$(lab_cli north --json status | jq -r '.migrations[0].migration')
rm "$LAB/n1/state/filler"
lives 60 "end of migration $id" over "$id"
same "its fate" aborted "$(lab_cli north --json migrate show "$id" |
	jq -r .fate)"
run migrate web1 --to n1 --wait
exits 0
vm_at north n1 web1
matches n1 web1 n1
same disk_ok true "$(vm_says web1 .record.disk_ok)"

tell
