#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
#
# kill -9 before, during and after a migration. Whatever dies, at most one QEMU
# of the VM runs, and the home's record says where.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

lab_begin killed
guest_build
lab_site north
lab_site south
echo "host_lost_seconds = 3" >>"$LAB/north/manager.conf"
lab_peers north south
lab_host north n1
lab_host south s1
lab_host south s2
HOSTS="n1 s1 s2"
EK=$(chip_ek n1)
guest_add north web1 n1 >/dev/null || lab_die "vm add"
guest_start north web1 n1 >/dev/null || lab_die "the guest does not start"

# The last whole record of one of these kinds in the console's log there, for
# guest_field.
last_said() { # HOST VM KINDS
	GUEST=$(grep -E "LANYARD.*\"event\":\"($3)\".*\"ek\":\"[0-9a-f]{64}\"}" \
		"$(guest_log "$1" "$2")" |
		tail -n 1 | sed 's/.*LANYARD //')
}

agent_again() { # SITE HOST
	lab_agent_start "$2"
	lives 30 "agent of $2" lab_up "$1" "$2"
	lives 30 "news of it at north" host_is "$1" "$2" true
}

# Off, everywhere and in every book.
vm_off() {
	lives 40 "record of web1 that says detached" \
		vm_is web1 .record.state detached
	lives 20 "end of all its QEMUs" qemus_are web1 0
	same "its state" off "$(vm_says web1 .state)"
}

# Started again: a machine that begins, on a chip that has not forgotten.
begins_again() { # SITE HOST NV-BEFORE
	rm -f "$(guest_log "$2" web1)"
	guest_start north web1 "$2" >"$LAB/out" 2>"$LAB/err" ||
		no "it does not start again"
	last_said "$2" web1 ready
	same "PCR 11 of a machine that begins" \
		"$(printf '%064d' 0)" "$(guest_field pcr11)"
	[ "$(guest_field nv)" -ge "$3" ] ||
		no "the NV counter went back: $(guest_field nv) after $3"
	vm_at "$1" "$2" web1
	matches "$2" web1 n1
	same "QEMUs" 1 "$(qemus web1)"
}

it "the source's QEMU dies during the copy: the migration is over, the VM off"
slow web1 s1
last_said n1 web1 'ready|tick'
nv=$(guest_field nv)
kill_qemu n1 web1 || no "no QEMU to kill"
moved
exits 1
same ok false "$(key_of .ok)"
err "QEMU"
lives 30 "end of migration $MOVE" over "$MOVE"
vm_off

it "and it starts again elsewhere, its PCRs new and its NV counter kept"
begins_again south s1 "$nv"

it "the destination's QEMU dies during the copy: the VM runs on"
slow web1 s2
kill_qemu s2 web1 || no "no QEMU to kill"
moved
exits 1
vm_at south s1 web1
matches s1 web1 n1
lives 30 "end of migration $MOVE" over "$MOVE"
same "QEMUs" 1 "$(qemus web1)"

it "the destination's agent dies during the copy: the VM runs on"
slow web1 s2
lab_kill agent-s2 KILL
moved
exits 1
vm_at south s1 web1
matches s1 web1 n1
lives 30 "end of the QEMU it left" qemus_are web1 1

it "and that host is a destination again once its agent is back"
agent_again south s2
lives 60 "end of migration $MOVE" over "$MOVE"
run migrate web1 --to s2 --wait
exits 0
vm_at south s2 web1
matches s2 web1 n1

it "the agent of a host that has been left dies: the VM does not notice"
lab_kill agent-s1 KILL
vm_at south s2 web1
matches s2 web1 n1
agent_again south s1
vm_at south s2 web1
matches s2 web1 n1

# For longer than a guest waits for its TPM, so that it must not ask meanwhile.
it "the agent of the host where the VM runs dies: no migration from there"
guest_ask s2 web1 pause paused || no "the guest does not pause"
lab_kill agent-s2 KILL
lives 30 "news that s2 is down" host_is south s2 false
run migrate web1 --to s1 --wait
exits 1
err "south/s2"
run vm start web1 --host s1
exits 1
err "--force"
[ "$(qemus web1)" -le 1 ] || no "$(qemus web1) QEMUs of one VM"

it "and runs on when that is back, and migrates"
agent_again south s2
guest_ask s2 web1 resume resumed || no "the guest does not resume"
vm_at south s2 web1
matches s2 web1 n1
run migrate web1 --to s1 --wait
exits 0
vm_at south s1 web1
matches s1 web1 n1

it "the source's agent dies during the copy: it ends, and nothing runs twice"
slow web1 s2
guest_ask s1 web1 pause paused || no "the guest does not pause"
lab_kill agent-s1 KILL
moved
exits 1
[ "$(qemus web1)" -le 1 ] || no "$(qemus web1) QEMUs of one VM"
same "the holder" spiffe://south/host/s1 "$(vm_says web1 .record.holder)"
agent_again south s1
lives 60 "end of migration $MOVE" over "$MOVE"
same "fate" aborted "$(lab_cli north --json migrate show "$MOVE" |
	jq -r .fate)"

it "and the VM runs on where it was"
guest_ask s1 web1 resume resumed || no "the guest does not resume"
vm_at south s1 web1
matches s1 web1 n1
same "QEMUs" 1 "$(qemus web1)"

it "both agents die during the copy: the home decides for them"
slow web1 s2
guest_ask s1 web1 pause paused || no "the guest does not pause"
lab_kill agent-s1 KILL
lab_kill agent-s2 KILL
moved
[ "$status" = 1 ] || [ "$status" = 3 ] || no "exit status $status"
[ "$(qemus web1)" -le 2 ] || no "$(qemus web1) QEMUs"
agent_again south s1
agent_again south s2
lives 60 "end of migration $MOVE" over "$MOVE"
guest_ask s1 web1 resume resumed || no "the guest does not resume"
vm_at south s1 web1
matches s1 web1 n1
same "QEMUs" 1 "$(qemus web1)"

tell
