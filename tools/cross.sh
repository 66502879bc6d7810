#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds kiln's portable part for other systems, and runs its tests where Wine can.
# usage: tools/cross.sh [check|build|deps] [macos|macos-x86_64|windows]...
#
# The compiler is the zig of PyPI's package ziglang; the libraries are built from this
# distribution's own source packages, which apt verifies. All of it is
# kept in $KILN_CACHE/cross (.cache/cross by default), so that a second run only
# builds what changed. Builds are in build-cross/NAME.
set -eu
cd "$(dirname "$0")/.."
root=$PWD

ZIG_VERSION=0.17.0

cache=${KILN_CACHE:-$root/.cache}/cross
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P) # shared by links, it has one name: libraries remember theirs
export ZIG_GLOBAL_CACHE_DIR=$cache/zig ZIG_LOCAL_CACHE_DIR=$cache/zig
# Wine's prefix is part of the cache too, and it makes no menu entries in the home directory.
optional=squashfs-tools-ng
export WINEPREFIX=$cache/wine WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES='winemenubuilder.exe,mscoree,mshtml='

say() {
	echo "cross: $*" >&2
}

fail() {
	say "$*"
	exit 1
}

# --- the compiler ------------------------------------------------------------------

find_zig() {
	zig=$cache/python-$ZIG_VERSION/ziglang/zig
	[ -x "$zig" ] && return
	say "fetching the compiler (ziglang $ZIG_VERSION)"
	command -v python3 >/dev/null || fail "needs python3 and pip"
	rm -rf "$cache/python.new"
	python3 -m pip install -q --no-deps --root-user-action ignore --target "$cache/python.new" "ziglang==$ZIG_VERSION"
	mv "$cache/python.new" "$cache/python-$ZIG_VERSION"
	[ -x "$zig" ] || fail "ziglang has no zig for this machine"
}

# --- the libraries' sources ----------------------------------------------------------

