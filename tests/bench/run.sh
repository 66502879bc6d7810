#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What kiln adds to a boot: prints ratios, measured side by side in one run.
set -eu
cd "$(dirname "$0")/../.."
cache=${KILN_CACHE:-$PWD/.cache}
work=$cache/bench
mkdir -p "$work/initramfs/dev"
root=$cache/demo/debian.tar
export KILN_HOME=${KILN_HOME:-$cache/demo/home}

[ -e "$root" ] || tools/debian-root.sh "$root"
musl-gcc -static -O2 -idirafter /usr/include -idirafter "/usr/include/$(gcc -print-multiarch)" \
	tests/bench/hello.c -o "$work/initramfs/init"
printf 'int main(void) { return 0; }\n' | gcc -O2 -x c - -o "$work/empty"
# /dev/console must be in the archive; kiln's own tool writes the node without root.
python3 tests/bench/cpio.py "$work/initramfs/init" "$work/initramfs.cpio"
python3 tests/bench/bench.py "$work" "$root" "${RUNS:-20}"
RUNS=3 python3 tests/bench/images.py "$work"
RUNS=3 python3 tests/bench/instructions.py
tests/bench/vmm.sh
