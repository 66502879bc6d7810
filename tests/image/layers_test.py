#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Layers into one root: hostile ones are refused by layer and entry, and what comes of good ones is what umoci unpacks."""
import bz2
import gzip
import io
import lzma
import os
import pathlib
import random
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import time

from imagetest import BUILD, HELPER, Home, Image, SOAK, Skip, entry, main, need, sha256, tar_of

DIR, LINK, SYM, CHR, BLK, FIFO = (tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
BASE = tar_of([entry("dir", DIR), entry("dir/file", data=b"lower"), entry("link", SYM, linkname="dir"), entry("plain", data=b"x")])


def helper(image, tmp, *options):
    """kiln-image's own answer for an image in a layout: (exit code, text, path of the squashfs)."""
    layout, out = tmp / "layout", tmp / "root.squashfs"
    image.layout(layout)
    with open(out, "w+b") as file:
        blobs = os.open(layout / "blobs/sha256", os.O_RDONLY)
        os.dup2(file.fileno(), 250)
        os.dup2(blobs, 251)
        result = subprocess.run([HELPER, "layers", "--dir", "251", "--output", "250", "--name", "image", *options, image.digest],
                                pass_fds=(250, 251), capture_output=True, text=True, timeout=120, check=False)
        for fd in (250, 251, blobs):
            os.close(fd)
    return result, out


HOSTILE = []


def refused(layers, *words, options=()):
    """The image is refused with these words, by a failure that is told and not a crash; nothing is written beside the output."""
    image = layers if isinstance(layers, Image) else Image(layers)
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)
        result, _ = helper(image, tmp, *options)
        assert result.returncode == 1 and result.stderr.startswith('{"code":'), (result, words)
        HOSTILE.append(words)
        for word in words:
            assert word in result.stderr, (word, result.stderr)
        assert sorted(p.name for p in tmp.iterdir()) == ["layout", "root.squashfs"]


def accepted(layers):
    with tempfile.TemporaryDirectory() as name:
        result, out = helper(Image(layers), pathlib.Path(name))
        assert result.returncode == 0, result
        listing = subprocess.run(["unsquashfs", "-lls", "-n", str(out)], capture_output=True, text=True, check=True).stdout
        files = {line.split("squashfs-root", 1)[1]: line for line in listing.splitlines() if "squashfs-root" in line}
        return {key.split(" -> ")[0]: value for key, value in files.items()}


def second(*entries):
    return [BASE, tar_of(entries)]


def test_paths_out_of_the_root():
    for path in ("../evil", "dir/../../evil", "/etc/evil", "..", "dir/..", "./../evil", "a/../../b"):
        refused(second(entry(path, data=b"x")), "layer 2 of 2", path)
        refused(second(entry(path, DIR)), "layer 2 of 2", path)
    for target in ("../etc/passwd", "/etc/passwd", "dir/../../x"):
        refused(second(entry("new", LINK, linkname=target)), "layer 2 of 2", "new")


def test_paths_through_links():
    refused(second(entry("link/evil", data=b"x")), "link/evil", "symbolic link")
    refused(second(entry("link/sub", DIR)), "link/sub", "symbolic link")
    refused(second(entry("new", LINK, linkname="link/file")), "symbolic link")
    refused(second(entry("plain/evil", data=b"x")), "plain/evil", "no directory")
    # In one layer: a file that becomes a link and is written through; a directory that does.
    refused(second(entry("f", data=b"1"), entry("f", SYM, linkname="/etc"), entry("f/passwd", data=b"x")), "f/passwd", "symbolic link")
    refused(second(entry("dir", SYM, linkname="/etc"), entry("dir/passwd", data=b"x")), "dir/passwd", "symbolic link")
    refused(second(entry("s", SYM, linkname="s"), entry("s/s", data=b"x")), "s/s")


