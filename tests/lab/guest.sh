# SPDX-License-Identifier: Apache-2.0
#
# The lab's guest: how it is started, spoken to on its console, and compared
# with the chip its TPM commands must have reached. After lab.sh.
#
#	guest_build				kernel and initrd
#	guest_add SITE VM HOME [OPTIONS...]	vm add; GUEST_MEMORY=256 megabytes
#	guest_start SITE VM HOST		vm start, and wait for its loop
#	guest_ask HOST VM COMMAND KIND		sets GUEST: the record it answered

GUEST_APPEND="console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off 8250.nr_uarts=1 tsc=reliable no_timer_check"
GUEST_DIR=$BUILD/guest

guest_build() {
	"$LAB_TOP/tests/guest/mkinitrd.sh" "$GUEST_DIR" >"$LAB/mkinitrd.log" 2>&1 || {
		cat "$LAB/mkinitrd.log" >&2
		lab_die "the guest could not be built"
	}
}

guest_add() {
	guest_site=$1 guest_vm=$2 guest_home=$3
	shift 3
	lab_cli "$guest_site" vm add "$guest_vm" --home "$guest_home" --memory "${GUEST_MEMORY:-256}" \
		--kernel "$GUEST_DIR/vmlinuz" --initrd "$GUEST_DIR/initrd.gz" \
		--append "${GUEST_EXTRA:+$GUEST_EXTRA }$GUEST_APPEND" \
		--accel tcg --cpu max "$@"
}

guest_log() {
	echo "$LAB/$1/run/$2/serial.log"
}

guest_says() {
	grep -q "LANYARD.*\"event\":\"$3\"" "$(guest_log "$1" "$2")"
}

guest_start() {
	lab_cli "$1" vm start "$2" --host "$3" || return 1
	lab_wait 120 "guest $2 on $3" guest_says "$3" "$2" ready
}

guest_tagged() {
	grep -q "LANYARD.*\"event\":\"$3\".*\"tag\":\"$4\"" "$(guest_log "$1" "$2")"
}

# guest_ask HOST VM COMMAND KIND: with a tag of its own, so that an older
# record is not taken for the answer. The console stays connected until that is
# there: QEMU logs a character twice when its reader hangs up under it.
guest_ask() {
	GUEST_TAG=$((${GUEST_TAG:-0} + 1))
	guest_fifo=$LAB/ask.$GUEST_TAG
	mkfifo "$guest_fifo"
	socat - "UNIX-CONNECT:$LAB/$1/run/$2/serial.sock" \
		<"$guest_fifo" >/dev/null 2>&1 &
	guest_socat=$!
	exec 9>"$guest_fifo"
	(printf '%s t%s\n' "$3" "$GUEST_TAG" >&9) || :
	lab_wait 60 "answer of $2 to $3" guest_tagged "$1" "$2" "$4" "t$GUEST_TAG"
	guest_asked=$?
	exec 9>&-
	wait $guest_socat
	rm -f "$guest_fifo"
	GUEST=$(grep "LANYARD.*\"event\":\"$4\".*\"tag\":\"t$GUEST_TAG\"" \
		"$(guest_log "$1" "$2")" | tail -n 1 | sed 's/.*LANYARD //')
	return $guest_asked
}

# guest_field KEY: of the last record.
guest_field() {
	printf '%s' "$GUEST" | lab_json "$1"
}

# guest_rest HOST VM: the loop stands still, and GUEST says where: a tick that
# came when nobody was on the console, for QEMU's serial port doubles a
# character now and then while somebody is.
guest_rest() {
	guest_ask "$1" "$2" pause paused || return 1
	guest_line=$(wc -l <"$(guest_log "$1" "$2")")
	lab_wait 60 "tick of $2" guest_ticked "$1" "$2" || return 1
	GUEST=$(guest_ticks "$1" "$2" | head -n 1 | sed 's/.*LANYARD //')
}

guest_ticks() {
	tail -n +$((guest_line + 1)) "$(guest_log "$1" "$2")" |
		grep 'LANYARD.*"event":"tick".*"state":"paused".*}'
}

guest_ticked() {
	[ "$(guest_ticks "$1" "$2" | wc -l)" -ge 1 ]
}

# What the chip itself says, read past lanyard while the guest is at rest.
chip_pcr() {
	lab_tpm "$1" 0 tpm2_pcrread "sha256:$2" |
		sed -n "s/.*$2 *: *0x//p" | tr 'A-F' 'a-f' | tr -d ' '
}

chip_nv() {
	lab_tpm "$1" 0 tpm2_nvread -C o -s 8 0x1800001 | od -An -tx1 |
		tr -d ' \n' | { read -r hex; printf '%d\n' "0x$hex"; }
}

# Made anew from the chip's seed: call it before a guest uses the chip, for it
# takes a slot of it for a moment.
chip_ek() {
	lab_tpm "$1" 0 tpm2_startup -c &&
		lab_tpm "$1" 0 tpm2_createek -G ecc -c "$LAB/ek.ctx" -f tss \
		-u "$LAB/ek.pub" >/dev/null &&
		lab_tpm "$1" 0 tpm2_flushcontext -t &&
		tail -c +3 "$LAB/ek.pub" | sha256sum | cut -d ' ' -f 1
}
