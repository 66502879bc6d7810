#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tools_root.sh OUTPUT: a root for guests that measure, as a squashfs: busybox, and this machine's
# fio and iperf3 with the libraries they ask for. Made once; exits 77 and says why where it cannot be.
set -eu
output=$1
[ ! -e "$output" ] || exit 0
for tool in busybox fio iperf3 mksquashfs ldd; do
	command -v $tool >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/bin" "$root/etc" "$root/tmp"
chmod 755 "$root"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $(busybox --list | grep -vx busybox); do
	ln -sf busybox "$root/bin/$applet"
done
for tool in fio iperf3; do
	program=$(command -v $tool)
	cp "$program" "$root/bin/$tool"
	ldd "$program" | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | while read -r library; do
		mkdir -p "$root$(dirname "$library")"
		cp -L "$library" "$root$library"
	done
done
mkdir -p "$(dirname "$output")"
mksquashfs "$root" "$output.$$" -quiet -no-progress -all-root -comp zstd -Xcompression-level 3 >/dev/null
mv "$output.$$" "$output"
