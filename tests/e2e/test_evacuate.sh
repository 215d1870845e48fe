#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
#
# A host is emptied: five guests go to the two hosts of another site, and the
# manager is killed meanwhile.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

VMS="vm1 vm2 vm3 vm4 vm5"
lab_begin evacuate
guest_build
lab_site north
lab_site south
lab_peers north south
lab_host north n1 5
lab_host south s1
lab_host south s2
HOSTS="n1 s1 s2"
for vm in $VMS; do
	lab_cli north vm add "$vm" --home n1 --memory 128 \
		--kernel "$GUEST_DIR/vmlinuz" --initrd "$GUEST_DIR/initrd.gz" \
		--append "$GUEST_APPEND" --accel tcg --cpu max >/dev/null ||
		lab_die "vm add $vm"
	guest_start north "$vm" n1 >/dev/null || lab_die "$vm does not start"
	# Five loops at full speed would be all that this machine does.
	guest_ask n1 "$vm" pause paused || lab_die "$vm does not pause"
done
lab_cli north vm set vm4 --priority 500 >/dev/null || lab_die "vm set"

it "the plan spreads five VMs over two hosts, the first in order first"
lab_wait 20 "south's hosts" lab_up north south/s2
run --json evacuate n1 --to south --dry-run
exits 0
same total 5 "$(key_of .total)"
same "on s1" 3 "$(key_of '[.vms[] | select(.to == "south/s1")] | length')"
same "on s2" 2 "$(key_of '[.vms[] | select(.to == "south/s2")] | length')"
run evacuate n1 --to south --dry-run
exits 0
out "5 of 5 VMs would be moved"

# How many VMs have s1 or s2 as their holder.
moved_n() {
	n=0
	for vm in $VMS; do
		case $(vm_says "$vm" .at) in
		south/*) n=$((n + 1)) ;;
		esac
	done
	[ "$n" -ge "$1" ]
}

it "the manager is killed in the middle of it, and who watched is told"
"$BUILD/lanyard" --manager "$(lab_socket north)" evacuate n1 --to south \
	>"$LAB/out" 2>"$LAB/err" </dev/null &
watcher=$!
lives 60 "first VM that has moved" moved_n 1
lab_kill manager-north KILL
wait "$watcher"
status=$?
exits 3
err "it goes on without us"
err "vm4: "

it "it goes on by itself when the manager is back, and is watched again"
lab_manager_start north || no "no manager"
RUN_SECONDS=150 run evacuate n1 --to south --parallel 3
exits 0
out "all 5 VMs moved"

it "each runs at the other site, once, and its guest answers"
for vm in $VMS; do
	to=$(vm_says "$vm" .at)
	case $to in
	south/s[12]) ;;
	*) no "$vm is at $to" ;;
	esac
	lives 30 "record of $vm" vm_is "$vm" .record.holder \
		"spiffe://south/host/${to#south/}"
	lives 30 "end of $vm at n1" no_qemu n1 "$vm"
	guest_ask "${to#south/}" "$vm" pause paused || no "$vm does not answer"
done

it "asked again, there is nothing to do"
run --json evacuate n1 --to south
exits 0
same moved 5 "$(key_of .moved)"

it "the record tells it, and is whole"
run audit
exits 0
out "evacuation: north/n1 to site south is asked for by uid"
out "is over: 5 of 5 VMs moved"
same "committed" 5 "$(grep -c 'migration committed' "$LAB/out")"
run audit --verify
exits 0
out "unbroken since"

tell