def test_whiteouts_that_climb():
    for path in (".wh.", ".wh..", ".wh...", "dir/.wh..", "dir/.wh...", "dir/.wh."):
        refused(second(entry(path, data=b"")), "layer 2 of 2", path)
    for path in ("../.wh.etc", "/.wh.etc", "dir/../../.wh.x", "../.wh..wh..opq", "/.wh..wh..opq"):
        refused(second(entry(path, data=b"")), "layer 2 of 2", path)
    for path in ("link/.wh.file", "link/.wh..wh..opq"):
        refused(second(entry(path, data=b"")), path, "symbolic link")
    # A whiteout is no directory.
    for path in (".wh.dir/file", "dir/.wh.x/y/z", ".wh.dir/.wh..wh..opq", "./.wh.dir/.wh.file"):
        refused(second(entry(path, data=b"")), path, "below a whiteout")
    found = accepted(second(entry(".wh..wh.plnk", DIR), entry(".wh..wh.plnk/1.2", data=b"aufs"), entry("dir/.wh..wh.orph/x", data=b"aufs")))
    assert not any(".wh." in path for path in found) and "/dir/file" in found, found


def test_links_that_lead_nowhere():
    refused(second(entry("new", LINK, linkname="absent")), "new", "absent")
    refused(second(entry("new", LINK, linkname="dir")), "new", "directory")
    refused(second(entry("new", LINK, linkname="new")), "new")
    refused(second(entry("dir/.wh.file", data=b""), entry("new", LINK, linkname="dir/file")), "dir/file")
    refused(second(entry("new", SYM, linkname="")), "new")
    refused(second(entry("new", SYM, linkname="x" * 5000)), "new")


def test_devices_and_attributes_of_overlays():
    refused(second(entry("c", CHR, devmajor=0, devminor=0)), "'c'", "0:0")
    refused(second(entry("c", CHR, devmajor=5000, devminor=1)), "'c'", "5000")
    refused(second(entry("d", DIR, pax_headers={"SCHILY.xattr.trusted.overlay.opaque": "y"})), "'d", "trusted.overlay.opaque")
    refused(second(entry("f", data=b"x", pax_headers={"SCHILY.xattr.trusted.overlay.metacopy": ""})), "'f'", "trusted.overlay.metacopy")
    assert "/zero" in accepted(second(entry("zero", CHR, devmajor=1, devminor=5)))


def test_impossible_numbers():
    refused(second(entry("f", data=b"x", uid=1 << 40)), "'f'", "owner")
    negative = bytearray(tar_of([entry("f", data=b"x")], format=tarfile.GNU_FORMAT))
    for field in (b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"7777777777 "[:12] + b" ", b"notanumber!!"):
        broken = bytearray(negative)
        broken[124:136] = field
        broken[148:156] = b" " * 8
        broken[148:156] = b"%06o\0 " % sum(broken[:512])
        refused([BASE, bytes(broken)], "layer 2 of 2")


