# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# A live migration of the lab's guest (at work on its TPM), by lanyard with and
# without attestation, and by QEMU itself: its TLS or plain TCP, with a swtpm at
# each end whose state goes with the guest. After lib.sh and path_lanyard.sh.
# The guests are up all the time and go to and fro, so that each round finds
# them as the last did; a second of rest keeps what one start or move leaves
# behind out of the next.
#
# MIGRATE_CASES: NAME:MEGABYTES:DIRTY, DIRTY the megabytes of which the guest
# writes each page once a second.
#
# total and downtime are what each side reports, of QEMU its own counting: the
# time until its last byte was written. Our total begins when the manager was
# asked, so quotes and keys are inside. The gap is what the guest lives through,
# from its stop to its start at the other end; ours counts that as downtime.
# cpu is that of all processes that carry the stream, QEMUs with their guests'
# own work included, for each 10^9 bytes.
# shellcheck disable=SC2154
LAB_TOP=$(cd "$here/../.." && pwd)
# shellcheck source=tests/lab/guest.sh
. "$LAB_TOP/tests/lab/guest.sh"

MIGRATE_PEERS="qemu_tls qemu_tcp"
MIGRATE_PLAIN=plain # ours, without attestation

measure_migrate() {
	MINE=
	LAB=$T/m
	# shellcheck disable=SC2034
	LAB_RTT=0
	mkdir -p "$LAB"
	if migrate_can && qemu_keys_make && migrate_ours_up; then
		for case in $MIGRATE_CASES; do
			migrate_case "$case"
		done
	else
		failures=$((failures + 1))
	fi
	migrate_clear
	# shellcheck disable=SC2086
	kill_all $MINE
}

