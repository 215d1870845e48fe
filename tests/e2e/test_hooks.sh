#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
#
# The operator's hooks around a migration, with the disk lock of contrib/hooks:
# who runs has the lock, whatever fails on the way.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

lab_begin hooks
guest_build
mkdir "$LAB/locks"
cat >"$LAB/hook" <<EOF
#!/bin/sh
export DISK_LOCK_DIR=$LAB/locks
echo "\$LANYARD_HOOK \$LANYARD_EPOCH \${LANYARD_HOST##*/}" >>$LAB/hooks.log
[ ! -e $LAB/break-\$LANYARD_HOOK ] || { echo "broken for a test"; exit 1; }
exec $LAB_TOP/contrib/hooks/disk-lock
EOF
chmod +x "$LAB/hook"
LAB_AGENT="on_claim = $LAB/hook
on_release = $LAB/hook
on_abort = $LAB/hook"
lab_site north
lab_manager_start north
lab_host north n1
lab_host north n2
HOSTS="n1 n2"
EK=$(chip_ek n1)

hooks() { # LINE...: what ran since the last call
	printf '%s\n' "$@" >"$LAB/hooks.want"
	cmp -s "$LAB/hooks.want" "$LAB/hooks.log" ||
		no "hooks were: $(tr '\n' ',' <"$LAB/hooks.log")"
	: >"$LAB/hooks.log"
}

locked_by() { # EPOCH HOST
	same "the lock" "$1 $2" "$(cat "$LAB"/locks/*[0-9a-f] | sed 's,spiffe.*/,,')"
}

it "a start takes the lock before the guest runs"
guest_add north web1 n1 >"$LAB/out" 2>"$LAB/err" || no "it is not added"
guest_start north web1 n1 >"$LAB/out" 2>"$LAB/err" || no "it does not start"
hooks "on-claim 1 n1"
locked_by 1 n1

it "a migration gives it back at the source and takes it at the destination"
run migrate web1 --to n2 --wait
exits 0
vm_at north n2 web1
hooks "on-release 1 n1" "on-claim 2 n2"
locked_by 2 n2
matches n2 web1 n1

it "an on-release that fails leaves the guest where it is"
touch "$LAB/break-on-release"
run migrate web1 --to n1 --wait
exits 1
err "on-release: status 1: broken for a test"
rm "$LAB/break-on-release"
vm_at north n2 web1
hooks "on-release 2 n2" "on-abort 2 n2"
locked_by 2 n2

it "an on-claim that fails keeps the guest paused until it works"
touch "$LAB/break-on-claim"
run --json migrate web1 --to n1
exits 0
id=$(key_of .migration)
lives 60 "alarm" grep -q "on-claim fails: the VM is ours" "$LAB/agent-n1.log"
was=$(ticks n1 web1)
sleep 3
[ "$(ticks n1 web1)" = "$was" ] || no "the guest runs without the lock"
run --json status
out "on-claim fails: the VM is ours, and stays paused"
rm "$LAB/break-on-claim"
lives 60 "end of the migration" over "$id"
vm_at north n1 web1
locked_by 3 n1
sort -u "$LAB/hooks.log" >"$LAB/hooks.sorted"
mv "$LAB/hooks.sorted" "$LAB/hooks.log"
hooks "on-claim 3 n1" "on-release 2 n2"
matches n1 web1 n1

it "a stop gives the lock back, and a start elsewhere takes it"
run vm stop web1 --force
exits 0
lives 20 "record that says detached" vm_is web1 .record.state detached
hooks "on-release 3 n1"
locked_by 3 -

it "a start whose on-claim fails does not happen"
touch "$LAB/break-on-claim"
run vm start web1 --host n2
exits 1
err "broken for a test"
rm "$LAB/break-on-claim"
no_qemu n2 web1 || no "its QEMU runs"
lives 20 "record that says detached" vm_is web1 .record.state detached

tell
