#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images of archives and directories, and what is told of those that are here: load, import, save, history, df."""
import bz2
import fcntl
import gzip
import json
import lzma
import os
import pathlib
import signal
import stat
import struct
import subprocess
import tarfile
import time

from imagetest import ARCH, Home, Image, KILN, entry, helper_of, main, need, sha256, tar_of

ROOT = tar_of([entry("etc", tarfile.DIRTYPE), entry("etc/os-release", data=b"NAME=imported\n")])


def zstd(data):
    need("zstd")
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


def docker_archive(image, name="a.example/b:3", layers=None, change=None):
    """As docker save writes it."""
    config = json.dumps(image.config).encode()
    names = [f"{i}/layer.tar" for i in range(len(image.layers))]
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": names}]
    if change:
        change(manifest[0])
    return tar_of([entry("config.json", data=config), *[entry(n, data=layer) for n, layer in zip(names, layers or image.layers)],
                   entry("manifest.json", data=json.dumps(manifest).encode())])


def test_import():
    """A root becomes an image of one layer, stored as it came; what no layer can be packed by is refused."""
    with Home() as home:
        for name, data, kind in (("plain", ROOT, "tar"), ("gzip", gzip.compress(ROOT, mtime=0), "gzip"), ("zstd", zstd(ROOT), "zstd")):
            (home.dir / name).write_bytes(data)
            home.ok("image", "import", home.dir / name, f"{name}:1")
            [about] = json.loads(home.ok("image", "inspect", f"{name}:1"))
            assert about["layers"][0]["digest"] == sha256(data) and about["layers"][0]["mediaType"].endswith(kind), about
            assert about["diff_ids"] == [sha256(ROOT)] and about["arch"] == ARCH, about
        with open(home.dir / "plain", "rb") as file:
            home.ok("image", "import", "-", "stdin:1", stdin=file)
        assert len({e["digest"] for e in json.loads(home.ok("image", "ls", "--format", "json"))}) == 3
        before = sorted(p.name for p in (home.store / "blobs/sha256").iterdir())
        for name, data, word in (("bzip2", bz2.compress(ROOT), "bzip2"), ("xz", lzma.compress(ROOT), "xz"), ("noise", b"no archive" * 99, "tar archive"),
                                 ("empty", b"", "empty")):
            (home.dir / name).write_bytes(data)
            home.refused("image", "import", home.dir / name, f"{name}:1", words=(word,))
        home.refused("image", "import", home.dir / "absent", "x", words=("absent",))
        home.refused("image", "import", home.dir / "plain", "Upper", words=("lower case",))
        assert len(json.loads(home.ok("image", "ls", "--format", "json"))) == 4
        assert before == sorted(p.name for p in (home.store / "blobs/sha256").iterdir()), "what was no image left something"
        home.verify()
        home.no_process_left()


def test_archives_of_images_may_be_packed_by_anything():
    """As docker load takes them; the layers in them may not."""
    image = Image([ROOT])
    whole = docker_archive(image)
    with Home() as home:
        for name, data in (("plain", whole), ("gzip", gzip.compress(whole)), ("bzip2", bz2.compress(whole)), ("xz", lzma.compress(whole)), ("zstd", zstd(whole))):
            (home.dir / name).write_bytes(data)
            assert home.ok("image", "load", "-i", home.dir / name, f"{name}:1").split()[0] == f"docker.io/library/{name}:1"
        assert home.ok("image", "load", f"docker-archive:{home.dir}/plain").split()[0] == "a.example/b:3"
        home.verify()
        (home.dir / "inner").write_bytes(docker_archive(image, layers=[lzma.compress(ROOT)]))
        home.refused("image", "load", "-i", home.dir / "inner", "inner:1", words=("compressed by xz",))


