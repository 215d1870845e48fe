# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# lanyard as a path: one site, a home with N TPMs (sockets of a null TPM of
# its own) and another host, where N VMs of foreign hypervisors have their
# endpoints. What is measured is the two agents.
. "${LAB_TOP:=$here/../..}/tests/lab/lab.sh"
LAB_TOP=$(cd "$LAB_TOP" && pwd)

lab_spawn() {
	lab_name=$1
	spawn "$@"
	LAB_PID=$SPAWNED
	echo "$LAB_PID" >"$LAB/$lab_name.pid"
}

# A name in front of the numbers keeps socket paths short.
path_lanyard_start() {
	lanyard_n=$1
	lanyard_runs=$((${lanyard_runs:-0} + 1))
	LAB=$T/l$lanyard_runs
	mkdir -p "$LAB"
	LAB_RTT=0
	spawn null "$BIN/nulltpm" -u "$LAB/tpm" -n "$lanyard_n"
	lab_site s
	lab_manager_start s || return 1
	lanyard_host h "[tpm t]" "tcti = socket:$LAB/tpm.%d" \
		"count = $lanyard_n" || return 1
	lanyard_home=$LAB_PID
	lanyard_host a || return 1
	PIDS=$lanyard_home,$LAB_PID
	lanyard_i=0
	while [ "$lanyard_i" -lt "$lanyard_n" ]; do
		lab_cli s --quiet vm add "$lanyard_i" --home h \
			--tpm "t$lanyard_i" --memory 16 --external &&
			lab_cli s --quiet vm start "$lanyard_i" --host a ||
			return 1
		lanyard_i=$((lanyard_i + 1))
	done
	EP=ctrl:$LAB/a/run/%d/tpm.ctrl
}

# lanyard_host NAME [LINE...]: the home is DELAY_MS away from the other.
lanyard_host() {
	lanyard_name=$1
	shift
	mkdir -p "$LAB/$lanyard_name"
	free_port
	lanyard_port=$PORT
	wan_between "$lanyard_port" || return 1
	lab_cli s --quiet host add "$lanyard_name" \
		--address "127.0.0.1:$PORT" --out "$LAB/$lanyard_name" \
		>/dev/null || return 1
	{
		cat <<-CONF
		[agent]
		cert = $LAB/$lanyard_name/host.pem
		key = $LAB/$lanyard_name/host.key
		trust = $LAB/$lanyard_name/trust
		listen = 127.0.0.1:$lanyard_port
		address = 127.0.0.1:$PORT
		manager = 127.0.0.1:$(cat "$LAB/s/port")
		state = $LAB/$lanyard_name/state
		run = $LAB/$lanyard_name/run
		vault = none
		CONF
		[ $# = 0 ] || printf '%s\n' "$@"
	} >"$LAB/$lanyard_name/agent.conf"
	lab_spawn "agent-$lanyard_name" "$BUILD/lanyard-agent" \
		-c "$LAB/$lanyard_name/agent.conf"
	lab_wait 20 "agent $lanyard_name" lab_up s "$lanyard_name"
}

# The agents' own pump and a STREAM connection, without the agents.
path_lanyard_bulk_start() {
	[ -x "$BIN/carry" ] || return 1
	lanyard_carry=$T/carry
	[ -d "$lanyard_carry" ] || { mkdir -p "$lanyard_carry" &&
		"$BIN/carry" keys "$lanyard_carry"; } || return 1
	free_port
	lanyard_port=$PORT
	spawn carry-far "$BIN/carry" far "$lanyard_carry" \
		"127.0.0.1:$lanyard_port" "$TARGET_UNIX"
	PIDS=$SPAWNED
	wait_until port_listens "$lanyard_port" || return 1
	spawn carry-near "$BIN/carry" near "$lanyard_carry" \
		"127.0.0.1:$lanyard_port" "$T/carry.sock"
	PIDS=$PIDS,$SPAWNED
	EP=unix:$T/carry.sock
}

# Two agents' lanes, $1 of them, without the agents; each stream has its own
# pair. Sets LANES_EP.
path_lanyard_lanes_start() {
	[ -x "$BIN/lanes" ] && [ -f "$T/carry/far.pem" ] || return 1
	free_port
	rm -f "$T/lanes.sock" "$T/lanes-far.log" "$T/lanes-near.log"
	spawn lanes-far "$BIN/lanes" far "$T/carry" "127.0.0.1:$PORT" "$1" \
		"$TARGET_UNIX"
	lanyard_lanes=$SPAWNED
	wait_until port_listens "$PORT" || return 1
	spawn lanes-near "$BIN/lanes" near "$T/carry" "127.0.0.1:$PORT" "$1" \
		"$T/lanes.sock"
	lanyard_lanes="$lanyard_lanes $SPAWNED"
	wait_until is_socket "$T/lanes.sock" || return 1
	LANES_EP=unix:$T/lanes.sock
}

# Both ends have seen the same bytes, by their digests.
path_lanyard_lanes_same() {
	wait_until grep -q "^$BULK_BYTES bytes, root" "$T/lanes-near.log"
	wait_until grep -q "^$BULK_BYTES bytes, root" "$T/lanes-far.log"
	[ "$(grep root "$T/lanes-near.log")" = \
		"$(grep root "$T/lanes-far.log")" ] && return
	say "lanes: the digests differ"
	failures=$((failures + 1))
	return 1
}

path_lanyard_lanes_stop() {
	# shellcheck disable=SC2086
	kill_all ${lanyard_lanes:-}
	lanyard_lanes=
}
