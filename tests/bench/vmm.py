#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vmm.py BUILD KERNELS CLOUD WORK [PART...]: kiln's own VMM beside others, in the rig under icount; times are virtual.

KERNELS has vmlinux and bzImage, CLOUD is a distribution's bzImage, WORK has initrd.cpio (mark.c as /init). Parts:
start (with favordynmods, and what is booted), wait (without), cloud, idle, many; all of them if none is named. Each VMM
boots once to warm caches, once for times, once with its system calls counted; all of it is read off the kernel's tracing.
Everything lies in tmpfs, the peers and their libraries too: a file system of the host's would be waited for.
"""
import ctypes
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

build, kernels, cloud, work = sys.argv[1:5]
parts = sys.argv[5:] or ["start", "wait", "cloud", "idle", "many"]
here = os.path.dirname(os.path.realpath(__file__))
TRACING = "/sys/kernel/tracing"
APPEND = "reboot=t panic=-1 quiet"
LINE = re.compile(r"^\s*(.*)-(\d+)\s+\[\d+\] \S+\s+([\d.]+): (\w+): (.*)$")
ROOT = "/tmp/root"
MANY = 64
RUN = " ae80,"  # KVM_RUN, as an argument of ioctl
env = dict(os.environ, KILN_HOME="/tmp/home", KILN_RUNTIME_DIR="/tmp/run")
verdicts = []


def put(name, text):
    with open(f"{TRACING}/{name}", "w", encoding="ascii") as f:
        f.write(text)


def trace_begin(events):
    put("tracing_on", "0")
    put("trace", "")
    put("events/enable", "0")
    for event in events:
        put(f"events/{event}/enable", "1")
    put("tracing_on", "1")


def trace_end():
    put("tracing_on", "0")
    with open(f"{TRACING}/trace", encoding="utf-8", errors="replace") as f:
        rows = [m.groups() for m in map(LINE.match, f) if m]
    return [(comm.strip(), float(at) * 1e3, event, rest) for comm, _, at, event, rest in rows]


def run(argv, **more):
    """In a root of its own, of tmpfs: to look for a file that is not there would be to wait for the host."""
    return subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          preexec_fn=lambda: os.chroot(ROOT), **more)


def traced(argv, events):
    trace_begin(events)
    done = run(argv, timeout=300)
    return done, trace_end()


def timed(argv):
    """Of system calls only ioctl (16), and no event of every exit: to write those down would be a part of the time."""
    put("events/raw_syscalls/sys_enter/filter", "id == 16")
    try:
        return traced(argv, ["sched/sched_process_exec", "raw_syscalls/sys_enter", "kvm/kvm_pio"])
    finally:
        put("events/raw_syscalls/sys_enter/filter", "0")


def first(rows, event, part=""):
    for comm, at, name, rest in rows:
        if name == event and part in rest:
            return at
    return None


def measure(name, argv, programs):
    """Of one command that boots: a row for each of the programs that it executes, from that one's beginning."""
    traced(argv, [])
    done, rows = timed(argv)
    run = first(rows, "sys_enter", RUN)
    init = first(rows, "kvm_pio", "at 0xf5 ")
    if None in (run, init):
        print(f"{name}: no boot seen (exit {done.returncode}): {done.stderr[-300:]} {run} {init} {len(rows)}")
        verdicts.append((name, False))
        return {}
    _, calls = traced(argv, ["sched/sched_process_exec", "raw_syscalls/sys_enter", "kvm/kvm_pio", "kvm/kvm_userspace_exit"])
    enter = first(calls, "sys_enter", RUN)
    mark = first(calls, "kvm_pio", "at 0xf5 ")
    exits = sum(1 for _, at, event, _ in calls if event == "kvm_userspace_exit" and at < mark)
    found = {}
    for program in programs:
        begin = first(rows, "sched_process_exec", f"/{program} ")
        start = first(calls, "sched_process_exec", f"/{program} ")
        whose = {name[:15] for name in programs[programs.index(program):]}
        count = sum(1 for comm, at, event, _ in calls if event == "sys_enter" and start < at < enter and comm in whose)
        label = f"{program}: {name}" if len(programs) > 1 else name
        found[program] = {"start": run - begin, "boot": init - run, "exits": exits, "calls": count}
        print(f"{label:44} exec to KVM_RUN {run - begin:8.2f} ms  calls {count:5}  "
              f"KVM_RUN to init {init - run:8.2f} ms  exits {exits:6}", flush=True)
    return found


