#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh TEST-PROGRAM GUEST-SOURCE MACHINE: builds guest and initramfs, then runs the test.
set -eu

test_program=$1
source=$2
machine=$3
here=$(cd "$(dirname "$0")" && pwd)

skip()
{
	echo "skipped: $*"
	exit 77
}

[ "$(uname -m)" = x86_64 ] || skip "the guest of this test is x86_64"
for program in qemu-system-x86_64 musl-gcc cpio modprobe; do
	command -v $program >/dev/null || skip "no $program"
done
kernel=$("$here/../fetch-kernel.sh") || skip "no test kernel"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
musl-gcc -static -O2 -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu \
	-o "$work/init" "$source"
"$here/mkinitrd.sh" "$kernel" "$work/init" "$work/initrd" virtio_mmio virtio_pci vmw_vsock_virtio_transport
# Emulated, the kernel measures the TSC against an interval timer that a busy host serves late, and
# then hangs; QEMU passes the host's TSC through, whose speed is known.
khz=$(awk '/^cpu MHz/ {printf "%d", $4 * 1000; exit}' /proc/cpuinfo)
"$test_program" "$kernel/vmlinuz" "$work/initrd" "$machine" \
	"console=ttyS0 panic=-1 reboot=t quiet tsc_early_khz=${khz:-2000000}"
