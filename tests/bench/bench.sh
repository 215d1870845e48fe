#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# `make bench`: what reaching a TPM through lanyard costs, beside what people
# use today, in one run on one machine. Rounds are interleaved (every path once,
# then every path again), figures are medians. Writes $BUILD/bench.json.
#
#	BENCH_QUICK=1	fewer and shorter rounds, under two minutes
#	BENCH_PATHS	which paths (default: direct tcp stunnel ssh, and
#			lanyard if there is a file to start it)
#	BENCH_OURS	that file (default: path_lanyard.sh beside this one)
#	BENCH_ONLY	which measurements: latency pinned commands idle bulk wan
#			survive migrate commit appraise
#	BENCH_KEEP=1	leave the scratch directory, with all samples and logs
#
# A path is a start function (lib.sh) and its name in PATHS; a measurement is a
# function here and its rows in TARGETS.
set -u

here=$(cd "$(dirname "$0")" && pwd)
: "${BUILD:=$here/../../build}"
# shellcheck source=tests/bench/lib.sh
. "$here/lib.sh"

PATHS="direct tcp stunnel ssh"
: "${BENCH_OURS:=$here/path_lanyard.sh}"
if [ -f "$BENCH_OURS" ]; then
	# shellcheck disable=SC1090
	. "$BENCH_OURS"
	PATHS="$PATHS lanyard"
	# shellcheck source=tests/bench/migrate.sh
	. "$here/migrate.sh"
	MIGRATE=migrate
fi
PATHS=${BENCH_PATHS:-$PATHS}
ONLY=${BENCH_ONLY:-latency pinned commands idle bulk wan survive ${MIGRATE:-} commit appraise}
OURS=lanyard

# NAME|UNIT|BETTER|PEER|RULE|NUMBER, as rows_json has it
TARGETS='added_p50|us|low|stunnel|peer|1
added_p50|us|low|ssh|peer|1
added_p50_1core|us|low|stunnel|peer|1
added_p50_1core|us|low|ssh|peer|1
commands_64|1/s|high|direct|fixed|200000
commands_64|1/s|high|stunnel|peer|5
commands_64|1/s|high|ssh|peer|1.6
idle_memory|KiB|low|stunnel|fixed|4
idle_memory|KiB|low|ssh|fixed|4
bulk|MB/s|high|tcp|none|
bulk|MB/s|high|stunnel|none|
bulk|MB/s|high|ssh|none|
stream_1|MB/s|high|stunnel|none|
stream_2|MB/s|high|stunnel|fixed|1200
stream_2|MB/s|high|ssh|fixed|1200
stream_4|MB/s|high|stunnel|none|
first_50ms|ms|low|tcp|fixed|55
first_50ms|ms|low|stunnel|fixed|55
first_50ms|ms|low|ssh|fixed|55
extends_100_50ms|s|low|tcp|fixed|0.12
survive_keeper|us|low|shim|peer|1'
# What a home pays before it may tell of a lease, beside a plain synced file.
COMMITS='commit_1|ms|low|plain|fixed|5
commit_65536|ms|low|plain|peer|2'

# Hosts' quotes judged on one core, beside the bare signature.
QUOTES='quotes_1core|1/s|high|bare|peer|0.5'

if [ -n "${BENCH_QUICK:-}" ]; then
	LATENCY_ROUNDS=3 LATENCY_N=3000
	COMMANDS_ROUNDS=3 COMMANDS_N=40000
	IDLE_ROUNDS=1 BULK_ROUNDS=1 BULK_BYTES=1000000000
	FIRST_ROUNDS=3 SURVIVE_ROUNDS=3 MIGRATE_ROUNDS=2
	MIGRATE_CASES='idle512:512:0 busy512:512:128'
else
	LATENCY_ROUNDS=11 LATENCY_N=10000
	COMMANDS_ROUNDS=5 COMMANDS_N=100000
	IDLE_ROUNDS=3 BULK_ROUNDS=5 BULK_BYTES=4000000000
	FIRST_ROUNDS=7 SURVIVE_ROUNDS=11 MIGRATE_ROUNDS=5
	MIGRATE_CASES='idle512:512:0 busy512:512:128 idle2048:2048:0 busy2048:2048:256'
