#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A durable VM, through every verb, from separate commands."""
import json
import os
import subprocess
import sys

import kilntest
from kilntest import busybox_root, need_qemu, wait_gone

LOOP = "echo started; trap 'echo bye; exit 0' TERM; while :; do sleep 1; done"


def start_web(home, *options):
    need_qemu()
    out = home.ok("run", "-d", "--name", "web", *options, "--rootfs", busybox_root(), "--", "sh", "-c", LOOP)
    assert len(out.strip()) == 32, out
    return out.strip()


def state(home, name="web"):
    return json.loads(home.ok("inspect", name))[0]


def status(pid, key):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(line.split()[1] for line in f if line.startswith(key + ":"))


def test_what_runs_a_guest_has_no_rights(home):
    start_web(home)
    now = state(home)
    for pid in (now["pid"], now["vmm_pid"]):
        assert int(status(pid, "CapPrm"), 16) == 0, pid
        assert status(pid, "NoNewPrivs") == "1" and status(pid, "Seccomp") == "2", pid
    warnings = subprocess.run(["cat", f"{home.home}/vms/{now['id']}/runner.log"], capture_output=True, text=True, check=False).stdout
    assert now["jail"]["own_root"] or "no root directory of its own" in warnings, (now["jail"], warnings)
    if now["jail"]["own_root"] and os.geteuid() == 0:
        with open(f"/proc/{now['pid']}/mountinfo", encoding="utf-8") as f:
            places = {line.split()[4] for line in f}
        assert places == {"/", "/proc", "/state"}, places  # its runtime directory, /proc, its state
    # The VM has no network, so what emulates it has none.
    if "cannot be cut off" not in warnings:
        assert os.stat(f"/proc/{now['vmm_pid']}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
    home.ok("rm", "-f", "web")


def test_every_verb(home):
    vm_id = start_web(home)

    rows = json.loads(home.ok("ls", "--format", "json"))
    assert [r["name"] for r in rows] == ["web"], rows
    assert set(rows[0]) >= {"id", "name", "state", "backend", "accel", "created", "exit"}, rows
    assert rows[0]["state"] == "ready" and rows[0]["backend"] == "qemu", rows
    assert home.ok("ls", "-q").split() == [vm_id]

    # ten at once, each with its own streams and exit code
    many = [home.popen("exec", "web", "--", "sh", "-c", f"echo {n}; exit {n}", stdout=subprocess.PIPE)
            for n in range(10)]
    for n, child in enumerate(many):
        out, _ = child.communicate(timeout=kilntest.DEADLINE)
        assert (out, child.returncode) == (f"{n}\n".encode(), n), (n, out, child.returncode)
    r = home.kiln("exec", "-i", "web", "--", "cat", stdin="through")
    assert r.out == "through" and r.code == 0, r

    follower = home.popen("logs", "-f", "web", stdout=subprocess.PIPE)
    assert follower.stdout.readline() == b"started\n"

    stats = json.loads(home.ok("stats", "--format", "json", "web"))
    assert stats[0]["memory"] > 0, stats

    seen = json.loads(home.ok("inspect", "web"))[0]
    assert 0 < seen["vmm_cpu_ns"] and (seen["accel"] == "kvm" or seen["accel_reason"]), seen
    home.ok("pause", "web")
    assert state(home)["state"] == "paused"
    home.ok("pause", "web")
    r = home.kiln("exec", "web", "--", "true")
    assert r.code == 125 and "resume" in r.err, r
    home.ok("resume", "web")
    assert state(home)["state"] == "ready"
    home.ok("exec", "web", "--", "true")

    home.ok("stop", "web")
    assert follower.stdout.read() == b"bye\n"
    assert follower.wait(kilntest.DEADLINE) == 0
    now = state(home)
    assert now["state"] == "stopped" and now["exit"] == {"kind": "exited", "code": 0, "status": 0}, now
    assert now["pid"] is None, now
    home.ok("stop", "web")
    assert home.ok("wait", "web").strip() == "0"
    assert home.processes() == []

    home.ok("start", "web")
    home.ok("exec", "web", "--", "true")
    home.ok("restart", "web")
    home.ok("exec", "web", "--", "true")
    assert home.kiln("rm", "web").code == 125
    home.ok("kill", "web")
    assert home.ok("wait", "web") == "137\n" and state(home)["exit"]["status"] == 137
    seen = json.loads(home.ok("inspect", "web"))[0]
    assert seen["exit"]["status"] == 137 and seen["pid"] is None and seen["vmm_pid"] is None, seen
    names = [json.loads(line)["event"] for line in home.ok("events", "--format", "json", "web").splitlines()]
    assert names[:5] == ["created", "starting", "running", "ready", "paused"], names
    home.ok("rm", "web")
    assert home.vms() == []
    home.assert_clean()


def test_runner_and_vmm_killed_then_usable_again(home):
    start_web(home)
    for victim in ("pid", "vmm_pid"):
        before = state(home)
        os.kill(before[victim], 9)
        wait_gone(before["vmm_pid"], kilntest.DEADLINE)
        wait_gone(before["pid"], kilntest.DEADLINE)
        now = state(home)
        assert now["state"] == "failed" and now["failure"]["message"], now
        home.ok("start", "web")
        home.ok("exec", "web", "--", "true")
    home.ok("rm", "-f", "web")
    home.assert_clean()


def test_attach_sees_output_and_passes_input(home):
    need_qemu()
    home.ok("run", "-d", "-i", "--name", "talk", "--rootfs", busybox_root(), "--", "sh", "-c",
            "while read line; do echo heard $line; [ $line = end ] && exit 4; done")
    r = home.kiln("attach", "talk", stdin="one\nend\n")
    assert r.out == "heard one\nheard end\n" and r.code == 4, r
    home.ok("rm", "-f", "talk")
    home.assert_clean()


def test_ready_when_a_command_succeeds_at_last(home):
    need_qemu()
    home.ok("run", "-d", "--name", "web", "--ready", "command:test -e /run/up", "--rootfs", busybox_root(), "--",
            "sh", "-c", "sleep 2; touch /run/up; sleep 1000")
    assert state(home)["state"] == "ready"
    home.ok("exec", "web", "--", "test", "-e", "/run/up")
    home.ok("rm", "-f", "web")
    home.assert_clean()


def test_foreground_run_tells_why_its_vm_failed(home):
    need_qemu()
    with home.popen("run", "--name", "web", "--rootfs", busybox_root(), "--", "sh", "-c", "echo up; sleep 1000",
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "up\n"
        os.kill(state(home)["pid"], 9)
        _, said = run.communicate(timeout=kilntest.DEADLINE)
    assert run.returncode == 125 and "the runner died while the VM was ready" in said, (run.returncode, said)
    assert home.vms()[0]["state"] == "failed"
    home.ok("rm", "web")
    home.assert_clean()


def test_damaged_configuration_is_told_and_can_be_removed(home):
    vm_id = home.ok("create", "--name", "d", "--backend", "fake").strip()
    (home.home / "vms" / vm_id / "config.json").write_text('{"cpus": 1', encoding="ascii")
    for verb in ("inspect", "start"):
        r = home.kiln(verb, "d")
        assert r.code == 125 and "config.json" in r.err and "memory" not in r.err, r
    home.ok("rm", "d")
    home.assert_clean()


def test_idle_runner_makes_no_system_call(home):
    need_qemu()
    home.ok("run", "-d", "--name", "web", "--rootfs", busybox_root(), "--", "sleep", "1000")
    pid = state(home)["pid"]

    def counters():
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return [line.split()[1] for line in f if "ctxt_switches" in line]

    def private():
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            return sum(int(line.split()[1]) for line in f if line.startswith(("Private_Dirty", "Private_Clean")))

    home.ok("exec", "web", "--", "true")
    # A process that makes no system call is not switched to either. What came before (the exec's end, a
    # late line on the console) may reach into the first seconds, so they are waited out; then it must hold.
    for _ in range(10):
        before = counters()
        subprocess.run(["timeout", "3", "tail", "-f", "/dev/null"], check=False)
        if counters() == before:
            break
    before = counters()
    subprocess.run(["timeout", "10", "tail", "-f", "/dev/null"], check=False)
    assert counters() == before, f"not idle: {before} became {counters()}"
    used = private()
    assert used <= 8 * 1024, used
    kilntest.shown(f"an idle VM's runner: no system call in ten seconds, {used} KiB of private memory")
    home.ok("rm", "-f", "web")


def test_starts_at_once_of_a_vm_that_was_stopped_before(home):
    home.ok("create", "--name", "s", "--backend", "fake")
    home.ok("start", "s")
    home.ok("stop", "s")
    for _ in range(10):
        both = [home.popen("start", "s", stdout=-3, stderr=-3) for _ in range(2)]
        codes = {p.wait(kilntest.DEADLINE) for p in both}
        assert 0 in codes and codes <= {0, 125}, codes
        home.ok("stop", "s")
        assert home.vms()[0]["state"] == "stopped"  # neither start was still to come
    for _ in range(10):
        start = home.popen("start", "s", stdout=-3, stderr=-3)
        removed = home.kiln("rm", "s", timeout=20)  # before it, or refused while it runs
        start.wait(kilntest.DEADLINE)
        if removed.code == 0:
            home.ok("create", "--name", "s", "--backend", "fake")
        home.kiln("stop", "s")
    home.ok("rm", "-f", "s")
    home.assert_clean()


if __name__ == "__main__":
    kilntest.main(sys.modules[__name__])
