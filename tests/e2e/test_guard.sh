#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 400
#
# The pause guard: the way between a guest and its TPM is cut, swallowed and
# made long, and the guest's kernel, which gives a command 750 ms, notices
# nothing. Only an outage past the grace costs it its TPM, and not its life.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
LAB_RTT=2
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

lab_begin guard
guest_build
lab_site north
lab_manager_start north
lab_host north n1
N1_PORT=$lab_own
lab_host north n2
HOSTS="n1 n2"
EK=$(chip_ek n1)
CTL=$LAB/relay-$N1_PORT.ctl

way() { # COMMAND...: to the relay before the home
	"$BUILD/bench/wanrelay" -c "$CTL" "$@" >>"$LAB/relay.out" 2>&1 ||
		no "the relay does not $*"
}

pause_s() { # a pause between two cuts: 0.2 to 1.1 s
	awk "BEGIN { srand($1); printf \"%.2f\", 0.2 + rand() * 0.9 }"
}

# unhurt: what the guest saw since it was marked.
unhurt() {
	guest_runs n2 web1 60 || { no "the guest stands still"; return; }
	guest_ask n2 web1 status status || { no "the guest does not answer"; return; }
	same "failed commands" 0 "$(guest_field failed)"
	same "kernel errors" 0 "$(guest_field kernel)"
}

it "a guest runs far from its TPM"
guest_add north web1 n1 >"$LAB/out" 2>"$LAB/err" || no "it is not added"
guest_start north web1 n2 >"$LAB/out" 2>"$LAB/err" || no "it does not start"
vm_at north n2 web1
matches n2 web1 n1

for kind in down blackhole; do
	it "its kernel does not notice a way that is ${kind} for up to 10 s"
	n=0
	for seconds in 0.1 0.5 1 0.5 3 1 10; do
		n=$((n + 1))
		sleep "$(pause_s "$n")"
		way $kind
		sleep "$seconds"
		way restore
	done
	unhurt
done

it "what it did meanwhile is what its chip knows"
matches n2 web1 n1

it "its kernel does not notice a home 900 ms away"
way delay 450
was=$(ticks n2 web1)
sleep 20
unhurt
way delay 1
[ "$(ticks n2 web1)" -gt "$was" ] || no "the guest stands still"
matches n2 web1 n1

it "it was stopped for that, and an alarm said so"
grep -q "the guest is stopped again and again" "$LAB/agent-n2.log" ||
	no "no alarm in the agent's log"
[ ! -e "$LAB/n2/run/web1/paused" ] || no "the mark is still there"
same "state" running "$(vm_says web1 .state)"

# Not every command has a limit: which one is under way is chance.
it "vm show says so while it lasts"
for try in 1 2 3 4 5 6; do
	sleep "$(pause_s "$try")"
	way down
	lab_wait 3 "pause" vm_is web1 .state paused && break
	way restore
	guest_runs n2 web1 60
done
vm_is web1 .why "paused by the guard: its TPM's home does not answer" ||
	no "it says: $(vm_says web1 .why)"
way restore
lives 20 "end of the pause" vm_is web1 .state running
unhurt

it "an outage past the grace is a TPM failure, not a time-out"
way down
sleep 36
guest_runs n2 web1 60 || no "the guest stands still"
grep 'LANYARD.*"event":"error"' "$(guest_log n2 web1)" >"$LAB/out"
[ -s "$LAB/out" ] || no "the guest saw no failure"
! grep -Ei 'timed? out|-62' "$(guest_log n2 web1)" >"$LAB/err" ||
	no "the guest's kernel gave up by itself"
way restore

it "the guest lives on, and has its TPM again after a reset"
was=$(grep -c 'LANYARD.*"event":"ready"' "$(guest_log n2 web1)")
for try in 1 2 3; do # a character may be lost on the console
	(echo reboot; sleep 1) |
		socat - "UNIX-CONNECT:$LAB/n2/run/web1/serial.sock" >/dev/null 2>&1
	lab_wait 30 "reboot" sh -c "[ \$(grep -c 'LANYARD.*\"event\":\"ready\"' \
		'$(guest_log n2 web1)') -gt $was ]" && break
	no_more=$try
done
[ "${no_more:-0}" != 3 ] || no "it does not reboot"
guest_runs n2 web1 60 || no "the guest stands still"
matches n2 web1 n1

tell
