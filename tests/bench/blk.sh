#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# blk.sh: a disk at queue depth 32, kiln's own VMM beside QEMU with an iothread: the same kernel, initramfs, fio job
# (blk.job) and file in tmpfs, in one L1 under icount. See blk.py for what is counted.
set -eu
cd "$(dirname "$0")/../.."
cache=${KILN_CACHE:-$PWD/.cache}
work=$cache/bench/blk
modules=$(echo "$cache"/test-kernel/lib/modules/*/kernel/drivers) # the tests with a guest have fetched it
mkdir -p "$work"
tests/rig/tools_root.sh "$cache/test-images/tools-root.squashfs"
rm -rf "$work/root"
unsquashfs -q -n -d "$work/root" "$cache/test-images/tools-root.squashfs" >/dev/null
mkdir -p "$work/root"/{dev,proc,sys,lib}
for module in virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci; do
	! cp "$modules/virtio/$module.ko" "$work/root/lib/" 2>/dev/null || echo "$module"
done >"$work/root/modules"
cp "$modules/block/virtio_blk.ko" "$work/root/lib/"
echo virtio_blk >>"$work/root/modules"
cp tests/bench/blk.job "$work/root/"
cat >"$work/root/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read -r module; do insmod "/lib/$module.ko"; done </modules
interrupts() { sed -n 's/^ *[0-9]*: *\([0-9]*\) .*virtio[0-9]*-req.*/\1/p' /proc/interrupts; }
before=$(interrupts)
fio --output-format=json --output=/tmp/fio /blk.job >/dev/console 2>&1
after=$(interrupts)
echo "begin"; cat /tmp/fio; echo "end"
echo "interrupts $((after - before))"
poweroff -f
INIT
chmod +x "$work/root/init"
(cd "$work/root" && find . | cpio -o -H newc --quiet -R 0:0) >"$work/initrd"
build/kiln-image kernel --input 3 --output 4 --name vmlinuz --arch x86_64 3<"$cache/test-kernel/vmlinuz" \
	4>"$work/vmlinux" >/dev/null
exec tests/rig/rig.sh -i -t "${SECONDS_MAX:-1500}" -m 4000 \
	"python3 $PWD/tests/bench/blk.py $PWD/build $work"
