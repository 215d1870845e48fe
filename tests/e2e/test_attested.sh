#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
#
# Memory goes only to a machine that was proved fit: hosts enrol by their TPMs,
# states are approved by a key of their own, a migration asks for evidence
# first; and whoever does not fit gets nothing, by name and cause, while the VM
# runs on where it was.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

LAB_ATTEST=1
lab_begin attested
guest_build
lab_site north
lab_site south
lab_peers north south
lab_host north n1
lab_host south s1
LAB_KERNEL=linux-other
lab_host south s2
LAB_KERNEL=
HOSTS="n1 s1 s2"
EK=$(chip_ek n1)

south() {
	lab_cli south --json "$@" >"$LAB/out" 2>"$LAB/err"
}

# standing HOST WORD: as its own site's manager sees it
standing() {
	lab_cli south --json host show "$1" | jq -e ".enrolled == \"$2\"" >/dev/null
}

# refused SIDE CAUSE...: the last migration, before anything left; web1 runs on
refused() {
	exits 1
	err "$1"
	shift
	for refused_cause; do
		err "$refused_cause"
	done
	no_qemu s1 web1 || no "a QEMU waits at s1"
	[ ! -e "$LAB/s2/run/web1" ] || no "s2 has heard of it"
	guest_runs n1 web1 || no "the guest does not run on"
}

it "hosts enrol by their TPMs, and show which they are"
south host show s1
same class lab "$(key_of .class)"
same "a genuine EK in the inventory" true "$(key_of '.ek_by | contains("genuine")')"
same "Names of AK and SK" true "$(key_of '(.ak | length == 68) and (.sk | length == 68)')"
same "what it has booted" true "$(key_of '.pcrs | length == 5')"

guest_add north web1 n1 >/dev/null || lab_die "vm add"

it "without a word of the policy key nothing is approved, and nothing starts"
run vm start web1
exits 1
err "host north/n1"
err "approv"
no_qemu n1 web1 || no "it has started"

it "the policy key approves what two of them have booted"
lab_approve north n1 && lab_approve south s1 || no "no approval"
lives 20 "approved s1" standing s1 enrolled
lives 20 "word of s2" standing s2 unapproved
guest_start north web1 n1 >/dev/null || lab_die "the guest does not start"

it "a host in another state is refused, by PCR and by what it has booted"
south host show s2
same "PCR 4" true "$(key_of '.unapproved | contains("PCR 4")')"
same "the event" true "$(key_of '.unapproved | contains("linux-other")')"
run migrate web1 --to south/s2 --wait
refused "destination south/s2" "PCR 4" "linux-other"

it "an attested migration proves each party before it copies"
run --json migrate web1 --to south/s1 --wait
exits 0
cp "$LAB/out" "$LAB/events"
for step in attesting preparing keying copying committed cleaned; do
	jq -es "any(.[]; .event == \"step\" and .step == \"$step\")" \
		"$LAB/events" >/dev/null || no "no step $step"
done
mig=$(jq -rs 'first(.[] | .migration // empty)' "$LAB/events")
vm_at south s1 web1
matches s1 web1 n1

it "nothing is left at the source"
no_qemu n1 web1 || no "its QEMU lives"

it "the record tells who asked, approved, released and proved"
run audit --mig "$mig"
exits 0
for kind in "migration asked" "migration approved" "key released" \
	"migration proved" "migration decided" "key destroyed"; do
	out "$kind"
done
run audit --verify
exits 0

it "where it runs is proved by two hosts' TPMs"
run attest web1
exits 0
out south/s1
out north/n1

it "it goes home the same way"
run migrate web1 --to north/n1 --wait
exits 0
vm_at north n1 web1
matches n1 web1 n1

it "a PCR that was extended since is seen in the quote of that moment"
lab_tpm s1 host tpm2_pcrextend \
	"4:sha256=$(printf evil | sha256sum | cut -d ' ' -f 1)" || no "pcrextend"
run migrate web1 --to south/s1 --wait
refused "destination" "PCR 4"

boots() { # HOST: as it was when its manager saw it last
	lab_cli south --json host show "$1" | jq -r .reset_count
}

booted() {
	[ "$(boots "$1")" != "$2" ]
}

it "a host that has rebooted is another one until it has enrolled again"
was=$(boots s1)
lab_kill chip-s1-host
lab_chip s1 host ,startup-clear
lab_boot s1
run migrate web1 --to south/s1 --wait
refused "destination" "another boot"
lab_kill agent-s1
lab_agent_start s1
lives 30 "enrolment of s1" booted s1 "$was"
lives 30 "enrolment of s1" standing s1 enrolled
run migrate web1 --to south/s1 --wait
exits 0
run migrate web1 --to north/n1 --wait
exits 0
matches n1 web1 n1

it "a genuine TPM that is in no inventory is not enrolled"
LAB_STRANGER=1
lab_host south s3
LAB_STRANGER=
standing s3 "not enrolled" || no "it is: $(lab_cli south --json host show s3)"
run migrate web1 --to south/s3 --wait
refused "south/s3" "not enrolled"

it "a host's stolen key does not make another machine that host"
lab_kill agent-s1
lab_port
sed "s|^listen = .*|listen = 127.0.0.1:$LAB_PORT|; s|^address = .*|address = 127.0.0.1:$LAB_PORT|
	s|^state = .*|state = $LAB/s3/state|; s|^run = .*|run = $LAB/s3/t|
	s|^vault = .*|vault = swtpm:path=$LAB/s3/chiphost.sock|" \
	"$LAB/s1/agent.conf" >"$LAB/thief.conf"
lab_kill agent-s3
lab_spawn agent-thief "$BUILD/lanyard-agent" -c "$LAB/thief.conf"
thief_seen() {
	lab_cli south host show s1 | grep -q "another EK than the inventory"
}
lives 20 "refusal of the thief" thief_seen
run migrate web1 --to south/s1 --wait
refused "south/s1" "enrolled"
lab_kill agent-thief
lab_agent_start s1
lives 40 "enrolment of s1" standing s1 enrolled

it "a state that is withdrawn is no state any more"
lab_cli south policy withdraw --class lab --entry 1 \
	--key "$LAB/south.policy.key" >"$LAB/out" 2>&1 || no "no withdrawal"
run migrate web1 --to south/s1 --wait
refused "destination" "approves no state"

it "nor does a VM start there"
run vm stop web1 --force
exits 0
run vm start web1 --host south/s2
exits 1
err "south/s2"
err "approv"
run vm start web1 --host north/n1
exits 0
guest_runs n1 web1 || no "it does not run at its home"

it "the record is whole"
run audit --verify
exits 0
SITE=south run audit --verify
exits 0

tell
