#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kiln disk and kiln volume on files: whole or not at all, sparse, locked while in use.

usage: cli_disk_test.py KILN
"""
import fcntl
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

kiln = os.path.abspath(sys.argv[1])
work = pathlib.Path(tempfile.mkdtemp(prefix="kiln-disk-test-"))
env = dict(os.environ, KILN_HOME=str(work / "home"), KILN_RUNTIME_DIR=str(work / "run"))
noise = random.Random(7)


def run(*args, **more):
    return subprocess.run([kiln, *map(str, args)], capture_output=True, text=True, cwd=work, env=env, timeout=120, **more)


def ok(*args, **more):
    result = run(*args, **more)
    assert result.returncode == 0, result
    return result.stdout


def refused(*args, says, **more):
    result = run(*args, **more)
    assert result.returncode == 125 and all(word in result.stderr for word in says), result
    assert result.stderr.count("\n") <= 2, result
    return result


def info(path):
    return json.loads(ok("disk", "info", "--format", "json", path))[0]


def allocated(path):
    return os.stat(path).st_blocks * 512


def files():
    return sorted(p.name for p in work.iterdir())


def test_create():
    assert ok("disk", "create", "a.raw", "1G") == "a.raw\n"
    assert info("a.raw") == {"file": "a.raw", "format": "raw", "virtual_size": 1 << 30, "allocated": 0, "in_use": False}
    assert os.stat(work / "a.raw").st_mode & 0o777 == 0o600
    before = files()
    refused("disk", "create", "a.raw", "2G", says=["a.raw is there already"])
    refused("disk", "create", "nowhere/a.raw", "2G", says=["nowhere"])
    for size in ("0", "x", "-1G", "1", "65T", "99999999999T"):
        refused("disk", "create", "b.raw", size, says=[""])
    refused("disk", "create", "b.raw", says=["usage"])
    refused("disk", "info", says=["usage"])
    refused("disk", "crate", "b.raw", says=["no command"])
    assert files() == before and info("a.raw")["virtual_size"] == 1 << 30
    ok("disk", "create", "odd.raw", "1000")
    assert os.stat(work / "odd.raw").st_size == 1024, "whole sectors"


def test_a_clone_has_the_same_bytes_and_holes():
    with open(work / "holes", "wb") as file:
        for at in (0, 5 << 20, (64 << 20) - 4096, 200 << 20):
            file.seek(at)
            file.write(noise.randbytes(4096 * 3))
        file.truncate((300 << 20) + 100)
    ok("disk", "clone", "holes", "copy")
    assert (work / "copy").read_bytes()[:os.stat(work / "holes").st_size] == (work / "holes").read_bytes()
    assert os.stat(work / "copy").st_size % 512 == 0 and allocated(work / "copy") <= allocated(work / "holes") + 8192
    ok("disk", "clone", "--size", "1G", "holes", "bigger")
    assert info("bigger")["virtual_size"] == 1 << 30 and allocated(work / "bigger") < 1 << 20
    refused("disk", "clone", "--size", "1M", "holes", "smaller", says=["cannot be smaller"])
    refused("disk", "clone", "holes", "copy", says=["copy is there already"])
    refused("disk", "clone", "nothing", "x", says=["nothing"])
    refused("disk", "clone", ".", "x", says=["neither a file nor a block device"])
    os.mkfifo(work / "fifo")
    refused("disk", "clone", "fifo", "x", says=["neither a file nor a block device"])
    os.symlink("holes", work / "link")
    ok("disk", "clone", "link", "by-link")
    (work / "empty").touch()
    assert ok("disk", "clone", "empty", "empty2") == "empty2\n"


def test_resize():
    ok("disk", "create", "r", "10M")
    ok("disk", "resize", "r", "20M")
    ok("disk", "resize", "r", "+12M")
    assert info("r")["virtual_size"] == 32 << 20
    refused("disk", "resize", "r", "16M", says=["would be lost", "--force"])
    refused("disk", "resize", "r", "+16777215T", says=["size"])
    ok("disk", "resize", "--force", "r", "16M")
    assert info("r")["virtual_size"] == 16 << 20
    refused("disk", "resize", "nothing", "16M", says=["nothing"])


def test_what_is_locked_is_neither_cloned_nor_resized():
    ok("disk", "create", "busy", "1M")
    with open(work / "busy", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused("disk", "clone", "busy", "other", says=["busy is in use"])
        refused("disk", "resize", "busy", "2M", says=["busy is in use"])
        assert info("busy")["in_use"]
        fcntl.flock(file, fcntl.LOCK_SH)  # as of a machine that only reads
        ok("disk", "clone", "busy", "read")
        refused("disk", "resize", "busy", "2M", says=["busy is in use"])
    ok("disk", "resize", "busy", "2M")
    assert not (work / "other").exists()


def test_formats():
    for name, magic in (("vmdk", b"KDMV"), ("vhdx", b"vhdxfile"), ("qed", b"QED\0"), ("parallels", b"WithoutFreeSpace")):
        (work / name).write_bytes(magic + bytes(1 << 16))
        assert info(name)["format"] == name
        refused("disk", "clone", name, "x", says=[f"a {name} image", "qemu-img convert"])
        refused("disk", "resize", name, "1G", says=[f"a {name} image"])
    for text in (b"QFI\xfb", b"QFI\xfb" + bytes(200), b"QFI\xfb\0\0\0\2" + b"\xff" * 200, b"QFI\xfb\0\0\0\3" + bytes(16) + b"\xff" * 8 + bytes(100)):
        (work / "bad").write_bytes(text)
        refused("disk", "clone", "bad", "x", says=["bad is a qcow2 image that cannot be cloned"])
        assert run("disk", "info", "bad").returncode == 0
    if not shutil.which("qemu-img"):
        return
    (work / "data").write_bytes(noise.randbytes(3 << 20) + bytes(13 << 20))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "data", "q"], cwd=work, check=True)
    assert info("q")["format"] == "qcow2" and info("q")["virtual_size"] == 16 << 20
    ok("disk", "clone", "q", "raw")
    assert (work / "raw").read_bytes() == (work / "data").read_bytes() and allocated(work / "raw") < 4 << 20
    # A file that would have another one's bytes read: the reader never gets to see that.
    for options in (["-b", "data", "-F", "raw"], ["-o", "data_file=external"]):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, "hostile"] + (["1M"] if "-o" in options else []), cwd=work, check=True)
        refused("disk", "clone", "hostile", "x", says=["cannot be cloned", "another file"])
    broken = bytearray((work / "q").read_bytes())
    broken[40:48] = b"\xff" * 8  # the offset of its table
    (work / "broken").write_bytes(broken)
    refused("disk", "clone", "broken", "x", says=["qemu-img cannot read broken"])
    assert not (work / "x").exists()


def test_a_full_disk_leaves_nothing():
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    (work / "large").write_bytes(noise.randbytes(4 << 20))
    before = files()
    refused("disk", "clone", "large", "x", says=[""], preexec_fn=limit)
    refused("disk", "create", "x", "10M", says=[""], preexec_fn=limit)
    assert files() == before
    mounted = subprocess.run(["unshare", "-m", "sh", "-c", 'mkdir full && mount -t tmpfs -o size=2m none full && '
                              'if "$0" disk clone large full/x; then exit 3; fi; ls -A full; exit 0', kiln], capture_output=True, text=True, cwd=work, env=env, check=False)
    if mounted.returncode == 3 or (mounted.returncode == 0 and mounted.stdout):
        raise AssertionError(mounted)


def test_killed_at_any_moment():
    """Files that are there are whole, whenever the command was killed."""
    (work / "source").write_bytes(noise.randbytes(48 << 20))
    want = (work / "source").read_bytes()
    before = files()
    whole = 0
    for i in range(30 if os.environ.get("KILN_SOAK") else 8):
        child = subprocess.Popen([kiln, "disk", "clone", "source", "target"], cwd=work, env=env, stdout=subprocess.DEVNULL)
        try:
            child.wait(timeout=noise.uniform(0.001, 0.08))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if (work / "target").exists():
            assert (work / "target").read_bytes() == want
            whole += 1
            (work / "target").unlink()
        assert files() == before, files()
    print(f"shown: a clone killed at random moments is whole ({whole}) or not there at all")


def shares_blocks(place):
    with tempfile.NamedTemporaryFile(dir=place) as source, tempfile.NamedTemporaryFile(dir=place) as target:
        source.write(b"x" * 65536)
        source.flush()
        try:
            fcntl.ioctl(target, 0x40049409, source.fileno())  # FICLONE
        except OSError:
            return False
        return True


def clone_shares(place):
    """No block more, at once, the same bytes; and what is written to one is not in the other."""
    original, clone = pathlib.Path(place) / "original.raw", pathlib.Path(place) / "clone.raw"
    data = random.Random(3).randbytes(32 << 20)
    original.write_bytes(data)
    os.sync()
    free = os.statvfs(place).f_bfree * os.statvfs(place).f_bsize
    result = run("disk", "clone", "--progress", "plain", original, clone)
    assert result.returncode == 0 and "shares the blocks" in result.stderr, result
    os.sync()
    taken = free - os.statvfs(place).f_bfree * os.statvfs(place).f_bsize
    assert taken < 4 << 20, taken
    assert clone.read_bytes() == data
    with open(clone, "r+b") as file:
        file.write(b"changed")
    assert original.read_bytes() == data
    elsewhere = run("disk", "clone", "--progress", "plain", original, work / "elsewhere.raw")
    assert elsewhere.returncode == 0 and "is a copy of" in elsewhere.stderr and (work / "elsewhere.raw").read_bytes() == data, elsewhere
    (work / "elsewhere.raw").unlink()
    original.unlink()
    clone.unlink()


def test_blocks_are_shared_where_the_file_system_can():
    """On XFS, in a file mounted for it, where that may be done here; else where such a file system is at hand."""
    mount = work / "xfs"
    with open(work / "xfs.img", "wb") as file:
        file.truncate(400 << 20)
    mount.mkdir()
    mkfs = shutil.which("mkfs.xfs", path=os.environ["PATH"] + ":/sbin:/usr/sbin")
    if os.geteuid() == 0 and mkfs and subprocess.run([mkfs, "-q", "-m", "reflink=1", work / "xfs.img"], check=False).returncode == 0 and \
            subprocess.run(["mount", "-o", "loop", work / "xfs.img", mount], capture_output=True, check=False).returncode == 0:
        try:
            clone_shares(mount)
        finally:
            subprocess.run(["umount", mount], check=True)
        print("shown: a clone on XFS shares all blocks")
    else:
        places = [place for place in (work, pathlib.Path.home(), pathlib.Path("/var/tmp")) if shares_blocks(place)]
        for place in places[:1]:
            with tempfile.TemporaryDirectory(dir=place) as name:
                clone_shares(name)
        if not places:
            print("      no file system here shares blocks (FICLONE), and none can be mounted: only copies were tried")
    (work / "xfs.img").unlink()
    mount.rmdir()


def test_volumes():
    assert ok("volume", "ls", "-q") == "" and json.loads(ok("volume", "ls", "--format", "json")) == []
    assert ok("volume", "create", "one") == "one\n"
    ok("volume", "create", "--size", "64M", "two")
    refused("volume", "create", "one", says=['a volume "one" already'])
    for name in ("", ".", "..", "a/b", "-x", "a b", "x" * 65, "\u00e4"):
        refused("volume", "create", "--", name, says=["name"])
    refused("volume", "create", "--size", "1M", "small", says=["16 MiB"])
    listed = {v["name"]: v for v in json.loads(ok("volume", "ls", "--format", "json"))}
    assert listed["one"]["size"] == 16 << 30 and listed["two"]["size"] == 64 << 20 and listed["one"]["allocated"] < 1 << 20, listed
    for volume in listed.values():
        check = next((p for p in ("/usr/sbin/e2fsck", "/sbin/e2fsck") if os.path.exists(p)), None)
        assert not check or subprocess.run([check, "-fn", volume["mountpoint"]], capture_output=True).returncode == 0
        assert os.stat(volume["mountpoint"]).st_mode & 0o777 == 0o600
    assert [v["name"] for v in json.loads(ok("volume", "inspect", "two", "one"))] == ["two", "one"]
    refused("volume", "inspect", "none", says=['no volume "none"'])
    with open(listed["one"]["mountpoint"], "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused("volume", "rm", "one", says=['"one" is in use'])
    vm = ok("create", "--rootfs", work / "home", "-v", "one:/data", "--", "true").strip()
    refused("volume", "rm", "one", says=["belongs to 1 VM", "--force"])
    shown = run("volume", "prune")
    assert shown.returncode == 125 and shown.stdout == "two\n" and "--force" in shown.stderr, shown
    assert ok("volume", "prune", "--force") == "two\n" and ok("volume", "ls", "-q") == "one\n"
    ok("rm", vm)
    assert ok("volume", "rm", "one") == "one\n"
    refused("volume", "rm", "one", says=['no volume "one"'])
    refused("volume", "rm", says=["a name is missing"])


failures = 0
for name, function in list(globals().items()):
    if name.startswith("test_"):
        try:
            function()
            print("ok   ", name)
        except Exception as why:  # pylint: disable=broad-except
            failures += 1
            print("FAIL ", name, type(why).__name__, why)
shutil.rmtree(work, ignore_errors=True)
sys.exit(1 if failures else 0)
