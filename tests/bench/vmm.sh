#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vmm.sh [PART...]: kiln's own VMM beside others, in virtual time: see vmm.py. Builds the small kernel first, once.
set -eu
cd "$(dirname "$0")/../.."
cache=${KILN_CACHE:-$PWD/.cache}
work=$cache/bench
kernels=$(tests/bench/kernel.sh)
mkdir -p "$work"
cloud=$cache/test-kernel/vmlinuz # of Debian's cloud kernel; the tests with a guest have fetched it
musl-gcc -static -O2 -idirafter /usr/include -idirafter "/usr/include/$(gcc -print-multiarch)" \
	tests/bench/mark.c -o "$work/mark"
python3 tests/bench/cpio.py "$work/mark" "$work/initrd.cpio"
exec tests/rig/rig.sh -i -t "${SECONDS_MAX:-3000}" -m 8000 \
	"python3 $PWD/tests/bench/vmm.py $PWD/build $kernels $cloud $work $*"
