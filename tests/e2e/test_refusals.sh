#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
#
# What is refused, called off or cut short: each time the VM runs on where it
# was, its TPM with it, and the reason stands where the operator looks.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

lab_begin refusals
guest_build
lab_site north
lab_site south
lab_peers north south
lab_host north n1
lab_host south s1
lab_host south s2
HOSTS="n1 s1 s2"
EK=$(chip_ek n1)

host_down() { # SITE HOST
	lab_cli north --json host show "$1/$2" |
		grep -q '"connected": *false'
}

host_up() {
	lab_cli north --json host show "$1/$2" | grep -q '"connected": *true'
}

it "a manager that is not there is said to be so, by its socket"
timeout 20 "$BUILD/lanyard" --manager "$LAB/nobody.sock" status \
	>"$LAB/out" 2>"$LAB/err"
status=$?
exits 1
err "$LAB/nobody.sock"
timeout 20 "$BUILD/lanyard" --manager "$LAB/nobody.sock" --json migrate web1 \
	--to s1 --wait >"$LAB/out" 2>"$LAB/err"
status=$?
exits 1
same ok false "$(key_of .ok)"

it "an unknown home names the hosts that exist"
run vm add web1 --home nowhere --memory 256
exits 1
err nowhere
err n1
err s1

guest_add north web1 n1 >/dev/null || lab_die "vm add"
guest_add north other n1 >/dev/null 2>"$LAB/other.err" &&
	lab_die "two VMs on one chip"

it "a home whose chip is taken says so"
cp "$LAB/other.err" "$LAB/err"
err taken
run --json vm list
same "VMs" 1 "$(key_of '.vms | length')"

it "a VM that is off cannot be migrated"
run migrate web1 --to s1 --wait
exits 1
err "is off"

guest_start north web1 n1 >/dev/null || lab_die "the guest does not start"

it "an unknown VM names the VMs that exist"
run migrate web9 --to s1
exits 1
err web9
err web1

it "an unknown destination names the hosts that exist"
run migrate web1 --to s9
exits 1
err s9
err s2

it "a migration to the host it is on is refused"
run migrate web1 --to n1 --wait
exits 1
err "at north/n1 already"
run --json migrate web1 --to n1 --dry-run
same allowed false "$(key_of .allowed)"
vm_at north n1 web1

it "a second migration while one runs is refused, by the first one's name"
slow web1 s1
run migrate web1 --to s2 --wait
exits 1
err "$MOVE"
err s1
run --json migrate web1 --to s2
same ok false "$(key_of .ok)"
run vm stop web1
exits 1
run vm start web1
exits 1

it "a migration is called off in the middle, and the VM runs on"
run migrate cancel web1
exits 0
moved
exits 1
same ok false "$(key_of .ok)"
err "called off"
vm_at north n1 web1
same epoch 1 "$(vm_says web1 .record.epoch)"
matches n1 web1 n1

it "what is over cannot be called off"
run migrate cancel web1
exits 1

it "a manager killed in the middle of a migration finds its end"
slow web1 s1 15M
lab_kill manager-north KILL
moved
exits 3
lab_manager_start north || no "the manager does not start again"
lives 90 "end of migration $MOVE" over "$MOVE"
vm_at south s1 web1
same epoch 2 "$(vm_says web1 .record.epoch)"
matches s1 web1 n1

it "a manager killed in the middle knows when it was called off"
slow web1 n1 4M
lab_kill manager-north KILL
wait "$MOVER"
lab_manager_start north || no "the manager does not start again"
lives 30 "host south/s1" host_up south s1
run migrate cancel web1
exits 0
lives 60 "end of migration $MOVE" over "$MOVE"
vm_at south s1 web1
matches s1 web1 n1

it "a dead host is no destination, and the VM runs on"
lab_kill agent-s2 KILL
lives 30 "news that s2 is down" host_down south s2
run migrate web1 --to s2 --wait
exits 1
err "south/s2"
err "not connected"
vm_at south s1 web1

it "a destination whose QEMU does not start is no destination"
printf '#!/bin/sh\necho "no such machine, says the wrapper" >&2\nexit 1\n' \
	>"$LAB/qemu-refuses"
chmod +x "$LAB/qemu-refuses"
cp "$LAB/s2/agent.conf" "$LAB/s2/agent.conf.good"
sed "/^run =/a qemu = $LAB/qemu-refuses" "$LAB/s2/agent.conf.good" \
	>"$LAB/s2/agent.conf"
lab_agent_start s2
lives 30 "agent of s2" lab_up south s2
lives 30 "news of it at north" host_up south s2
run --json migrate web1 --to s2 --wait
exits 1
err "QEMU ended"
vm_at south s1 web1

it "a destination whose QEMU never answers is no destination"
lab_kill agent-s2
printf '#!/bin/sh\nexec sleep 600\n' >"$LAB/qemu-refuses"
lab_agent_start s2
lives 30 "agent of s2" lab_up south s2
lives 30 "news of it at north" host_up south s2
RUN_SECONDS=150 run --json migrate web1 --to s2 --wait
exits 1
vm_at south s1 web1
lives 20 "end of what was started" no_qemu s2 web1

it "after all that it migrates, and nothing was lost"
lab_kill agent-s2
cp "$LAB/s2/agent.conf.good" "$LAB/s2/agent.conf"
lab_agent_start s2
lives 30 "agent of s2" lab_up south s2
lives 30 "news of it at north" host_up south s2
run migrate web1 --to s2 --wait
exits 0
vm_at south s2 web1
same epoch 3 "$(vm_says web1 .record.epoch)"
matches s2 web1 n1

tell
