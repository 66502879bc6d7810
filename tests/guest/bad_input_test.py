#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input: each a clear error with exit 125, and nothing left behind."""
import os
import pathlib
import random
import resource
import shutil
import socket
import struct
import subprocess
import sys

import kilntest
from kilntest import BUILD, KILN, SOURCE, busybox_root, need_qemu, shown

NOBODY = 65534
cases = 0


def told(r, *says, code=125):
    """One line of what and why, one of what to do, nothing on stdout."""
    global cases
    assert r.code == code and r.out == "", r
    lines = [line for line in r.err.splitlines() if not line.startswith("kiln: note:")]
    what = next((n for n, line in enumerate(lines) if line.startswith("kiln: ")), -1)
    assert -1 < what < len(lines) - 1 and lines[what + 1].startswith("      "), r  # what to do
    for word in says:
        assert word in r.err, (word, r)
    cases += 1


def refused(home, *args, says=()):
    told(home.kiln(*args), *says)
    home.assert_clean()


def test_configuration(home):
    config = home.dir / "vm.json"

    def document(text, *says):
        config.write_text(text)
        refused(home, "create", "--config", config, says=says)

    document('{"cpuz": 1}', "cpuz", "cpus")
    document('{"cpus": "many"}', "cpus")
    document('{"cpus": 1.5}', "cpus")
    document('{"process": {"args": [1]}}', "process.args[0]")
    document('{"cpus": 0}', "cpus")
    document('{"memory": 1}', "memory")
    document('{"memory": "900G"}', "memory", "than this host has")
    document('{"memory": "900T"}', "memory")
    document('{"cpus": 1', "line 1")
    document('{"idle": {}}', "idle")
    root = busybox_root()
    refused(home, "run", "--cpus", "0", "--rootfs", root, "--", "true", says=["cpus"])
    refused(home, "run", "-m", "1", "--rootfs", root, "--", "true", says=["memory"])
    refused(home, "run", "-m", "900G", "--rootfs", root, "--", "true", says=["memory", "than this host has"])
    refused(home, "run", "--name", "a/b", "--rootfs", root, "--", "true", says=["a/b"])
    refused(home, "run", "--backend", "nonsense", "--rootfs", root, "--", "true", says=["nonsense"])
    shown(f"{cases} bad configurations refused with what, why and what to do; nothing left")


def bzimage(name, size):
    """An x86 kernel's header (Documentation/arch/x86/boot.rst) that promises a mebibyte of kernel, cut to @size."""
    image = bytearray(2 << 20)
    image[0x1F1] = 1
    image[0x1F4:0x1F8] = struct.pack("<I", (1 << 20) // 16)
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x202:0x206] = b"HdrS"
    image[0x206:0x208] = struct.pack("<H", 0x020F)
    image[0x211] = image[0x236] = 1  # loaded high, 64-bit
    name.write_bytes(image[:size])


