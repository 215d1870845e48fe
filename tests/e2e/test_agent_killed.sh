#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
#
# The agent where a VM runs dies, again and again, at moments nobody chose:
# killed -9, told to begin anew, stopped and started. The guest uses its TPM
# without pause meanwhile, and what it believes is what its chip knows: no
# command lost, none run twice, none answered otherwise; it only waited.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}" "${KILLS:=20}" "${MOVES:=12}"
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

lab_begin agents
guest_build
lab_site north
lab_site south
lab_peers north south
lab_host north n1
lab_host south s1
lab_host south s2
HOSTS="n1 s1 s2"
EK=$(chip_ek n1)
guest_add north web1 n1 >/dev/null || lab_die "vm add"
guest_start north web1 n1 >/dev/null || lab_die "the guest does not start"
lab_cli north migrate web1 --to s1 --wait >/dev/null 2>"$LAB/err" ||
	lab_die "no migration: $(cat "$LAB/err")"

# A moment between 0 and 1 s, another one each time.
some_time() {
	LY_SEED=$(((${LY_SEED:-$$} * 1103515245 + 12345) % 2147483648))
	sleep "0.$(printf '%03d' $((LY_SEED / 65536 % 1000)))"
}

served() { # how often an agent took the VM over
	grep -c 'web1: served on' "$LAB/agent-s1.log"
}

served_over() {
	[ "$(served)" -gt "$1" ]
}

# again HOW...: ends the agent thus, and sees that the next one serves the VM.
again() {
	again_was=$(served)
	"$@"
	lives 20 "agent that serves web1 on" served_over "$again_was"
}

killed() {
	lab_kill agent-s1 KILL
	lab_agent_start s1
}

stopped() {
	lab_kill agent-s1 TERM
	lab_agent_start s1
}

anew() {
	kill -HUP "$(cat "$LAB/agent-s1.pid")"
}

settled() {
	[ "$(lab_cli north --json status | jq '.migrations | length')" = 0 ]
}

begun() { # how often it has booted here
	grep -c '"event":"ready"' "$(guest_log s1 web1)"
}

begun_over() {
	[ "$(begun)" -gt "$1" ]
}

guest_told() { # COMMAND, which is not answered
	printf '%s\n' "$1" |
		socat -t 1 - "UNIX-CONNECT:$LAB/s1/run/web1/serial.sock" >/dev/null
}

other_keeper() { # PID
	keeper_now=$(lab_keeper "$LAB/s1/run") && [ "$keeper_now" != "$1" ]
}

