#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kiln's own VMM beside others, in virtual time: see vmm.py. Builds the small kernel first, once.
set -eu
cd "$(dirname "$0")/../.."
cache=${KILN_CACHE:-$PWD/.cache}
work=$cache/bench
kernels=$(tests/bench/kernel.sh)
mkdir -p "$work"
musl-gcc -static -O2 -idirafter /usr/include -idirafter "/usr/include/$(gcc -print-multiarch)" \
	tests/bench/mark.c -o "$work/mark"
python3 tests/bench/cpio.py "$work/mark" "$work/initrd.cpio"
exec tests/rig/rig.sh -i -t "${SECONDS_MAX:-1800}" -m 3000 \
	"python3 $PWD/tests/bench/vmm.py $PWD/build $kernels $work"
