#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what building, demonstrating or checking kiln needs, only what is missing.
# usage: tools/setup.sh build|demo|bench|check
# On Debian and Ubuntu by apt-get, as root or by sudo; elsewhere it says what to install.
set -eu

what=${1:-build}
build="meson ninja-build pkg-config gcc libc6-dev linux-libc-dev musl-tools scdoc
  libuv1-dev libjansson-dev libseccomp-dev libarchive-dev libcurl4-openssl-dev libssl-dev libsquashfs-dev libcap-ng-dev libcmocka-dev e2fsprogs"
demo="qemu-system-x86 mmdebstrap passt"
check="acpica-tools lz4 zstd qemu-system-arm qemu-utils xfsprogs clang libclang-rt-dev clang-format python3 python3-pip python3-venv fio iperf3
  docker-registry skopeo umoci buildah apache2-utils squashfs-tools cpio kmod busybox-static strace tmux wine64 dpkg-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross
  gobjc libgnustep-base-dev libblocksruntime-dev
  ovmf qemu-efi-aarch64 mtools grub-pc-bin grub-efi-amd64-bin grub-common fdisk openssh-client
  python3-yaml python3-jsonschema python3-oauthlib python3-configobj python3-jinja2 python3-requests python3-netifaces
  python3-jsonpatch python3-serial"
bench="fio iperf3 flex bison bc libelf-dev busybox-static cpio kmod docker-registry skopeo umoci squashfs-tools python3 valgrind"

case $what in
build) wanted=$build ;;
demo) wanted="$build $demo" ;;
bench) wanted="$build $demo $bench" ;;
check) wanted="$build $demo $check" ;;
*) echo "usage: tools/setup.sh build|demo|bench|check" >&2; exit 2 ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "This is not Debian or Ubuntu: please install what these packages contain:" >&2
	echo $wanted >&2
	exit 0
fi

# A package whose name has a version in it; nothing where apt does not know it (yet).
resolve() {
	case $1 in
	libclang-rt-dev)
		version=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p')
		[ -n "$version" ] && apt-cache show "libclang-rt-$version-dev" >/dev/null 2>&1 &&
			echo "libclang-rt-$version-dev" || true ;;
	libc6-dev-arm64-cross) # not on arm64 itself
		! apt-cache show "$1" >/dev/null 2>&1 || echo "$1" ;;
	*) echo "$1" ;;
	esac
}

installed() {
	dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Prints those of $wanted that are not there.
missing() {
	for name in $wanted; do
		name=$(resolve "$name")
		[ -z "$name" ] || installed "$name" || printf ' %s' "$name"
	done
}

[ -n "$(missing)" ] || exit 0
as_root apt-get update -qq
packages=$(missing)
echo "Installing:$packages" >&2
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
