#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at seeded random moments: the next command tells the truth, and nothing is left."""
import json
import os
import random
import select
import shutil
import subprocess
import sys
import time

import kilntest
from kilntest import busybox_root, need_qemu, shown

MOMENTS = 30 if kilntest.SOAK else 6


def pause(seconds):
    """The moment itself is what is random here: nothing is waited for."""
    select.select([], [], [], seconds)


def test_command_killed_at_any_moment(home):
    need_qemu()
    home.ok("run", "--rootfs", busybox_root(), "--", "true")  # caches filled
    seeded = random.Random(11)
    for turn in range(MOMENTS):
        named = turn % 2 == 0
        options = ["-d", "--name", "victim"] if named else []
        child = home.popen("run", *options, "--rootfs", busybox_root(), "--", "sleep", "1000",
                           stdout=-3, stderr=-3)
        pause(seeded.uniform(0, 3.0))
        child.kill()
        child.wait()
        rows = home.vms()
        for row in rows:
            assert row["state"] in ("created", "starting", "running", "ready", "stopping", "stopped", "failed"), row
            home.ok("rm", "-f", row["id"])
        home.assert_clean()
    shown(f"`kiln run` killed at {MOMENTS} moments: the next command tells the truth, nothing is left")


def test_command_killed_while_it_makes_an_image(home):
    root = home.dir / "root"
    subprocess.run(["cp", "-a", str(busybox_root()), str(root)], check=True)
    home.env["KILN_IMAGE_CACHE"] = str(home.dir / "images")
    shutil.copytree(kilntest.CACHE / "test-images" / "objects", home.dir / "images" / "objects", symlinks=True)
    shutil.copytree(kilntest.CACHE / "test-images" / "index", home.dir / "images" / "index", symlinks=True)
    seeded = random.Random(13)
    for turn in range(MOMENTS):
        (root / "noise").write_bytes(seeded.randbytes(24 << 20))  # nothing of it is cached, nor compresses
        child = home.popen("run", "--rootfs", root, "--", "true", stdout=-3, stderr=-3)
        pause(seeded.uniform(0, 1.0))
        child.kill()
        child.wait()
        for row in home.vms():
            home.ok("rm", "-f", row["id"])
        home.assert_clean()
    shown(f"`kiln run` killed at {MOMENTS} moments while it made an image: the next command leaves nothing of it")


def test_runner_or_vmm_killed_at_any_moment(home):
    need_qemu()
    home.ok("run", "--rootfs", busybox_root(), "--", "true")
    seeded = random.Random(12)
    for turn in range(MOMENTS):
        child = home.popen("run", "-d", "--name", "victim", "--rootfs", busybox_root(), "--", "sleep", "1000",
                           stdout=-3, stderr=-3)
        pause(seeded.uniform(0, 3.0))
        wanted = "kiln-runner" if turn % 2 == 0 else "qemu-system"
        for pid, command in home.processes():
            if wanted in command.split(" ")[0]:
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    pass
        child.wait(kilntest.DEADLINE)
        for row in home.vms():
            if row["state"] not in ("ready", "running"):
                found = json.loads(home.ok("inspect", row["id"]))[0]
                assert found["state"] in ("failed", "stopped", "created"), found
                home.ok("start", row["id"])
            home.ok("exec", row["id"], "--", "true")
            home.ok("rm", "-f", row["id"])
        home.assert_clean()
    shown(f"runner or QEMU killed at {MOMENTS} moments: told at once, started again, nothing is left")


if __name__ == "__main__":
    kilntest.main(sys.modules[__name__])