def judge(what, value, bound):
    verdicts.append((f"{what}: {value:.3f} of {bound}", value <= bound))


# --- what is booted ----------------------------------------------------------------------------


def peer(argv):
    """The program, its libraries and its firmware in tmpfs."""
    program = shutil.which(argv[0])
    if not program:
        return None
    place = f"/tmp/peer/{os.path.basename(program)}"
    if not os.path.exists(place):
        os.makedirs("/tmp/peer/lib", exist_ok=True)
        shutil.copy(program, place)
        for path in re.findall(r"=> (/\S+)", subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout):
            shutil.copy(path, "/tmp/peer/lib")
        if os.path.isdir("/usr/share/qemu"):
            shutil.copytree("/usr/share/qemu", "/tmp/peer/share", ignore=shutil.ignore_patterns("edk2*", "*.img", "keymaps"))
        env["LD_LIBRARY_PATH"] = "/tmp/peer/lib"
    if "qemu" in program:
        return [place, "-L", "/tmp/peer/share", *argv[1:]]
    return [place, *argv[1:]]


def peers(**files):
    values = {"initrd": "/tmp/initrd.cpio", "append": shlex.quote(APPEND), **files}
    with open(f"{here}/peers.txt", encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                name, command = line.split(None, 1)
                argv = peer(shlex.split(command.format(**values)))
                if argv:
                    yield name, argv


# Like the peers: nothing but a serial port.
BARE = ["vsock.enabled=false", "rng=false", "console.serial=true"]
# ... which nobody opens: the peers' command lines name no console either.
QUIET = ["--cmdline", "console=null"]
DEVICES = ["disks[0].path=/tmp/disk.img", "networks[0].kind=tap", "networks[0].interface=bench0"]


def kiln(kernel, settings, *more):
    argv = ["/tmp/b/kiln", "run", "--backend", "builtin", "-m", "256M", "--kernel", f"/tmp/{kernel}",
            "--set", "initrd=/tmp/initrd.cpio", "--set", "readiness.kind=none"]
    for setting in settings:
        argv += ["--set", setting]
    return argv + list(more)


def prepare():
    subprocess.run(["mount", "-t", "tracefs", "t", TRACING], check=False)
    with open("/proc/sys/kernel/printk", "w", encoding="ascii") as f:
        f.write("1")  # what KVM says of a guest's registers would go byte by byte to a serial port
    put("buffer_size_kb", "65536")
    os.makedirs("/tmp/b/guest")
    for name in ("kiln", "kiln-runner", "kiln-image"):
        shutil.copy(f"{build}/{name}", "/tmp/b")
    shutil.copy(f"{build}/guest/kiln-guest-x86_64", "/tmp/b/guest")
    for name in ("vmlinux", "bzImage"):
        shutil.copy(f"{kernels}/{name}", "/tmp")
    shutil.copy(cloud, "/tmp/cloud")
    shutil.copy(f"{work}/initrd.cpio", "/tmp")
    with open("/tmp/disk.img", "wb") as f:
        f.truncate(64 << 20)
    os.makedirs("/tmp/run", mode=0o700)
    os.makedirs(ROOT)
    subprocess.run(["mount", "-t", "tmpfs", "root", ROOT], check=True)
    for name in ("tmp", "proc", "dev"):
        os.makedirs(f"{ROOT}/{name}")
        subprocess.run(["mount", "--rbind", f"/{name}", f"{ROOT}/{name}"], check=True)
    os.makedirs(f"{ROOT}/lib64")
    shutil.copy("/lib64/ld-linux-x86-64.so.2", f"{ROOT}/lib64")
    # kiln-image has libraries: what it makes of each kernel is made outside.
    for name in ("vmlinux", "bzImage", "cloud"):
        subprocess.run(kiln(name, BARE), env=env, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    subprocess.run(["ip", "tuntap", "add", "dev", "bench0", "mode", "tap", "vnet_hdr"], check=True)
    subprocess.run(["ip", "link", "set", "bench0", "up"], check=True)


def favor(on):
    """By the call: mount(8) adds the options of before."""
    remount = 32
    if ctypes.CDLL(None, use_errno=True).mount(None, b"/sys/fs/cgroup", None, remount, b"favordynmods" if on else b"") < 0:
        raise OSError(ctypes.get_errno(), "cannot mount cgroup2 anew")


# --- the parts ---------------------------------------------------------------------------------

BOTH = ["kiln", "kiln-runner"]


def part_start():
    favor(True)
    print("with favordynmods, the small kernel:")
    base = {}
    for name, argv in peers(bzimage="/tmp/bzImage", vmlinux="/tmp/vmlinux"):
        program = os.path.basename(argv[0])
        base[name] = measure(name, argv, [program]).get(program)
    elf = measure("vmlinux, no device", kiln("vmlinux", BARE, *QUIET), BOTH)
    packed = measure("bzImage, no device", kiln("bzImage", BARE, *QUIET), BOTH)
    full = measure("bzImage, all devices", kiln("bzImage", DEVICES), BOTH)
    qemu, pvh = base.get("qemu-microvm-bzimage"), base.get("qemu-microvm-pvh")
    if not (elf and packed and full and qemu and pvh):
        return
    judge("start of kiln-runner, of QEMU's", packed["kiln-runner"]["start"] / qemu["start"], 0.05)
    judge("start of kiln run, of QEMU's", packed["kiln"]["start"] / qemu["start"], 0.09)
    judge("system calls of kiln-runner", packed["kiln-runner"]["calls"], 90)
    judge("system calls of kiln run", packed["kiln"]["calls"], 250)
    judge("boot, of QEMU's with vmlinux", packed["kiln"]["boot"] / pvh["boot"], 0.75)
    judge("boot, bzImage of its vmlinux", packed["kiln"]["boot"] / elf["kiln"]["boot"], 1.05)
    judge("exits, no device", packed["kiln"]["exits"], 100)
    judge("exits, vsock, disk, net, console, rng", full["kiln"]["exits"], 400)


def part_wait():
    favor(False)
    print("without favordynmods:")
    base = {}
    for name, argv in peers(bzimage="/tmp/bzImage", vmlinux="/tmp/vmlinux"):
        if name == "qemu-microvm-bzimage":
            base = measure(name, argv, [os.path.basename(argv[0])])
    mine = measure("bzImage, no device", kiln("bzImage", BARE, *QUIET), BOTH)
    favor(True)
    if not (base and mine):
        return
    qemu = next(iter(base.values()))
    judge("start of kiln-runner without favordynmods", mine["kiln-runner"]["start"] / qemu["start"], 0.13)
    judge("start of kiln run without favordynmods", mine["kiln"]["start"] / qemu["start"], 0.17)


def part_cloud():
    print("Debian's cloud kernel:")
    base = {}
    for name, argv in peers(bzimage="/tmp/cloud", vmlinux="/tmp/cloud"):
        if name == "qemu-microvm-bzimage":
            base = measure(name, argv, [os.path.basename(argv[0])])
    mine = measure("cloud kernel, no device", kiln("cloud", BARE, *QUIET), BOTH)
    if base and mine:
        judge("boot of the cloud kernel, of QEMU's", mine["kiln"]["boot"] / next(iter(base.values()))["boot"], 0.45)


def begin_idle():
    """One that stays, seen at its mark. Returns its runner's process number."""
    before = set(runners())
    trace_begin(["kvm/kvm_pio"])
    done = run(kiln("bzImage", ["disks[0].path=/tmp/disk.img", "disks[0].readonly=true"], "-d", "--cmdline", "-- idle"))
    if done.returncode:
        raise RuntimeError(done.stderr)
    deadline = time.monotonic() + 60
    with open(f"{TRACING}/trace_pipe", encoding="utf-8", errors="replace") as f:
        for line in f:
            if "at 0xf5 " in line or time.monotonic() > deadline:
                break
    put("tracing_on", "0")
    return (set(runners()) - before).pop()


def runners():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                if f.read().strip() == "kiln-runner":
                    yield pid
        except OSError:
            pass


def memory(pid):
    """KiB: private beside guest RAM; and of the kernel's map: resident, private and not written, shared."""
    maps = []
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as f:
        for line in f:
            words = line.split()
            if re.match(r"^[0-9a-f]+-[0-9a-f]+$", words[0]):
                low, high = (int(x, 16) for x in words[0].split("-"))
                maps.append({"low": low, "high": high, "inode": words[4]})
            elif len(words) == 3 and words[2] == "kB":
                maps[-1][words[0].rstrip(":")] = int(words[1])
    biggest = max(range(len(maps)), key=lambda i: maps[i]["Rss"])
    low, high = maps[biggest]["low"], maps[biggest]["high"]
    for m in reversed(maps[:biggest]):
        if m["high"] == low:
            low = m["low"]
    for m in maps[biggest:]:
        if m["low"] == high:
            high = m["high"]
    ram = [m for m in maps if low <= m["low"] < high]
    rest = [m for m in maps if m not in ram]
    kernel = [m for m in ram if m["inode"] != "0"]
    total = lambda which, *keys: sum(m.get(k, 0) for m in which for k in keys)
    return (total(rest, "Private_Clean", "Private_Dirty"), total(ram, "Rss"), total(kernel, "Private_Clean"),
            total(kernel, "Shared_Clean", "Shared_Dirty"))


def stop_all():
    run(["/tmp/b/kiln", "kill", *run(["/tmp/b/kiln", "ls", "-q"]).stdout.split()])


def part_idle():
    pid = begin_idle()
    time.sleep(2)
    trace_begin(["raw_syscalls/sys_enter", "kvm/kvm_userspace_exit"])
    time.sleep(10)
    rows = trace_end()
    calls = sum(1 for comm, _, event, _ in rows if event == "sys_enter" and comm == "kiln-runner")
    exits = sum(1 for _, _, event, _ in rows if event == "kvm_userspace_exit")
    private, ram, _, _ = memory(pid)
    print(f"idle for 10 s: {calls} system calls, {exits} returns of KVM_RUN; private {private} KiB beside {ram} KiB of guest memory")
    judge("system calls in ten idle seconds", calls, 0)
    judge("returns of KVM_RUN in ten idle seconds", exits, 0)
    judge("private KiB beside guest memory", private, 4096)
    stop_all()


def part_many():
    pids = [begin_idle() for _ in range(MANY)]
    figures = [memory(pid) for pid in pids]
    print(f"{MANY} VMs of one kernel and root: private {max(f[0] for f in figures)} KiB at most; guest memory "
          f"{sum(f[1] for f in figures) // MANY} KiB on average; of the kernel's file {sum(f[3] for f in figures) // MANY} KiB "
          f"each shared, {max(f[2] for f in figures)} KiB unwritten and not shared")
    judge(f"private KiB with {MANY} VMs", max(f[0] for f in figures), 4096)
    judge("KiB of the kernel that nobody wrote and that are not shared", max(f[2] for f in figures), 64)
    stop_all()


prepare()
for part in parts:
    globals()[f"part_{part}"]()
for text, good in verdicts:
    print("ok  " if good else "FAIL", text)
sys.exit(0 if all(good for _, good in verdicts) else 1)
