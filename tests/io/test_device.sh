#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# device:/dev/tpmrm0 on Linux' own TPM driver: tests/guest/device.c, in a guest
# of its own whose TPM is a swtpm.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
name="a command to a TPM device runs once though its agent is killed"

dir=$(mktemp -d /tmp/lanyard-device-XXXXXX) || exit 1
swtpm=
trap '[ -z "$swtpm" ] || kill $swtpm 2>/dev/null; rm -rf "$dir"' EXIT

tests/guest/mkinitrd.sh "$BUILD/guest" >"$dir/log" 2>&1 || {
	sed 's/^/# /' "$dir/log"
	echo "not ok $name: no kernel"
	exit 1
}

# The program, and all it is linked with, where its loader looks for it.
root=$dir/root
mkdir -p "$root/dev" "$root/proc" "$root/run" "$root/lib64"
cp "$BUILD/tests/guest/device" "$root/init"
cp "$BUILD/lanyard-keeper" "$root/"
ldd "$root/init" | grep -o '/[^ ]*' | while read -r lib; do
	mkdir -p "$root${lib%/*}"
	cp -L "$lib" "$root$lib"
done
(cd "$root" && find . | cpio --quiet --create --format=newc |
	gzip -1) >"$dir/initrd.gz"

swtpm socket --tpm2 --tpmstate "dir=$dir" \
	--ctrl "type=unixio,path=$dir/tpm" >"$dir/swtpm.log" 2>&1 &
swtpm=$!
n=0
until [ -S "$dir/tpm" ] || [ $n -ge 100 ]; do
	n=$((n + 1))
	sleep 0.05
done
timeout 200 qemu-system-x86_64 -machine q35 -accel tcg -cpu max -m 512 \
	-display none -nodefaults -no-reboot -kernel "$BUILD/guest/vmlinuz" \
	-initrd "$dir/initrd.gz" -append "console=ttyS0 quiet loglevel=3 panic=-1
		mitigations=off 8250.nr_uarts=1 tsc=reliable no_timer_check" \
	-serial "file:$dir/console" -chardev "socket,id=c,path=$dir/tpm" \
	-tpmdev emulator,id=t,chardev=c -device tpm-crb,tpmdev=t \
	>"$dir/qemu.log" 2>&1 </dev/null
if grep -q 'DEVICE PASSED' "$dir/console"; then
	grep -o 'DEVICE PASSED.*' "$dir/console" | tr -d '\r' | sed 's/^/# /'
	echo "ok $name"
	exit 0
fi
sed 's/^/# /' "$dir/qemu.log" "$dir/console" | tr -d '\r' | tail -n 30
echo "not ok $name"
exit 1
