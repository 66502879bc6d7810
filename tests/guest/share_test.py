#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Directories of the host in VMs by virtiofsd, with the backends that have them: QEMU and Cloud Hypervisor (a stand-in
where there is none)."""
import json
import os
import pathlib
import shutil
import signal
import sys

import kilntest
from kilntest import BUILD, main, need_qemu, shown, wait_gone

BACKENDS = ("qemu", "cloud-hypervisor")


def need_virtiofsd():
    need_qemu()
    if os.geteuid() != 0:
        raise kilntest.Skip("QEMU's own virtiofsd runs as root only")
    if not any(os.path.exists(p) for p in ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")) and not shutil.which("virtiofsd"):
        raise kilntest.Skip("virtiofsd is not installed")


def options(backend):
    own = ["--backend", backend, "--rootfs", kilntest.busybox_root()]
    if backend != "qemu" and not shutil.which(backend):
        own += ["--set", f"cloud_hypervisor.binary={BUILD}/tests/standins/{backend}", "--set", "cloud_hypervisor.preflight=false"]
    return own


def servers(directory):
    """The numbers of the virtiofsd that serve it."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"source={directory}".encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            pass
    return found


def shared(home, name):
    directory = home.dir / name
    directory.mkdir()
    (directory / "host").write_text("from the host\n")
    return directory


def test_files_pass_both_ways(home):
    need_virtiofsd()
    for backend in BACKENDS:
        work, tools = shared(home, f"work-{backend}"), shared(home, f"tools-{backend}")
        result = home.kiln("run", *options(backend), "-v", f"{work}:/work", "--share", f"{tools}:/srv/tools:ro", "--", "sh", "-c",
                           "cat /work/host; echo from the guest > /work/guest && chmod 640 /work/guest && chown 7:8 /work/guest && mv /work/host /work/moved;"
                           "cat /srv/tools/host; mount -o remount,rw /srv/tools; echo x > /srv/tools/guest; rm /srv/tools/host; exit 3")
        assert result.code == 3 and result.out == "from the host\n" * 2, (backend, result)
        made = (work / "guest").stat()
        assert (work / "guest").read_text() == "from the guest\n" and (made.st_uid, made.st_gid, made.st_mode & 0o7777) == (7, 8, 0o640), made
        assert sorted(p.name for p in work.iterdir()) == ["guest", "moved"]
        assert [p.name for p in tools.iterdir()] == ["host"], "a read-only share was written to"
        assert all(wait_gone(pid, 20) for pid in servers(work) + servers(tools)), "a virtiofsd outlives its VM"
    home.assert_clean()
    shown("shares by virtiofsd: files pass both ways, read-only ones hold against a guest's root")


def test_a_share_without_a_place_has_its_tag(home):
    need_virtiofsd()
    work = shared(home, "a work")
    result = home.kiln("run", *options("qemu"), "--share", work, "--", "sh", "-c",
                       "mkdir /m && mount -t virtiofs share0 /m && cat /m/host")
    assert (result.code, result.out) == (0, "from the host\n"), result
    home.assert_clean()


def test_whatever_is_killed_leaves_nothing(home):
    need_virtiofsd()
    for backend in BACKENDS:
        work = shared(home, f"killed-{backend}")
        for who in ("runner", "vmm", "virtiofsd"):
            home.ok("run", "-d", "--name", "a", *options(backend), "-v", f"{work}:/work", "--", "sleep", "10000")
            told = json.loads(home.ok("inspect", "a"))[0]
            serving = servers(work)
            assert serving, "nobody serves it"
            os.kill({"runner": told["pid"], "vmm": told["vmm_pid"], "virtiofsd": min(serving)}[who], signal.SIGKILL)
            home.kiln("wait", "a")
            for pid in (*serving, told["vmm_pid"]):
                assert wait_gone(pid, 20), f"{backend}: {pid} outlives its {who}"
            told = json.loads(home.ok("inspect", "a"))[0]
            assert told["state"] == "failed", (backend, who, told)
            if who == "virtiofsd":
                assert "shares[0]: virtiofsd was killed by signal 9" in told["failure"]["message"], (backend, told["failure"])
            home.ok("rm", "a")
    home.assert_clean()
    shown("shares: runner, VMM or virtiofsd killed: nothing is left, and the reason is told")


def test_what_cannot_be_shared_is_refused_by_name(home):
    need_virtiofsd()
    work = shared(home, "refused")
    for words, says in ((["-v", f"{work}/none:/work"], "shares[0].source"), (["-v", f"{work}/host:/work"], "is no directory"),
                        (["--backend", "firecracker", "-v", f"{work}:/work"], "shares: the firecracker backend does not have it"),
                        (["--set", f'shares=[{{"source": "{work}", "name": "a"}}]'], "shares[0].name"),
                        (["-v", f"{work},x:/work"], "shares[0].source")):
        refused = home.kiln("run", *options("qemu"), *words, "--", "true")
        assert refused.code == 125 and says in refused.err, (words, refused)
    home.assert_clean()


if __name__ == "__main__":
    main(sys.modules[__name__])
