#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Debian's cloud kernel by each boot protocol with kiln's loader and firmware tables, on the rig's KVM: it must find all
# that the tables name, complain of nothing in them, hear the power button, and end by the registers.
# usage: vmm_boot.sh VMM-BOOT KILN-IMAGE SOURCE-ROOT
set -euo pipefail
boot=$1 image=$2 root=$3
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d "${TMPDIR:-/tmp}/kiln-vmm-XXXXXX")
trap 'rm -rf "$work"' EXIT

kernel=$("$root/tests/guest/fetch-kernel.sh") || exit 77
for tool in busybox cpio python3; do
	command -v $tool >/dev/null || { echo "skipped: needs $tool"; exit 77; }
done

"$image" kernel --input 3 --output 4 --name vmlinuz --arch x86_64 3<"$kernel/vmlinuz" 4>"$work/pvh" >/dev/null
# One that does not say that it is Linux, so is entered by PVH; and one without its PVH note: another
# type of note, another name.
python3 - "$work" <<'PY'
import re
import sys
kernel = open(sys.argv[1] + "/pvh", "rb").read()
linux64 = bytearray(kernel)
linux64[kernel.index(b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0") + 8] = 0x11
open(sys.argv[1] + "/linux64", "wb").write(linux64)
notes = re.compile(rb"(\x06\0\0\0\x04\0\0\0.{4}|\x06\0\0\0.\0\0\0\0\x01\0\0)Linux\0", re.DOTALL)
open(sys.argv[1] + "/pvh", "wb").write(notes.sub(rb"\1Other\0", kernel))
PY

mkdir -p "$work/root/bin" "$work/root/dev" "$work/root/proc" "$work/root/sys"
cp "$(command -v busybox)" "$work/root/bin/"
cp "$kernel"/lib/modules/*/kernel/drivers/acpi/button.ko "$kernel"/lib/modules/*/kernel/drivers/input/evdev.ko "$work/root/"
cat > "$work/root/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
say() { echo "init: $*" > /dev/kmsg; }
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
say devices $($b ls /sys/bus/acpi/devices)
say processors $($b grep -c ^processor /proc/cpuinfo)
say memory $($b sed -n 's/MemTotal: *//p' /proc/meminfo)
$b insmod /button.ko; $b insmod /evdev.ko
exec 3</dev/input/event0 # open before it is pressed
say press
$b dd of=/event bs=24 count=1 <&3 2>/dev/null
say button $($b hexdump -s 18 -n 2 -e '"%u"' /event)
$b grep -q reset /proc/cmdline && $b reboot -f
$b poweroff -f
INIT
chmod +x "$work/root/init"
(cd "$work/root" && find . | cpio -o -H newc --quiet) > "$work/initrd"

# The rig sees no /tmp of this machine, but the directory that it shares.
say="earlyprintk=serial,ttyS0,115200,keep panic=-1 printk.devkmsg=on"
run() { echo "cp \$RIG_OUT/{$1,initrd} /tmp && timeout 200 env CMDLINE='$say ${5:-}' $(printf %q "$boot") /tmp/$1 $2 $3 $4 /tmp/initrd; code=\$?; rm /tmp/$1; exit \$code"; }
status=0
"$here/rig.sh" -t 600 -m 3000 -o "$work" "$(run pvh 256 1 fixed)" "$(run linux64 128 1 fixed "reset loglevel=5")" \
	"$(run pvh 3500 1 random "loglevel=5")" > "$work/log" || status=$?
[ "$status" != 77 ] || { cat "$work/log"; exit 77; }
cut -c1-160 "$work/log"
[ "$status" = 0 ] || exit 1

sed -i 's/\r*$//' "$work"/[0-9].out # as a serial port ends lines
expect() { grep -qE "$2" "$work/$1.out" || { echo "FAIL: run $1 does not say: $2"; status=1; }; }
deny() { ! grep -qE "$2" "$work/$1.out" || { echo "FAIL: run $1 says: $2"; status=1; }; }
for run in 0 1 2; do
	expect $run "init: devices .*ACPI0013:00.*PNP0A08:00.*PNP0C02:00.*PNP0C0C:00.*PNP0C0E:00.*QEMU0001:00"
	expect $run "init: button 116$" # KEY_POWER
	deny $run "ACPI (BIOS )?(Error|Warning|Exception)|\[Firmware Bug\]|BUG:|WARNING: CPU|Call Trace"
done
expect 0 "vmm-boot: PVH at"
expect 0 "ACPI: Using ACPI \(MADT\) for SMP"
expect 0 "PCI: MMCONFIG at \[mem 0xe0000000-0xe00fffff\] reserved in ACPI motherboard resources"
expect 0 "PCI host bridge to bus 0000:00"
expect 0 "root bus resource \[mem 0xc0000000-0xdfffffff window\]"
expect 0 "ACPI: PM: \(supports S0 S5\)"
expect 0 "vmm-boot: powered off"
expect 1 "vmm-boot: LINUX64 at 0x1000000"
expect 1 "init: processors 1$"
expect 1 "vmm-boot: reset"
expect 2 "vmm-boot: LINUX64 at .*shifted 0x[1-9a-f]"
expect 2 "Memory KASLR"
expect 2 "init: memory 3[34]"
expect 2 "vmm-boot: powered off"
exit $status
