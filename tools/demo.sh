#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Boots a Debian root in a VM of its own, runs a command in it, and tells what each stage took.
set -eu
cd "$(dirname "$0")/.."
cache=${KILN_CACHE:-$PWD/.cache}
root=$cache/demo/debian.tar
export KILN_HOME=${KILN_HOME:-$cache/demo/home}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

if [ ! -e "$root" ]; then
	say "Making a Debian root with mmdebstrap (once)"
	tools/debian-root.sh "$root"
fi

say "\$ kiln doctor"
build/kiln doctor || true

trace=$(mktemp)
trap 'rm -f "$trace"' EXIT
for turn in "first (finds the kernel, makes the root image)" "again (everything cached)"; do
	say "\$ kiln run --rootfs ${root##*/} -- sh -c 'cat /etc/os-release; uname -a'      # $turn"
	build/kiln run --trace "$trace" --rootfs "$root" -- sh -c 'cat /etc/os-release; uname -a'
	say "Stages"
	python3 tools/trace-table.py "$trace"
done

say "Exit codes and streams are the command's own"
set +e
echo "hello from the host" | build/kiln run -i --rootfs "$root" -- sh -c 'cat; echo "to stderr" >&2; exit 7'
echo "exit code: $?"
