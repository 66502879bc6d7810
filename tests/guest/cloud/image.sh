#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes a disk image that boots as a vendor's cloud image does, out of the same parts (Debian's
# packages): image.sh FILE. A GPT with a root that has cloud-init, systemd and the cloud kernel, GRUB
# for BIOSes in its own partition, and for UEFI on a FAT. Without loop devices, mounts or root: the
# file systems are made of directories. Appears atomically.
set -eu
out=$1
here=$(cd "$(dirname "$0")/../../.." && pwd)
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$(dirname "$out")/.cloud-XXXXXX")
trap 'rm -rf "$work"' EXIT

packages=(systemd-sysv udev dbus kmod iproute2 cloud-init netplan.io cloud-guest-utils fdisk e2fsprogs
	openssh-server sudo initramfs-tools linux-image-cloud-amd64 zstd)
suite=bookworm
mirrors=()
if grep -qsE "^deb .*[[:space:]]$suite[[:space:]]" /etc/apt/sources.list; then
	mirrors=(/etc/apt/sources.list)
elif compgen -G '/etc/apt/sources.list.d/*.sources' >/dev/null; then
	mirrors=($(grep -ls "$suite" /etc/apt/sources.list.d/*.sources))
fi

cat >"$work/customize" <<'CUSTOMIZE'
#!/bin/sh
# Run by mmdebstrap with the root as $1, where its owners are what they will be.
set -eu
root=$1
printf 'LABEL=root / ext4 rw,discard,errors=remount-ro 0 1\n' >"$root/etc/fstab"
# Of the drivers only those of the machines that this is for: their initramfs is unpacked at each boot.
printf 'MODULES=list\nCOMPRESS=zstd\n' >"$root/etc/initramfs-tools/conf.d/kiln"
printf 'virtio_pci\nvirtio_mmio\nvirtio_blk\nahci\n' >>"$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u -k all
mkdir -p "$root/boot/grub"
kernel=$(basename "$root"/boot/vmlinuz-*)
initrd=$(basename "$root"/boot/initrd.img-*)
cat >"$root/boot/grub/grub.cfg" <<GRUB
serial --unit=0 --speed=115200
terminal_output serial
linux /boot/$kernel root=LABEL=root ro console=ttyS0
initrd /boot/$initrd
boot
GRUB
# As the vendor's images have it.
printf 'datasource_list: [ NoCloud, None ]\n' >"$root/etc/cloud/cloud.cfg.d/90_dpkg.cfg"
printf 'manage_etc_hosts: true\nlocale: C.UTF-8\n' >"$root/etc/cloud/cloud.cfg.d/01_debian_cloud.cfg"
: >"$root/etc/machine-id"
rm -f "$root/etc/hostname" "$root"/etc/ssh/ssh_host_* "$root/etc/resolv.conf"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
find "$root/usr/share/locale" -mindepth 1 -maxdepth 1 -exec rm -rf {} + 2>/dev/null || true
truncate -s 1280M "$WORK/root.ext4"
# Without what mmdebstrap has mounted in it.
cp -ax "$root" "$WORK/tree"
mke2fs -q -t ext4 -L root -d "$WORK/tree" "$WORK/root.ext4"
rm -rf "$WORK/tree"
CUSTOMIZE
chmod +x "$work/customize"
export WORK=$work
mmdebstrap --quiet --variant=minbase --format=null --include="$(IFS=,; echo "${packages[*]}")" \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--customize-hook="$work/customize \"\$1\"" "$suite" - ${mirrors[@]+"${mirrors[@]}"} >/dev/null

# GRUB finds its configuration on the first partition.
for target in i386-pc x86_64-efi; do
	modules="part_gpt ext2 linux normal serial terminal configfile boot"
	[ $target != i386-pc ] || modules="$modules biosdisk"
	grub-mkimage -O $target -o "$work/grub-$target" -p '(hd0,gpt1)/boot/grub' $modules
done
truncate -s 8M "$work/esp"
mformat -i "$work/esp" -v ESP ::
mmd -i "$work/esp" ::/EFI ::/EFI/BOOT
mcopy -i "$work/esp" "$work/grub-x86_64-efi" ::/EFI/BOOT/BOOTX64.EFI

# Sectors: BIOS boot 2048, ESP 4096, root after them, with room for the second table.
root_sectors=$(($(stat -c %s "$work/root.ext4") / 512))
truncate -s $(((24576 + root_sectors + 2048) * 512)) "$work/disk"
sfdisk -q "$work/disk" <<TABLE
label: gpt
1 : start=24576, size=$root_sectors, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
14 : start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
15 : start=4096, size=16384, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
TABLE
put() { dd if="$1" of="$work/disk" bs=512 seek="$2" conv=notrunc,sparse status=none; }
put "$work/root.ext4" 24576
put "$work/esp" 4096
put "$work/grub-i386-pc" 2048
python3 - "$work/disk" /usr/lib/grub/i386-pc/boot.img <<'PYTHON'
# What grub-bios-setup writes: where the first sector finds the second, and the second the rest.
import struct, sys
with open(sys.argv[1], "r+b") as disk, open(sys.argv[2], "rb") as boot:
    code = bytearray(boot.read(440))
    struct.pack_into("<Q", code, 0x5c, 2048)
    code[0x66:0x68] = b"\x90\x90"
    disk.write(code)
    disk.seek(2048 * 512 + 0x1f4)
    disk.write(struct.pack("<Q", 2049))
PYTHON
mv "$work/disk" "$out"