def test_archives_that_lie():
    """Names in them lead nowhere, and what their documents promise is looked at."""
    image = Image([ROOT])

    def layers(value):
        return lambda manifest: manifest.__setitem__("Layers", value)
    cases = {"climb": docker_archive(image, change=layers(["../../etc/passwd"])), "absent": docker_archive(image, change=layers(["x/layer.tar"])),
             "many": docker_archive(image, change=layers(["0/layer.tar"] * 3)), "number": docker_archive(image, change=layers([5])),
             "packed": docker_archive(image, layers=[bz2.compress(ROOT)]), "config": docker_archive(image, change=lambda m: m.__setitem__("Config", "/etc/passwd")),
             "cut": docker_archive(image)[:1400], "nothing": tar_of([]), "noise": b"x" * 5000,
             "loop": tar_of([entry("manifest.json", tarfile.SYMTYPE, linkname="manifest.json")]),
             "link": tar_of([entry("manifest.json", tarfile.SYMTYPE, linkname="/etc/passwd")]),
             "deep": tar_of([entry("manifest.json", data=b"[" * 100_000)]),
             "layout": tar_of([entry("oci-layout", data=b'{"imageLayoutVersion":"1.0.0"}'), entry("index.json", data=json.dumps(
                 {"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + "1" * 64,
                                                     "size": 5}]}).encode())])}
    with Home() as home:
        for name, data in cases.items():
            (home.dir / name).write_bytes(data)
            home.refused("image", "load", "-i", home.dir / name, "x:1")
            assert list((home.store / "blobs/sha256").iterdir()) == [], name
        assert home.ok("image", "ls", "-q") == ""
        # Blobs of a layout that are not what they are called; ones that are links out of it.
        for spoil in (lambda path: path.write_bytes(bytes(path.stat().st_size)), lambda path: (path.unlink(), path.symlink_to("/etc/passwd"))):
            layout = home.dir / f"layout{len(list(home.dir.iterdir()))}"
            image.layout(layout)
            spoil(layout / "blobs/sha256" / image.manifest["layers"][0]["digest"][7:])
            home.refused("image", "load", f"oci:{layout}:test", "x:1", words=(image.manifest["layers"][0]["digest"][7:],))
        assert home.ok("image", "ls", "-q") == ""
        home.no_process_left()