# migrate_case NAME:MEGABYTES:DIRTY
migrate_case() {
	case_name=${1%%:*} case_dirty=${1##*:}
	case_mb=${1#*:}
	case_mb=${case_mb%:*}
	say "live migration, $case_mb MB, $case_dirty MB/s dirtied, $MIGRATE_ROUNDS rounds"
	# rounds of TPM commands each second: at work, and not what is measured
	# shellcheck disable=SC2034
	GUEST_EXTRA="lanyard.rate=10 lanyard.dirty=$case_dirty" GUEST_MEMORY=$case_mb
	if ! migrate_guests_up || ! migrate_peer_up; then
		failures=$((failures + 1))
		return
	fi
	for r in $(seq "$MIGRATE_ROUNDS"); do
		for site in n m; do
			migrate_ours "$site" "$r"
		done
		for p in $MIGRATE_PEERS; do
			migrate_peer "$p" "$r"
		done
	done
	for site in n m; do
		lab_cli "$site" vm stop "vm$case_name" --force >/dev/null
	done
	# shellcheck disable=SC2086
	kill_all $peer_pids
}

migrate_can() {
	for tool in qemu-system-x86_64 swtpm socat openssl; do
		command -v "$tool" >/dev/null && continue
		say "migrate: no $tool"
		return 1
	done
	(guest_build)
}

# Agents leave their QEMUs running; those are named by their own files.
migrate_clear() {
	for migrate_file in "$T"/m/*/run/*/qemu.pid; do
		[ -f "$migrate_file" ] || continue
		read -r migrate_pid _ <"$migrate_file" || :
		kill "$migrate_pid" 2>/dev/null || :
	done
}

# --- ours --------------------------------------------------------------------

# n: attested; m: not
migrate_ours_up() {
	LAB_ATTEST=1
	lab_site n
	lab_manager_start n && lab_host n na 4 && lab_host n nb 0 &&
	    lab_approve n na && lab_wait 20 "approval of nb" lab_good n nb || return 1
	LAB_ATTEST=
	lab_site m
	lab_manager_start m && lab_host m ma 4 && lab_host m mb 0
}

migrate_guests_up() {
	for site in n m; do
		guest_add "$site" "vm$case_name" "${site}a" >/dev/null &&
		    guest_start "$site" "vm$case_name" "${site}a" >/dev/null ||
		    return 1
		eval "migrate_at_$site=${site}a"
	done
}

# clock ticks that process $1 and those it has waited for have had; 0: gone
ticks_of() {
	ticks_=0
	for ticks_pid; do
		ticks_=$((ticks_ + $(sed 's/.*) //' "/proc/$ticks_pid/stat" \
		    2>/dev/null | awk '{ print $12 + $13 + $14 + $15 }') + 0))
	done
	echo "$ticks_"
}

# cpu METRIC-END PATH ROUND TICKS BYTES
cpu_sample() {
	sample "migration_cpu_$1" "$2" "$3" "$(awk -v t="$4" -v b="$5" \
	    -v hz="$(getconf CLK_TCK)" 'BEGIN { if (b) print t / hz / b * 1e9 }')"
}

qemu_pid_of() {
	read -r qemu_pid_ _ <"$LAB/$1/run/vm$case_name/qemu.pid" &&
	    echo "$qemu_pid_"
}

# migrate_ours SITE ROUND
migrate_ours() {
	eval "ours_from=\$migrate_at_$1"
	ours_to=${1}b ours=$OURS
	[ "$ours_from" = "${1}a" ] || ours_to=${1}a
	[ "$1" = n ] || ours=$MIGRATE_PLAIN
	sleep 1
	ours_agents="$(cat "$LAB/agent-${1}a.pid") $(cat "$LAB/agent-${1}b.pid")"
	# shellcheck disable=SC2086
	ours_ticks=$(ticks_of $ours_agents "$(qemu_pid_of "$ours_from")")
	if ! timeout 200 "$BUILD/lanyard" --manager "$LAB/$1/manager.sock" \
	    --json migrate "vm$case_name" --to "$ours_to" --wait >"$LAB/out" 2>&1; then
		say "$ours: migration failed: $(tail -n 1 "$LAB/out")"
		failures=$((failures + 1))
		return
	fi
	eval "migrate_at_$1=$ours_to"
	# the source's QEMU has ended and counts for its agent, if that is its parent
	# shellcheck disable=SC2086
	cpu_sample "$case_name" "$ours" "$2" \
	    $(($(ticks_of $ours_agents "$(qemu_pid_of "$ours_to")") - ours_ticks)) \
	    "$(lab_json memory_bytes <"$LAB/out")"
	sample "migration_total_$case_name" "$ours" "$2" \
	    "$(lab_json total_ms <"$LAB/out")"
	sample "migration_gap_$case_name" "$ours" "$2" \
	    "$(lab_json downtime_ms <"$LAB/out")"
}

# --- QEMU's own --------------------------------------------------------------

# qmp N COMMAND [ARGUMENTS]: of the Nth QEMU; sets QMP, its answer
qmp() {
	qmp_id=$((${qmp_id:-0} + 1))
	# opened for both, or a reader that is gone would be waited for
	printf '{"execute":"%s","id":"i%s"%s}\n' "$2" "$qmp_id" \
	    "${3:+,\"arguments\":$3}" 1<>"$T/q$1/qmp"
	wait_until grep -q "\"id\": \"i$qmp_id\"" "$T/qmp$1.log" || return 1
	QMP=$(grep "\"id\": \"i$qmp_id\"" "$T/qmp$1.log")
	case $QMP in
	*'"error": {'*)
		say "QEMU: $2: $QMP"
		return 1
		;;
	esac
}

qemu_keys_make() {
	[ ! -d "$T/x509" ] || return 0
	keys_make || return 1
	mkdir -m 700 "$T/x509"
	cp "$T/keys/ca.pem" "$T/x509/ca-cert.pem"
	for qemu_end in near:client far:server; do
		for qemu_kind in pem:-cert.pem key:-key.pem; do
			cp "$T/keys/${qemu_end%:*}.${qemu_kind%:*}" \
			    "$T/x509/${qemu_end#*:}${qemu_kind#*:}"
		done
	done
}

# qemu_start N [OPTIONS...]: the machine an agent would start (its odd size
# too: agent/io/definition.c says why), with a swtpm; leaves QEMU_PIDS.
qemu_start() {
	qemu_n=$1
	qemu_dir=$T/q$1
	shift
	mkdir "$qemu_dir" "$qemu_dir/state"
	spawn "swtpm$qemu_n" swtpm socket --tpm2 \
	    --tpmstate "dir=$qemu_dir/state" \
	    --ctrl "type=unixio,path=$qemu_dir/tpm"
	QEMU_PIDS=$SPAWNED
	wait_until is_socket "$qemu_dir/tpm" || return 1
	spawn "qemu$qemu_n" qemu-system-x86_64 -display none -no-user-config \
	    -nodefaults -machine type=q35,accel=tcg -cpu max -smp 1 \
	    -m $((GUEST_MEMORY * 1024 + 8))k -kernel "$GUEST_DIR/vmlinuz" \
	    -initrd "$GUEST_DIR/initrd.gz" \
	    -append "$GUEST_EXTRA $GUEST_APPEND" \
	    -chardev "socket,id=qmp,path=$qemu_dir/sock,server=on,wait=off" \
	    -mon chardev=qmp,mode=control \
	    -chardev "file,id=serial,path=$qemu_dir/serial" \
	    -serial chardev:serial -chardev "socket,id=tpm,path=$qemu_dir/tpm" \
	    -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-crb,tpmdev=tpm0 \
	    -object "tls-creds-x509,id=client,dir=$T/x509,endpoint=client" \
	    -object "tls-creds-x509,id=server,dir=$T/x509,endpoint=server" "$@"
	QEMU_PIDS="$SPAWNED $QEMU_PIDS"
	wait_until is_socket "$qemu_dir/sock" || return 1
	mkfifo "$qemu_dir/qmp"
	spawn "qmp$qemu_n" socat "OPEN:$qemu_dir/qmp,rdwr!!STDOUT" \
	    "UNIX-CONNECT:$qemu_dir/sock"
	QEMU_PIDS="$SPAWNED $QEMU_PIDS"
	# by then the fifo is open: what is written before that is lost
	wait_until grep -qs '^{"QMP"' "$T/qmp$qemu_n.log" &&
	    qmp "$qemu_n" qmp_capabilities
}

# the guest of the Nth has said so
qemu_says() {
	grep -q "LANYARD.*\"event\":\"$2\"" "$T/q$1/serial"
}

migrate_peer_up() {
	peer_n=$((${peer_n:-0} + 1))
	qemu_start "$peer_n" || return 1
	peer_pids=$QEMU_PIDS
	lab_wait 120 "guest of QEMU" qemu_says "$peer_n" ready
}

# peer_params SIDE: the argument of migrate-set-parameters; agents set the same
peer_params() {
	peer_name=far
	[ "$peer_how" = qemu_tls ] || peer_name=
	printf '{"max-bandwidth":10000000000,"tls-creds":"%s",' \
	    "${peer_name:+$1}"
	printf '"tls-hostname":"%s"}' "$peer_name"
}

# peer_move FROM TO: until TO runs its guest; sets QMP, what FROM counted
peer_move() {
	free_port
	peer_uri="{\"uri\":\"tcp:127.0.0.1:$PORT\"}"
	peer_cap='{"capability":"events","state":true}'
	qmp "$2" migrate-set-parameters "$(peer_params server)" &&
	    qmp "$2" migrate-incoming "$peer_uri" &&
	    qmp "$1" migrate-set-capabilities "{\"capabilities\":[$peer_cap]}" &&
	    qmp "$1" migrate-set-parameters "$(peer_params client)" &&
	    qmp "$1" migrate "$peer_uri" &&
	    lab_wait 60 "end of the migration" grep -q \
	    '"status": "\(completed\|failed\)"' "$T/qmp$1.log" &&
	    qmp "$1" query-migrate || return 1
	case $QMP in
	*'"status": "completed"'*) ;;
	*)
		say "QEMU: $QMP"
		return 1
		;;
	esac
	wait_until grep -q '"event": "RESUME"' "$T/qmp$2.log" &&
	    wait_until qemu_says "$2" tick
}

