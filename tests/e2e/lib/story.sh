# SPDX-License-Identifier: Apache-2.0
#
# How the end-to-end tests tell what they saw. After lab.sh and guest.sh.
#
#	it NAME			begins a test; what follows counts for it
#	run WORD...		lanyard north WORD..., bounded: status, out, err
#	exits N, out TEXT, err TEXT, same WHAT WANT GOT, no WHY
#	lives SECONDS WHAT COMMAND...	until it succeeds, or the test fails
#	tell			the last one; prints the logs if any failed
#
# A test that fails does not end its file: the lab is shared, and what comes
# after it says whether that is still whole.

STORY=
STORY_WRONG=
STORY_FAILED=0

it() {
	story_end
	STORY=$*
	STORY_WRONG=
	: >"$LAB/out"
	: >"$LAB/err"
}

story_end() {
	[ -n "$STORY" ] || return 0
	if [ -n "$STORY_WRONG" ]; then
		STORY_FAILED=$((STORY_FAILED + 1))
		echo "not ok $STORY: $STORY_WRONG"
		sed 's/^/# stdout: /' "$LAB/out" | tail -n 4
		sed 's/^/# stderr: /' "$LAB/err" | tail -n 8
	else
		echo "ok $STORY"
	fi
	STORY=
}

no() {
	[ -n "$STORY_WRONG" ] || STORY_WRONG=$*
	return 1
}

# Ends the file: by its exit status, and with the logs if something failed.
tell() {
	story_end
	[ "$STORY_FAILED" = 0 ] && exit 0
	for story_log in "$LAB"/manager-*.log "$LAB"/agent-*.log; do
		echo "# --- ${story_log##*/}"
		grep -v 'info: api: \(host\|vm\|migrate\|site\)\.show' "$story_log" |
			tail -n 60 | sed 's/^/# /'
	done
	exit 1
}

# run WORD...: lanyard at site north, or at $SITE.
SITE=north
run() {
	timeout -k 5 "${RUN_SECONDS:-120}" "$BUILD/lanyard" \
		--manager "$LAB/$SITE/manager.sock" "$@" \
		>"$LAB/out" 2>"$LAB/err" </dev/null
	status=$?
}
exits() { [ "$status" = "$1" ] || no "exit status $status, not $1"; }
out() { grep -qF -e "$1" "$LAB/out" || no "stdout lacks: $1"; }
err() { grep -qF -e "$1" "$LAB/err" || no "stderr lacks: $1"; }
same() {
	[ -n "$2" ] && [ "$2" = "$3" ] ||
		no "$1: ${3:-nothing}, not ${2:-anything}"
}
lives() {
	lab_wait "$@" || no "no $2 within $1 s"
}

# key_of PATH: what is at a jq path of the last answer.
key_of() {
	jq -r "$1" "$LAB/out" 2>/dev/null
}

# has_keys PATH KEY...: the object there has each of them.
has_keys() {
	story_at=$1
	shift
	for story_key; do
		jq -e "$story_at | has(\"$story_key\")" "$LAB/out" \
			>/dev/null 2>&1 || no "$story_at lacks $story_key"
	done
}

# --- what is true of a VM ----------------------------------------------------

# vm_says VM PATH: of `vm show --json`, on standard output.
vm_says() {
	lab_cli north --json --timeout 10 vm show "$1" 2>/dev/null | jq -r "$2"
}

vm_is() { # VM PATH VALUE
	[ "$(vm_says "$1" "$2")" = "$3" ]
}

# qemu_pid HOST VM: of its QEMU, if that lives.
qemu_pid() {
	story_file=$LAB/$1/run/$2/qemu.pid
	[ -f "$story_file" ] || return 1
	read -r story_pid _ <"$story_file" || return 1
	kill -0 "$story_pid" 2>/dev/null || return 1
	echo "$story_pid"
}

no_qemu() { # HOST VM
	! qemu_pid "$1" "$2" >/dev/null
}

# A process that was killed -9 is gone for good once /proc says so.
gone() {
	[ ! -d "/proc/$1" ] || grep -q '^State:	[ZX]' "/proc/$1/status"
}

# kill_qemu HOST VM: as the kernel would, without a word.
kill_qemu() {
	story_qemu=$(qemu_pid "$1" "$2") || return 1
	kill -9 "$story_qemu"
	lab_wait 20 "end of the QEMU" gone "$story_qemu"
}

# ticks HOST VM: how many records of its loop stand in the console's log.
ticks() {
	grep -c '"event":"tick"' "$(guest_log "$1" "$2")" 2>/dev/null
}

