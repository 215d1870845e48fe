#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
#
# tpm2-tools on one host, the chip on another: what lies between them is an
# agent, a link and an agent, and the tools must not be able to tell. What is
# no command, or not a guest's to send, never reaches the chip.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

lab_begin tools
lab_site north
lab_manager_start north || lab_die "no manager"
lab_host north home1 2
lab_host north away1
HOSTS="home1 away1"

for vm in x y; do
	lab_cli north vm add "$vm" --home home1 --memory 8 --external \
		>"$LAB/add.txt" 2>&1 || lab_die "vm add: $(cat "$LAB/add.txt")"
	lab_cli north vm start "$vm" --host away1 >"$LAB/add.txt" 2>&1 ||
		lab_die "vm start: $(cat "$LAB/add.txt")"
	# What a hypervisor says when it switches its machine on.
	swtpm_ioctl --unix "$LAB/away1/run/$vm/tpm.ctrl" -i ||
		lab_die "$vm has no power"
done
X=$LAB/away1/run/x/tpm
Y=$LAB/away1/run/y/tpm
export TPM2TOOLS_TCTI="swtpm:path=$X"
cd "$LAB" || exit 2

# tool WORD...: bounded; the test fails with what it says. There is no resource
# manager in between, so what the tools leave in the chip's slots is flushed.
tool() {
	timeout 30 "$@" >"$LAB/out" 2>"$LAB/err" </dev/null ||
		no "$1: $(tr '\n' ' ' <"$LAB/err" | cut -c 1-200)"
	case $1 in
	tpm2_create* | tpm2_load | tpm2_readpublic | tpm2_quote | tpm2_unseal)
		timeout 30 tpm2_flushcontext -t >"$LAB/flush" 2>&1 ||
			no "flush: $(cat "$LAB/flush")"
		;;
	esac
}

# raw HEX [SOCKET]: those bytes, and the answer as hex.
raw() {
	printf '%s' "$1" | xxd -r -p |
		timeout 30 socat -t 20 - "UNIX-CONNECT:${2:-$X}" | xxd -p |
		tr -d '\n'
}

seq_of() {
	vm_says "$1" .record.seq
}

it "the tools start the chip, and it is the home's"
tool tpm2_startup -c
tool tpm2_getcap properties-fixed
lab_cli north --json vm show x >"$LAB/out"
same holder spiffe://north/host/away1 "$(key_of .record.holder)"

it "random bytes differ"
tool tpm2_getrandom --hex 32
a=$(cat "$LAB/out")
tool tpm2_getrandom --hex 32
[ "${#a}" = 64 ] && [ "$a" != "$(cat "$LAB/out")" ] || no "$a twice"

it "a primary key is made, the same each time"
tool tpm2_createprimary -C o -g sha256 -G ecc -c prim.ctx
tool tpm2_readpublic -c prim.ctx -o prim1.pem -f pem
tool tpm2_createprimary -C o -g sha256 -G ecc -c prim.ctx
tool tpm2_readpublic -c prim.ctx -o prim2.pem -f pem
cmp -s prim1.pem prim2.pem || no "two keys of one seed"

it "a quote over PCRs is made, and checked with the public key alone"
tool tpm2_pcrextend "11:sha256=$(printf '%064d' 7)"
tool tpm2_createprimary -C e -g sha256 -G ecc -c ek.ctx
tool tpm2_create -C ek.ctx -g sha256 -G ecc256:ecdsa-sha256:null \
	-u ak.pub -r ak.priv \
	-a "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"
tool tpm2_load -C ek.ctx -u ak.pub -r ak.priv -c ak.ctx
tool tpm2_readpublic -c ak.ctx -o ak.pem -f pem
tool tpm2_quote -c ak.ctx -l sha256:11 -q 00c0ffee -m q.msg -s q.sig \
	-o q.pcrs -g sha256
tool tpm2_checkquote -u ak.pem -m q.msg -s q.sig -f q.pcrs -g sha256 \
	-q 00c0ffee
timeout 30 tpm2_checkquote -u ak.pem -m q.msg -s q.sig -f q.pcrs -g sha256 \
	-q 00c0ffef >"$LAB/out" 2>"$LAB/err" &&
	no "another nonce was believed"

it "NV memory is defined, written, read, counted, and undefined"
tool tpm2_nvdefine -C o -s 5 -a "ownerread|ownerwrite" 0x1500001
printf hello >nv.in
tool tpm2_nvwrite -C o -i nv.in 0x1500001
tool tpm2_nvread -C o -s 5 0x1500001
same "what was written" hello "$(cat "$LAB/out")"
tool tpm2_nvdefine -C o -s 8 -a "ownerread|ownerwrite|nt=counter" 0x1500002
tool tpm2_nvincrement -C o 0x1500002
tool tpm2_nvread -C o -s 8 0x1500002
a=$(xxd -p "$LAB/out")
tool tpm2_nvincrement -C o 0x1500002
tool tpm2_nvread -C o -s 8 0x1500002
same "the counter" "$(printf '%016x' $((0x$a + 1)))" "$(xxd -p "$LAB/out")"
tool tpm2_nvundefine -C o 0x1500001
tool tpm2_nvundefine -C o 0x1500002

