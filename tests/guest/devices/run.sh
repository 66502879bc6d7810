#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh TEST-PROGRAM GUEST-SOURCE: builds guest, initramfs and file system, runs the test, and checks the
# file system that the guest leaves.
set -eu

test_program=$1
source=$2
here=$(cd "$(dirname "$0")" && pwd)

skip()
{
	echo "skipped: $*"
	exit 77
}

PATH=$PATH:/usr/sbin:/sbin
[ "$(uname -m)" = x86_64 ] || skip "the guest of this test is x86_64"
for program in qemu-system-x86_64 musl-gcc cpio modprobe mke2fs e2fsck; do
	command -v $program >/dev/null || skip "no $program"
done
kernel=$("$here/../fetch-kernel.sh") || skip "no test kernel"
work=$(mktemp -d /var/tmp/kiln-test-XXXXXX) # on a disk: the guest's file system is written past no cache
trap 'rm -rf "$work"' EXIT
musl-gcc -static -O2 -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu \
	-o "$work/init" "$source"
"$here/../vsock/mkinitrd.sh" "$kernel" "$work/init" "$work/initrd" virtio_pci virtio_blk virtio_net virtio_rng
truncate -s 64M "$work/ext4"
mke2fs -q -t ext4 "$work/ext4"
# See ../vsock/run.sh for the speed of the TSC.
khz=$(awk '/^cpu MHz/ {printf "%d", $4 * 1000; exit}' /proc/cpuinfo)
"$test_program" "$kernel/vmlinuz" "$work/initrd" \
	"console=ttyS0 panic=-1 reboot=t quiet net.ifnames=0 tsc_early_khz=${khz:-2000000}" "$work/ext4"
e2fsck -fn "$work/ext4" >"$work/fsck" 2>&1 || { cat "$work/fsck"; exit 1; }