def test_broken_archives():
    good = tar_of([entry("f", data=os.urandom(5000)), entry("g", data=b"y" * 3000)])
    refused([BASE, good[:2048]], "layer 2 of 2")
    refused([BASE, good[:700] + b"\xff" * 512 + good[1212:6144] + b"\xff" * 2048], "layer 2 of 2")
    refused([BASE, b"this is no archive" * 100], "layer 2 of 2")
    image = Image([BASE, good])
    for spoil in (lambda b: b[:-9], lambda b: b[:len(b) // 2], lambda b: b[:40] + bytes(60) + b[100:], lambda b: b""):
        image = Image([BASE, good])
        image.layers[1] = spoil(image.layers[1])
        image.finish()
        refused(image, "layer 2 of 2")


def test_compressions_that_layers_have_not():
    """image-spec has gzip and zstd: any other is refused by its name, also for one whose media type says gzip."""
    need("lz4")
    lz4 = subprocess.run(["lz4", "-c"], input=BASE, capture_output=True, check=True).stdout
    for name, packed in (("bzip2", bz2.compress(BASE)), ("xz", lzma.compress(BASE)), ("LZ4", lz4)):
        image = Image([BASE, BASE])
        image.layers[1] = packed
        image.finish()
        refused(image, "layer 2 of 2", f"compressed by {name}", "gzip and zstd")
    # A name may begin as bzip2 does.
    assert "/BZh91" in accepted([tar_of([entry("BZh91", data=b"x")])]) and "/BZh9" in accepted([tar_of([entry("BZh9", DIR)])])


def test_zstd():
    image = Image([BASE, tar_of([entry("above", data=b"z" * 5000)])])
    for i, layer in enumerate((BASE, tar_of([entry("above", data=b"z" * 5000)]))):
        image.layers[i] = subprocess.run(["zstd", "-q", "-c"], input=layer, capture_output=True, check=True).stdout
    image.finish()
    with tempfile.TemporaryDirectory() as name:
        result, out = helper(image, pathlib.Path(name))
        assert result.returncode == 0, result
        assert "above" in subprocess.run(["unsquashfs", "-l", str(out)], capture_output=True, text=True, check=True).stdout
    for spoil in (lambda b: b[:-9], lambda b: b[:20] + bytes(8) + b[28:]):
        broken = Image([BASE])
        broken.layers[0] = spoil(image.layers[0])
        broken.finish()
        refused(broken, "layer 1 of 1")


def test_what_unpacks_to_something_else():
    image = Image([BASE])
    image.config["rootfs"]["diff_ids"] = ["sha256:" + "1" * 64]
    image.finish()
    refused(image, "sha256:" + "1" * 64, sha256(BASE))


def test_bombs():
    zeros = tar_of([entry("zero", data=bytes(64 << 20))])
    refused([BASE, zeros], "layer 2 of 2", "MiB", options=("--max-bytes", str(16 << 20)))
    refused([tar_of([entry(f"d{i}", DIR) for i in range(2000)])], "entries", options=("--max-entries", "1000"))
    # The same names again and again make no new ones, but are entries.
    refused([tar_of([entry("same", data=b"") for _ in range(2000)])], "entries", options=("--max-entries", "1000"))
    # A megabyte that unpacks to a gigabyte behind the end of the archive.
    tail = tar_of([entry("f", data=b"x")]) + bytes(256 << 20)
    refused([BASE, tail], "MiB", options=("--max-bytes", str(32 << 20)))
    refused([tar_of([entry("/".join(["d"] * 1500), DIR)])], "levels deep")
    refused([tar_of([entry("n" * 300, data=b"x")])], "255")
    # A sparse file of a terabyte.
    sparse = io.BytesIO()
    with tarfile.open(fileobj=sparse, mode="w") as tar:
        info = entry("huge")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "huge", "GNU.sparse.realsize": str(1 << 40)}
        data = b"0\n".ljust(512, b"\0")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    refused([sparse.getvalue()], "huge", "MiB", options=("--max-bytes", str(1 << 30)))


def repeated(member, count):
    """A layer with one member @count times, which tarfile would take its time to write."""
    return tar_of([member])[:512] * count + bytes(1024)


def test_whiteouts_again_and_again():
    """What hides a directory's lower names costs no more for being said for the hundred thousandth time."""
    files = [entry("d", DIR), entry("d/e", DIR)] + [entry(f"d/e/f{i}", data=b"") for i in range(30_000)]
    for again in ("d/e/.wh..wh..opq", "d/.wh..wh..opq", "d/.wh.e"):
        began = time.monotonic()
        found = accepted([BASE, tar_of(files)[:-1024].rstrip(b"\0").ljust(512 * len(files), b"\0") + repeated(entry(again, data=b""), 100_000)])
        took = time.monotonic() - began
        assert sum(path.startswith("/d/e/f") for path in found) == 30_000
        assert took < 15, f"{again}: {took:.1f} s"


def test_how_many_that_were():
    """Of the tests above: each one a layer that was refused by name, with nothing written beside the root."""
    if len(sys.argv) > 1:
        raise Skip("the others were not run")
    assert len(HOSTILE) >= 30, len(HOSTILE)
    print(f"shown: {len(HOSTILE)} hostile layers refused")


def test_random_damage():
    """Whatever is broken in a layer, the answer is an image or a refusal."""
    rng = random.Random(5)
    entries = [entry("a", DIR), entry("a/b", data=b"1" * 700, pax_headers={"SCHILY.xattr.user.x": "y"}), entry("c", SYM, linkname="a/b"),
               entry("d", LINK, linkname="a/b"), entry("e", CHR, devmajor=1, devminor=3), entry("a/.wh.q", data=b"")]
    good = tar_of(entries)
    for _ in range(400 if os.environ.get("KILN_SOAK") == "1" else 40):
        broken = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            broken[rng.randrange(len(good))] = rng.randrange(256)
        with tempfile.TemporaryDirectory() as name:
            result, _ = helper(Image([BASE, bytes(broken)]), pathlib.Path(name))
            assert result.returncode == 0 or (result.returncode == 1 and result.stderr.startswith('{"code":')), result


# --- what is right ------------------------------------------------------------------------------------------

def test_whiteouts():
    found = accepted(second(entry("dir/.wh.file", data=b""), entry(".wh.plain", data=b""), entry(".wh.never", data=b"")))
    assert "/dir" in found and "/dir/file" not in found and "/plain" not in found, found
    assert not any(".wh." in path for path in found)
    # What the layer itself brings stays, wherever the whiteout stands.
    for order in (1, -1):
        found = accepted([BASE, tar_of([entry("dir/.wh.file", data=b""), entry("dir/file", data=b"upper")][::order])])
        assert "/dir/file" in found
        found = accepted([BASE, tar_of([entry("dir/.wh..wh..opq", data=b""), entry("dir/new", data=b"upper")][::order])])
        assert "/dir/new" in found and "/dir/file" not in found, found
    found = accepted([BASE, tar_of([entry(".wh.dir", data=b"")]), tar_of([entry("dir", DIR), entry("dir/other", data=b"x")])])
    assert "/dir/other" in found and "/dir/file" not in found, found


def test_kinds_that_change():
    found = accepted(second(entry("plain", DIR), entry("plain/in", data=b"x"), entry("dir", data=b"now a file"), entry("link", DIR)))
    assert found["/plain"][0] == "d" and "/plain/in" in found and found["/dir"][0] == "-" and found["/link"][0] == "d", found


def test_nothing_dead_is_written():
    """What an upper layer replaces or hides takes no room, and each file lies there once."""
    noise = [os.urandom(1 << 20) for _ in range(3)]
    lower = tar_of([entry("a", data=noise[0]), entry("b", data=noise[1]), entry("c", data=noise[2]), entry("c", data=noise[2])])
    upper = tar_of([entry("a", data=b"small"), entry(".wh.b", data=b""), entry("c2", LINK, linkname="c")])
    with tempfile.TemporaryDirectory() as name:
        result, out = helper(Image([lower, upper]), pathlib.Path(name))
        assert result.returncode == 0, result
        assert (1 << 20) < out.stat().st_size < (1 << 20) + 65536, out.stat().st_size


def test_a_hard_link_to_what_is_replaced_above():
    """c2 is c as it was when the link was made, not what c is now."""
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)
        result, out = helper(Image([tar_of([entry("c", data=b"old")]), tar_of([entry("c2", LINK, linkname="c")]),
                                    tar_of([entry("c", data=b"new")])]), tmp)
        assert result.returncode == 0, result
        subprocess.run(["unsquashfs", "-q", "-n", "-no-xattrs", "-d", str(tmp / "x"), str(out)], check=True, stdout=subprocess.DEVNULL)
        assert (tmp / "x/c").read_bytes() == b"new" and (tmp / "x/c2").read_bytes() == b"old"


