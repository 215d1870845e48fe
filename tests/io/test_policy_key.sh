#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 90
#
# A policy key that never leaves a TPM: OpenSSL's provider of tpm2-openssl signs
# with it. And what it has signed is an approval for TPMs: one whose PCRs are
# those takes it by TPM2_PolicyAuthorize, as tpm2-tools see it.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
L=$BUILD/lanyard

tmp=$(mktemp -d) || exit 2
trap '[ -z "${pid:-}" ] || kill "$pid" 2>/dev/null; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
failed=0 what=

it() { what=$*; }
ok() { echo "ok $what"; }
no() {
	echo "not ok $what: $*"
	failed=1
}
# run WORD...: bounded; false, and its words in $tmp/said, if it fails
run() {
	timeout 30 "$@" >"$tmp/said" 2>&1 </dev/null
}
said() { tr '\n' ' ' <"$tmp/said" | cut -c 1-300; }

mkdir "$tmp/tpm"
swtpm socket --tpm2 --tpmstate "dir=$tmp/tpm" --seccomp action=none \
	--server "type=unixio,path=$tmp/sock" \
	--ctrl "type=unixio,path=$tmp/sock.ctrl" \
	--flags not-need-init,startup-clear 2>"$tmp/swtpm" &
pid=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
	[ -S "$tmp/sock" ] || sleep 0.1
done
export TPM2TOOLS_TCTI="swtpm:path=$tmp/sock"
export TPM2OPENSSL_TCTI="$TPM2TOOLS_TCTI"
cd "$tmp" || exit 2

it "a key in a TPM is published like one in a file"
run tpm2_createprimary -C o -G ecc256:ecdsa-sha256:null -c key.ctx \
	-a 'sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth' &&
	run tpm2_evictcontrol -C o -c key.ctx 0x81000020 &&
	run tpm2_flushcontext -t &&
	run tpm2_readpublic -c 0x81000020 -f pem -o tools.pem ||
	no "tpm2-tools: $(said)"
if run "$L" policy init --key handle:0x81000020 --provider tpm2 \
	--out pol.pem && cmp -s pol.pem tools.pem; then
	ok
else
	no "$(said)"
fi

it "a state is approved and withdrawn by a key in a TPM"
run tpm2_pcrextend 4:sha256="$(printf '%064d' 7)" || no "$(said)"
tpm2_pcrread sha256 >pcrs 2>/dev/null
KEY="--key handle:0x81000020 --provider tpm2 --site north"
# shellcheck disable=SC2086
if run "$L" policy approve --class compute --pcrs pcrs $KEY --out one &&
	run "$L" policy approve --class edge --pcrs pcrs $KEY --list one \
		--out two &&
	run "$L" policy withdraw --class edge --entry 2 $KEY --list two \
		--out three; then
	ok
else
	no "$(said)"
fi

it "a list that the key in the TPM has not signed is not gone on with"
cp two bad
printf 'X' | dd of=bad bs=1 seek=40 conv=notrunc 2>/dev/null
# shellcheck disable=SC2086
if run "$L" policy approve --class west --pcrs pcrs $KEY --list bad \
	--out four; then
	no "it was"
elif grep -q 'not of this key' said && [ ! -e four ]; then
	ok
else
	no "$(said)"
fi

# The only entry of list `one` ends with policy and signature, and then the
# list's own signature comes.
it "a TPM in that state takes the approval"
size=$(wc -c <one)
tail -c 160 one | head -c 32 >policy
tail -c 128 one | head -c 64 >rs
printf 'lanyard.host-class:compute\0\0\0\0\0\0\0\0\1' |
	openssl dgst -sha256 -binary >ref
cat policy ref >approved
{
	echo 'asn1=SEQUENCE:s'
	echo '[s]'
	echo "r=INTEGER:0x$(head -c 32 rs | xxd -p -c 64)"
	echo "s=INTEGER:0x$(tail -c 32 rs | xxd -p -c 64)"
} >der.conf
openssl asn1parse -genconf der.conf -noout -out sig.der
# as a policy names an authority: sign and userWithAuth, no scheme
if ! run openssl dgst -sha256 -verify pol.pem -signature sig.der approved; then
	no "openssl ($size bytes): $(said)"
elif run tpm2_loadexternal -C o -G ecc -u pol.pem -a 'sign|userwithauth' \
	-c pol.ctx -n pol.name &&
	run tpm2_verifysignature -c pol.ctx -g sha256 -m approved -s sig.der \
		-f ecdsa -t ticket &&
	run tpm2_flushcontext -t &&
	run tpm2_startauthsession --policy-session -S session &&
	run tpm2_policypcr -S session -l sha256:0,2,4,7,11 -L is &&
	run cmp is policy &&
	run tpm2_policyauthorize -S session -i policy -q ref -n pol.name \
		-t ticket -L authorized; then
	ok
else
	no "$(said)"
fi

it "and in another state it does not"
run tpm2_pcrextend 7:sha256="$(printf '%064d' 9)" || no "$(said)"
run tpm2_policyrestart -S session
if ! run tpm2_policypcr -S session -l sha256:0,2,4,7,11; then
	no "$(said)"
elif run tpm2_policyauthorize -S session -i policy -q ref -n pol.name \
	-t ticket; then
	no "it was taken"
else
	ok
fi
exit "$failed"
