#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fetches Debian's cloud kernel for tests, once, into .cache/test-kernel, and prints its directory:
# DIR/vmlinuz and DIR/lib/modules/VERSION. Exits 77 and says why where there is none to be had.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${KILN_CACHE:-$root/.cache}/test-kernel

skip()
{
	echo "no test kernel: $*" >&2
	exit 77
}

if [ -e "$cache/vmlinuz" ]; then
	echo "$cache"
	exit 0
fi
command -v apt-get >/dev/null && command -v depmod >/dev/null || skip "needs apt-get and depmod"
case $(uname -m) in
x86_64) meta=linux-image-cloud-amd64 ;;
aarch64) meta=linux-image-cloud-arm64 ;;
*) skip "no cloud kernel for $(uname -m)" ;;
esac
package=$(apt-cache depends --important "$meta" 2>/dev/null |
	sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
[ -n "$package" ] || skip "$meta is unknown to apt"

work=$cache.$$
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/deb"
chmod 755 "$work/deb" # apt's own user fetches into it
(cd "$work/deb" && apt-get download "$package" >/dev/null 2>&1) || skip "cannot download $package"
dpkg-deb -x "$work"/deb/*.deb "$work/root"
mkdir "$work/done"
mv "$work/root/lib" "$work/done/lib"
mv "$work"/root/boot/vmlinuz-* "$work/done/vmlinuz"
depmod -b "$work/done" "$(basename "$work"/done/lib/modules/*)"
mv -T "$work/done" "$cache" 2>/dev/null || [ -e "$cache/vmlinuz" ] # another one was faster
echo "$cache"