def memory_of(image):
    """Makes its root: the exit code, the most memory that this took in MiB, and what was said."""
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)
        image.layout(tmp / "layout")
        with open(tmp / "out", "w+b") as file:
            blobs = os.open(tmp / "layout/blobs/sha256", os.O_RDONLY)
            os.dup2(file.fileno(), 250)
            os.dup2(blobs, 251)
            os.close(blobs)
            # By a small process between: what is counted begins with the memory of who forks.
            script = ("import resource, subprocess, sys; r = subprocess.run(sys.argv[1:], close_fds=False, stdout=subprocess.DEVNULL);"
                      "print(r.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
            result = subprocess.run([sys.executable, "-c", script, HELPER, "layers", "--dir", "251", "--output", "250", "--name", "image",
                                     image.digest], pass_fds=(250, 251), capture_output=True, text=True, check=True)
            os.close(250)
            os.close(251)
    code, used = map(int, result.stdout.split())
    return code, 0 if "-asan" in str(BUILD) else used >> 10, result.stderr


def empty_files(count):
    """A tar archive of nothing but names, made sooner than tarfile makes it."""
    head = bytearray(entry("f0000000", data=b"")[0].tobuf(tarfile.USTAR_FORMAT))
    rest = sum(head) - sum(head[:8]) - sum(head[148:156]) + 8 * 32
    out = bytearray()
    for i in range(count):
        head[:8] = b"f%07d" % i
        head[148:156] = b"%06o\0 " % (rest + sum(head[:8]))
        out += head
    return bytes(out) + bytes(1024)


def test_memory():
    """A layer of 600 MiB goes through less than 200 MiB of memory, and so do many names."""
    block = os.urandom(1 << 20)
    code, used, said = memory_of(Image([tar_of([entry(f"f{i}", data=block[i:] + block[:i]) for i in range(600)])], packed=False))
    print(f"shown: a layer of 600 MiB took {used} MiB of memory")
    assert code == 0 and used < 200, (code, used, said)
    code, used, said = memory_of(Image([empty_files(60_000)]))
    print(f"shown: a layer of 60,000 names took {used} MiB of memory")
    assert code == 0 and used < 28, (code, used, said)


def test_memory_whatever_a_layer_is():
    """Below 200 MiB or refused, by what it is made of."""
    if not SOAK:
        raise Skip("some GiB of archives: make soak")
    need("zstd")
    code, used, said = memory_of(Image([empty_files(750_000)]))
    print(f"shown: a layer of 750,000 names took {used} MiB of memory")
    assert code == 0 and 100 * ("-asan" not in str(BUILD)) <= used < 200, (code, used, said)
    code, used, said = memory_of(Image([empty_files(1_200_000)]))
    assert code and used < 200 and "more than 160 MiB of memory" in said, (code, used, said)
    attributes = [entry(f"f{i}", data=b"", pax_headers={f"SCHILY.xattr.user.{i}": "x" * 100}) for i in range(250_000)]
    code, used, said = memory_of(Image([tar_of(attributes)]))
    print(f"shown: 250,000 different attributes took {used} MiB of memory")
    assert used < 200 and (code == 0 or "more than 160 MiB of memory" in said), (code, used, said)
    # A window of 128 MiB leaves no room for these.
    layer = empty_files(750_000)
    image = Image([layer])
    image.layers = [subprocess.run(["zstd", "-q", "-1", "--long=27"], input=layer, capture_output=True, check=True).stdout]
    image.finish()
    code, used, said = memory_of(image)
    print(f"shown: 750,000 names, unpacked with a window of 128 MiB, took {used} MiB of memory")
    assert used < 200 and (code == 0 or "-asan" not in str(BUILD) and "200 MiB" in said), (code, used, said)
    # A sparse file's map (GNU tar's 1.0) is as long as the archive says.
    holes = b"3000000\n" + b"0\n0\n" * 3_000_000
    code, used, said = memory_of(Image([tar_of([entry("s", data=holes + bytes(-len(holes) % 512), pax_headers={
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": "0"})])]))
    print(f"shown: a map of 3,000,000 holes took {used} MiB of memory: {said.strip()[:120]}")
    assert used < 200, (code, used, said)


def test_a_layer_that_changes_between_its_two_readings():
    """What the second reading gives is verified, too: contents that nobody's digest stands for make no root."""
    def layer(first, last):
        return tar_of([entry("a", data=first * 5000), entry("z", data=b"whatever"), entry("tail", DIR, mtime=last)])
    image = Image([layer(b"a", 1), tar_of([entry("dir", DIR)])], packed=False)
    below, above = [item["digest"][7:] for item in image.manifest["layers"]]
    for change, whole in ((layer(b"a", 1), True), (layer(b"b", 1), False), (layer(b"a", 2), False)):
        with tempfile.TemporaryDirectory() as name:
            layout, out = pathlib.Path(name) / "layout", pathlib.Path(name) / "out"
            image.layout(layout)
            blobs = layout / "blobs/sha256"
            content = (blobs / above).read_bytes()
            (blobs / above).unlink()
            os.mkfifo(blobs / above)
            with open(out, "w+b") as file:
                directory = os.open(blobs, os.O_RDONLY)
                process = subprocess.Popen([HELPER, "layers", "--dir", str(directory), "--output", str(file.fileno()), "--name", "image", image.digest],
                                           pass_fds=(directory, file.fileno()), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                os.close(directory)
            # The one above is read for the first time when the one below has been: a pipe tells when, and holds it up.
            with open(blobs / above, "wb") as pipe:
                (blobs / "other").write_bytes(change)
                (blobs / "other").rename(blobs / below)
                pipe.write(content)
            _, err = process.communicate(timeout=120)
            if whole:
                assert process.returncode == 0, err
            else:
                assert process.returncode == 1 and "changed while it was read" in err and "layer 1 of 2" in err, (process.returncode, err)


def facts(root):
    """All that two trees must agree on: path to mode, owner, mtime, links, attributes, contents."""
    found, inodes = {}, {}
    for top, dirs, files in os.walk(root):
        for name in [".", *dirs, *files] if top == str(root) else [*dirs, *files]:
            path = os.path.join(top, name)
            info = os.lstat(path)
            key = os.path.relpath(path, root)
            attributes = {n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)
                          if not n.startswith("system.")}
            content = None
            if stat.S_ISREG(info.st_mode):
                content = pathlib.Path(path).read_bytes()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            elif stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
                content = info.st_rdev
            links = 0
            if not stat.S_ISDIR(info.st_mode):
                links = info.st_nlink
                inodes.setdefault(info.st_ino, set()).add(key)
            found[key] = (oct(info.st_mode), info.st_uid, info.st_gid, int(info.st_mtime), links, attributes, content)
    return found, sorted(map(sorted, inodes.values()))


def compare(layers):
    need("umoci", "unsquashfs")
    if os.geteuid():
        raise Skip("only root unpacks owners and devices")
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)
        result, out = helper(Image(layers), tmp)
        assert result.returncode == 0, result
        subprocess.run(["unsquashfs", "-q", "-n", "-d", str(tmp / "ours"), str(out)], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["umoci", "unpack", "--image", f"{tmp}/layout:test", str(tmp / "bundle")], check=True, stderr=subprocess.DEVNULL)
        ours, theirs = facts(tmp / "ours"), facts(tmp / "bundle/rootfs")
        for key in sorted(set(ours[0]) | set(theirs[0])):
            if key != ".":  # of the root, umoci keeps what it made itself where no layer has it
                assert ours[0].get(key) == theirs[0].get(key), (key, ours[0].get(key), theirs[0].get(key))
        assert ours[1] == theirs[1], (ours[1], theirs[1])
        return len(ours[0])


def test_what_umoci_unpacks():
    t = 1_600_000_000
    lower = tar_of([
        entry("./", DIR, mtime=t), entry("bin", DIR, mtime=t), entry("bin/prog", data=b"#!/bin/sh\n" * 900, mode=0o4755, mtime=t + 1),
        entry("bin/cap", data=b"cap", mode=0o755, mtime=t, pax_headers={
            "SCHILY.xattr.security.capability": struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0).decode("latin-1")}),
        entry("bin/same", LINK, linkname="bin/prog", mode=0o4755, mtime=t + 1), entry("etc", DIR, mtime=t, mode=0o750, uid=3, gid=4),
        entry("etc/passwd", data=b"root:x:0:0:root:/:/bin/sh\n", mtime=t - 5, uid=1000, gid=1000,
              pax_headers={"SCHILY.xattr.user.note": "hello", "mtime": str(t - 5) + ".25"}),
        entry("etc/" + "long" * 55, data=b"long", mtime=t), entry("x" * 90, DIR, mtime=t), entry("x" * 90 + "/" + "y" * 90, DIR, mtime=t),
        entry("x" * 90 + "/" + "y" * 90 + "/" + "z" * 90, data=b"deep", mtime=t),
        entry("l", SYM, linkname="a/" * 60 + "b", mtime=t), entry("tmp", DIR, mode=0o1777, mtime=t), entry("gone", data=b"x" * 9999, mtime=t),
        entry("null", CHR, devmajor=1, devminor=3, mode=0o666, mtime=t), entry("loop", BLK, devmajor=7, devminor=300, mode=0o660, mtime=t),
        entry("pipe", FIFO, mode=0o644, mtime=t), entry("empty", data=b"", mtime=t), entry("opaque", DIR, mtime=t),
        entry("opaque/old", data=b"old", mtime=t), entry("became", DIR, mtime=t), entry("became/in", data=b"x", mtime=t),
        entry("umläut-ß", data="ü".encode(), mtime=t)])
    upper = tar_of([
        entry(".wh.gone", data=b""), entry("opaque", DIR, mtime=t + 7, mode=0o700), entry("opaque/.wh..wh..opq", data=b""),
        entry("opaque/new", data=b"new", mtime=t), entry("became", data=b"now a file", mtime=t), entry("etc", DIR, mtime=t + 9, mode=0o755),
        entry("etc/new", LINK, linkname="etc/passwd", uid=1000, gid=1000, mtime=t - 5,
              pax_headers={"SCHILY.xattr.user.note": "hello"}), entry("bin/prog", data=b"replaced", mode=0o755, mtime=t + 3)])
    assert compare([lower, upper]) > 20


def random_layers(rng):
    """Three layers of files, directories, links, devices, attributes, whiteouts and opaque directories, each name once a layer."""
    there = {}  # path: (kind, what its header says)
    layers = []
    for _ in range(3):
        entries, touched = [], set()

        def says(kind):
            said = {"mtime": rng.randrange(1 << 30), "uid": rng.randrange(9), "gid": rng.randrange(9)}
            if kind != "s":
                said["mode"] = rng.choice((0o755, 0o700, 0o4711, 0o2755, 0o1777, 0o600))
            if kind in "fd" and rng.randrange(3) == 0:
                said["pax_headers"] = {"SCHILY.xattr.user.x": rng.choice("abc"), "SCHILY.xattr.trusted.y": "z"}
            return said

        for _ in range(40):
            parents = [""] + [f"{path}/" for path, (kind, _) in there.items() if kind == "d" and path not in touched]
            name = rng.choice(parents) + rng.choice("abcdefgh") + str(rng.randrange(4))
            below = [path for path in there if path == name or path.startswith(name + "/")]
            if name in touched or any(name.startswith(t + "/") for t in touched) or any(path in touched for path in below):
                continue
            kind = rng.choice("ddfffslwoc")
            files = [path for path, (k, _) in there.items() if k == "f" and path not in below]
            if (kind == "w" and name not in there) or (kind == "l" and not files) or (kind == "o" and there.get(name, "?")[0] != "d"):
                continue
            if kind == "w":
                head, _, base = name.rpartition("/")
                entries.append(entry((head + "/" if head else "") + ".wh." + base, data=b"", mtime=5))
            if kind == "o":
                entries.append(entry(name, DIR, **says("d")))
                entries.append(entry(name + "/.wh..wh..opq", data=b"", mtime=5))
                below.remove(name)
            if kind != "d" or there.get(name, "?")[0] != "d":
                for path in below:
                    del there[path]
            touched.add(name)
            if kind in "wo":
                continue
            # The header of a link is one more of the same file: umoci goes by the last.
            target = rng.choice(files) if kind == "l" else None
            said = there[target][1] if target else says(kind)
            there[name] = ("f" if target else kind, said)
            if kind == "d":
                entries.append(entry(name, DIR, **said))
                touched.discard(name)
            elif kind == "f":
                entries.append(entry(name, data=rng.randbytes(rng.choice((0, 10, 5000, 200_000))), **said))
            elif kind == "s":
                entries.append(entry(name, SYM, linkname="anywhere/" + str(rng.randrange(9)), **said))
            elif kind == "c":
                entries.append(entry(name, rng.choice((CHR, BLK)), devmajor=1 + rng.randrange(200), devminor=rng.randrange(200), **said))
            else:
                entries.append(entry(name, LINK, linkname=target, **said))
        layers.append(tar_of(entries))
    return layers


def test_what_umoci_unpacks_of_random_trees():
    """All of it: kinds, modes, owners, times, attributes, contents, and which names are one file."""
    count = 0
    for seed in range(60 if os.environ.get("KILN_SOAK") == "1" else 6):
        try:
            count += compare(random_layers(random.Random(seed)))
        except AssertionError as why:
            raise AssertionError(f"seed {seed}") from why
    print(f"shown: {count} entries of random trees as umoci unpacks them")


def test_an_access_control_list_is_told():
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in ((1, 6, 0xffffffff), (4, 4, 0xffffffff), (32, 4, 0xffffffff)))
    with tempfile.TemporaryDirectory() as name:
        layer = tar_of([entry("f", data=b"x", pax_headers={"SCHILY.acl.access": "user::rw-,user:7:r--,group::r--,mask::r--,other::r--"})])
        result, _ = helper(Image([layer]), pathlib.Path(name))
        assert result.returncode == 0 and "access control lists of 1 " in result.stdout, (result, acl)


main(globals())