fi
# Of each case: total, what the guest lives through, what it costs.
MOVES=$(for case in $MIGRATE_CASES; do
	case=${case%%:*}
	cat <<-ROWS
	migration_total_$case|ms|low|qemu_tls|peer|1
	migration_total_$case|ms|low|qemu_tcp|peer|1.3
	migration_total_$case|ms|low|plain|none|
	migration_gap_$case|ms|low|qemu_tcp|more|15
	migration_gap_$case|ms|low|qemu_tls|none|
	migration_gap_$case|ms|low|plain|none|
	migration_cpu_$case|s/GB|low|qemu_tls|none|
	migration_cpu_$case|s/GB|low|qemu_tcp|none|
	migration_cpu_$case|s/GB|low|plain|none|
	ROWS
done)

IDLE_N=1000
VMS=64
failures=0

# load PATH ARGUMENTS ...: leaves tpmload's line in $T/load.PATH
load() {
	load_path=$1
	shift
	load_ep=
	eval "load_ep=\$EP_$load_path load_pids=\$PIDS_$load_path"
	if ! timeout 120 "$BIN/tpmload" ${load_pids:+-P "$load_pids"} "$@" \
	    "$load_ep" >"$T/load.$load_path" 2>>"$T/tpmload.log"; then
		say "$load_path: tpmload $*:" "$(tail -n 1 "$T/tpmload.log")"
		failures=$((failures + 1))
		: >"$T/load.$load_path"
		return 1
	fi
}

result() {
	field "$2" <"$T/load.$1"
}

tpm_start() {
	TARGET_UNIX=$T/tpm.sock
	free_port
	TARGET_PORT=$PORT
	DELAY_MS=0
	spawn nulltpm "$BIN/nulltpm" -u "$TARGET_UNIX" -t "$TARGET_PORT"
	TPM_PID=$SPAWNED
	wait_until is_socket "$TARGET_UNIX" &&
	    wait_until port_listens "$TARGET_PORT"
}

# up N [bulk]: sets UP, the paths that could be started
up() {
	UP=
	for p in $PATHS; do
		! path_up "$p" "$@" || UP="$UP $p"
	done
}

down() {
	for p in $UP; do
		path_down "$p"
	done
}

# Latency of one connection: p50, and what it is above direct. $1 ends the
# names of what is measured.
measure_latency() {
	say "latency${1:-}, one connection, $LATENCY_ROUNDS rounds"
	up 1
	for r in $(seq "$LATENCY_ROUNDS"); do
		for p in $UP; do
			load "$p" -n "$LATENCY_N" || continue
			sample "p50${1:-}" "$p" "$r" "$(result "$p" p50_us)"
			sample "p99${1:-}" "$p" "$r" "$(result "$p" p99_us)"
		done
	done
	down
	added "p50${1:-}" "added_p50${1:-}" direct
}

# The same, all on one core: where the kernel happens to put two processes
# weighs more than what they do, and here it cannot.
measure_pinned() {
	pin_was=$(taskset -cp $$ 2>/dev/null | sed 's/.*: //')
	if ! pin "${pin_was%%[-,]*}"; then
		say "pinned: taskset does not work here, left out"
		return
	fi
	measure_latency _1core
	pin "$pin_was"
}

pin() {
	taskset -cp "$1" $$ >/dev/null 2>&1 &&
	    taskset -acp "$1" "$TPM_PID" >/dev/null 2>&1
}

measure_commands() {
	say "commands, $VMS connections, $COMMANDS_ROUNDS rounds"
	up "$VMS"
	for r in $(seq "$COMMANDS_ROUNDS"); do
		for p in $UP; do
			load "$p" -c "$VMS" -n "$COMMANDS_N" || continue
			sample commands_64 "$p" "$r" "$(result "$p" cmds_s)"
			sample cpu_100k "$p" "$r" \
			    "$(result "$p" cpu_s_per_100k)"
		done
	done
	down
}

# memory_with PATH N: KIB of its processes, N connections idle
memory_with() {
	KIB=
	path_up "$1" "$2" || return 0
	eval "KIB=\$PIDS_$1"
	if [ -n "$KIB" ] && load "$1" -c "$2" -n "$2" -w "$2" -H 1; then
		KIB=$(result "$1" pss_kib)
	else
		KIB=
	fi
	path_down "$1"
}