# The guest runs there: it writes a record it had not written.
guest_runs() { # HOST VM [SECONDS]
	story_was=$(ticks "$1" "$2")
	lab_wait "${3:-30}" "new record of $2 on $1" ticks_over "$1" "$2" \
		"${story_was:-0}"
}

ticks_over() {
	story_now=$(ticks "$1" "$2")
	[ "${story_now:-0}" -gt "$3" ]
}

# vm_at SITE HOST VM: guest, home's record, manager and QEMUs agree that it is
# there and nowhere else; $HOSTS are all of the lab.
vm_at() {
	lives 30 "record of $3 that says $2" vm_is "$3" .record.holder \
		"spiffe://$1/host/$2"
	same "the record's state" attached "$(vm_says "$3" .record.state)"
	same "where the manager has it" "$1/$2" "$(vm_says "$3" .at)"
	lives 30 "manager that says it runs" vm_is "$3" .state running
	for story_host in $HOSTS; do
		[ "$story_host" = "$2" ] ||
			lives 20 "end of the QEMU on $story_host" \
				no_qemu "$story_host" "$3"
	done
	guest_runs "$2" "$3" || no "the guest on $2 does not run"
}

# matches HOST VM HOME: at rest, what the guest knows is what the chip knows. If
# it does not, its next tick is looked at: while a client of the console hangs
# up, as the one that asked does, QEMU's serial port may double a character.
# What the guest really believes does not change while it rests.
matches() {
	guest_ask "$1" "$2" pause paused || { no "the guest does not pause"; return; }
	for story_try in 1 2; do
		[ "$EK$(chip_pcr "$3" 11)$(chip_pcr "$3" 12)$(chip_nv "$3")" = \
			"$(guest_field ek)$(guest_field pcr11)$(guest_field pcr12)$(guest_field nv)" ] &&
			break
		story_was=$(ticks "$1" "$2")
		lab_wait 20 "tick of $2" ticks_over "$1" "$2" "$story_was" || break
		GUEST=$(grep 'LANYARD.*"event":"tick".*"}' "$(guest_log "$1" "$2")" |
			tail -n 1 | sed 's/.*LANYARD //')
	done
	same "the endorsement key" "$EK" "$(guest_field ek)"
	same "PCR 11" "$(chip_pcr "$3" 11)" "$(guest_field pcr11)"
	same "PCR 12" "$(chip_pcr "$3" 12)" "$(guest_field pcr12)"
	same "the NV counter" "$(chip_nv "$3")" "$(guest_field nv)"
	same "failed commands" 0 "$(guest_field failed)"
	guest_ask "$1" "$2" resume resumed || no "the guest does not resume"
}

# --- migrations in the background --------------------------------------------

# slow VM HOST [RATE]: begins one that takes a while; once its copy has begun,
# MOVE is its id and MOVER the process that watches it.
slow() {
	rm -f "$LAB/move.out" "$LAB/move.err"
	timeout -k 5 240 "$BUILD/lanyard" --manager "$LAB/north/manager.sock" \
		--json migrate "$1" --to "$2" --wait --bandwidth "${3:-4M}" \
		>"$LAB/move.out" 2>"$LAB/move.err" </dev/null &
	MOVER=$!
	echo "$MOVER mover" >>"$LAB/pids"
	lives 30 "copy of $1" copying || return 1
	MOVE=$(sed -n 's/.*"migration":"\([^"]*\)".*/\1/p' "$LAB/move.out" |
		head -n 1)
}

copying() {
	grep -q '"event":"progress".*"percent":[1-9]' "$LAB/move.out"
}

# How it ended: its last line in $LAB/out, its status in `status`.
moved() {
	wait "$MOVER"
	status=$?
	tail -n 1 "$LAB/move.out" >"$LAB/out"
	cp "$LAB/move.err" "$LAB/err"
}

over() { # ID: the manager has nothing more to do for it
	lab_cli north --json migrate show "$1" 2>/dev/null |
		jq -e '.state == "cleaned" or .state == "aborted"'
}

# qemus VM: how many processes of it there are in this lab, whoever knows them.
qemus() {
	story_n=0
	for story_proc in /proc/[0-9]*/cmdline; do
		{ tr '\0' ' ' <"$story_proc"; } 2>/dev/null |
			grep -q "^[^ ]*qemu-system.*$LAB/[^/]*/run/$1/" &&
			story_n=$((story_n + 1))
	done
	echo "$story_n"
}

qemus_are() { # VM N
	[ "$(qemus "$1")" = "$2" ]
}

host_is() { # SITE HOST true|false: what the manager at north knows
	lab_cli north --json host show "$1/$2" |
		jq -e ".connected == $3"
}