it "what is sealed to a PCR opens under it, and not when it has changed"
tool tpm2_createprimary -C o -g sha256 -G ecc -c prim.ctx
tool tpm2_startauthsession -S s.ctx
tool tpm2_policypcr -S s.ctx -l sha256:11 -L pcr.policy
tool tpm2_flushcontext s.ctx
printf 'the secret' >secret
tool tpm2_create -C prim.ctx -u seal.pub -r seal.priv -i secret -L pcr.policy
tool tpm2_load -C prim.ctx -u seal.pub -r seal.priv -c seal.ctx
tool tpm2_startauthsession --policy-session -S s.ctx
tool tpm2_policypcr -S s.ctx -l sha256:11
tool tpm2_unseal -p session:s.ctx -c seal.ctx
same "what was sealed" "the secret" "$(cat "$LAB/out")"
tool tpm2_flushcontext s.ctx
tool tpm2_pcrextend "11:sha256=$(printf '%064d' 8)"
tool tpm2_startauthsession --policy-session -S s.ctx
tool tpm2_policypcr -S s.ctx -l sha256:11
timeout 30 tpm2_unseal -p session:s.ctx -c seal.ctx >"$LAB/out" \
	2>"$LAB/err" && no "it opened under another PCR"
tool tpm2_flushcontext s.ctx

it "what a guest may not send is refused as by a TPM without it, and logged"
timeout 30 tpm2_clear -c p >"$LAB/out" 2>"$LAB/err" &&
	no "the chip was cleared"
err 0x143
grep -q 'x: TPM2_Clear denied\|x: Clear denied' "$LAB/agent-home1.log" ||
	no "nothing in the home's log: $(grep denied "$LAB/agent-home1.log")"
timeout 30 tpm2_dictionarylockout -c >"$LAB/out" 2>"$LAB/err" &&
	no "the lockout was reset"
tool tpm2_getrandom --hex 4

# tag, size, code; part 3, 5.3, says what a TPM answers to each.
malformed() { # WHAT HEX ANSWER
	got=$(raw "$2")
	[ "$got" = "$3" ] || no "$1: ${got:-nothing}, not $3"
}
TOO_SMALL=80010000000a00000142
NO_CODE=80010000000a00000143
BAD_TAG=00c40000000a0000001e

it "bytes that are no command are answered as a TPM would"
before=$(seq_of x)
malformed "a size below a header's" 80010000000900000144 $TOO_SMALL
malformed "no size" 80010000000000000144 $TOO_SMALL
malformed "a size that cannot be" 8001ffffffff00000144 $TOO_SMALL
malformed "oversize" 80010000100100000144 $TOO_SMALL
malformed "a strange tag" 12340000000a00000144 $BAD_TAG
same "commands the home has heard of" "$before" "$(seq_of x)"

it "a command nobody knows is refused"
malformed "an unknown code" 80010000000a00000fff $NO_CODE
malformed "a vendor's" 80010000000a20000001 $NO_CODE
malformed "code 0" 80010000000a00000000 $NO_CODE

it "half a command and then nothing is hung up on or answered, and no more"
got=$(raw 8001000000)
[ -z "$got" ] || [ "$got" = $TOO_SMALL ] || no "$got"
tool tpm2_getrandom --hex 4

it "a body that lies is the chip's own to refuse"
got=$(raw 80020000000e0000017effffffff)
case $got in
8001*) [ "$got" != 80010000000a00000000 ] || no "it was taken" ;;
*) no "${got:-nothing}" ;;
esac

it "after all that the chip is as it was"
tool tpm2_pcrread sha256:11
a=$(sed -n 's/.*11 *: *0x//p' "$LAB/out")
same "PCR 11" "$(chip_pcr home1 11)" "$(echo "$a" | tr 'A-F' 'a-f')"
tool tpm2_getrandom --hex 4

# 4000 GetRandom without waiting for one answer, again and again.
flood() {
	while :; do
		i=0
		while [ $i -lt 4000 ]; do
			printf '\200\001\000\000\000\014\000\000\001\173\000\010'
			i=$((i + 1))
		done | timeout 60 socat -u - "UNIX-CONNECT:$X" 2>/dev/null
	done
}

it "a flood from one VM does not stop another"
flood &
flood_pid=$!
echo "$flood_pid flood" >>"$LAB/pids"
a=$(seq_of x)
lives 30 "flood at the home" sh -c '
	[ "$("$1" --manager "$2" --json vm show x | jq .record.seq)" -gt "$3" ]
' sh "$BUILD/lanyard" "$(lab_socket north)" "$((a + 20))"
TPM2TOOLS_TCTI="swtpm:path=$Y"
tool tpm2_startup -c
for i in 1 2 3 4 5; do
	tool tpm2_getrandom --hex 8
	tool tpm2_pcrextend "12:sha256=$(printf '%064d' "$i")"
done
tool tpm2_createprimary -C o -g sha256 -G ecc -c y.ctx
lab_cli north --timeout 20 status >"$LAB/out" 2>"$LAB/err" ||
	no "the manager does not answer"

it "and the flooder is served again when it is over"
kill "$flood_pid" 2>/dev/null
wait "$flood_pid" 2>/dev/null
TPM2TOOLS_TCTI="swtpm:path=$X"
tool tpm2_getrandom --hex 8
kill -0 "$(cat "$LAB/agent-home1.pid")" "$(cat "$LAB/agent-away1.pid")" ||
	no "an agent is gone"

it "nothing of a command's body stands in any log"
! grep -qi 'the secret\|hello' "$LAB"/agent-*.log "$LAB"/manager-*.log ||
	no "a body was logged"

tell
