#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mkinitrd.sh KERNEL-DIR INIT OUT MODULE...: an initramfs of one static program and the modules that it loads.
set -eu

kernel=$1
init=$2
out=$3
shift 3
version=$(basename "$kernel"/lib/modules/*)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/root" "$work/root/dev" "$work/root/modules"
cp "$init" "$work/root/init"
n=100
for module; do
	modprobe -d "$kernel" -S "$version" --show-depends "$module"
done | sed -n 's/^insmod //p' | awk '!seen[$1]++ {print $1}' >"$work/list"
while read -r path; do
	n=$((n + 1))
	cp "$path" "$work/root/modules/$n-$(basename "$path")"
done <"$work/list"
(cd "$work/root" && find . | cpio -o -H newc --quiet) >"$out"
