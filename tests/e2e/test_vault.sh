#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
#
# A home's record cannot be put back: an old vault, one of another host and one
# whose TPM was cleared are refused at the start, and the operator's ways out
# work as docs/operations.md says. The VM is one whose guest is not ours to
# start (--external), for what is told here is the home's.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
. tests/lab/lab.sh
. tests/e2e/lib/story.sh

lab_begin vault
lab_site north
lab_manager_start north || lab_die "the manager does not start"
lab_host north n1
lab_host north n2
VAULT=$LAB/n1/state
run vm add web1 --home n1 --memory 16 --external
run vm start web1 --host n2

# Of the record, as its home has it.
record() {
	lab_cli north --json vm show web1 | jq -r ".record.$1"
}

held() {
	[ "$(record epoch)" = "$1" ] && [ "$(record state)" = attached ]
}

# refuses WORD...: a start of n1's agent ends with 1 and each WORD.
refuses() {
	timeout 20 "$BUILD/lanyard-agent" -c "$LAB/n1/agent.conf" \
		>"$LAB/out" 2>"$LAB/err" </dev/null
	status=$?
	same "exit status" 1 "$status"
	for word; do
		err "$word"
	done
}

comes_back() {
	lab_agent_start n1
	lives 20 "agent of n1" lab_up north n1
}

version() {
	basename "$VAULT"/vault.* | sed 's/vault.//'
}

# The host's own chip, which nobody else is talking to.
chip() {
	TPM2TOOLS_TCTI=swtpm:path=$LAB/n1/chiphost.sock "$@" >/dev/null
}

it "the record of a VM is in a vault that does not show it"
same "epoch" 1 "$(record epoch)"
[ -n "$(version)" ] || no "there is no vault"
grep -rq web1 "$VAULT" && no "the name of the VM can be read"
[ ! -e "$VAULT/home.records" ] || no "there is a plain file"

it "each lease moves the counter of the host's TPM"
lab_kill agent-n1
old=$(version)
cp -a "$VAULT" "$LAB/old"
same "counter" "$old" "$((0x$(TPM2TOOLS_TCTI=swtpm:path=$LAB/n1/chiphost.sock \
	tpm2_nvread 0x01801c79 | xxd -p)))"
comes_back
run vm stop web1
exits 0
run vm start web1 --host n1
exits 0
held 2 || no "epoch $(record epoch), $(record state)"
same "version at the manager" "$(version)" "$(record vault)"
[ "$(version)" -gt "$old" ] || no "version $(version), was $old"

it "an old vault that is put back is refused, with both numbers"
lab_kill agent-n1
new=$(version)
mv "$VAULT" "$LAB/new"
cp -a "$LAB/old" "$VAULT"
refuses "an old vault was put back" "version $old" "says $new"

it "so is one renamed to the number that the counter has"
mv "$VAULT/vault.$old" "$VAULT/vault.$new"
refuses "vault.$new" "of version $old"

it "and no vault at all"
rm "$VAULT/vault.$new"
refuses "there is no vault" "says there is one of version $new"

it "and that of another host"
lab_kill agent-n2
cp "$LAB"/n2/state/vault.* "$VAULT/vault.$new"
refuses "vault.$new"
lab_agent_start n2
lives 20 "agent of n2" lab_up north n2

it "and vault = none beside a vault"
cp "$LAB/n1/agent.conf" "$LAB/n1/agent.conf.good"
sed 's/^vault = .*/vault = none/' "$LAB/n1/agent.conf.good" \
	>"$LAB/n1/agent.conf"
refuses "there is a vault" "vault = none"
cp "$LAB/n1/agent.conf.good" "$LAB/n1/agent.conf"

it "with the right one back the home goes on where it was"
rm -r "$VAULT"
mv "$LAB/new" "$VAULT"
comes_back
lives 10 "the record of epoch 2" held 2

it "a TPM that was cleared is refused"
lab_kill agent-n1
chip tpm2_clear || no "the chip is not cleared"
refuses "no counter at 0x1801c79" "cleared" "version $new"

it "the way out is to begin anew, without what is lost, and bind the VMs again"
lab_spawn agent-n1 "$BUILD/lanyard-agent" -c "$LAB/n1/agent.conf" --new-vault
lives 20 "agent of n1" lab_up north n1
grep -q 'ALARM begun anew' "$LAB/agent-n1.log" || no "no alarm says so"
[ -f "$VAULT/vault.$new.old" ] || no "the old vault is not kept aside"
run vm stop web1
run vm remove web1
exits 0
run vm add web1 --home n1 --memory 16 --external
exits 0
run vm start web1 --host n2
exits 0
same "epoch" 1 "$(record epoch)"
lab_kill agent-n1
comes_back
lives 10 "the record of epoch 1" held 1

it "nor is that vault what an old one can take the place of"
lab_kill agent-n1
cp -a "$LAB/old/." "$VAULT/"
comes_back
held 1 || no "epoch $(record epoch), $(record state)"

tell
