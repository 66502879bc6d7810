#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's registry, filled by skopeo, umoci and buildah; what comes of its images in a guest."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from imagetest import ARCH, Home, RealRegistry, SOURCE, Skip, main, need

CACHE = pathlib.Path(os.environ.get("KILN_CACHE", SOURCE / ".cache")) / "test-images"
APPLETS = ["sh", "cat", "ls", "id", "env", "pwd", "find", "stat", "sort", "md5sum", "readlink", "xargs", "echo", "test", "sleep", "wc"]
ATTRIBUTES = [("etc/os-release", "security.capability", bytes.fromhex("0100000202040000000000000000000000000000")), ("lib/keep", "user.of-a-directory", b"d"),
              ("etc/group", "user.of-a-file", b"f"), ("etc/group", "trusted.seen-by-root", b"\0\xff" * 20)]
work = pathlib.Path(tempfile.mkdtemp(prefix="kiln-registry-test-"))


def umoci(*args):
    subprocess.run(["umoci", *map(str, args)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def busybox():
    """An OCI layout with a busybox root in three layers, made by umoci."""
    need("umoci")
    layout = work / "layout"
    if layout.exists():
        return layout
    static = "/bin/busybox"
    if not os.path.exists(static):
        raise Skip("busybox-static is not installed")
    root = work / "root"
    for folder in ("bin", "etc", "tmp", "home/app", "lib/keep", "lib/gone"):
        (root / folder).mkdir(parents=True)
    shutil.copy(static, root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1234:1235::/home/app:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\napp:x:1235:\n")
    (root / "etc/os-release").write_text("NAME=\"an image\"\n")
    (root / "lib/keep/file").write_text("kept\n")
    (root / "lib/gone/file").write_text("gone\n")
    need("musl-gcc")
    subprocess.run(["musl-gcc", "-static", "-O2", "-o", root / "bin/listx", SOURCE / "tests/image/listx.c"], check=True)
    os.link(root / "etc/passwd", root / "etc/passwd-too")
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:base")
    bundle = work / "bundle"
    flags = [] if os.geteuid() == 0 else ["--rootless"]
    umoci("unpack", *flags, "--image", f"{layout}:base", bundle)
    shutil.copytree(root, bundle / "rootfs", symlinks=True, dirs_exist_ok=True)
    copy = bundle / "rootfs/etc/passwd-too"
    copy.unlink() # copytree makes two files of one
    os.link(bundle / "rootfs/etc/passwd", copy)
    if os.geteuid() == 0:
        for path, name, value in ATTRIBUTES:
            os.setxattr(bundle / "rootfs" / path, name, value)
    umoci("repack", "--image", f"{layout}:base", bundle)
    # A second layer that takes away and changes.
    (bundle / "rootfs/lib/gone/file").unlink()
    (bundle / "rootfs/lib/keep/file").write_text("changed above\n")
    (bundle / "rootfs/lib/new").write_text("new\n")
    umoci("repack", "--refresh-bundle", "--image", f"{layout}:base", bundle)
    umoci("config", "--image", f"{layout}:base", "--tag", "app", "--config.entrypoint", "/bin/sh", "--config.entrypoint", "-c", "--config.cmd",
          "echo $WORD; id -un; pwd", "--config.env", "WORD=from-the-image", "--config.env", "PATH=/bin", "--config.user", "app:app",
          "--config.workingdir", "/home/app", "--config.label", "org.example.a=b", "--config.exposedports", "8080/tcp")
    return layout


class Machine(Home):
    """A home whose cache the tests share: its kernel is fetched once."""

    def __init__(self):
        super().__init__()
        need("qemu-system-" + os.uname().machine)
        CACHE.mkdir(parents=True, exist_ok=True)
        os.chmod(CACHE, 0o700)
        self.env["KILN_IMAGE_CACHE"] = str(CACHE)
        (self.dir / "run/emulation-told").touch()


def test_run_and_again_without_the_registry():
    layout = busybox()
    with Machine() as home:
        with RealRegistry() as registry:
            name = registry.push(f"oci:{layout}:app", "team/app:1")
            assert home.ok("run", name, "/bin/cat /etc/os-release") == "NAME=\"an image\"\n"
        # The registry is gone.
        assert home.ok("run", name, "--", "/bin/cat /etc/os-release") == "NAME=\"an image\"\n"
        home.refused("run", "--pull", "always", name, "x", words=(registry.host,))
        home.ok("image", "rm", name)
        home.no_process_left()


def test_what_the_image_says_and_options_override():
    layout = busybox()
    with Machine() as home, RealRegistry() as registry:
        name = registry.push(f"oci:{layout}:app", "app:1")
        assert home.ok("run", name) == "from-the-image\napp\n/home/app\n"
        assert home.ok("run", "-e", "WORD=mine", "-u", "0", "-w", "/tmp", name) == "mine\nroot\n/tmp\n"
        assert home.ok("run", name, "echo command $WORD") == "command from-the-image\n"
        assert home.ok("run", "--entrypoint", "/bin/echo", name, "a", "b") == "a b\n"
        assert home.ok("run", "--entrypoint", "/bin/env", name).count("WORD=from-the-image") == 1
        config = json.loads(home.ok("inspect", home.ok("create", "-P", "--network", "user", name).strip()))[0]["config"]
        assert config["labels"] == {"org.example.a": "b"}, config
        assert config["ports"][0]["guest_port"] == 8080 and config["process"]["user"] == "app:app", config
        home.ok("image", "rm", "-f", name)


def test_the_guest_sees_what_umoci_unpacks():
    layout = busybox()
    if os.geteuid():
        raise Skip("only root unpacks owners")
    # Not what the guest is mounted on or writes by itself: dev, proc, sys, run and root are its mounts, and it writes names and addresses into
    # etc (resolv.conf, hosts, hostname, machine-id), whose own time changes with that, as the root's does with the mount points.
    script = ("cd $ROOT; find . -xdev ! -path './dev*' ! -path './proc*' ! -path './sys*' ! -path './run*' "
              "! -path './etc/resolv.conf' ! -path './etc/host*' ! -path './etc/machine-id' | sort | while read f; do "
              "t=%Y; case $f in .|./etc) t=-;; esac; n=%h; [ -d \"$f\" ] && n=-; "
              "stat -c \"%n %f %u %g $n $t\" \"$f\"; [ -L \"$f\" ] && readlink \"$f\"; [ -f \"$f\" ] && [ ! -L \"$f\" ] && md5sum \"$f\"; done; "
              # Names of one file are one file.
              "stat -c %i etc/passwd etc/passwd-too | sort -u | wc -l; "
              "find . -xdev ! -path './dev*' ! -path './proc*' ! -path './sys*' ! -path './run*' | xargs listx | sort")
    umoci("unpack", "--image", f"{layout}:app", work / "whole")
    theirs = subprocess.run(["/bin/busybox", "sh", "-c", script], env={"ROOT": str(work / "whole/rootfs"), "PATH": str(work / "root/bin")},
                            capture_output=True, text=True, check=True).stdout.splitlines()
    with Machine() as home, RealRegistry() as registry:
        name = registry.push(f"oci:{layout}:app", "app:1")
        ours = home.ok("run", "-u", "0", "-e", "ROOT=/", name, script).splitlines()
        home.ok("image", "rm", name)
    made = {"./dev", "./proc", "./sys", "./run", "./root"}  # what the guest is mounted on
    ours = [line for line in ours if line.split()[0] not in made]
    assert sum(" security.capability " in line or " user." in line or " trusted." in line for line in theirs) == len(ATTRIBUTES), theirs
    assert ours == theirs, [pair for pair in zip(ours, theirs) if pair[0] != pair[1]][:5] or (ours, theirs)


def test_a_debian_of_mmdebstraps():
    """What everybody runs: its release, and, by its own package manager, every byte of some packages."""
    need("umoci")
    root = CACHE.parent / "demo" / "debian.tar"
    if not root.exists():
        need("mmdebstrap")
        subprocess.run([str(SOURCE / "tools/debian-root.sh"), str(root)], check=True)
    layout = work / "debian"
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:12")
    umoci("raw", "add-layer", "--image", f"{layout}:12", root)
    umoci("config", "--image", f"{layout}:12", "--config.cmd", "/bin/bash")
    with Machine() as home, RealRegistry() as registry:
        name = registry.push(f"oci:{layout}:12", "library/debian:12")
        shutil.rmtree(layout)
        script = "cat /etc/os-release; dpkg --verify base-files bash coreutils libc6 dpkg && echo whole; echo $0; id -un"
        told = home.ok("run", name, "--", "bash", "-c", script).splitlines()
        assert "ID=debian" in told and told[-3:] == ["whole", "bash", "root"], told
        home.ok("image", "rm", name)
        home.no_process_left()


def test_compressions_and_tools():
    layout = busybox()
    with Home() as home, RealRegistry() as registry:
        chains = set()
        for name, options in (("gzip:1", ()), ("zstd:1", ("--dest-compress-format", "zstd")),
                              ("v2s2:1", ("--format", "v2s2"))):
            try:
                reference = registry.push(f"oci:{layout}:app", name, *options)
            except subprocess.CalledProcessError:
                assert name == "zstd:1"
                continue
            home.ok("pull", reference)
            chains.add(json.loads(home.ok("image", "inspect", reference))[0]["chain"])
        assert len(chains) == 1 and len([p for p in home.objects() if "chain" in p.name]) == 1
        home.verify()
        # What save writes, skopeo reads, and we ourselves.
        home.ok("image", "save", "-o", str(home.dir / "saved.tar"), f"{registry.host}/gzip:1")
        subprocess.run(["skopeo", "copy", "-q", f"oci-archive:{home.dir}/saved.tar", f"docker-archive:{home.dir}/docker.tar:a.example/b:3"], check=True)
        digest = home.ok("image", "load", "-i", str(home.dir / "docker.tar")).split()
        assert digest[0] == "a.example/b:3"
        subprocess.run(["skopeo", "copy", "-q", f"oci-archive:{home.dir}/saved.tar", f"dir:{home.dir}/d"], check=True)
        home.ok("image", "load", f"dir:{home.dir}/d", "from-dir")
        home.ok("image", "load", f"oci:{layout}:app", "from-layout")
        home.ok("image", "load", stdin=open(home.dir / "saved.tar", "rb"))
        home.verify()
        assert len({e["root_size"] for e in json.loads(home.ok("image", "ls", "--format", "json"))} - {0}) == 1
        # And podman's tools read the store itself.
        subprocess.run(["skopeo", "inspect", "--raw", f"oci:{home.store}:docker.io/library/from-dir:latest"], check=True, stdout=subprocess.DEVNULL)
        home.ok("image", "prune", "-a")
        assert home.blobs() == []


def test_buildah():
    need("buildah")
    layout = busybox()
    (work / "Containerfile").write_text(f"FROM oci:{layout}:base\nENV A=1\nCOPY Containerfile /etc/made-by\nCMD [\"/bin/cat\", \"/etc/made-by\"]\n")
    storage = ["--root", str(work / "storage"), "--runroot", str(work / "runroot"), "--storage-driver", "vfs"]
    built = subprocess.run(["buildah", *storage, "build", "--isolation", "chroot", "-t", "built", str(work)], capture_output=True, text=True, check=False)
    if built.returncode:
        raise Skip("buildah cannot build here: " + built.stderr.strip().splitlines()[-1][:200])
    subprocess.run(["buildah", *storage, "push", "-q", "built", f"oci:{work}/built:1"], check=True, stdout=subprocess.DEVNULL)
    with Home() as home, RealRegistry() as registry:
        name = registry.push(f"oci:{work}/built:1", "built:1")
        home.ok("pull", name)
        about = json.loads(home.ok("image", "inspect", name))[0]
        assert about["process"]["cmd"] == ["/bin/cat", "/etc/made-by"] and "A=1" in about["process"]["env"], about


def test_a_login():
    need("htpasswd")
    layout = busybox()
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(["htpasswd", "-Bbc", f"{tmp}/htpasswd", "me", "secret"], check=True, stderr=subprocess.DEVNULL)
        with Home() as home, RealRegistry({"auth": {"htpasswd": {"realm": "x", "path": f"{tmp}/htpasswd"}}}) as registry:
            name = registry.push(f"oci:{layout}:app", "app:1", "--dest-creds", "me:secret")
            home.refused("pull", name, words=("401",))
            home.refused("login", "-u", "me", "--password-stdin", registry.host, input="wrong", words=("401",))
            home.ok("login", "-u", "me", "--password-stdin", registry.host, input="secret")
            home.ok("pull", name)
            home.verify()


try:
    main(globals())
finally:
    shutil.rmtree(work, ignore_errors=True)
