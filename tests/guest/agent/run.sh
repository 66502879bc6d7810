#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh TEST-PROGRAM KILN-GUEST KILN-IMAGE: makes kernel, initramfs and disks, then runs the test.
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
[ "$(id -u)" = 0 ] || skip "its root images have several owners: needs root"
PATH=$PATH:/usr/sbin:/sbin
for program in qemu-system-x86_64 mke2fs busybox; do
	command -v $program >/dev/null || skip "no $program"
done
! ldd "$(command -v busybox)" >/dev/null 2>&1 || skip "busybox is not static"
kernel=$("$here/../fetch-kernel.sh") || skip "no test kernel"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
modules=$(echo "$kernel"/lib/modules/*)

"$image" initramfs --input 3 --output 4 --dir 5 --name "$modules" -- \
	virtio_mmio vmw_vsock_virtio_transport virtio_blk squashfs overlay virtio_net button evdev \
	3<"$guest" 4>"$work/initrd" 5<"$modules" >/dev/null
"$image" initramfs --input 3 --output 4 --dir 5 --name "$modules" -- virtio_mmio \
	3<"$guest" 4>"$work/initrd-without-vsock" 5<"$modules" >/dev/null

root=$work/root
mkdir -p "$root/bin" "$root/sbin" "$root/etc" "$root/run/daemon/sub"
cp "$(command -v busybox)" "$root/bin/busybox"
for name in $(busybox --list); do
	[ "$name" = busybox ] || ln -s busybox "$root/bin/$name"
done
ln -s ../bin/busybox "$root/sbin/init"
ln -s ../bin/busybox "$root/sbin/poweroff"
echo the image >"$root/image"
touch "$root/image2" "$root/run/stale.pid"
echo "127.0.0.1 localhost" >"$root/etc/hosts"
echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
echo "::sysinit:/bin/touch /run/started" >"$root/etc/inittab"
chmod 700 "$root/run/daemon/sub"
chown 12:34 "$root/run/daemon"
chmod 2775 "$root/run/daemon"
"$image" root --dir 3 --output 4 3<"$root" 4>"$work/root.squashfs" >/dev/null

# Small file systems on larger disks, to grow.
for name in small data; do
	mke2fs -q -t ext4 -O 64bit,metadata_csum "$work/$name.ext4" 16M
	truncate -s 64M "$work/$name.ext4"
done
mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/tmp"
mke2fs -q -t ext4 -d "$root" "$work/plain.ext4" 32M

"$test_program" "$kernel/vmlinuz" "$work"