# Memory of both ends with so many idle connections, less that with one; each
# from a fresh start, since what a peak needed is not given back.
measure_idle() {
	say "idle memory, $IDLE_N connections, $IDLE_ROUNDS rounds"
	for r in $(seq "$IDLE_ROUNDS"); do
		for p in $PATHS; do
			memory_with "$p" 1
			idle_one=$KIB
			[ -n "$KIB" ] && memory_with "$p" "$IDLE_N"
			[ -n "$KIB" ] || continue
			sample idle_memory "$p" "$r" \
			    "$(ratio $((KIB - idle_one)) $((IDLE_N - 1)))"
		done
	done
}

# bulk_once NAME EP: BULK_BYTES from EP to the sink; sets BULK_GOT, MB/s
bulk_once() {
	timeout 120 "$BIN/pump" -l "unix:$TARGET_UNIX" \
	    "tcp:127.0.0.1:$TARGET_PORT" >"$T/pump.$1" 2>>"$T/pump.log" &
	sink=$!
	wait_until port_listens "$TARGET_PORT"
	timeout 120 "$BIN/pump" -n "$BULK_BYTES" "$2" 2>>"$T/pump.log" ||
	    kill "$sink" 2>/dev/null
	wait "$sink"
	BULK_GOT=$(field mb_s <"$T/pump.$1")
	grep -q ":$BULK_BYTES," "$T/pump.$1" && return
	say "$1: bulk failed"
	failures=$((failures + 1))
	return 1
}

# What carries a migration's memory: an agent pair's one connection (bulk), and
# its lanes with the digest at both ends (stream_N lanes).
measure_bulk() {
	say "bulk bytes, $BULK_ROUNDS rounds"
	tpm_unix=$TARGET_UNIX tpm_port=$TARGET_PORT
	TARGET_UNIX=$T/sink.sock
	free_port
	TARGET_PORT=$PORT
	UP=
	for p in $PATHS; do
		[ "$p" = direct ] || ! path_up "$p" 1 bulk || UP="$UP $p"
	done
	for r in $(seq "$BULK_ROUNDS"); do
		for p in $UP; do
			bulk_ep=
			eval "bulk_ep=\$EP_$p"
			bulk_once "$p" "$bulk_ep" || continue
			sample bulk "$p" "$r" "$BULK_GOT"
			for n in 1 2 4; do
				sample "stream_$n" "$p" "$r" "$BULK_GOT"
			done
		done
		is_function path_lanyard_lanes_start || continue
		for n in 1 2 4; do
			path_lanyard_lanes_start "$n" &&
			    bulk_once "lanes$n" "$LANES_EP" &&
			    path_lanyard_lanes_same &&
			    sample "stream_$n" "lanes" "$r" "$BULK_GOT"
			path_lanyard_lanes_stop
		done
	done
	# ours is what goes over lanes, and the bulk row has the one connection
	if [ -f "$T/samples" ]; then
		sed -i "/^stream_[124] $OURS /d;
		    s/^\(stream_[124]\) lanes /\1 $OURS /" "$T/samples"
	fi
	down
	TARGET_UNIX=$tpm_unix TARGET_PORT=$tpm_port
}

# 50 ms of round trip: a new VM's first answer, and a hundred extends in a row
# (all paths at once: they only wait).
measure_wan() {
	say "50 ms round trip, $FIRST_ROUNDS rounds"
	DELAY_MS=25
	up $((FIRST_ROUNDS + 1))
	for r in $(seq "$FIRST_ROUNDS"); do
		for p in $UP; do
			[ "$p" != direct ] || continue
			load "$p" -f "$r" -n 1 -w 0 || continue
			sample first_50ms "$p" "$r" \
			    "$(ratio "$(result "$p" first_us)" 1000)"
		done
	done
	waits=
	for p in $UP; do
		[ "$p" != direct ] || continue
		load "$p" -n 100 -w 1 &
		waits="$waits $!"
	done
	# shellcheck disable=SC2086
	wait $waits || :
	for p in $UP; do
		[ "$p" != direct ] || continue
		[ -s "$T/load.$p" ] || failures=$((failures + 1))
		sample extends_100_50ms "$p" 1 "$(result "$p" seconds)"
	done
	down
	# shellcheck disable=SC2034
	DELAY_MS=0
}

