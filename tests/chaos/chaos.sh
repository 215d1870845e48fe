#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# make chaos MINUTES= SEED= [SWITCHES=] [KINDS=]: two sites with three hosts,
# a guest at work on its TPM, and everything that may go wrong at random: see
# chaos.c. The lab is built here, and at the end the chip itself is asked.
# A failed run leaves its lab behind and says where.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
: "${MINUTES:=5}" "${SEED:=$(date +%s)}" "${SWITCHES:=0}" "${KINDS:=}"
: "${RESTART_MS:=10}" "${AT:=north/n1}"
. tests/lab/lab.sh
. tests/lab/guest.sh

LAB_RELAY='-d 0'
# A command that a TCTI runs when its agent dies is in doubt.
# shellcheck disable=SC2034
LAB_CHIP=socket:
# shellcheck disable=SC2034
GUEST_EXTRA="lanyard.log=1 lanyard.rate=${RATE:-50}"
lab_begin chaos

# Small disks, where we may make them, so that they can be full.
small() {
	mkdir -p "$LAB/$1/state"
	mount -t tmpfs -o size=1m,mode=700 lanyard-chaos "$LAB/$1/state" \
		2>/dev/null && : >"$LAB/$1/small"
}
end() {
	chaos_status=$?
	# The lab's QEMUs first: an agent is not there to miss them.
	for chaos_pid in $(cat "$LAB"/*/run/*/qemu.pid 2>/dev/null |
		cut -d ' ' -f 1); do
		kill "$chaos_pid" 2>/dev/null
	done
	for chaos_host in n1 s1 s2; do
		[ ! -f "$LAB/$chaos_host/small" ] ||
			cp -r "$LAB/$chaos_host/state" \
				"$LAB/$chaos_host/state.kept" 2>/dev/null
		umount -l "$LAB/$chaos_host/state" 2>/dev/null
	done
	[ $chaos_status = 0 ] || LAB_KEEP=1
	(exit $chaos_status)
	lab_end
}
trap end EXIT

# Each QEMU gets a second monitor, for the first is its agent's.
# shellcheck disable=SC2034
LAB_AGENT="qemu = $LAB/qemu"
cat >"$LAB/qemu" <<'SH'
#!/bin/sh
for word; do
	case $word in socket,id=qmp,path=*)
		dir=${word#socket,id=qmp,path=}
		dir=${dir%%/qmp.sock*} ;;
	esac
done
rm -f "$dir/chaos.sock"
exec qemu-system-x86_64 "$@" -qmp "unix:$dir/chaos.sock,server=on,wait=off"
SH
chmod +x "$LAB/qemu"

guest_build
for host in n1 s1 s2; do
	small $host
done
lab_site north
lab_site south
lab_peers north south
lab_host north n1
lab_host south s1
lab_host south s2
guest_add north web1 n1 >/dev/null || lab_die "vm add"
for host in n1 s1 s2; do
	ln -s "$(ls "$LAB"/relay-"$(sed -n 's/^listen = .*://p' \
		"$LAB/$host/agent.conf")".ctl)" "$LAB/$host/relay.ctl"
done
for daemon in agent-n1 agent-s1 agent-s2 manager-north manager-south; do
	lab_kill $daemon
done

echo "chaos: seed $SEED, $MINUTES minutes${KINDS:+, only $KINDS}; in $LAB"
"$BUILD/chaos/chaos" -l "$LAB" -b "$BUILD" -s "$SEED" -m "$MINUTES" \
	-n "$SWITCHES" -r "$RESTART_MS" -a "$AT" ${KINDS:+-k "$KINDS"} >"$LAB/chaos.log" 2>&1 &
chaos=$!
echo "$chaos chaos" >>"$LAB/pids"
[ -n "${QUIET:-}" ] || tail -n +1 -f --pid=$chaos "$LAB/chaos.log"
wait $chaos
status=$?

# What the chip says, with nobody in between.
chip() {
	name="the chip says what the guest's log gives"
	[ -f "$LAB/rest" ] || {
		echo "not ok $name: the guest did not come to rest"
		return 1
	}
	read -r pcr11 pcr12 nv <"$LAB/rest"
	said="$(chip_pcr n1 11) $(chip_pcr n1 12) $(chip_nv n1)"
	[ "$said" = "$pcr11 $pcr12 $nv" ] && echo "ok $name" && return 0
	echo "not ok $name: chip $said, log $pcr11 $pcr12 $nv"
	return 1
}
{
	chip || status=1
	[ -f "$LAB/n1/small" ] ||
		echo "skip full disks: no small disk can be made here"
} >"$LAB/end"
cat "$LAB/end" >>"$LAB/chaos.log"
count() {
	grep -c "^$1 " "$LAB/chaos.log"
}
if [ -n "${QUIET:-}" ]; then
	grep VIOLATION "$LAB/chaos.log"
	sed -n '/^  fault /,$p' "$LAB/chaos.log"
else
	cat "$LAB/end"
	echo "$(count ok) passed, $(count 'not ok') failed, $(count skip) skipped"
fi
[ $status = 0 ] || echo "logs: $LAB (chaos.log, agent-*.log, */run/web1)"
exit $status
