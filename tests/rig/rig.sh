#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A Linux host with a whole KVM, in software: QEMU's emulator (TCG) with AMD's SVM
# boots Debian's ordinary kernel (L1), which sees this machine's file system read-only
# over 9P and offers a /dev/kvm that runs stock kernels.
#
#	rig.sh [-i] [-t SECONDS] [-m MIB] [-c CPU] [-o DIRECTORY] COMMAND...
#	rig.sh --setup
#
# Each COMMAND is one line for bash, run in L1 one after the other in one boot, as
# root, in the current directory. /tmp, /run and /var/tmp are L1's own and empty, and
# $RIG_OUT is a directory of this machine that both sides can write to (-o; else a
# temporary one). What a command writes appears when L1 is done, under a headline; so
# does its exit code. The exit code of rig.sh is 0 if all commands' were, the
# first other one if not, 77 if this machine cannot have a rig, 125 if L1 failed.
#
# KILN_SOAK reaches the commands, and gives them twenty times as long.
#
# With -i time in L1 is virtual, an instruction a nanosecond: what is measured there repeats.
#
# It sets itself up: kernel and initramfs are kept under .cache/rig, made by --setup or
# by the first use. The kernel is Debian's package, fetched and verified by apt.
set -euo pipefail
shopt -s nullglob

here=$(dirname "$(realpath "$0")")
cache=${RIG_CACHE:-$here/../../.cache/rig}
seconds=120
memory=2048
# QEMU's emulator does not let KVM intercept xsetbv: what a guest writes to XCR0 is lost at its
# next exit. Without XSAVE everybody uses FXSAVE, and guests are sound.
cpu=EPYC,svm=on,xsave=off
out=
time=

# Debian's ordinary kernel has 9P, its cloud kernel does not. In loading order with their dependencies:
modules="virtio_pci 9pnet_virtio 9p kvm_amd tun virtio_net vhost_vsock vhost_net"

skip() { echo "rig: skipped: $*" >&2; exit 77; }
fail() { echo "rig: $*" >&2; exit 125; }

need_tools()
{
	[ "$(uname -m)" = x86_64 ] || skip "written for x86_64 (this is $(uname -m))"
	local tool missing=
	for tool in qemu-system-x86_64 busybox cpio depmod modprobe gzip; do
		command -v $tool >/dev/null || missing+=" $tool"
	done
	[ -z "$missing" ] || skip "needs$missing (packages qemu-system-x86 busybox-static cpio kmod)"
}

# The kernel and its modules, unpacked under $1.
fetch_kernel()
{
	local package
	command -v apt-get >/dev/null || skip "needs apt to fetch a kernel"
	package=$(apt-cache depends linux-image-amd64 2>/dev/null |
		sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)/\1/p' | head -n 1)
	[ -n "$package" ] || skip "apt knows no linux-image-amd64 (run apt-get update)"
	(cd "$1" && apt-get -q download "$package" >&2) || skip "cannot download $package"
	dpkg-deb -x "$1/$package"_*.deb "$1/l1"
	rm -f "$1/$package"_*.deb
}

write_init()
{
	cat > "$1" <<'INIT'
#!/bin/busybox sh
# L1's init: mounts the other machine's root and becomes run.sh in $RIG_OUT.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for m in /lib/*.ko; do $b insmod $m || echo "rig: cannot load $m"; done
o=trans=virtio,version=9p2000.L,msize=512000
$b mount -t 9p -o $o,ro,cache=loose host /mnt || echo "rig: cannot mount the host"
for d in dev proc sys; do $b mount --rbind /$d /mnt/$d; done
for d in tmp run var/tmp; do $b mount -t tmpfs tmp /mnt/$d; done
$b mkdir /mnt/dev/shm && $b mount -t tmpfs tmp /mnt/dev/shm
$b mount -t cgroup2 -o favordynmods cgroup /mnt/sys/fs/cgroup
$b mkdir /mnt/run/rig && $b mount -t 9p -o $o,cache=none out /mnt/run/rig
$b ip link set lo up
# Not chroot, in which nobody may make a user namespace.
exec $b switch_root /mnt /bin/bash /run/rig/run.sh
INIT
	chmod +x "$1"
}

# Prints the files of $modules and of what they need, in loading order, relative to the module tree.
module_files()
{
	modprobe -d "$1" -S "$2" --show-depends -a $modules | sed -n 's/^insmod //p' | awk '!seen[$1]++ {print $1}'
}

