#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# errors.sh BUILD GUEST: what kiln's own VMM cannot do, where KVM works: each a clear error, and nothing is left of it. In the
# rig. GUEST is a kernel that needs no root (hostile_guest.c).
set -u
build=$1 guest=$2
export KILN_HOME=/tmp/errors-home KILN_RUNTIME_DIR=/tmp/errors-run
failed=0
mkdir -p "$KILN_HOME"
mkdir -m 700 -p "$KILN_RUNTIME_DIR"
truncate -s 16M /tmp/errors-disk
echo "no initramfs" >/tmp/errors-initrd
ip link set lo up

# What there is of kiln's: processes, VMs, files of running ones, memory files and locks.
left() {
	ls -l /proc/[0-9]*/exe 2>/dev/null | sed -n 's/.* \/proc/\/proc/p' | grep -e "-> $build/" -e passt
	ls "$KILN_HOME/vms" "$KILN_RUNTIME_DIR/vms" /dev/shm 2>/dev/null | grep -v ':$' | grep .
	ip -o link | grep -v -e ' lo:' -e ' ext0:'
}

# refuses NAME TEXT COMMAND...: it fails with 125, says TEXT (a pattern of grep), and leaves what there was.
refuses() {
	local name=$1 text=$2 before out result; shift 2
	before=$(left)
	out=$(timeout 60 "$@" 2>&1); result=$?
	for ((i = 0; i < 50; i++)); do [ "$before" = "$(left)" ] && break; busybox usleep 100000; done
	if [ "$result" != 125 ] || ! grep -q -e "$text" <<<"$out"; then
		echo "FAIL  $name: exit $result, not 125, or no '$text' in:"
		tail -n 10 <<<"$out"
		failed=1
	elif [ "$before" != "$(left)" ]; then
		echo "FAIL  $name: what is left is not what there was before:"
		diff <(echo "$before") <(left)
		failed=1
	else
		echo "ok    $name"
	fi
}

kiln() { timeout 60 "$build/kiln" "$@"; }
run="$build/kiln run --backend builtin --initrd /tmp/errors-initrd"

truncate -s 200M /tmp/errors-large
refuses "an initrd larger than memory" "initramfs.*memory" $build/kiln run --backend builtin --kernel "$guest" \
	--initrd /tmp/errors-large -m 128M
refuses "a kernel that does not fit" "kernel.*memory" $run --kernel "$guest" -m 16M

# The same with another machine's number, at 18 (ELF: e_machine), 183 being that of arm64.
cp "$guest" /tmp/errors-arm64
printf '\267\0' | dd of=/tmp/errors-arm64 bs=1 seek=18 conv=notrunc status=none
refuses "a kernel for another machine" "arm64" $run --kernel /tmp/errors-arm64

# segment NAME OFFSET BYTES: in the first program header, at 64, a field is another.
segment() {
	cp "$guest" "/tmp/errors-$1"
	printf %b "$3" | dd of="/tmp/errors-$1" bs=1 seek=$((64 + $2)) conv=notrunc status=none
}
segment high 24 '\0000\0000\0000\0000\0377\0000\0000\0000'
refuses "a segment above all memory" "segment.*3 GiB" $run --kernel /tmp/errors-high
segment low 24 '\0000\0000\0016\0000\0000\0000\0000\0000'
refuses "a segment over the firmware's tables" "segment.*firmware" $run --kernel /tmp/errors-low
segment wraps 40 '\0377\0377\0377\0377\0377\0377\0377\0377'
refuses "a segment that wraps around" "segment" $run --kernel /tmp/errors-wraps
segment cut 32 '\0000\0000\0000\0177\0000\0000\0000\0000'
refuses "a segment that the file does not have" "truncated\|cut short\|larger" $run --kernel /tmp/errors-cut

kiln run -d --name owner --backend builtin --kernel "$guest" --initrd /tmp/errors-initrd --cmdline rounds=0 \
	--set readiness.kind=none --disk /tmp/errors-disk >/dev/null || failed=1
refuses "a disk already in use" "errors-disk.*in use\|in use.*errors-disk" $run --kernel "$guest" --disk /tmp/errors-disk
refuses "... by one who only reads" "in use" $run --kernel "$guest" --disk /tmp/errors-disk:ro
kiln rm -f owner >/dev/null

refuses "a TAP interface that is missing" "no TAP interface absent0" $run --kernel "$guest" --network tap:absent0
refuses "an interface that is no TAP" "lo is not a TAP interface" $run --kernel "$guest" --network tap:lo
refuses "more processors than there can be" "cpus.*64\|at most 64" $run --kernel "$guest" --cpus 65

# As somebody who may not open /dev/kvm.
mkdir -p /tmp/errors-other && mkdir -m 700 -p /tmp/errors-other/{home,run} && chown -R 65534:65534 /tmp/errors-other
chmod 600 /dev/kvm
refuses "/dev/kvm without permission" "/dev/kvm.*[Pp]ermission\|may not.*/dev/kvm\|/dev/kvm.*may not" \
	setpriv --reuid 65534 --regid 65534 --clear-groups env KILN_HOME=/tmp/errors-other/home \
	KILN_RUNTIME_DIR=/tmp/errors-other/run $run --kernel "$guest"
chmod 666 /dev/kvm
[ $failed != 0 ] || echo "shown: the VMM's errors: 13 are clear, and leave nothing"
exit $failed
