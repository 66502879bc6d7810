#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kernel.sh: the small kernel of the benchmarks, built from the distribution's kernel sources once and kept
# under .cache/bench: prints the directory that has its vmlinux and bzImage. Some minutes of two
# processors the first time.
set -eu
here=$(dirname "$(realpath "$0")")
cache=${KILN_CACHE:-$here/../../.cache}/bench
mkdir -p "$cache"
exec 9>"$cache/kernel.lock"
flock 9
version=$(apt-cache depends linux-source | sed -n 's/.*Depends: linux-source-//p' | head -n 1)
[ -n "$version" ] || { echo "apt knows no linux-source (run apt-get update)" >&2; exit 77; }
config=$(sha256sum "$here/kernel.config" | cut -c1-12)
made=$cache/kernel-$version-$config
if [ ! -e "$made/bzImage" ]; then
	echo "building Linux $version for the benchmarks" >&2
	work=$(mktemp -d "$cache/kernel.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	(cd "$work" && apt-get -q download "linux-source-$version" >&2 && dpkg-deb -x linux-source-*.deb source)
	tar -C "$work" -xf "$work"/source/usr/src/linux-source-"$version".tar.xz
	cd "$work/linux-source-$version"
	make -s tinyconfig >&2
	scripts/kconfig/merge_config.sh -m -O . .config "$here/kernel.config" >/dev/null
	make -s olddefconfig >&2
	make -s -j"$(nproc)" vmlinux bzImage >&2
	mkdir -p "$made"
	cp vmlinux "$made/vmlinux"
	cp arch/x86/boot/bzImage "$made/bzImage" # last: it says that all is there
fi
echo "$made"
