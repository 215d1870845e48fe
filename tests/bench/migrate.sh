# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# A live migration of the lab's guest (256 MB, at work on its TPM), by lanyard
# and by QEMU itself: its TLS or plain TCP, with a swtpm at each end whose state
# goes with the guest. After lib.sh and path_lanyard.sh. Both guests are up all
# the time and go to and fro, so that each round finds them as the last did; a
# second of rest keeps what one start or move leaves behind out of the next.
#
# total and downtime are what each side reports, of QEMU its own counting: the
# time until its last byte was written. The gap is what the guest lives through,
# from its stop to its start at the other end; ours counts that as downtime.
# shellcheck disable=SC2154
LAB_TOP=$(cd "$here/../.." && pwd)
# shellcheck source=tests/lab/guest.sh
. "$LAB_TOP/tests/lab/guest.sh"

MIGRATE_PEERS="qemu_tls qemu_tcp"
# rounds of TPM commands each second: at work, and not what is measured
# shellcheck disable=SC2034
GUEST_EXTRA=lanyard.rate=10

measure_migrate() {
	say "live migration, $MIGRATE_ROUNDS rounds"
	MINE=
	LAB=$T/m
	# shellcheck disable=SC2034
	LAB_RTT=0
	mkdir -p "$LAB"
	if migrate_can && migrate_ours_up && migrate_peer_up; then
		for r in $(seq "$MIGRATE_ROUNDS"); do
			migrate_ours "$r"
			for p in $MIGRATE_PEERS; do
				migrate_peer "$p" "$r"
			done
		done
	else
		failures=$((failures + 1))
	fi
	migrate_clear
	# shellcheck disable=SC2086
	kill_all $MINE
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

migrate_ours_up() {
	lab_site m
	lab_manager_start m || return 1
	lab_host m a 1
	lab_host m b 0
	guest_add m vm a >/dev/null && guest_start m vm a >/dev/null || return 1
	migrate_at=a
}

# migrate_ours ROUND
migrate_ours() {
	migrate_to=b
	[ "$migrate_at" = a ] || migrate_to=a
	sleep 1
	if ! timeout 100 "$BUILD/lanyard" --manager "$LAB/m/manager.sock" \
	    --json migrate vm --to "$migrate_to" --wait >"$LAB/out" 2>&1; then
		say "lanyard: migration failed: $(tail -n 1 "$LAB/out")"
		failures=$((failures + 1))
		return
	fi
	migrate_at=$migrate_to
	sample migration_total_ms "$OURS" "$1" "$(lab_json total_ms <"$LAB/out")"
	for migrate_row in migration_downtime_ms migration_gap_ms; do
		sample "$migrate_row" "$OURS" "$1" \
		    "$(lab_json downtime_ms <"$LAB/out")"
	done
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
	    -m $((256 * 1024 + 8))k -kernel "$GUEST_DIR/vmlinuz" \
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
	qemu_keys_make || return 1
	peer_n=1
	qemu_start 1 || return 1
	peer_pids=$QEMU_PIDS
	lab_wait 120 "guest of QEMU" qemu_says 1 ready
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
	if ! qemu_start "$peer_to" -incoming defer || ! sleep 1 ||
	    ! peer_move "$peer_n" "$peer_to"; then
		say "$1: migration failed"
		failures=$((failures + 1))
		migrate_peer_undo
		return
	fi
	sample migration_total_ms "$1" "$2" \
	    "$(printf %s "$QMP" | lab_json total-time)"
	sample migration_downtime_ms "$1" "$2" \
	    "$(printf %s "$QMP" | lab_json downtime)"
	sample migration_gap_ms "$1" "$2" \
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
