#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# make.sh KERNEL OVMF_DIR: boots a guest with a TPM by three ways and writes
# what its firmware logged, and the PCRs after it, beside itself:
#
#   seabios.log  seabios.pcrs    SeaBIOS, the kernel from QEMU
#   ovmf.log     ovmf.pcrs       UEFI, its shell runs \vmlinuz
#   other.log    other.pcrs      the same, another kernel (a byte appended)
#
# The logs are of our own making and are kept; this shows how they came about.
# KERNEL: tests/guest/mkinitrd.sh makes one. OVMF_DIR: of package ovmf.
set -eu

kernel=$1 ovmf=$2
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

mkdir -p "$tmp/root/dev" "$tmp/root/sys" "$tmp/esp"
"${CC:-cc}" -O2 -static -s -o "$tmp/root/init" "$here/init.c"
(cd "$tmp/root" && find . | cpio --quiet -o -H newc -R 0:0) >"$tmp/initrd"
args='console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off'

# boot NAME ARGUMENT...: one guest from switching on to switching off
boot() {
	name=$1
	shift
	mkdir "$tmp/$name.tpm"
	swtpm socket --tpm2 --tpmstate "dir=$tmp/$name.tpm" \
	    --ctrl "type=unixio,path=$tmp/$name.sock" --terminate \
	    --seccomp action=none &
	while [ ! -S "$tmp/$name.sock" ]; do sleep 0.1; done
	timeout 150 qemu-system-x86_64 -machine q35 -accel tcg -cpu max -m 256 \
	    -display none -nodefaults -no-reboot \
	    -chardev "socket,id=c,path=$tmp/$name.sock" \
	    -tpmdev emulator,id=t,chardev=c -device tpm-crb,tpmdev=t \
	    -serial "file:$tmp/$name.out" "$@" || echo "$name: not in time" >&2
	tr -d '\r' <"$tmp/$name.out" >"$tmp/$name.text"
	grep -a '^END' "$tmp/$name.text" >/dev/null || {
		tail -c 2000 "$tmp/$name.text" >&2
		exit 1
	}
	sed -n 's/^LOG //p' "$tmp/$name.text" | xxd -r -p >"$here/$name.log"
	sed -n 's/^PCR\([0-9]*\) \([0-9A-F]*\)$/\1 \2/p' "$tmp/$name.text" \
	    >"$here/$name.pcrs"
}

# uefi NAME: the shell waits, and then runs what stands in startup.nsh
uefi() {
	cp "$ovmf/OVMF_VARS_4M.fd" "$tmp/vars"
	boot "$1" \
	    -drive "if=pflash,format=raw,unit=0,readonly=on,file=$ovmf/OVMF_CODE_4M.fd" \
	    -drive "if=pflash,format=raw,unit=1,file=$tmp/vars" \
	    -drive "if=none,id=d,readonly=on,format=raw,file=fat:$tmp/esp" \
	    -device virtio-blk-pci,drive=d
}

boot seabios -kernel "$kernel" -initrd "$tmp/initrd" -append "$args"
cp "$kernel" "$tmp/esp/vmlinuz"
cp "$tmp/initrd" "$tmp/esp/initrd"
printf 'fs0:\r\n\\vmlinuz initrd=\\initrd %s\r\n' "$args" \
    >"$tmp/esp/startup.nsh"
uefi ovmf
sed -i 's/ quiet / quiet lanyard.other=1 /' "$tmp/esp/startup.nsh"
printf 'lanyard' >>"$tmp/esp/vmlinuz"
uefi other