setup()
{
	local work version n=10 file
	[ ! -e "$cache/initramfs-3.gz" ] || return 0
	mkdir -p "$cache"
	exec 9>"$cache/lock"
	flock 9
	[ ! -e "$cache/initramfs-3.gz" ] || return 0 # another was faster
	echo "rig: setting up in $(realpath "$cache")" >&2
	work=$(mktemp -d "$cache/new.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	fetch_kernel "$work"
	version=$(basename "$work"/l1/lib/modules/*)
	# A tree for depmod and modprobe has lib/modules at its root; so has the package.
	depmod -b "$work/l1" "$version"
	mkdir -p "$work"/ini/{bin,dev,lib,mnt,proc,sys}
	cp "$(command -v busybox)" "$work/ini/bin/busybox"
	for file in $(module_files "$work/l1" "$version"); do
		cp "$file" "$work/ini/lib/$n-$(basename "$file")"
		n=$((n + 1))
	done
	write_init "$work/ini/init"
	(cd "$work/ini" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/initramfs-3.gz"
	mv "$work"/l1/boot/vmlinuz-* "$cache/vmlinuz"
	mv "$work/initramfs-3.gz" "$cache/initramfs-3.gz" # last: it says that all is there
	rm -rf "$work"
	trap - EXIT
	flock -u 9
}

# The script that L1 runs: each command's output and exit code in files of their own.
write_run()
{
	local i=0 command
	echo "export RIG_OUT=/run/rig HOME=/tmp LC_ALL=C.UTF-8 PATH=$(printf %q "$PATH")"
	[ -z "${KILN_SOAK:-}" ] || echo "export KILN_SOAK=1"
	printf 'cd %q\n' "$PWD"
	for command in "$@"; do
		printf 'bash -c %q </dev/null >/run/rig/%d.out 2>&1; echo $? >/run/rig/%d.code\n' \
			"$command" $i $i
		i=$((i + 1))
	done
	echo "sync; exec $(command -v busybox) poweroff -f"
}

# One processor: with two, SVM's emulation now and then resets a guest that moves from one to the other in
# the middle of its run (real mode, at address 0: half of all boots, with two guests at a time).
boot()
{
	timeout --foreground "$seconds" qemu-system-x86_64 \
		-M q35 -accel tcg,thread=single $time -smp 1 -cpu "$cpu" -m "$memory" \
		-nodefaults -no-user-config -display none -no-reboot -serial "file:$out/console" \
		-kernel "$cache/vmlinuz" -initrd "$cache/initramfs-3.gz" \
		-append "console=ttyS0 quiet panic=-1 nokaslr" \
		-fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap \
		-device virtio-9p-pci,fsdev=host,mount_tag=host \
		-fsdev "local,id=out,path=$out,security_model=none" \
		-device virtio-9p-pci,fsdev=out,mount_tag=out </dev/null 2>"$out/qemu.log"
}

report()
{
	local i=0 code worst=0 command
	for command in "$@"; do
		echo "== $command"
		if [ ! -e "$out/$i.code" ]; then
			[ ! -e "$out/$i.out" ] || cat "$out/$i.out"
			echo "== L1 ended before this did; its console:"
			grep -v "doesn't support requested feature" "$out/qemu.log" || true
			[ ! -e "$out/console" ] || tail -n 20 "$out/console"
			fail "L1 failed, or took longer than $seconds s"
		fi
		code=$(<"$out/$i.code")
		cat "$out/$i.out"
		echo "== exit $code"
		[ "$worst" != 0 ] || worst=$code
		i=$((i + 1))
	done
	return "$worst"
}

while [ $# -gt 0 ]; do
	case $1 in
	-i) time='-icount shift=0,sleep=off -seed 1 -rtc clock=vm'; shift ;;
	-t) seconds=$2; shift 2 ;;
	-m) memory=$2; shift 2 ;;
	-c) cpu=$2; shift 2 ;;
	-o) out=$(realpath "$2"); shift 2 ;;
	--setup) need_tools; setup; exit 0 ;;
	-*) fail "unknown option $1" ;;
	*) break ;;
	esac
done
[ $# -gt 0 ] || fail "no command given"
[ -z "${KILN_SOAK:-}" ] || seconds=$((seconds * 20))
need_tools
setup
if [ -z "$out" ]; then
	out=$(mktemp -d "${TMPDIR:-/tmp}/kiln-rig-XXXXXX")
	trap 'rm -rf "$out"' EXIT
fi
write_run "$@" > "$out/run.sh"
boot || true # what counts is what the commands left
report "$@"
