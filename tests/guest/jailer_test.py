#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command with Firecracker in its jailer's jail: the real ones where they are on PATH and KVM works, else the stand-ins, which really
chroot. Root alone can make a jail."""
import json
import os
import shutil
import signal
import sys

import kilntest
from kilntest import BUILD, Skip, main, need_qemu, shown, wait_gone

UID, GID = 54321, 54322


def options(home, *more):
    need_qemu()
    if os.geteuid() != 0:
        raise Skip("only root can make a jail")
    (home.dir / "jails").mkdir(exist_ok=True)
    own = ["--backend", "firecracker", "--jailer", f"uid={UID},gid={GID},chroot_base={home.dir}/jails", "--rootfs", kilntest.busybox_root()]
    if not shutil.which("firecracker") or not shutil.which("jailer"):
        own += ["--set", f"firecracker.binary={BUILD}/tests/standins/firecracker", "--set", "firecracker.preflight=false",
                "--set", f"firecracker.jailer.binary={BUILD}/tests/standins/jailer"]
    for one in more:
        own += ["--set", f"firecracker.jailer.{one}"]
    return own


def assert_no_jail(home):
    assert not os.listdir(home.dir / "jails"), list((home.dir / "jails").rglob("*"))
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        assert str(home.dir) not in mounts.read()
    home.assert_clean()


def test_run_has_streams_and_exit_codes(home):
    for more in ((), ("new_pid_ns=true",)):
        result = home.kiln("run", "--rm", "-i", *options(home, *more), "--", "sh", "-c", "cat; echo wrong >&2; exit 7", stdin="from here\n")
        assert (result.code, result.out, result.err) == (7, "from here\n", "wrong\n"), result
        assert_no_jail(home)
    shown("kiln run in a jailer's jail: streams and exit codes; no jail is left")


def test_it_is_another_user_in_a_root_of_its_own(home):
    for more in ((), ("new_pid_ns=true", 'resource_limits=["no-file=1000"]')):
        home.ok("run", "-d", "--name", "a", *options(home, *more), "--overlay-size", "64M", "-v", "data:/data", "--", "sleep", "10000")
        home.ok("exec", "a", "sh", "-c", "echo kept >/data/f && echo b >/root/g && sync")
        assert home.ok("exec", "a", "cat", "/root/g") == "b\n"
        told = json.loads(home.ok("inspect", "a"))[0]
        with open(f"/proc/{told['vmm_pid']}/status", encoding="ascii") as file:
            status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
        assert status["Uid"].split() == [str(UID)] * 4 and status["Gid"].split() == [str(GID)] * 4, status
        assert int(status["CapEff"], 16) == 0, status
        root = home.dir / "jails" / "firecracker" / told["id"] / "root"
        assert os.stat(f"/proc/{told['vmm_pid']}/root").st_ino == root.stat().st_ino
        assert all(file.stat().st_size == 0 for file in (root / "files").iterdir()), "what is seen outside is the places alone"
        with open(f"/proc/{told['pid']}/status", encoding="ascii") as file:
            caps = [int(line.split()[1], 16) for line in file if line.startswith("CapEff")]
        assert caps == [1 << 5], "the runner keeps the right to signal, and no other"
        home.ok("pause", "a")
        home.ok("resume", "a")
        home.ok("stop", "a")
        home.ok("start", "a")
        assert home.ok("exec", "a", "cat", "/data/f") == "kept\n"
        home.ok("kill", "a")
        assert home.vms()[0]["state"] == "stopped", home.vms()
        home.ok("rm", "a")
        assert_no_jail(home)
    shown("a jailed VM's life: exec, pause, stop, start, disks that another user owns")


def test_a_killed_runner_leaves_nothing_after_the_next_command(home):
    for more, recorded in (((), True), (("new_pid_ns=true",), True), ((), False)):
        home.ok("run", "-d", "--name", "a", *options(home, *more), "--", "sleep", "10000")
        told = json.loads(home.ok("inspect", "a"))[0]
        os.kill(told["pid"], signal.SIGKILL)
        assert wait_gone(told["pid"], 20)
        if not recorded: # it has started the VMM, and could not write down its number any more
            lock = home.home / "vms" / told["id"] / "lock"
            kept = lock.read_bytes()
            assert str(told["vmm_pid"]).encode() in kept
            lock.write_bytes(kept.replace(str(told["vmm_pid"]).encode(), b"0" * len(str(told["vmm_pid"]))))
        assert home.vms()[0]["state"] == "failed", home.vms()
        assert wait_gone(told["vmm_pid"], 20), "the VMM outlives the next command"
        assert not os.listdir(home.dir / "jails")
        home.ok("rm", "a")
        assert_no_jail(home)
    shown("a killed runner's jail, VMM and all, is removed by the next command")


def test_a_place_that_others_can_change_is_refused(home):
    jails = home.dir / "jails"
    jails.mkdir(mode=0o755)
    for spoil, mend in ((lambda: jails.chmod(0o777), lambda: jails.chmod(0o755)),
                        (lambda: os.symlink("/tmp", jails / "firecracker"), lambda: os.unlink(jails / "firecracker")),
                        (lambda: os.chown(jails, UID, 0), lambda: os.chown(jails, 0, 0))):
        spoil()
        refused = home.kiln("run", "--rm", *options(home), "--", "true")
        assert refused.code == 125 and "chroot_base" in refused.err and "root's alone" in refused.err, refused
        mend()
    assert_no_jail(home)


def test_what_a_jail_has_not_is_refused_by_name(home):
    for more, word in ((("--set", "firecracker.api=false"), "firecracker.api"), (("--set", f"snapshot={home.dir}"), "snapshot"),
                       (("--set", "firecracker.jailer.uid=0"), "firecracker.jailer.uid"),
                       (("--set", "firecracker.jailer.chroot_base=/nowhere"), "chroot_base"),
                       (("--set", "firecracker.jailer.netns=/nowhere"), "/nowhere"),
                       (("--set", 'firecracker.jailer.cgroups=["../x=1"]'), "cgroups")):
        refused = home.kiln("run", "--rm", *options(home), *more, "--", "true")
        assert refused.code == 125 and word in refused.err, refused
    assert_no_jail(home)


if __name__ == "__main__":
    main(sys.modules[__name__])
