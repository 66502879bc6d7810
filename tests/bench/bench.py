#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench.py WORK ROOT RUNS: `kiln run` beside bare QEMU and an empty program, in turn; medians and ratios.

Wall times are for their ratio only: the two are taken alternately, so that a noisy machine
disturbs both alike.
"""
import json
import os
import resource
import select
import statistics
import subprocess
import sys
import tempfile
import time

# Several times what it takes, and not too long: of those that hang nothing comes any more.
BARE_PATIENCE = 10
work, root, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])


def first_byte(argv, wanted, patience=60):
    """Seconds from the start of argv to `wanted` on its stdout; the process is waited for.

    None if it does not come: a kernel that is not told its TSC's frequency hangs in its calibration
    under emulation when the machine is busy, which is bare QEMU's lot.
    """
    begin = time.monotonic()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          stdin=subprocess.DEVNULL) as child:
        seen = b""
        while wanted not in seen:
            left = begin + patience - time.monotonic()
            if not select.select([child.stdout], [], [], max(left, 0))[0]:
                child.kill()
                return None
            chunk = os.read(child.stdout.fileno(), 4096)
            if not chunk:
                sys.exit(f"{argv[0]} ended without {wanted!r}")
            seen += chunk
        took = time.monotonic() - begin
        child.stdout.read()
    return took


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_of(argv):
    before = children_cpu()
    subprocess.run(argv, check=True)
    return children_cpu() - before


def kernel_path():
    out = subprocess.run(["build/kiln", "doctor", "--format", "json"], capture_output=True, text=True, check=False)
    return json.loads(out.stdout)["kernel"]["path"]


trace = tempfile.NamedTemporaryFile(suffix=".json")
kiln = ["build/kiln", "run", "--trace", trace.name, "--rootfs", root, "--", "echo", "FIRST-BYTE"]
first_byte(kiln, b"FIRST-BYTE")  # fills the caches
bare = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-M", "microvm", "-accel", "tcg", "-cpu", "max", "-m", "512", "-kernel", kernel_path(),
        "-initrd", f"{work}/initramfs.cpio", "-serial", "stdio",
        "-append", "console=ttyS0 reboot=t panic=-1 quiet"]

walls, bares, cpus, empties = [], [], [], []
hung = 0
while len(walls) < runs and hung < 2 * runs:
    before = children_cpu()
    ours = first_byte(kiln, b"FIRST-BYTE")
    with open(trace.name, encoding="utf-8") as f:
        # Whole, with their exits and the writing of the trace, as the empty program's is.
        cpus.append(children_cpu() - before - json.load(f)["otherData"]["vmm_cpu_ns"] / 1e9)
    theirs = first_byte(bare, b"FIRST-BYTE", BARE_PATIENCE)
    empties.append(cpu_of([f"{work}/empty"]))
    if ours is None:
        sys.exit("kiln run brought nothing within a minute")
    if theirs is None:
        hung += 1
        continue
    walls.append(ours)
    bares.append(theirs)
if not walls:
    sys.exit(f"bare QEMU hung in all of {hung} boots: the machine is too busy to measure on")
if hung:
    print(f"bare QEMU hung in {hung} of {hung + len(walls)} boots; those rounds are left out")

median = statistics.median
rows = [
    ("kiln run, warm, to the first byte", median(walls) * 1e3, "bare QEMU microvm, same kernel", median(bares) * 1e3, 1.25),
    ("kiln and kiln-runner, CPU", median(cpus) * 1e3, "an empty C program, CPU", median(empties) * 1e3, 10.0),
]
print(f"medians of {len(walls)} rounds")
for name, ours, other, theirs, bound in rows:
    print(f"{name:36} {ours:9.1f} ms   {other:32} {theirs:9.1f} ms   ratio {ours / theirs:5.2f} (bound {bound})")
sys.exit(any(ours / theirs > bound for _, ours, _, theirs, bound in rows))