# The machine's own package sources, as source-package sources, in a list of our own:
# of the distribution's suites only, since others need not carry source packages.
write_sources_list() {
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	[ -n "$codename" ] || fail "this is not Debian or Ubuntu: cannot get the libraries' sources"
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -f "$file" ] || continue
		sed -n 's/^deb-src /deb /; s/^deb /deb-src /p' "$file" | grep " $codename" || true
	done >"$1/kiln.list"
	for file in /etc/apt/sources.list.d/*.sources; do
		[ -f "$file" ] || continue
		# Paragraphs, as deb822 has them; only those whose suites are the distribution's.
		awk -v codename="$codename" 'BEGIN { RS = ""; FS = "\n" }
			{
				ours = 0
				for (i = 1; i <= NF; i++) if ($i ~ "^Suites:.* " codename) ours = 1
				if (!ours) next
				for (i = 1; i <= NF; i++)
					print $i ~ /^Types:/ ? "Types: deb-src" : $i
				print ""
			}' "$file"
	done >"$1/kiln.sources"
	sort -u -o "$1/kiln.list" "$1/kiln.list"
	[ -s "$1/kiln.list" ] || [ -s "$1/kiln.sources" ] ||
		fail "apt has no package source for $codename"
}

apt_own() {
	apt-get -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$cache/apt/sources" \
		-o Dir::State="$cache/apt/state" -o Dir::State::status=/var/lib/dpkg/status \
		-o Dir::Cache="$cache/apt/cache" -o APT::Sandbox::User= "$@"
}

# A package's newest source; where the mirror has lost that of an update, its release's.
fetch_source() {
	apt_own source --download-only "$1" 2>"$cache/src.new/log" ||
		apt_own source --download-only "$1/$codename" 2>>"$cache/src.new/log" ||
		{ cat "$cache/src.new/log" >&2; return 1; }
	dpkg-source --no-check -x "$1"_*.dsc "$1" >/dev/null
	rm -rf "$cache/src/$1"
	mv "$1" "$cache/src/$1"
}

# A mirror that had no source of an optional package is asked again a day later.
asked_lately() {
	[ -n "$(find "$cache/src/$1.none" -mtime -1 2>/dev/null)" ]
}

# The sources of the packages named, those that are not there yet, each in a directory of its
# own: one that a later kiln needs comes to those of an earlier one. Not having one that is
# optional is said.
fetch_sources() {
	missing=
	for name in "$@"; do
		[ -d "$cache/src/$name" ] || asked_lately "$name" || missing="$missing $name"
	done
	[ -n "$missing" ] || return 0
	command -v apt-get >/dev/null && command -v dpkg-source >/dev/null ||
		fail "needs apt-get and dpkg-source (package dpkg-dev)"
	say "fetching the sources of$missing"
	rm -rf "$cache/src.new" "$cache/apt"
	mkdir -p "$cache/src" "$cache/src.new" "$cache/apt/sources" "$cache/apt/state/lists/partial" \
		"$cache/apt/cache/archives/partial"
	write_sources_list "$cache/apt/sources"
	apt_own update
	for name in $missing; do
		(cd "$cache/src.new" && fetch_source "$name") && continue
		case " $optional " in
		*" $name "*)
			say "no source of $name is to be had: what needs it is left out"
			mkdir -p "$cache/src" && touch "$cache/src/$name.none"
			;;
		*) fail "cannot fetch the source of $name" ;;
		esac
	done
	rm -rf "$cache/apt" "$cache/src.new"
}

# --- targets ---------------------------------------------------------------------------

# Sets triple, system, cpu of the target called $1.
describe() {
	case $1 in
	macos) triple=aarch64-macos.13.0 system=darwin cpu=aarch64 ;;
	macos-x86_64) triple=x86_64-macos.13.0 system=darwin cpu=x86_64 ;;
	windows) triple=x86_64-windows-gnu system=windows cpu=x86_64 ;;
	*) fail "unknown target $1: macos, macos-x86_64 or windows" ;;
	esac
	# Those of kiln-image last, each after what it is built on.
	libraries="libuv1 jansson cmocka"
	[ "$system" = windows ] ||
		libraries="$libraries zlib bzip2 lz4 xz-utils libzstd libarchive squashfs-tools-ng mbedtls curl"
	dir=$cache/$1
	prefix=$dir/prefix
}

# One executable a tool: Meson wants programs, and zig is one with subcommands.
write_tools() {
	mkdir -p "$dir/bin"
	sed -e "s|@ZIG@|$zig|g" -e "s|@TRIPLE@|$triple|g" tools/cross/cc.in >"$dir/bin/cc"
	for tool in ar ranlib; do
		printf '#!/bin/sh\nexec "%s" %s "$@"\n' "$zig" $tool >"$dir/bin/$tool"
	done
	chmod +x "$dir"/bin/*
}

write_cross_file() {
	wine=$(command -v wine64 || command -v wine || ls /usr/lib/wine/wine64 2>/dev/null) || wine=
	{
		echo "[binaries]"
		echo "c = '$dir/bin/cc'"
		echo "ar = '$dir/bin/ar'"
		echo "ranlib = '$dir/bin/ranlib'"
		echo "strip = 'true'"
		echo "pkgconfig = 'pkg-config'"
		[ "$system" = windows ] && [ -n "$wine" ] && echo "exe_wrapper = '$wine'"
		echo "[properties]"
		echo "pkg_config_libdir = '$prefix/lib/pkgconfig'"
		# Without Wine, and for macOS, what is built cannot be run here.
		[ "$system" = windows ] && [ -n "$wine" ] || echo "needs_exe_wrapper = true"
		echo "[host_machine]"
		echo "system = '$system'"
		echo "cpu_family = '$cpu'"
		echo "cpu = '$cpu'"
		echo "endian = 'little'"
	} >"$dir/meson.ini.new"
	# Meson configures anew whatever depends on a file that changed: only if it did.
	cmp -s "$dir/meson.ini.new" "$dir/meson.ini" && rm "$dir/meson.ini.new" ||
		mv "$dir/meson.ini.new" "$dir/meson.ini"
}

# A library from its source, with a meson.build of ours in place of its own build system.
build_library() {
	[ -d "$cache/src/$1" ] || return 0 # an optional one
	[ -e "$dir/$1.done" ] && [ "$dir/$1.done" -nt "tools/cross/$1.build" ] && return
	say "building $1 for $triple"
	rm -rf "$dir/$1"
	cp -r "$cache/src/$1" "$dir/$1"
	cp "tools/cross/$1.build" "$dir/$1/meson.build"
	meson setup --cross-file "$dir/meson.ini" --prefix "$prefix" --libdir lib \
		--default-library static -Ddebug=false -Doptimization=2 "$dir/$1/build" "$dir/$1" >"$dir/$1.log" 2>&1 &&
		ninja -C "$dir/$1/build" install >>"$dir/$1.log" 2>&1 || { cat "$dir/$1.log" >&2; exit 1; }
	rm -rf "$dir/$1"
	touch "$dir/$1.done" "$dir/meson.ini" # Meson looks for libraries anew
}

deps() {
	describe "$1"
	find_zig
	fetch_sources $libraries
	write_tools
	write_cross_file
	for library in $libraries; do
		build_library $library
	done
}

build() {
	deps "$1"
	build=build-cross/$1
	[ -e "$build/build.ninja" ] ||
		meson setup --cross-file "$dir/meson.ini" "$build" >"$dir/kiln.log" 2>&1 ||
		{ cat "$dir/kiln.log" >&2; exit 1; }
	ninja -C "$build" >"$dir/kiln.log" 2>&1 || { cat "$dir/kiln.log" >&2; exit 1; }
	# What is linked for a Mac needs of it what it has: see the script.
	case $1 in
	macos*)
		python3 tests/link/macho.py "$build/tests/link/link-test" "$build/kiln" "$build/kiln-runner" \
			"$build/kiln-image"
		;;
	esac
	say "built and linked for $triple"
}

check() {
	build "$1"
	[ "$system" = windows ] || return 0
	if [ -z "$wine" ]; then
		say "skipped: tests for Windows need Wine (package wine64)"
		return 77
	fi
	# Started beforehand: Wine's services live on for a while and keep the output that they
	# were started with, and the first start lays out the prefix.
	"$wine" wineboot -i >/dev/null 2>&1 </dev/null || true
	result=0
	meson test -C "$build" --no-rebuild --print-errorlogs --timeout-multiplier 4 || result=$?
	"$(dirname "$(readlink -f "$wine")")/wineserver" -k 2>/dev/null || true
	return $result
}

verb=${1:-check}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- macos macos-x86_64 windows
case $verb in
all) verb=check ;;
compiler) find_zig; exit ;;
check | build | deps) ;;
*) fail "usage: tools/cross.sh [check|build|deps|compiler] [macos|macos-x86_64|windows]..." ;;
esac
for target in "$@"; do
	$verb "$target"
done
