#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
#
# A memory from another moment than its TPM's: snapshots, and images of a
# running guest that are started again. QEMU is the test's own here, as libvirt
# would run it, so that it can be asked for both.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

lab_begin snapshot
guest_build
lab_site north
lab_manager_start north
lab_host north n1
EK=$(chip_ek n1)
VM=$LAB/n1/run/web1

# vm_run NAME OPTION...: the guest, in a QEMU of that name.
vm_run() {
	vm_name=$1
	shift
	rm -f "$LAB/qmp.sock"
	lab_spawn "$vm_name" qemu-system-x86_64 -machine q35 -accel tcg -cpu max \
		-m 264200k -display none -nodefaults \
		-kernel "$GUEST_DIR/vmlinuz" -initrd "$GUEST_DIR/initrd.gz" \
		-append "$GUEST_APPEND" \
		-chardev "socket,id=con,path=$VM/serial.sock,server=on,wait=off,logfile=$VM/serial.log,logappend=on" \
		-serial chardev:con \
		-chardev "socket,id=t,path=$VM/tpm.ctrl" \
		-tpmdev emulator,id=tpm,chardev=t -device tpm-crb,tpmdev=tpm \
		-drive "file=$LAB/disk.qcow2,if=virtio,format=qcow2" \
		-qmp "unix:$LAB/qmp.sock,server=on,wait=off" "$@"
	lab_wait 10 "monitor" [ -S "$LAB/qmp.sock" ]
}

# qmp COMMAND [ARGUMENTS]: its answer in $LAB/qmp.
qmp() {
	{
		echo '{"execute":"qmp_capabilities"}'
		echo "{\"execute\":\"$1\",\"arguments\":${2:-{\}},\"id\":7}"
		lab_qmp_left=400
		until grep -q '"id": 7' "$LAB/qmp" || [ $lab_qmp_left = 0 ]; do
			lab_qmp_left=$((lab_qmp_left - 1))
			sleep 0.05
		done
	} | socat - "UNIX-CONNECT:$LAB/qmp.sock" >"$LAB/qmp" 2>/dev/null
}

hmp() {
	: >"$LAB/qmp"
	qmp human-monitor-command "{\"command-line\":\"$1\"}"
}

ask_qmp() {
	: >"$LAB/qmp"
	qmp "$@"
}

saved() {
	ask_qmp query-migrate
	grep -q '"status": "completed"' "$LAB/qmp"
}

loaded() {
	ask_qmp query-status
	grep -q '"status": "paused"' "$LAB/qmp"
}

alarms() {
	grep -c "ALARM a snapshot, or a stale copy" "$LAB/agent-n1.log"
}

it "a hypervisor of somebody else's runs the guest"
qemu-img create -q -f qcow2 "$LAB/disk.qcow2" 1G || no "no disk"
guest_add north web1 n1 --external >"$LAB/out" 2>"$LAB/err" || no "it is not added"
run vm start web1 --host n1
exits 0
vm_run vm1
lives 120 "guest" guest_says n1 web1 ready
grep -q "no pause guard" "$LAB/agent-n1.log" || no "no word about the guard"

it "a snapshot costs the guest nothing"
hmp "savevm one"
grep -qi error "$LAB/qmp" && no "$(tail -n 1 "$LAB/qmp")"
guest_runs n1 web1 60 || no "the guest stands still"
matches n1 web1 n1

it "an older snapshot is refused, and an alarm says so"
hmp "loadvm one"
grep -qi error "$LAB/qmp" || no "it was loaded: $(tail -n 1 "$LAB/qmp")"
[ "$(alarms)" = 1 ] || no "$(alarms) alarms"

grep -q "failure mode until the VM resets" "$LAB/agent-n1.log" ||
	no "its TPM did not fail"

it "its guest has a TPM again after a reset"
was=$(grep -c '"event":"ready"' "$VM/serial.log")
ask_qmp system_reset
ask_qmp cont
lives 120 "guest" sh -c \
	"[ \$(grep -c '\"event\":\"ready\"' '$VM/serial.log') -gt $was ]"
matches n1 web1 n1

it "a memory image goes on where the TPM stands"
guest_ask n1 web1 pause paused || no "the guest does not pause"
sleep 1
ask_qmp stop
ask_qmp migrate "{\"uri\":\"exec:cat >$LAB/image\"}"
lives 60 "image" saved
lab_kill vm1
vm_run vm2 -incoming "exec:cat $LAB/image"
lives 60 "guest that is whole" loaded
ask_qmp cont
lives 30 "status" guest_ask n1 web1 resume resumed
guest_runs n1 web1 60 || no "the guest stands still"
matches n1 web1 n1
[ "$(alarms)" = 1 ] || no "$(alarms) alarms"

it "the same image started once more is a stale copy, and does not run"
lab_kill vm2 KILL
vm_run vm3 -incoming "exec:cat $LAB/image"
lives 30 "end of the copy" gone "$(cat "$LAB/vm3.pid")"
[ "$(alarms)" = 2 ] || no "$(alarms) alarms"

it "the guest can be started anew"
vm_run vm4
was=$(grep -c '"event":"ready"' "$VM/serial.log")
lives 120 "guest" sh -c \
	"[ \$(grep -c '\"event\":\"ready\"' '$VM/serial.log') -gt $was ]"
matches n1 web1 n1

tell
