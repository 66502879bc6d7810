#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The jailer's face: what it refuses, what the jail is, that a VM runs in it, and that nothing of it shows outside."""
import os
import shutil
import subprocess
import sys

from standtest import PROGRAMS, Program, Skip, assert_clean, await_path, connect, guest, main

UID, GID = 54321, 54322


def run(home, *args):
    return subprocess.run([PROGRAMS / "jailer", *map(str, args)], env=home.env, capture_output=True, text=True, check=False)


def arguments(home, **changes):
    given = {"id": "vm-1", "exec-file": PROGRAMS / "firecracker", "uid": UID, "gid": GID, "chroot-base-dir": home.dir, **changes}
    return [word for key, value in given.items() if value is not None for word in (f"--{key}", value)]


def test_arguments_are_checked(home):
    assert run(home, "--version").stdout == "Jailer v1.17.0-dev\n\n"
    for words, changes in (("Argument 'id' required", {"id": None}), ("Invalid instance ID", {"id": "a_b"}),
                           ("Invalid instance ID", {"id": "x" * 65}), ("/nowhere: No such file", {"exec-file": "/nowhere"}),
                           ("NotAFile", {"exec-file": "/usr"}), ("should contain 'firecracker'", {"exec-file": "/bin/true"}),
                           ("Invalid uid: me", {"uid": "me"}), ("Invalid gid: -1", {"gid": "-1"}),
                           ("NotADirectory", {"chroot-base-dir": "/bin/true"}), ("CgroupInvalidVersion: 3", {"cgroup-version": 3}),
                           ("CgroupFormat", {"cgroup": "cpu.max"}), ("CgroupInvalidFile", {"cgroup": "../x.y=1"}),
                           ("CgroupInvalidParentPath", {"parent-cgroup": "../up"}),
                           ("ResLimitFormat", {"resource-limit": "fsize"}), ("not supported: cpu", {"resource-limit": "cpu=1"}),
                           ("ResLimitValue", {"resource-limit": "fsize=much"}), ("Found argument '--what'", {"what": 1}),
                           ("/nowhere: No such file", {"netns": "/nowhere"})):
        result = run(home, *arguments(home, **changes))
        assert result.returncode == 1 and words in result.stderr, f"{changes}: {result}"


def jailed(home, *more):
    """A VM in a jail: the program, its root outside, the pid of the VMM."""
    if os.geteuid() != 0:
        raise Skip("only root can make a jail")
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode:
        raise Skip("no mount namespace can be had here")
    for folder in (home.dir, *home.dir.parents):  # the VMM's user must be able to get there, as with the real one
        if folder != folder.parent and not folder.stat().st_mode & 1 and folder == home.dir:
            folder.chmod(0o711)
    root = home.dir / "firecracker" / "vm-1" / "root"
    root.mkdir(parents=True)
    shutil.copy(guest(), root / "kernel")
    open_fd = os.open("/dev/null", os.O_RDONLY)
    program = Program(home, "jailer", *arguments(home), *more, "--", "--api-sock", "/api.sock",
                      settings={"LOG": "/requests"}, pass_fds=[open_fd])
    os.close(open_fd)
    return program, root, connect(await_path(root, "api.sock"))


def look(pid, root):
    """What is true of the process in the jail."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        assert file.read() == b""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        lines = dict(line.split(":\t") for line in file if ":\t" in line)
    assert lines["Uid"].split() == [str(UID)] * 4 and lines["Gid"].split() == [str(GID)] * 4 and not lines["Groups"].split()
    assert os.stat(f"/proc/{pid}/root/kernel").st_ino == os.stat(root / "kernel").st_ino
    assert sorted(os.listdir(f"/proc/{pid}/root/usr/bin"))[:3] and not os.path.exists(f"/proc/{pid}/root/etc")
    assert not os.access(f"/proc/{pid}/root/usr/x", os.W_OK)
    for fd in os.listdir(f"/proc/{pid}/fd"):
        assert int(fd) < 3 or os.readlink(f"/proc/{pid}/fd/{fd}") != "/dev/null", "a descriptor came through"


def live(program, api, root):
    api.ok("PUT", "/boot-source", {"kernel_image_path": "/kernel"})
    api.ok("PUT", "/vsock", {"guest_cid": 3, "uds_path": "/v.sock"})
    api.ok("PUT", "/actions", {"action_type": "InstanceStart"})
    program.await_text("KILN_READY")
    assert (root / "v.sock").is_socket() and (root / "requests").exists()


def assert_gone(root):
    """Its mounts were its own: nothing is mounted here, and what is left can be removed."""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        assert str(root) not in mounts.read()
    assert not os.listdir(root / "usr") and not os.listdir(root / "proc")
    shutil.rmtree(root)


def test_a_guest_runs_in_a_jail(home):
    program, root, api = jailed(home, "--resource-limit", "no-file=1000", "--resource-limit", "fsize=1000000000")
    look(program.process.pid, root)
    with open(f"/proc/{program.process.pid}/limits", encoding="ascii") as file:
        limits = file.read()
    assert "Max open files            1000" in limits and "Max file size             1000000000" in limits, limits
    live(program, api, root)
    program.type("r\n")
    assert program.wait() == 0
    program.end()
    assert_gone(root)
    assert_clean(home)


def test_with_a_pid_namespace_the_jailer_exits_and_tells_the_pid(home):
    program, root, api = jailed(home, "--new-pid-ns")
    assert program.wait() == 0
    pid = program.detached = int((root / "firecracker.pid").read_text())
    look(pid, root)
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        assert [line.split()[2] for line in file if line.startswith("NSpid:")] == ["1"]
    live(program, api, root)
    program.end()  # its children go with their namespace
    assert_clean(home)


def test_a_cgroup_is_made_and_joined(home):
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        raise Skip("no namespaces")
    with open("/proc/mounts", encoding="utf-8") as mounts:
        tops = [line.split()[1] for line in mounts if line.split()[2] == "cgroup2"]
    if not tops or not os.access(f"{tops[0]}/cgroup.subtree_control", os.W_OK):
        raise Skip("there is no cgroup2 that can be written to")
    with open(f"{tops[0]}/cgroup.controllers", encoding="ascii") as file:
        if "pids" not in file.read().split():
            raise Skip("the pids controller is not in cgroup2 here")
    program, root, api = jailed(home, "--cgroup-version", "2", "--cgroup", "pids.max=500", "--parent-cgroup", "standin-test")
    folder = f"{tops[0]}/standin-test/vm-1"
    with open(f"{folder}/pids.max", encoding="ascii") as file:
        assert file.read() == "500\n"
    with open(f"{folder}/cgroup.procs", encoding="ascii") as file:
        assert str(program.process.pid) in file.read().split()
    assert api.ok("GET", "/")["id"] == "vm-1"
    program.end()
    os.rmdir(folder)
    os.rmdir(os.path.dirname(folder))
    assert root.exists()


if __name__ == "__main__":
    main(sys.modules[__name__])