# A home's record, with one VM and with as many as it may have, written as the
# agent does; the TPM is a swtpm, which writes its state to the same disk.
measure_commit() {
	say "a home's record written, 1 and 65536 VMs"
	mkdir "$T/chip"
	spawn swtpm swtpm socket --tpm2 --tpmstate "dir=$T/chip" \
	    --flags not-need-init,startup-clear \
	    --server "type=unixio,path=$T/chip/s" \
	    --ctrl "type=unixio,path=$T/chip/s.ctrl"
	commit_tpm=$SPAWNED
	wait_until is_socket "$T/chip/s" || return
	for commit_n in 1 65536; do
		for r in 1 2 3; do
			if ! timeout 120 "$BIN/commit" "swtpm:path=$T/chip/s" \
			    "$T/vault$commit_n" "$commit_n" \
			    $((commit_n == 1 ? 30 : 3)) >"$T/commit" \
			    2>>"$T/commit.log"; then
				say "commit: $(tail -n 1 "$T/commit.log")"
				failures=$((failures + 1))
				continue
			fi
			# the next one's own, on the same counter
			rm -r "$T/vault$commit_n"
			TPM2TOOLS_TCTI=swtpm:path=$T/chip/s \
			    tpm2_nvundefine -Q 0x01801c79
			sample "commit_$commit_n" "$OURS" "$r" \
			    "$(field vault_ms <"$T/commit")"
			sample "commit_$commit_n" plain "$r" \
			    "$(field plain_ms <"$T/commit")"
		done
	done
	kill_all "$commit_tpm"
}

# A host's evidence, from its bytes to the verdict.
measure_appraise() {
	say "hosts' quotes judged, one core"
	for r in 1 2 3; do
		if ! timeout 60 "$BIN/appraise" 1 >"$T/appraise" \
		    2>>"$T/appraise.log"; then
			say "appraise: $(tail -n 1 "$T/appraise.log")"
			failures=$((failures + 1))
			return
		fi
		sample quotes_1core "$OURS" "$r" "$(field ours <"$T/appraise")"
		sample quotes_1core bare "$r" "$(field bare <"$T/appraise")"
	done
}

# What a command costs more when the process that carries it may be killed at
# any instruction: ours, with a keeper beside it, and a shim in front of it. On
# one core, as in measure_pinned.
measure_survive() {
	survive_on=$(taskset -cp $$ 2>/dev/null | sed 's/.*: //;s/[-,].*//')
	say "surviving our own death, $SURVIVE_ROUNDS rounds"
	for r in $(seq "$SURVIVE_ROUNDS"); do
		# shellcheck disable=SC2086
		if ! timeout 120 ${survive_on:+taskset -c $survive_on} \
		    "$BIN/survive" "$BUILD/lanyard-keeper" "$T" 20000 \
		    >"$T/survive" 2>>"$T/survive.log"; then
			say "survive: $(tail -n 1 "$T/survive.log")"
			failures=$((failures + 1))
			return
		fi
		for p in direct "$OURS" shim; do
			sample survive "$p" "$r" "$(field "$p" <"$T/survive")"
		done
	done
	added survive survive_keeper direct
}

for tool in nulltpm tpmload wanrelay pump; do
	if [ ! -x "$BIN/$tool" ]; then
		say "$BIN/$tool is not there; \`make bench\` builds it"
		exit 2
	fi
done
bench_begin
tpm_start || exit 2
for what in $ONLY; do
	"measure_$what"
done

echo "medians (least-most); $(uname -sr), $(nproc) cores"
printf '%s\n' 'p50|us' 'p99|us' 'p50_1core|us' 'survive|us' "$TARGETS" 'cpu_100k|s' |
    paths_table "$PATHS"
[ -z "${MIGRATE:-}" ] ||
    printf '%s\n' "$MOVES" | paths_table "$MIGRATE_PEERS $MIGRATE_PLAIN $OURS"
printf '%s\n' "$COMMITS" | paths_table "plain $OURS"
printf '%s\n' "$QUOTES" | paths_table "bare $OURS"
echo
printf '%s\n' "$TARGETS" "$MOVES" "$COMMITS" "$QUOTES" |
    rows_json "$OURS" >"$BUILD/bench.json"
json_table <"$BUILD/bench.json"
if [ "$failures" != 0 ]; then
	say "$failures measurements failed"
	exit 1
fi
