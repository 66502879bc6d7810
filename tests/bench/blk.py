#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""blk.py BUILD WORK: fio at queue depth 32 in kiln's own VMM and in QEMU, in the rig under icount; see blk.sh.

Kicks are the guest's writes to the queue's doorbell, as KVM's tracing shows them (of all addresses that are written to, the
one that is written to most); interrupts are what the guest counts; I/Os and latencies are fio's.
"""
import json
import os
import re
import shutil
import subprocess
import sys

build, work = sys.argv[1:3]
TRACING = "/sys/kernel/tracing"
KICKS = f"{TRACING}/events/kvm/kvm_mmio"
env = dict(os.environ, KILN_HOME="/tmp/home", KILN_RUNTIME_DIR="/tmp/run")
for name in ("vmlinux", "initrd"):
    shutil.copy(f"{work}/{name}", f"/tmp/{name}")
os.makedirs("/tmp/home", exist_ok=True)
os.makedirs("/tmp/run", mode=0o700, exist_ok=True)
VMMS = {
    "kiln": [f"{build}/kiln", "run", "--backend", "builtin", "-m", "1G", "--kernel", "/tmp/vmlinux", "--initrd",
             "/tmp/initrd", "--disk", "/tmp/disk"],
    "QEMU": ["qemu-system-x86_64", "-M", "q35,accel=kvm", "-cpu", "host", "-m", "1024", "-nodefaults", "-no-user-config",
             "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", "/tmp/vmlinux", "-initrd", "/tmp/initrd",
             "-append", "console=ttyS0 quiet panic=-1", "-object", "iothread,id=io",
             "-drive", "if=none,id=disk,file=/tmp/disk,format=raw,cache=writeback,aio=io_uring",
             "-device", "virtio-blk-pci,drive=disk,iothread=io"],
}


def put(name, text):
    with open(name, "w", encoding="ascii") as f:
        f.write(text)


def measure(argv):
    with open("/tmp/disk", "wb") as f:
        f.write(os.urandom(1 << 20) * 64)
    put(f"{KICKS}/trigger", "hist:keys=gpa:size=4096 if type==2")
    out = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=1200)
    with open(f"{KICKS}/hist", encoding="ascii") as f:
        hits = [int(n) for n in re.findall(r"hitcount:\s*(\d+)", f.read())]
    put(f"{KICKS}/trigger", "!hist:keys=gpa:size=4096 if type==2")
    text = out.stdout.replace("\r", "")
    if "interrupts " not in text:
        print(text[-2000:], out.stderr[-2000:])
        sys.exit("fio did not end")
    job = json.loads(text[text.index("begin\n") + 6:text.index("\nend\n")])["jobs"][0]
    ios = sum(job[way]["total_ios"] for way in ("read", "write"))
    p99 = max(job[way]["clat_ns"]["percentile"]["99.000000"] for way in ("read", "write"))
    kicks, interrupts = max(hits), int(re.search(r"interrupts (\d+)", text)[1])
    return {"I/Os": ios, "kicks": kicks, "interrupts": interrupts, "kicks and interrupts per I/O": (kicks + interrupts) / ios,
            "p99, us": p99 / 1000, "I/Os per s": sum(job[way]["iops"] for way in ("read", "write"))}


subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=False)
rows = {name: measure(argv) for name, argv in VMMS.items()}
for key in rows["kiln"]:
    ours, theirs = rows["kiln"][key], rows["QEMU"][key]
    print(f"{key:30} kiln {ours:12.3f}  QEMU {theirs:12.3f}  ratio {ours / theirs if theirs else 0:6.3f}")
verdict = rows["kiln"]["kicks and interrupts per I/O"] <= 0.5 * rows["QEMU"]["kicks and interrupts per I/O"]
print("kicks and interrupts at most 0.5 of QEMU's:", "yes" if verdict else "NO")
print("p99 no worse:", "yes" if rows["kiln"]["p99, us"] <= rows["QEMU"]["p99, us"] else "NO")
