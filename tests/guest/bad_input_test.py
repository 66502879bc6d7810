#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input: each a clear error with exit 125, and nothing left behind."""
import os
import random
import socket
import subprocess
import sys

import kilntest
from kilntest import busybox_root, need_qemu


def refused(home, *args, says=()):
    r = home.kiln(*args)
    assert r.code == 125, (args, r)
    assert r.out == "", (args, r)
    for word in says:
        assert word in r.err, (args, word, r)
    home.assert_clean()


def test_configuration(home):
    config = home.dir / "vm.json"

    def document(text, *says):
        config.write_text(text)
        refused(home, "create", "--config", config, says=says)

    document('{"cpuz": 1}', "cpuz", "cpus")
    document('{"cpus": "many"}', "cpus")
    document('{"cpus": 0}', "cpus")
    document('{"memory": 1}', "memory")
    document('{"memory": "900T"}', "memory")
    document('{"cpus": 1', "line 1")
    document('{"shares": []}', "shares")
    root = busybox_root()
    refused(home, "run", "--cpus", "0", "--rootfs", root, "--", "true", says=["cpus"])
    refused(home, "run", "-m", "1", "--rootfs", root, "--", "true", says=["memory"])
    refused(home, "run", "--name", "a/b", "--rootfs", root, "--", "true", says=["a/b"])
    refused(home, "run", "--backend", "nonsense", "--rootfs", root, "--", "true", says=["nonsense"])


def test_files(home):
    root = busybox_root()
    text = home.dir / "text"
    text.write_text("this is no kernel\n" * 1000)
    empty = home.dir / "empty"
    empty.write_bytes(b"")
    arm = home.dir / "arm64"
    image = bytearray(4096)
    image[56:60] = b"ARMd"
    arm.write_bytes(image)
    refused(home, "run", "--kernel", home.dir / "absent", "--rootfs", root, "--", "true", says=["absent"])
    refused(home, "run", "--kernel", text, "--rootfs", root, "--", "true", says=["kernel"])
    refused(home, "run", "--kernel", empty, "--rootfs", root, "--", "true", says=["kernel"])
    refused(home, "run", "--kernel", arm, "--rootfs", root, "--", "true", says=["arm64"])
    refused(home, "run", "--rootfs", home.dir / "absent", "--", "true", says=["absent"])
    refused(home, "run", "--disk", home.dir / "absent", "--rootfs", root, "--", "true", says=["absent"])


def test_truncated_kernel(home):
    need_qemu()
    kernels = sorted(kilntest.CACHE.glob("**/vmlinuz-*"))
    if not kernels:
        raise kilntest.Skip("no kernel was cached yet")
    cut = home.dir / "cut"
    cut.write_bytes(kernels[0].read_bytes()[:1 << 20])
    refused(home, "run", "--kernel", cut, "--rootfs", busybox_root(), "--", "true", says=["truncated"])


def test_too_little_memory(home):
    need_qemu()
    kernels = sorted(kilntest.CACHE.glob("**/vmlinuz-*"))
    if not kernels:
        raise kilntest.Skip("no kernel was cached yet")
    refused(home, "run", "-m", "64M", "--rootfs", busybox_root(), "--", "true", says=["80 MiB"])
    r = home.kiln("run", "--kernel", kernels[0], "-m", "64M", "--rootfs", busybox_root(), "--", "true")
    assert r.code == 125 and "memory" in r.err and "more memory than 64 MiB" in r.err, r
    home.assert_clean()


def test_unreadable_disk(home):
    need_qemu()
    if os.geteuid() == 0:
        raise kilntest.Skip("root reads everything")
    disk = home.dir / "disk"
    disk.write_bytes(b"\0" * 4096)
    disk.chmod(0)
    refused(home, "run", "--disk", disk, "--rootfs", busybox_root(), "--", "true", says=["disk"])


def test_control_socket_fed_rubbish(home):
    need_qemu()
    home.ok("run", "-d", "--name", "fed", "--rootfs", busybox_root(), "--", "sleep", "1000")
    paths = [p for p in home.runtime.rglob("control.sock")]
    assert len(paths) == 1, paths
    seeded = random.Random(1)
    for n in range(200 if not kilntest.SOAK else 5000):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(paths[0]))
            s.settimeout(5)
            kind = n % 4
            if kind == 0:
                data = seeded.randbytes(seeded.randrange(1, 5000))
            elif kind == 1:
                data = b'{"jsonrpc":"2.0","id":1,"method":"' + seeded.randbytes(20).hex().encode() + b'"}\n'
            elif kind == 2:
                data = b'{"jsonrpc":"2.0","id":1,"method":"wait","params":{"until":[]}}\n'[:seeded.randrange(1, 60)]
            else:
                data = b"[" * 10000 + b"\n"
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:
                pass
    home.ok("exec", "fed", "--", "true")
    home.ok("rm", "-f", "fed")
    home.assert_clean()


def test_full_disk_while_caching(home):
    need_qemu()
    if os.geteuid() != 0:
        raise kilntest.Skip("mounting a small file system needs root")
    small = home.dir / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=False,
                      capture_output=True).returncode:
        raise kilntest.Skip("cannot mount a tmpfs here")
    try:
        home.env["KILN_IMAGE_CACHE"] = str(small / "images")
        r = home.kiln("run", "--rootfs", busybox_root(), "--", "true")
        assert r.code == 125 and "space" in r.err, r
        left = [p for p in (small / "images").rglob("*") if p.is_file() and p.stat().st_size > 4096]
        assert not left, left
        home.assert_clean()
    finally:
        subprocess.run(["umount", str(small)], check=True)


if __name__ == "__main__":
    kilntest.main(sys.modules[__name__])
