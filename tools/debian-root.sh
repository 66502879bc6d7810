#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes a small Debian root as a tar file: debian-root.sh FILE [PACKAGE...]
# From the mirrors that this machine's apt uses; appears atomically.
set -eu
out=$1; shift
mkdir -p "$(dirname "$out")"
temporary=$out.$$
trap 'rm -f "$temporary"' EXIT
include=
[ $# = 0 ] || include="--include=$(IFS=,; echo "$*")"
suite=bookworm
mirrors=()
# The machine's own sources know the way to a mirror; without any, mmdebstrap uses its default.
if grep -qsE "^deb .*[[:space:]]$suite[[:space:]]" /etc/apt/sources.list; then
	mirrors=(/etc/apt/sources.list)
elif compgen -G '/etc/apt/sources.list.d/*.sources' >/dev/null && grep -qs "$suite" /etc/apt/sources.list.d/*.sources; then
	mirrors=($(ls /etc/apt/sources.list.d/*.sources))
fi
mmdebstrap --quiet --variant=minbase --format=tar $include "$suite" "$temporary" ${mirrors[@]+"${mirrors[@]}"}
mv "$temporary" "$out"