# event_ms N EVENT: when the Nth QEMU said it last, in ms
event_ms() {
	sed -n "/\"event\": \"$2\"/s/[^0-9]*\([0-9]*\)[^0-9]*\([0-9]*\).*/\1 \2/p" \
	    "$T/qmp$1.log" | tail -n 1 |
	    awk '{ printf "%.3f\n", $1 * 1000 + $2 / 1000 }'
}

# migrate_peer HOW ROUND
migrate_peer() {
	peer_how=$1
	peer_to=$((peer_n + 1))
	# shellcheck disable=SC2086
	if ! qemu_start "$peer_to" -incoming defer || ! sleep 1 ||
	    ! peer_ticks=$(ticks_of $peer_pids $QEMU_PIDS) ||
	    ! peer_move "$peer_n" "$peer_to"; then
		say "$1: migration failed"
		failures=$((failures + 1))
		migrate_peer_undo
		return
	fi
	# shellcheck disable=SC2086
	cpu_sample "$case_name" "$1" "$2" \
	    $(($(ticks_of $peer_pids $QEMU_PIDS) - peer_ticks)) \
	    "$(printf %s "$QMP" | lab_json transferred)"
	sample "migration_total_$case_name" "$1" "$2" \
	    "$(printf %s "$QMP" | lab_json total-time)"
	sample "migration_gap_$case_name" "$1" "$2" \
	    "$(awk -v a="$(event_ms "$peer_n" STOP)" \
	    -v b="$(event_ms "$peer_to" RESUME)" 'BEGIN { print b - a }')"
	# shellcheck disable=SC2086
	kill_all $peer_pids
	peer_pids=$QEMU_PIDS
	peer_n=$peer_to
}

# What failed is not tried on: a fresh pair, as at first.
migrate_peer_undo() {
	# shellcheck disable=SC2086
	kill_all $QEMU_PIDS $peer_pids
	peer_n=$((peer_to + 1))
	qemu_start "$peer_n" || :
	peer_pids=$QEMU_PIDS
	lab_wait 120 "guest of QEMU" qemu_says "$peer_n" ready || :
}
