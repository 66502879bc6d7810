#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vmm.py BUILD KERNELS WORK: kiln's own VMM beside others, in the rig under icount; times are virtual.

KERNELS has vmlinux and bzImage, WORK initrd.cpio (mark.c as /init). Each VMM boots once to warm caches,
once for times, once with its system calls counted; all of it is read off the kernel's tracing.
"""
import os
import re
import shlex
import shutil
import subprocess
import sys

build, kernels, work = sys.argv[1:4]
here = os.path.dirname(os.path.realpath(__file__))
TRACING = "/sys/kernel/tracing"
APPEND = "reboot=t panic=-1 quiet"
LINE = re.compile(r"^\s*(.*)-(\d+)\s+\[\d+\] \S+\s+([\d.]+): (\w+): (.*)$")


def put(name, text):
    with open(f"{TRACING}/{name}", "w", encoding="ascii") as f:
        f.write(text)


def traced(argv, env, events):
    put("tracing_on", "0")
    put("trace", "")
    put("events/enable", "0")
    for event in events:
        put(f"events/{event}/enable", "1")
    put("tracing_on", "1")
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
                          check=False)
    put("tracing_on", "0")
    with open(f"{TRACING}/trace", encoding="utf-8", errors="replace") as f:
        rows = [m.groups() for m in map(LINE.match, f) if m]
    return done, [(comm.strip(), float(at) * 1e3, event, rest) for comm, _, at, event, rest in rows]


def first(rows, event, part=""):
    for comm, at, name, rest in rows:
        if name == event and part in rest:
            return at
    return None


def measure(name, argv, env, program):
    traced(argv, env, [])
    done, rows = traced(argv, env, ["sched/sched_process_exec", "kvm/kvm_entry", "kvm/kvm_pio", "kvm/kvm_userspace_exit"])
    begin = first(rows, "sched_process_exec", f"/{program} ")
    run = first(rows, "kvm_entry")
    init = first(rows, "kvm_pio", "at 0xf5 ")
    if None in (begin, run, init):
        print(f"{name}: no boot seen (exit {done.returncode}): {done.stderr[-300:]} {begin} {run} {init} {len(rows)}")
        return None
    exits = sum(1 for _, at, event, _ in rows if event == "kvm_userspace_exit" and run < at < init)
    _, calls = traced(argv, env, ["sched/sched_process_exec", "raw_syscalls/sys_enter"])
    start = first(calls, "sched_process_exec", f"/{program} ")
    enter = first(calls, "sys_enter", "ae80,")  # KVM_RUN
    count = sum(1 for _, at, event, _ in calls if event == "sys_enter" and start < at < enter)
    print(f"{name:24} exec to KVM_RUN {run - begin:9.2f} ms  system calls {count:5}  KVM_RUN to init {init - run:9.2f} ms  "
          f"exits {exits:6}", flush=True)
    return run - begin, init - run, exits, count


def main():
    subprocess.run(["mount", "-t", "tracefs", "t", TRACING], check=False)
    put("buffer_size_kb", "65536")
    os.makedirs("/tmp/b/guest")
    for name in ("kiln", "kiln-runner", "kiln-image"):
        shutil.copy(f"{build}/{name}", "/tmp/b")
    shutil.copy(f"{build}/guest/kiln-guest-x86_64", "/tmp/b/guest")
    for name in ("vmlinux", "bzImage"):
        shutil.copy(f"{kernels}/{name}", "/tmp")
    shutil.copy(f"{work}/initrd.cpio", "/tmp")
    os.makedirs("/tmp/run", mode=0o700)
    env = dict(os.environ, KILN_HOME="/tmp/home", KILN_RUNTIME_DIR="/tmp/run")
    values = {"bzimage": "/tmp/bzImage", "vmlinux": "/tmp/vmlinux", "initrd": "/tmp/initrd.cpio", "append": shlex.quote(APPEND)}
    found = {}
    with open(f"{here}/peers.txt", encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                name, command = line.split(None, 1)
                argv = shlex.split(command.format(**values))
                if shutil.which(argv[0]):
                    found[name] = measure(name, argv, env, os.path.basename(argv[0]))
    for kernel in ("vmlinux", "bzImage"):
        argv = ["/tmp/b/kiln", "run", "--backend", "builtin", "-m", "256M", "--kernel", f"/tmp/{kernel}",
                "--set", "initrd=/tmp/initrd.cpio", "--set", "vsock.enabled=false", "--set", "rng=false",
                "--set", "console.serial=true", "--set", "readiness.kind=none", "--cmdline", "quiet"]
        found[f"kiln run, {kernel}"] = measure(f"kiln run, {kernel}", argv, env, "kiln")
        found[f"kiln-runner, {kernel}"] = measure(f"kiln-runner, {kernel}", argv, env, "kiln-runner")
    base = found.get("qemu-microvm-bzimage")
    pvh = found.get("qemu-microvm-pvh")
    for name, row in found.items():
        if row and base and pvh:
            print(f"{name:24} start {row[0] / base[0]:6.3f} of QEMU's with the bzImage, boot {row[1] / pvh[1]:6.3f} of its with the vmlinux")


main()
