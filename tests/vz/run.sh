#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh TEST-PROGRAM KILN-GUEST KILN-IMAGE: makes kernel, initramfs and root, then runs the test.
set -eu

test_program=$1
guest=$2
image=$3
here=$(cd "$(dirname "$0")" && pwd)

skip()
{
	echo "skipped: $*"
	exit 77
}

[ "$(uname -m)" = x86_64 ] || skip "the guest of this test is x86_64"
for program in qemu-system-x86_64 busybox; do
	command -v $program >/dev/null || skip "no $program"
done
! ldd "$(command -v busybox)" >/dev/null 2>&1 || skip "busybox is not static"
kernel=$("$here/../guest/fetch-kernel.sh") || skip "no test kernel"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
modules=$(echo "$kernel"/lib/modules/*)

"$image" initramfs --input 3 --output 4 --dir 5 --name "$modules" -- \
	virtio_mmio vmw_vsock_virtio_transport virtio_blk squashfs overlay button evdev \
	3<"$guest" 4>"$work/initrd" 5<"$modules" >/dev/null
mkdir -p "$work/root/bin" "$work/root/etc"
cp "$(command -v busybox)" "$work/root/bin/busybox"
for name in sh cat echo uname; do
	ln -s busybox "$work/root/bin/$name"
done
echo root:x:0:0:root:/root:/bin/sh >"$work/root/etc/passwd"
"$image" root --dir 3 --output 4 3<"$work/root" 4>"$work/root.squashfs" >/dev/null

"$test_program" "$kernel/vmlinuz" "$work"