def test_kernels(home):
    root = busybox_root()
    text = home.dir / "text"
    text.write_text("this is no kernel\n" * 1000)
    empty = home.dir / "empty"
    empty.write_bytes(b"")
    arm = home.dir / "arm64"
    image = bytearray(4096)
    image[56:60] = b"ARMd"
    arm.write_bytes(image)
    cut = home.dir / "cut"
    bzimage(cut, 4096)

    def kernel(path, *says):
        refused(home, "run", "--kernel", path, "--rootfs", root, "--", "true", says=says)

    kernel(home.dir / "absent", "absent")
    kernel(text, "not a kernel", "text")
    kernel(empty, "kernel")
    kernel(arm, "arm64")
    kernel(cut, "truncated")
    kernel(home.dir, "kernel")
    if not os.path.exists(f"/boot/vmlinuz-{os.uname().release}"):
        kernel("host", "/boot/vmlinuz")
    real = kilntest.CACHE / "test-kernel" / "vmlinuz"  # what the guest's tests fetch
    if real.exists():
        for size in (100, 0x210, 5000, real.stat().st_size // 2):
            cut.write_bytes(real.read_bytes()[:size])
            kernel(cut, "kernel")


def test_files(home):
    root = busybox_root()
    refused(home, "run", "--rootfs", home.dir / "absent", "--", "true", says=["absent"])
    refused(home, "run", "--disk", home.dir / "absent", "--rootfs", root, "--", "true", says=["absent"])
    refused(home, "run", "--disk", home.dir, "--rootfs", root, "--", "true", says=["disks[0]", "is a directory"])
    os.mkfifo(home.dir / "fifo")
    refused(home, "run", "--disk", f"{home.dir / 'fifo'}:ro", "--rootfs", root, "--", "true", says=["neither a file nor"])
    damaged = home.dir / "damaged.tar"
    damaged.write_bytes(b"rubbish" * 1000)
    refused(home, "run", "--rootfs", damaged, "--", "true", says=["damaged.tar"])


def test_no_such_command(home):
    need_qemu()
    told(home.kiln("run", "--rootfs", busybox_root(), "--", "no-such-command"), "no-such-command", code=127)
    home.assert_clean()


def give_away(home):
    """Makes the test's files those of a user without rights, with a kiln and a root that he can reach."""
    programs = home.dir / "programs"
    programs.mkdir()
    for name in ("kiln", "kiln-runner", "kiln-image"):
        shutil.copy2(BUILD / name, programs / name)
    (programs / "guest").mkdir()
    for guest in (BUILD / "guest").glob("kiln-guest-*"):
        if guest.is_file():
            shutil.copy2(guest, programs / "guest" / guest.name)
    root = home.dir / "tree"
    shutil.copytree(busybox_root(), root, symlinks=True)
    cache = home.dir / "cache"
    shutil.copytree(home.env["KILN_IMAGE_CACHE"], cache, symlinks=True, ignore=shutil.ignore_patterns("busybox-root"))
    home.env["KILN_IMAGE_CACHE"] = str(cache)
    for folder, names, files in os.walk(home.dir):
        for name in [".", *names, *files]:
            os.chown(os.path.join(folder, name), NOBODY, NOBODY, follow_symlinks=False)
    return programs / "kiln", root


def test_too_little_memory(home):
    need_qemu()
    refused(home, "run", "-m", "64M", "--rootfs", busybox_root(), "--", "true", says=["80 MiB"])
    r = home.kiln("run", "--kernel", kernel_file(), "-m", "64M", "--rootfs", busybox_root(), "--", "true")
    assert r.code == 125 and "memory" in r.err and "more memory than 64 MiB" in r.err, r
    home.assert_clean()


def test_unreadable_disk(home):
    need_qemu()
    program, root, user = KILN, busybox_root(), {}
    if os.geteuid() == 0:  # who reads everything
        home.ok("run", "--rootfs", root, "--", "true")  # what it needs is cached
        program, root = give_away(home)
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    disk = home.dir / "secret-disk"
    disk.write_bytes(b"\0" * 4096)
    disk.chmod(0)
    r = kilntest.Result(subprocess.run(
        [str(program), "run", "--disk", str(disk), "--rootfs", str(root), "--", "true"], env=home.env,
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=kilntest.DEADLINE, check=False, **user))
    told(r, "secret-disk", "Permission denied")
    home.assert_clean()


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
    shown(f"a control socket fed rubbish over {n + 1} connections: the VM lives on")


def kernel_file():
    """A real kernel's file, so that nothing is downloaded."""
    done = subprocess.run([str(SOURCE / "tests" / "guest" / "fetch-kernel.sh")], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise kilntest.Skip(done.stderr.strip())
    return pathlib.Path(done.stdout.strip()) / "vmlinuz"


def check_nothing_cached(cache):
    left = [p for p in cache.rglob("*") if p.is_file() and p.name != "lock" and p.stat().st_size > 0]
    assert not left, left


def test_full_disk_while_caching(home):
    kernel = kernel_file()
    if os.geteuid() != 0:
        raise kilntest.Skip("mounting a small file system needs root")
    small = home.dir / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=False,
                      capture_output=True).returncode:
        raise kilntest.Skip("cannot mount a tmpfs here")
    try:
        home.env["KILN_IMAGE_CACHE"] = str(small / "images")
        refused(home, "run", "--kernel", kernel, "--rootfs", busybox_root(), "--", "true", says=["space"])
        check_nothing_cached(small)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_files_that_may_not_grow_while_caching(home):
    kernel = kernel_file()
    cache = home.dir / "cache"
    home.env["KILN_IMAGE_CACHE"] = str(cache)
    child = home.popen("run", "--kernel", kernel, "--rootfs", busybox_root(), "--", "true", stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
    out, err = child.communicate(timeout=kilntest.DEADLINE)
    told(kilntest.Result(subprocess.CompletedProcess([], child.returncode, out, err)), "File too large")
    home.assert_clean()
    check_nothing_cached(cache)


if __name__ == "__main__":
    kilntest.main(sys.modules[__name__])
