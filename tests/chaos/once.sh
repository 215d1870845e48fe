#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# make chaos COMMANDS=1000000 [SEED=]: so many TPM commands of 64 guests through
# two agents, while the link between these is cut at random bytes, so often that
# more than one command in a hundred is under way at a cut (each guest has one);
# and how often each ran (once/once.c). An agent waits up to 2 s before it dials
# a link again that was cut soon, and that is what takes the time.
#
# KILLS=1 as well kills both agents, in turn, with -9, and now and then a keeper,
# though never both of a host at once.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
: "${COMMANDS:=20000}" "${SEED:=$(date +%s)}" "${GUESTS:=64}" "${BYTES:=4000000}"
: "${KILLS:=}"
. tests/lab/lab.sh

lab_begin once
lab_site n
lab_manager_start n || lab_die "no manager"
lab_spawn once "$BUILD/chaos/once" -t "$LAB/tpm" -e "$LAB/a/run/%d/tpm.ctrl" \
	-r "$LAB/ready" -c "$GUESTS" -n "$COMMANDS" -s "$SEED"
once=$LAB_PID
lab_wait 10 "TPMs" [ -S "$LAB/tpm.$((GUESTS - 1))" ]
LAB_RELAY="-x $BYTES -S $SEED"
LAB_AGENT="[tpm t]
tcti = socket:$LAB/tpm.%d
count = $GUESTS"
lab_host n h 0
LAB_RELAY='' LAB_AGENT=''
lab_host n a 0
guest=0
while [ "$guest" -lt "$GUESTS" ]; do
	lab_cli n --quiet vm add "$guest" --home h --tpm "t$guest" \
		--memory 16 --external &&
		lab_cli n --quiet vm start "$guest" --host a ||
		lab_die "guest $guest does not start"
	guest=$((guest + 1))
done
killed=0 keepers=0
# Its agent starts another, and must have given it all before it dies itself.
keeper() {
	keeper=$(lab_keeper "$LAB/$1/run") || return
	kill -9 "$keeper" && keepers=$((keepers + 1))
	sleep 0.3
}
again() {
	lab_kill "agent-$1" KILL
	lab_agent_start "$1"
	killed=$((killed + 1))
}
: >"$LAB/ready"
while [ -n "$KILLS" ] && kill -0 $once 2>/dev/null; do
	sleep "0.$((killed * 7 % 10))"
	again a
	sleep "0.$((killed * 7 % 10))"
	again h
	[ $((killed % 4)) != 0 ] || { sleep 0.3 && keeper a; keeper h; }
done
wait $once
status=$?
cat "$LAB/once.log"
cuts=$(grep -c 'link: down' "$LAB/agent-a.log")
echo "the link was cut $cuts times, agents killed $killed times," \
	"keepers $keepers; seed $SEED"
name="of $COMMANDS commands each ran once and had its own answer"
[ -z "$KILLS" ] || name="$name, though agents were killed"
if [ $status != 0 ]; then
	LAB_KEEP=1
	echo "not ok $name: see above; logs: $LAB"
elif [ -z "$KILLS" ] && [ $((cuts * GUESTS)) -lt $((COMMANDS / 100)) ]; then
	echo "not ok $name: only $cuts cuts, too few"
	status=1
else
	echo "ok $name"
fi
exit $status