def test_a_load_that_fails_leaves_nothing():
    """But what was there before, what images on record share with it, and a download that goes on."""
    good = Image([ROOT, tar_of([entry("shared", data=b"s" * 5000)])])
    bad = Image([ROOT, tar_of([entry("alone", data=b"a" * 5000)])])
    with Home() as home:
        folder = home.store / "blobs/sha256"
        (home.dir / "good").write_bytes(docker_archive(good))
        home.ok("image", "load", "-i", home.dir / "good", "good:1")
        home.ok("create", "--name", "vm", "good:1", "true")
        # Of a name that moved on: only the VM keeps its image.
        (home.dir / "next").write_bytes(docker_archive(Image([tar_of([entry("next", data=b"n")])])))
        home.ok("image", "load", "-i", home.dir / "next", "good:1")
        download = folder / ("7" * 64 + ".partial")
        download.write_bytes(b"begun")
        before = sorted(p.name for p in folder.iterdir())
        (home.dir / "bad").write_bytes(docker_archive(bad, change=lambda m: m["Layers"].append("absent/layer.tar")))
        home.refused("image", "load", "-i", home.dir / "bad", "bad:1", words=("absent/layer.tar",))
        (home.dir / "nameless").write_bytes(docker_archive(bad, change=lambda m: m.__setitem__("RepoTags", None)))
        home.refused("image", "load", "-i", home.dir / "nameless", words=("has no name",))
        assert before == sorted(p.name for p in folder.iterdir())
        assert set(d[7:] for d in good.blobs) <= set(home.blobs())
        # Beside somebody who adds to the store nothing is taken away, and nobody is waited for.
        with open(home.store / "lock", "rb") as lock:
            fcntl.fcntl(lock, fcntl.F_OFD_SETLKW, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 1, 0))
            home.refused("image", "load", "-i", home.dir / "bad", "bad:1")
        assert bad.manifest["layers"][1]["digest"][7:] in home.blobs()
        home.ok("image", "prune")
        assert bad.manifest["layers"][1]["digest"][7:] not in home.blobs()
        home.verify()
        # kiln-image is killed while it reads: so does the command take away what it has got so far.
        whole = docker_archive(bad)
        left = sorted(p.name for p in folder.iterdir())
        process = home.popen("image", "load", "-", "bad:1", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.buffer.write(whole[:-6000])
        process.stdin.buffer.flush()
        until = time.monotonic() + 60
        while len(list(folder.iterdir())) == len(left):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        os.kill(helper_of(process), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 125 and "signal" in err, (process.returncode, err)
        assert left == sorted(p.name for p in folder.iterdir())
        home.no_process_left()


def test_a_name_that_is_given_to_another_image():
    """Who loads one is told what the name meant before; nothing, where that is the same image."""
    one, two = docker_archive(Image([ROOT])), docker_archive(Image([tar_of([entry("two", data=b"2")])]))
    with Home() as home:
        def load(data):
            (home.dir / "archive").write_bytes(data)
            result = home.kiln("image", "load", "-i", home.dir / "archive")
            assert result.returncode == 0, result
            return result.stdout.split()[1], result.stderr
        first, err = load(one)
        assert err == "" and load(one) == (first, "")
        second, err = load(two)
        assert err == f"kiln: a.example/b:3 meant the image {first[7:19]} until now, which has no name any more\n", err
        home.ok("image", "tag", "a.example/b:3", "kept:1")
        assert load(one) == (first, f"kiln: a.example/b:3 meant the image {second[7:19]} until now\n")
        (home.dir / "root").write_bytes(ROOT)
        result = home.kiln("image", "import", "--progress", "none", home.dir / "root", "kept:1")
        assert result.returncode == 0 and result.stderr == "", result
        assert json.loads(home.ok("image", "inspect", "kept:1"))[0]["digest"] == result.stdout.split()[1]


def test_what_is_no_name():
    """Who names an archive or a path for an image is told what to do."""
    with Home() as home:
        for source in ("oci:/tmp/dir", "docker-archive:/tmp/a.tar", "oci-archive:./a.tar"):
            home.refused("create", source, "x", words=("no name of an image", f"kiln image load {source} NAME"))
        for path in ("./root.tar", "/srv/root"):
            home.refused("create", path, "x", words=("no name of an image", "--rootfs"))
        result = home.kiln("disk", "info", home.dir / "nosuch")
        assert result.returncode == 125 and result.stdout == "" and "nosuch" in result.stderr, result


def test_what_a_terminal_would_obey():
    """Texts of an image are shown as they are, but for what begins a command to a terminal: in JSON that is escaped, and reads the same."""
    evil = "\u009b31mred\u0090\u009d0;title\u009c\x7f\x1b[2J \u00e4\u20ac\U0001f600"
    image = Image([ROOT], config={"Env": [f"EVIL={evil}"], "Labels": {"evil": evil}, "Cmd": [evil]})
    image.config["history"] = [{"created": "2024-01-02T03:04:05Z", "created_by": evil}]
    image.finish()
    with Home() as home:
        image.layout(home.dir / "layout")
        home.ok("image", "load", f"oci:{home.dir}/layout:test", "evil:1")
        home.ok("create", "--name", "v", "evil:1")
        for args in (("image", "inspect", "evil:1"), ("image", "history", "--format", "json", "evil:1"), ("image", "history", "evil:1"),
                     ("image", "ls", "--format", "json"), ("inspect", "v"), ("ls", "-a"), ("ls", "-a", "--format", "json")):
            out = home.ok(*args)
            assert not [c for c in out if ord(c) < 32 and c != "\n" or 0x7f <= ord(c) < 0xa0], (args, out)
        [about] = json.loads(home.ok("image", "inspect", "evil:1"))
        assert about["process"]["env"] == [f"EVIL={evil}"] and about["process"]["labels"]["evil"] == evil, about
        assert "\u20ac\U0001f600" in home.ok("image", "inspect", "evil:1"), "what harms nobody is not escaped"
        assert json.loads(home.ok("image", "history", "--format", "json", "evil:1"))[0]["created_by"] == evil


def test_history_and_df():
    image = Image([ROOT, tar_of([entry("more", data=b"x" * 9000)])])
    image.config["history"] = [{"created": "2024-01-02T03:04:05Z", "created_by": "ADD root"}, {"created_by": "ENV A=b", "empty_layer": True},
                               {"created_by": "COPY \x1b[31mmore"}]
    image.finish()
    with Home() as home:
        assert json.loads(home.ok("image", "df", "--format", "json")) == {"layers": 0, "roots": 0}
        image.layout(home.dir / "layout")
        home.ok("image", "load", f"oci:{home.dir}/layout:test", "h:1")
        steps = json.loads(home.ok("image", "history", "--format", "json", "h:1"))
        assert [step["size"] for step in steps] == [len(image.layers[1]), 0, len(image.layers[0])], steps
        lines = home.ok("image", "history", "h:1").splitlines()
        assert len(lines) == 4 and "ADD root" in lines[3] and "ENV A=b" in lines[2] and "\x1b" not in "".join(lines), lines
        used = json.loads(home.ok("image", "df", "--format", "json"))
        assert used["layers"] >= sum(map(len, image.blobs.values())) and used["roots"] == 0, used
        assert home.ok("image", "df").splitlines()[1].startswith("layers")
        # What save writes is read again, the same to the byte.
        with open(home.dir / "saved", "wb") as file:
            subprocess.run([KILN, "image", "save", "h:1"], env=home.env, stdout=file, check=True)
        with tarfile.open(home.dir / "saved") as tar:
            assert f"blobs/sha256/{image.digest[7:]}" in tar.getnames(), tar.getnames()
        home.ok("image", "rm", "h:1")
        home.ok("image", "load", "-i", home.dir / "saved", "again:1")
        assert home.ok("image", "ls", "-q").strip() == image.digest
        home.refused("image", "history", "h:1", words=("no image",))


def test_save_leaves_what_it_cannot_replace():
    """The user's file is there until the archive is whole, links stay links, and what is no file is never removed."""
    image = Image([ROOT])
    with Home() as home:
        image.layout(home.dir / "layout")
        home.ok("image", "load", f"oci:{home.dir}/layout:test", "h:1")
        file, link, full, fifo = (home.dir / "out" / name for name in ("saved", "link", "full", "fifo"))
        file.parent.mkdir()
        file.write_text("precious")
        file.chmod(0o640)
        link.symlink_to("saved")
        full.symlink_to("/dev/full")
        os.mkfifo(fifo)
        layer = home.store / "blobs/sha256" / image.manifest["layers"][0]["digest"][7:]
        layer.rename(home.dir / "layer")
        for path in (file, link):
            home.refused("image", "save", "-o", path, "h:1", words=(layer.name,))
            assert file.read_text() == "precious" and link.is_symlink()
        home.refused("image", "save", "-o", home.dir / "out/new", "h:1", words=(layer.name,))
        (home.dir / "layer").rename(layer)
        home.refused("image", "save", "-o", full, "h:1")
        assert full.is_symlink() and pathlib.Path("/dev/full").is_char_device()
        assert sorted(p.name for p in file.parent.iterdir()) == ["fifo", "full", "link", "saved"]
        home.ok("image", "save", "-o", link, "h:1")
        assert link.is_symlink() and tarfile.is_tarfile(file) and stat.S_IMODE(file.stat().st_mode) == 0o640
        with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE) as reader:
            home.ok("image", "save", "-o", fifo, "h:1")
            assert reader.stdout.read() == file.read_bytes()
        assert fifo.is_fifo()
        home.ok("image", "save", "-o", home.dir / "out/new", "h:1")
        assert (home.dir / "out/new").read_bytes() == file.read_bytes()
        assert sorted(p.name for p in file.parent.iterdir()) == ["fifo", "full", "link", "new", "saved"]


main(globals())
