#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mkinitrd.sh OUTDIR: makes OUTDIR/vmlinuz (Debian's cloud kernel) and
# OUTDIR/initrd.gz (guest.c as /init). The kernel package is downloaded once,
# to OUTDIR/cache, as any user; later runs need no network. Both files appear
# whole or not at all, and two runs at once take turns.
set -eu

META=linux-image-cloud-amd64
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)

fail() {
	echo "mkinitrd.sh: $*" >&2
	exit 1
}

need() {
	for tool; do
		command -v "$tool" >/dev/null ||
		    fail "no $tool: run \`make deps\` first"
	done
}

# The package with the kernel itself: the meta package's first dependency.
kernel_package() {
	apt-cache show --no-all-versions "$META" 2>/dev/null |
	    sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p' | head -n 1
}

cached_package() {
	find "$out/cache" -name 'linux-image-*-cloud-amd64_*.deb' |
	    sort -V | tail -n 1
}

download() {
	need apt-get apt-cache
	package=$(kernel_package)
	[ -n "$package" ] ||
	    fail "apt knows no $META: run \`make deps\` (or apt-get update)"
	mkdir -p "$tmp/deb"
	(cd "$tmp/deb" && apt-get -q download "$package") >"$tmp/log" 2>&1 || {
		cat "$tmp/log" >&2
		fail "cannot download $package: run \`make deps\` again," \
		    "the package lists may be out of date"
	}
	mv "$tmp"/deb/*.deb "$out/cache/"
}

# vmlinuz.of holds the name of the package that vmlinuz came from.
kernel() {
	deb=$(cached_package)
	if [ -z "$deb" ]; then
		download
		deb=$(cached_package)
	fi
	if [ -f "$out/vmlinuz" ] &&
	    [ "$(cat "$out/vmlinuz.of" 2>/dev/null)" = "${deb##*/}" ]; then
		return
	fi
	dpkg-deb --fsys-tarfile "$deb" >"$tmp/fs.tar"
	mkdir -p "$tmp/fs"
	tar -xf "$tmp/fs.tar" -C "$tmp/fs" --wildcards './boot/vmlinuz-*'
	mv "$tmp"/fs/boot/vmlinuz-* "$tmp/vmlinuz"
	mv "$tmp/vmlinuz" "$out/vmlinuz"
	echo "${deb##*/}" >"$out/vmlinuz.of"
}

# devtmpfs brings the device nodes, so no part of this needs root.
initrd() {
	mkdir -p "$tmp/root/dev" "$tmp/root/proc" "$tmp/root/sys"
	"${CC:-cc}" -std=gnu11 -D_GNU_SOURCE -O2 -static -pthread -s \
	    -Wall -Wextra -I"$top" -o "$tmp/root/init" \
	    "$here/guest.c" "$here/chip.c" "$here/console.c" "$here/ima.c" \
	    "$here/sha256.c" "$here/session.c" "$here/dirty.c" \
	    "$top/lib/base/cursor.c" "$top/lib/base/text.c" \
	    "$top/lib/base/err.c"
	find "$tmp/root" -exec touch -d @0 {} +
	(cd "$tmp/root" && find . | LC_ALL=C sort |
	    cpio --quiet --create --format=newc --owner=0:0 --reproducible) \
	    >"$tmp/initrd"
	gzip -9 -n "$tmp/initrd"
	mv "$tmp/initrd.gz" "$out/initrd.gz"
}

[ $# -eq 1 ] || fail "usage: mkinitrd.sh OUTDIR"
need flock cpio gzip dpkg-deb tar "${CC:-cc}"
mkdir -p "$1/cache"
out=$(cd "$1" && pwd)
exec 9>"$out/.lock"
flock 9
tmp=$(mktemp -d "$out/.tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
kernel
initrd
