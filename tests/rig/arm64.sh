#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The preflight's arm64 half on a KVM that works: cross-compiled, statically, into an
# initramfs under Debian's cloud kernel, in QEMU's emulator with EL2.
#
#	arm64.sh SOURCE-ROOT
#
# Exits with 0 if KVM was found to work there, 77 if this machine cannot try. The kernel
# is Debian's package, fetched and verified by apt (with lists of its own, so that this
# machine's do not change) and kept under .cache/rig.
set -euo pipefail
root=$(realpath "$1")
cache=${RIG_CACHE:-$root/.cache/rig}
cc=${AARCH64_CC:-aarch64-linux-gnu-gcc}

skip() { echo "rig: skipped: $*" >&2; exit 77; }

for tool in "$cc" qemu-system-aarch64 cpio apt-get; do
	command -v "$tool" >/dev/null || skip "needs $tool (packages gcc-aarch64-linux-gnu qemu-system-arm cpio)"
done

mkdir -p "$cache"
work=$(mktemp -d "$cache/arm64.XXXXXX")
trap 'rm -rf "$work"' EXIT

apt_arm64()
{
	local verb=$1; shift
	"$verb" -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$work/state" \
		-o Dir::State::status=/dev/null -o Dir::Cache="$work/cache" -o APT::Sandbox::User= "$@"
}

fetch_kernel()
{
	local package
	mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
	apt_arm64 apt-get update >/dev/null 2>&1 || skip "apt cannot fetch arm64's lists"
	package=$(apt_arm64 apt-cache depends linux-image-cloud-arm64 2>/dev/null |
		sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)/\1/p' | head -n 1)
	[ -n "$package" ] || skip "apt knows no linux-image-cloud-arm64"
	(cd "$work" && apt_arm64 apt-get download "$package" >/dev/null) || skip "cannot download $package"
	dpkg-deb -x "$work/$package"_*.deb "$work/kernel"
	cp "$work"/kernel/boot/vmlinuz-* "$work/vmlinuz"
	mv "$work/vmlinuz" "$cache/vmlinuz-arm64"
}

[ -e "$cache/vmlinuz-arm64" ] || fetch_kernel
mkdir -p "$work"/ini/{dev,proc,sys}
cd "$root"
"$cc" -static -O2 -D_GNU_SOURCE -std=gnu17 -Wall -Wextra -Werror -Wconversion -Wshadow \
	-Wno-missing-field-initializers -Iinclude -Isrc/base -Isrc/os -Isrc/hv -Isrc/hv/kvm \
	tests/rig/arm64_main.c src/hv/kvm/{aarch64,aarch64_state,exit,facts,irq,kvm,memory,preflight,preflight_aarch64,state,vcpu}.c \
	src/hv/kvm/payload_aarch64.S src/base/{buf,err}.c -o "$work/ini/init"
(cd "$work/ini" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/initramfs.gz"
timeout --foreground 120 qemu-system-aarch64 -M virt,virtualization=on,gic-version=3 \
	-cpu max,pauth-impdef=on -m 512 -nodefaults -no-user-config -display none -no-reboot \
	-serial "file:$work/console" -kernel "$cache/vmlinuz-arm64" -initrd "$work/initramfs.gz" \
	-append "console=ttyAMA0 quiet panic=-1" </dev/null
cat "$work/console"
grep -q '^works: ' "$work/console"