median() {
	sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

it "the agent is killed $KILLS times, and the guest does not notice"
vm_at south s1 web1
: >"$LAB/gaps"
n=0
while [ $n -lt "$KILLS" ]; do
	n=$((n + 1))
	guest_ask s1 web1 mark marked || no "the guest does not answer"
	some_time
	again killed
	sleep 0.3
	guest_ask s1 web1 status status || no "the guest does not answer"
	guest_field max_gap_ms >>"$LAB/gaps"
	echo >>"$LAB/gaps"
done
vm_at south s1 web1
matches s1 web1 n1
same "epoch" 2 "$(vm_says web1 .record.epoch)"

it "it waited less than 100 ms, most often"
gap=$(grep . "$LAB/gaps" | median)
echo "# waits in ms: $(grep . "$LAB/gaps" | sort -n | tr '\n' ' ')"
[ "$gap" -lt 100 ] || no "the median wait is $gap ms"

it "it begins anew, as told by SIGHUP, in the same process"
pid=$(cat "$LAB/agent-s1.pid")
for n in 1 2 3 4 5; do
	some_time
	again anew
done
kill -0 "$pid" || no "its process ended"
vm_at south s1 web1
matches s1 web1 n1

it "a configuration that is bad is not taken, and all stays as it was"
cp "$LAB/s1/agent.conf" "$LAB/good.conf"
echo "nonsense = 1" >>"$LAB/s1/agent.conf"
was=$(served)
anew
lives 10 "refusal" grep -q 'all stays as it was.*nonsense' "$LAB/agent-s1.log"
same "agents since" "$was" "$(served)"
cp "$LAB/good.conf" "$LAB/s1/agent.conf"
vm_at south s1 web1

it "nor is a program that cannot read what the agent keeps"
LANYARD_KEPT=0.0 "$BUILD/lanyard-agent" -t -c "$LAB/s1/agent.conf" \
	>"$LAB/out" 2>"$LAB/err" && no "it says that it can"
err "would lose their TPM"

it "it is stopped, and started again later"
for n in 1 2 3; do
	some_time
	again stopped
done
vm_at south s1 web1
matches s1 web1 n1

# Longer than a guest waits for its TPM, so it must not ask meanwhile.
it "and it may be away for long, if the guest is at rest"
guest_ask s1 web1 pause paused || no "the guest does not pause"
lab_kill agent-s1 TERM
sleep 3
was=$(served)
lab_agent_start s1
lives 20 "agent that serves web1 on" served_over "$was"
guest_ask s1 web1 resume resumed || no "the guest does not resume"
vm_at south s1 web1
matches s1 web1 n1

it "and killed while it still begins"
for n in 1 2 3 4 5 6 7 8; do
	lab_kill agent-s1 KILL
	lab_agent_start s1
	sleep "0.0$((n * 9 % 10))$n"
done
again killed
vm_at south s1 web1
matches s1 web1 n1

it "its keeper is killed, and then the agent"
keeper=$(lab_keeper "$LAB/s1/run")
kill -9 "$keeper" || no "no keeper"
lives 10 "another keeper" other_keeper "$keeper"
again killed
vm_at south s1 web1
matches s1 web1 n1

# Agents die on both sides, before, in and after each step.
it "it migrates $MOVES times, and an agent is killed in each"
at=s1
n=0
while [ $n -lt "$MOVES" ]; do
	n=$((n + 1))
	to=s2
	[ $at = s1 ] || to=s1
	victim=$at
	[ $((n / 2 % 2)) = 0 ] || victim=$to
	timeout -k 5 100 "$BUILD/lanyard" --manager "$LAB/north/manager.sock" \
		migrate web1 --to $to --wait >"$LAB/move.out" 2>&1 </dev/null &
	mover=$!
	sleep "0.$(printf '%02d' $((10 + n * 7 % 50)))"
	lab_kill agent-$victim KILL
	lab_agent_start $victim
	wait $mover
	echo "# move $n to $to, agent of $victim killed: $(tail -n 1 "$LAB/move.out")"
	lives 60 "end of all migrations" settled
	at=$(vm_says web1 .at)
	at=${at#south/}
	vm_at south "$at" web1
	matches "$at" web1 n1
done
[ $at = s1 ] || {
	lab_cli north migrate web1 --to s1 --wait >/dev/null 2>"$LAB/err" ||
		no "no migration back: $(cat "$LAB/err")"
}
matches s1 web1 n1

it "the guest reboots, and finds its TPM"
was=$(begun)
guest_told reboot
again killed
lives 60 "guest that begins" begun_over "$was"
vm_at south s1 web1

it "it is switched off, and nothing is left"
guest_told poweroff
lives 40 "record that says detached" vm_is web1 .record.state detached
again_was=$(served)
killed
lives 20 "agent of s1" lab_up south s1
same "VMs served" "$again_was" "$(served)"

it "a start in which the agent is killed can be asked again"
timeout -k 5 60 "$BUILD/lanyard" --manager "$LAB/north/manager.sock" \
	vm start web1 --host s1 >"$LAB/start.out" 2>&1 </dev/null &
starter=$!
sleep 0.2
killed
wait $starter
status=$?
lives 20 "agent of s1" lab_up south s1
was=$(begun)
[ $status = 0 ] || run vm start web1 --host s1
exits 0
lives 60 "guest that begins" begun_over "$((was - 1))"
vm_at south s1 web1

tell
