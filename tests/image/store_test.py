#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The store: verified, atomic, shared by processes that die at any moment."""
import fcntl
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import threading
import time

from imagetest import ARCH, Home, KILN, OCI_INDEX, OCI_MANIFEST, Registry, SOAK, big_image, entry, helper_of, main, need, sha256, tar_of


def test_a_pull_and_what_there_is_to_see_of_it():
    image = big_image()
    with Home() as home, Registry() as registry:
        reference = registry.add(image)
        assert home.ok("pull", reference).split() == [reference, image.digest]
        home.verify()
        assert home.blobs() == sorted(d[7:] for d in {**image.blobs, image.digest: b""})
        [found] = json.loads(home.ok("image", "ls", "--format", "json"))
        assert found["name"] == reference and found["digest"] == image.digest and found["arch"] == ARCH, found
        assert found["size"] == sum(map(len, image.blobs.values())) + len(image.text) and found["root_size"] > 4 * 400_000, found
        [about] = json.loads(home.ok("image", "inspect", image.digest[7:19]))
        assert [layer["digest"] for layer in about["layers"]] == [sha256(layer) for layer in image.layers]
        assert home.ok("image", "ls", "-q").strip() == image.digest
        home.no_process_left()


def test_nothing_is_asked_for_what_is_here():
    image = big_image()
    with Home() as home, Registry() as registry:
        reference = registry.add(image)
        home.ok("pull", reference)
        before = len(registry.requests)
        home.ok("create", reference, "true")
        home.ok("create", "--pull", "never", f"{registry.host}/test@{image.digest}", "true")
        assert len(registry.requests) == before
        home.ok("create", "--pull", "always", reference, "true")
        assert len(registry.requests) > before and registry.count("/blobs/") == len(image.blobs)
        home.refused("create", "--pull", "never", f"{registry.host}/absent", "true", words=("absent", "kiln pull"))


def test_a_name_that_moves():
    one, two = big_image(1), big_image(1)
    with Home() as home, Registry() as registry:
        reference = registry.add(one)
        vm = home.ok("create", "--name", "old", reference, "true").strip()
        registry.add(two)
        home.ok("pull", reference)
        assert home.ok("image", "ls", "-q").strip() == two.digest
        pinned = json.loads(home.ok("inspect", "old"))[0]["config"]["root"]["image"]
        assert pinned == f"{reference}@{one.digest}", pinned
        home.ok("image", "prune")
        assert one.manifest["layers"][0]["digest"][7:] in home.blobs(), "a VM is made of it"
        home.ok("rm", vm)
        home.ok("image", "prune")
        assert one.manifest["layers"][0]["digest"][7:] not in home.blobs()
        assert two.manifest["layers"][0]["digest"][7:] in home.blobs()
        home.verify()


def test_rm():
    image = big_image(1)
    with Home() as home, Registry() as registry:
        reference = registry.add(image)
        home.ok("pull", reference)
        home.ok("image", "tag", reference, "mine:5")
        home.ok("image", "rm", reference)
        assert json.loads(home.ok("image", "ls", "--format", "json"))[0]["name"] == "docker.io/library/mine:5"
        home.ok("create", "--name", "v", "--pull", "never", "mine:5", "true")
        home.refused("image", "rm", "mine:5", words=("a VM is made of",))
        home.ok("image", "rm", "-f", "mine:5")
        assert home.blobs() == [] and not [p for p in home.objects() if "chain" in p.name]
        home.refused("image", "rm", "mine:5", words=("no image",))


def test_rm_of_what_is_broken():
    """A name whose description is lost can be removed, and then the store is as good as before."""
    image, other, third = big_image(1), big_image(1), big_image(1)
    with Home() as home, Registry() as registry:
        lost = registry.add(image)
        for reference in (lost, registry.add(other, "other"), registry.add(third, "third")):
            home.ok("pull", reference)
        registry.hook = lambda handler: handler.send(404) or True
        (home.store / "images" / image.digest[7:]).unlink()
        home.refused("image", "prune", words=(lost, "image rm"))
        home.ok("image", "rm", lost)
        home.verify()
        home.ok("image", "prune")
        assert home.blobs() == sorted(d[7:] for i in (other, third) for d in (*i.blobs, i.digest))
        (home.store / "images" / other.digest[7:]).unlink()
        home.ok("image", "rm", other.digest)
        assert home.ok("image", "ls", "-q").strip() == third.digest


def test_names_and_digests():
    """A digest stands for all names of its image, and a name that looks like the beginning of one is a name."""
    image, other = big_image(1), big_image(1)
    with Home() as home, Registry() as registry:
        reference = registry.add(image)
        home.ok("pull", reference)
        home.ok("image", "tag", reference, "two:1")
        home.ok("image", "tag", reference, "three:1")
        home.ok("image", "rm", image.digest[7:19])
        assert home.ok("image", "ls", "-q") == "" and home.blobs() == []
        home.ok("pull", reference)
        home.ok("pull", registry.add(other, "other"))
        digits = image.digest[7:19]
        home.ok("image", "tag", f"{registry.host}/other:1", digits)
        [about] = json.loads(home.ok("image", "inspect", digits))
        assert about["digest"] == other.digest
        home.ok("image", "rm", digits)
        assert sorted(home.ok("image", "ls", "-q").split()) == sorted([image.digest, other.digest])


def test_a_digest_alone():
    """It means an image that is here, and is nothing that could be pulled: no registry is asked for a repository "sha256"."""
    image = big_image(1)
    with Home() as home, Registry() as registry:
        reference = registry.add(image)
        (home.dir / ".config/containers").mkdir(parents=True)
        (home.dir / ".config/containers/registries.conf").write_text(f'unqualified-search-registries = ["{registry.host}"]\n')
        home.refused("create", image.digest, "true", words=(f"no image {image.digest} here", "NAME@sha256:"))
        home.refused("pull", image.digest, words=("does not say where the image is", "NAME@sha256:"))
        assert not registry.requests
        home.ok("pull", reference)
        asked = len(registry.requests)
        home.refused("pull", image.digest, words=("NAME@sha256:",))
        for i, pull in enumerate(([], ["--pull", "never"])):
            config = json.loads(home.ok("inspect", home.ok("create", *pull, "--name", f"v{i}", image.digest, "true").strip()))[0]["config"]
            assert config["root"]["image"] == f"{reference}@{image.digest}", config
        assert len(registry.requests) == asked
        home.refused("image", "tag", reference, image.digest, words=("digest without the name",))
        home.refused("image", "inspect", "sha256:" + "1" * 64, words=("no image sha256:1111",))


class Locked:
    """The store, locked as who removes from it locks it, until the test has seen who waits for that."""

    def __init__(self, home):
        self.home = home

    def __enter__(self):
        self.fd = os.open(self.home.store / "lock", os.O_RDWR)
        fcntl.fcntl(self.fd, fcntl.F_OFD_SETLKW, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def waited_for(self, process):
        return waits(self.home, process)


def waits(home, process):
    """Whether @process waits for the store's lock, and does not end without."""
    inode = f":{(home.store / 'lock').stat().st_ino} "
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            return False
        if any("->" in line and inode in line for line in open("/proc/locks", encoding="ascii")):
            return True
        time.sleep(0.01)
    raise AssertionError("it neither waits nor ends")


def test_tag_of_what_is_removed_meanwhile():
    """What was listed is looked up again once nobody can remove it: the store never has a name without its image."""
    image = big_image(1)
    with Home() as home, Registry() as registry:
        reference = registry.add(image)
        home.ok("pull", reference)
        with Locked(home) as lock:
            process = home.popen("image", "tag", reference, "mine:5", stderr=subprocess.PIPE)
            assert lock.waited_for(process), "a name was given while somebody removed images"
            # As image rm does it, behind this lock.
            for path in (home.store / "images").iterdir():
                path.unlink()
            (home.store / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
        _, err = process.communicate(timeout=60)
        assert process.returncode == 125 and "removed meanwhile" in err, err
        assert home.ok("image", "ls", "-q") == ""
    bad = 0
    with Home() as home, Registry() as registry:
        reference = registry.add(image)
        for i in range(60 if SOAK else 10):
            home.ok("pull", reference)
            both = [home.popen("image", "tag", reference, f"m{i}:1", stderr=subprocess.DEVNULL), home.popen("image", "rm", reference)]
            assert [p.wait(60) for p in both][1] == 0
            home.verify()
            bad += home.kiln("image", "rm", f"m{i}:1").returncode != 0
    print(f"shown: of that many tags beside a removal, {bad} came too late, and the store is whole")


def test_prune_beside_what_makes_a_vm():
    """An image that a VM is being made of stays: it is held until the VM names it, and what VMs use is listed behind that."""
    image = big_image(2, 200_000)
    asked, go = threading.Event(), threading.Event()

    def hook(handler):
        if "/blobs/" in handler.path:
            asked.set()
            go.wait(60)
        return False
    with Home() as home, Registry(hook) as registry:
        home.env["KILN_PULL_TIMEOUT"] = "60"
        reference = registry.add(image)
        creating = home.popen("create", "--name", "v", reference, "x", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert asked.wait(60)
        pruning = home.popen("image", "prune", "-a", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        waits(home, pruning)
        go.set()
        out = creating.communicate(timeout=60)
        assert creating.returncode == 0, out
        out = pruning.communicate(timeout=60)
        assert pruning.returncode == 0, out
        assert len(home.blobs()) == len(image.blobs) + 1, "the image of a VM was removed"
        assert image.digest in home.ok("image", "ls", "-q")
    # The same where the image is here already: who makes a VM waits for who removes, and the other way round.
    with Home() as home, Registry() as registry:
        reference = registry.add(image)
        home.ok("pull", reference)
        with Locked(home) as lock:
            creating = home.popen("create", "--pull", "never", reference, "x", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            assert lock.waited_for(creating), "an image was taken while somebody removed images"
        _, err = creating.communicate(timeout=60)
        assert creating.returncode == 0, err
        home.ok("image", "prune", "-a")
        assert home.blobs()
    with Home() as home, Registry() as registry:
        reference = registry.add(image)
        for i in range(60 if SOAK else 10):
            home.ok("pull", reference)
            creating = home.popen("create", "--pull", "never", reference, "x", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(0.002 * (i % 6))
            pruning = home.popen("image", "prune", "-a", stderr=subprocess.DEVNULL)
            out, err = creating.communicate(timeout=60)
            assert pruning.wait(60) == 0
            assert creating.returncode == 125 and "no image" in err or creating.returncode == 0 and home.blobs(), (out, err)
            if creating.returncode == 0:
                home.ok("rm", "-f", out.strip())


def test_roots_of_what_is_no_image():
    """prune takes what nothing leads to: roots of archives as they were once. With --all also those of archives and directories that no VM has."""
    def root_of(home, path):
        before = set(home.objects())
        vm = home.ok("create", "--rootfs", path, "--backend", "qemu", "--", "/none").strip()
        home.kiln("start", vm)  # it ends at once: there is no such program
        new, = [p for p in set(home.objects()) - before if p.name.startswith("root-")]
        return vm, new
    with Home() as home:
        def tree(name):
            (home.dir / name).mkdir()
            (home.dir / name / "file").write_bytes(os.urandom(100_000))
            return home.dir / name

        def archive(name):
            (home.dir / name).write_bytes(tar_of([entry("file", data=os.urandom(100_000))]))
            os.utime(home.dir / name, (1, 1))
            time.sleep(0.05)  # a change younger than the clock's tick is not put on record
            return home.dir / name
        kept, gone = root_of(home, tree("kept")), root_of(home, tree("gone"))
        kept_tar, gone_tar, old_tar = [root_of(home, archive(name)) for name in ("kept.tar", "gone.tar", "old.tar")]
        index = home.dir / "home/images/index"
        led_to = lambda: {os.readlink(p).split("/")[-1] for p in index.iterdir() if p.name.startswith("root-")}
        assert led_to() == {kept_tar[1].name, gone_tar[1].name, old_tar[1].name}
        # What another version of kiln made, and an archive's root that no record leads to.
        other = home.dir / "home/images/objects" / kept[1].name.replace("root-1-", "root-0-")
        other.write_bytes(b"old")
        [record] = [p for p in index.iterdir() if os.readlink(p).endswith(old_tar[1].name)]
        record.unlink()
        home.ok("rm", "-f", gone[0], gone_tar[0], old_tar[0])
        home.ok("image", "prune")
        assert not other.exists() and not old_tar[1].exists()
        assert all(path.exists() for _, path in (kept, gone, kept_tar, gone_tar))
        home.ok("image", "prune", "--all")
        assert kept[1].exists() and kept_tar[1].exists() and not gone[1].exists() and not gone_tar[1].exists()
        assert led_to() == {kept_tar[1].name}, "a record leads nowhere"
        # A directory that changed since: what was made of it is nobody's. What is asked for again is made again.
        (home.dir / "kept/file").write_bytes(b"new")
        home.ok("image", "prune", "--all")
        assert not kept[1].exists() and kept_tar[1].exists()
        # Who starts a VM waits for who removes: what it finds is not taken from under it.
        with Locked(home) as lock:
            starting = home.popen("start", kept_tar[0], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            assert lock.waited_for(starting), "a root was taken while somebody removed roots"
        starting.wait(60)
        home.ok("rm", "-f", kept[0], kept_tar[0])
        home.ok("image", "prune", "--all")
        assert not [p for p in home.objects() if p.name.startswith("root-")] and led_to() == set()


def test_ten_processes_download_each_layer_once():
    image = big_image(5, 700_000)

    def hook(handler):
        time.sleep(0.05)  # so that they meet
        return False
    with Home() as home, Registry(hook) as registry:
        reference = registry.add(image)
        processes = [home.popen("pull", reference, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(10)]
        for process in processes:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            assert image.digest in out
        for layer in image.manifest["layers"]:
            assert registry.count(layer["digest"]) == 1, (layer["digest"], registry.count(layer["digest"]))
        assert len([p for p in home.objects() if "chain" in p.name]) == 1
        home.verify()
        home.no_process_left()


def kill_one(process, helper):
    """SIGKILL to kiln, or to kiln-image, which then is told of as that: whether it was there to be killed. Nothing is left of either."""
    victim = None
    if helper:
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in children:
            try:
                # A pidfd, since what has ended by now may be another process by its number.
                victim = os.pidfd_open(int(pid))
                if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() != "kiln-image":
                    raise ProcessLookupError
                signal.pidfd_send_signal(victim, signal.SIGKILL)
            except (OSError, ProcessLookupError):
                victim = None
    if victim is None:
        process.kill()
    _, err = process.communicate(timeout=60)
    if victim is not None:
        os.close(victim)
        # It may have been ending by itself.
        assert process.returncode == 0 or process.returncode == 125 and "killed by signal 9" in err, (process.returncode, err)
    return victim is not None and process.returncode == 125


def test_killed_at_any_moment():
    """After each SIGKILL, to kiln and to kiln-image by turns, the store is whole, and the next pull gets what is missing, and no byte of a whole layer again."""
    rng = random.Random(11)
    kills = 50 if SOAK else 12
    resumed = helpers = 0
    for i in range(kills):
        image = big_image(3, 600_000)
        begun = threading.Event()

        def hook(handler, begun=begun):
            if "/blobs/" not in handler.path:
                return False
            begun.set()
            data = registry.blobs[handler.path.split("/")[-1]]
            at = int((handler.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
            handler.send_response(206 if at else 200)
            handler.send_header("Content-Length", str(len(data) - at))
            if at:
                handler.send_header("Content-Range", f"bytes {at}-{len(data) - 1}/{len(data)}")
            handler.end_headers()
            for offset in range(at, len(data), 65536):
                time.sleep(0.004)
                handler.wfile.write(data[offset:min(offset + 65536, len(data))])
            return True
        with Home() as home, Registry(hook) as registry:
            reference = registry.add(image)
            process = home.popen("pull", reference, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            # Half of them within the download, which is shorter than what is before and behind it.
            if i % 4 > 1:
                assert begun.wait(60)
            time.sleep(rng.random() * (0.06 if i % 4 > 1 else 0.25))
            helpers += kill_one(process, i % 2)
            until = time.monotonic() + 10
            while time.monotonic() < until:
                try:
                    home.no_process_left()
                    break
                except AssertionError:
                    time.sleep(0.01)
            home.verify()
            layers = {layer["digest"][7:]: layer["size"] for layer in image.manifest["layers"]}
            partial = {digits: home.store / "blobs/sha256" / (digits + ".partial") for digits in layers}
            cut = {digits: path.stat().st_size for digits, path in partial.items() if path.exists() and path.stat().st_size}
            before = {layer["digest"] for layer in image.manifest["layers"] if layer["digest"][7:] in home.blobs()}
            asked = len(registry.requests)
            assert image.digest in home.ok("pull", reference)
            again = [path for path, _ in registry.requests[asked:] if "/blobs/" in path]
            for digits, size in cut.items():
                ranges = [headers.get("Range") for path, headers in registry.requests[asked:] if path.endswith(digits)]
                assert ranges == ([] if size == layers[digits] else [f"bytes={size}-"]), (size, ranges)
                resumed += 1
            assert not [path for path in again if path.split("/")[-1] in before], (before, again)
            home.verify()
            assert not list((home.store / "blobs/sha256").glob("*.partial"))
            assert len([p for p in home.objects() if "chain" in p.name]) == 1
    assert resumed, "no pull was killed within a layer"
    assert helpers, "no kiln-image was killed"
    print(f"shown: {kills} pulls killed ({helpers} by their kiln-image), the store whole each time; {resumed} layers taken up where they were cut")


def test_killed_within_a_layer():
    """Whoever of the two is killed, kiln or kiln-image: what of a layer is there stays, and no byte of it comes again."""
    image = big_image(1, 900_000)
    layer = image.manifest["layers"][0]["digest"]
    for victim in ("kiln", "kiln-image"):
        sent, go = threading.Event(), threading.Event()

        def hook(handler, sent=sent, go=go):
            if not handler.path.endswith(layer) or go.is_set():
                return False
            data = registry.blobs[layer]
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data[:500_000])
            sent.set()
            go.wait(60)
            handler.close_connection = True
            return True
        with Home() as home, Registry(hook) as registry:
            home.env["KILN_PULL_TIMEOUT"] = "60"
            reference = registry.add(image)
            process = home.popen("pull", reference, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            assert sent.wait(60)
            partial = home.store / "blobs/sha256" / (layer[7:] + ".partial")
            until = time.monotonic() + 60
            while not partial.exists() or partial.stat().st_size < 500_000:
                assert time.monotonic() < until
                time.sleep(0.01)
            os.kill(helper_of(process) if victim == "kiln-image" else process.pid, signal.SIGKILL)
            _, err = process.communicate(timeout=60)
            assert process.returncode == (125 if victim == "kiln-image" else -signal.SIGKILL), (process.returncode, err)
            go.set()
            while True:
                try:
                    home.no_process_left()
                    break
                except AssertionError:
                    assert time.monotonic() < until
                    time.sleep(0.01)
            assert partial.stat().st_size == 500_000 and layer[7:] not in home.blobs()
            home.ok("pull", reference)
            assert [headers.get("Range") for path, headers in registry.requests if path.endswith(layer)] == [None, "bytes=500000-"]
            home.verify()


def test_a_root_killed_at_any_moment():
    """The same of a root's making: nothing half made is there, the store is whole, and the next to ask makes it without the registry."""
    rng = random.Random(12)
    kills = 50 if SOAK else 8
    cut = helpers = 0
    with Home() as home, Registry() as registry:
        reference = registry.add(big_image(3, 12_000_000))
        home.ok("pull", reference)
        root, = [p for p in home.objects() if "chain" in p.name]
        whole = root.read_bytes()
        root.unlink()
        began = time.monotonic()
        home.ok("pull", reference)
        takes = time.monotonic() - began
        assert root.read_bytes() == whole
        for i in range(kills):
            root.unlink()
            asked = registry.count("/blobs/")
            process = home.popen("pull", reference, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            time.sleep(rng.random() * takes)
            helpers += kill_one(process, i % 2)
            until = time.monotonic() + 10
            while time.monotonic() < until:
                try:
                    home.no_process_left()
                    break
                except AssertionError:
                    time.sleep(0.01)
            cut += not root.exists()
            assert not root.exists() or root.read_bytes() == whole
            home.verify()
            home.ok("pull", reference)
            assert root.read_bytes() == whole and registry.count("/blobs/") == asked, "asked for what is here"
            left = [str(p) for p in (home.dir / "home/images").rglob("*") if p.is_file() and (p.parent.name == "tmp" or p.name.endswith(".partial"))]
            assert not left, left
    assert cut > kills // 3 and helpers, (cut, helpers)
    print(f"shown: {kills} makings of a root killed ({helpers} by their kiln-image), {cut} of them before it was there; the store whole each time")


def test_a_download_goes_on_where_it_ended():
    image = big_image(1, 900_000)
    layer = image.manifest["layers"][0]
    cut = threading.Event()

    def hook(handler):
        if not handler.path.endswith(layer["digest"]) or cut.is_set():
            return False
        cut.set()
        data = registry.blobs[layer["digest"]]
        handler.send(200, data[:500_000], length=len(data))
        handler.close_connection = True
        return True
    with Home() as home, Registry(hook) as registry:
        home.ok("pull", registry.add(image))
        ranges = [headers.get("Range") for path, headers in registry.requests if path.endswith(layer["digest"])]
        assert ranges[0] is None and ranges[1] == "bytes=500000-", ranges


def test_a_registry_that_is_busy_is_asked_again():
    image = big_image(2)
    seen = {}
    times = []

    def hook(handler):
        seen[handler.path] = seen.get(handler.path, 0) + 1
        if seen[handler.path] > 1:
            times.append(time.monotonic())
            return False
        times.append(time.monotonic())
        handler.send(429 if "manifests" in handler.path else 503, b"", [("Retry-After", "1")])
        return True
    with Home() as home, Registry(hook) as registry:
        home.ok("pull", registry.add(image))
        assert times[1] - times[0] >= 0.99, "it did not wait as it was told"
        assert all(count == 2 for count in seen.values()), seen


def test_what_is_named_survives_a_power_cut():
    """Each blob is synchronised before it gets its name, and their directory before the index names them."""
    need("strace")
    image = big_image(2)
    with Home() as home, Registry() as registry:
        trace = home.dir / "trace"
        image.layout(home.dir / "layout")
        for args in (("pull", registry.add(image)), ("image", "load", f"oci:{home.dir}/layout:test", "h:1")):
            result = subprocess.run(["strace", "-f", "-y", "-o", str(trace), "-e", "trace=fsync,fdatasync,renameat,renameat2,rename,linkat", KILN, *args],
                                    env={**home.env, "ASAN_OPTIONS": "detect_leaks=0"}, # which cannot look while it is traced
                                    capture_output=True, text=True, timeout=120, check=False)
            assert result.returncode == 0, result
            calls = [line.split(None, 1)[1] for line in trace.read_text().splitlines() if "sync(" in line or "rename" in line or "linkat(" in line]
            named = [i for i, call in enumerate(calls) if "rename" in call and ".partial" in call]
            assert len(named) >= 4, calls
            assert all(sum("sync" in call and ".partial>" in call for call in calls[:at]) > before for before, at in enumerate(named)), calls
            index = next(i for i, call in enumerate(calls) if "sync" not in call and "index.json" in call)
            assert any("sync" in call and "blobs/sha256>" in call for call in calls[named[-1]:index]), calls
            home.ok("image", "rm", image.digest)


def test_names_of_several_platforms():
    here, other = big_image(1), big_image(1)
    foreign = {"amd64": "arm64", "arm64": "amd64"}[ARCH]
    other.config["architecture"] = foreign
    other.finish()
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": i.digest, "size": len(i.text), "platform": {"os": "linux", "architecture": a}}
        for i, a in ((other, foreign), (here, ARCH))]}).encode()
    with Home() as home, Registry() as registry:
        registry.add(here)
        registry.add(other)
        for tag in ("1", sha256(index)):
            registry.documents[("test", tag)] = (OCI_INDEX, index)
        reference = f"{registry.host}/test:1"
        assert here.digest in home.ok("pull", reference)
        assert other.digest in home.ok("pull", "--platform", f"linux/{foreign}", reference)
        assert sorted(home.ok("image", "ls", "-q").split()) == sorted([here.digest, other.digest])
        assert here.digest in home.ok("pull", f"{reference}@{sha256(index)}")
        config = json.loads(home.ok("inspect", home.ok("create", "--platform", f"linux/{foreign}", reference, "x").strip()))[0]["config"]
        assert config["root"]["image"].endswith(other.digest), config
        # A manifest's digest stands for one architecture, whatever else is asked for; nobody is asked then.
        asked = len(registry.requests)
        for pinned in (f"{registry.host}/test@{other.digest}", other.digest):
            home.refused("create", pinned, "x", words=(f"is an image for {foreign}, not for {ARCH}", f"--platform linux/{foreign}"))
            home.ok("create", "--platform", f"linux/{foreign}", pinned, "x")
        home.refused("create", "--platform", f"linux/{foreign}", f"{registry.host}/test@{here.digest}", "x", words=(f"image for {ARCH}",))
        assert len(registry.requests) == asked
        # What is told and done of images that are here is of the one that is asked for; of this machine's where none is.
        for options, image in (([], here), (["--platform", f"linux/{ARCH}"], here), (["--platform", f"linux/{foreign}"], other)):
            [about] = json.loads(home.ok("image", "inspect", *options, reference))
            assert about["digest"] == image.digest, (options, about)
            if options:
                assert home.ok("image", "ls", "-q", *options).split().count(image.digest) == len(home.ok("image", "ls", "-q", *options).split())
        home.refused("image", "inspect", "--platform", f"linux/{ARCH}", other.digest, words=(f"for linux/{ARCH} here",))
        home.ok("image", "tag", "--platform", f"linux/{foreign}", reference, "foreign:1")
        assert json.loads(home.ok("image", "inspect", "foreign:1"))[0]["digest"] == other.digest
        home.refused("image", "inspect", "--platform", f"linux/{ARCH}", "foreign:1", words=("no image docker.io/library/foreign:1 for",))
        home.ok("rm", "-f", *home.ok("ls", "-aq").split())
        home.ok("image", "rm", "--platform", f"linux/{foreign}", reference)
        assert json.loads(home.ok("image", "inspect", reference))[0]["digest"] == here.digest
        home.verify()


def test_progress():
    image = big_image(2)
    with Home() as home, Registry() as registry:
        reference = registry.add(image)
        result = home.kiln("pull", "--progress", "plain", reference)
        assert result.returncode == 0 and "pulling " + reference in result.stderr and "\r" not in result.stderr, result
        assert home.kiln("pull", "--progress", "none", reference).stderr == ""


def test_homes_that_share_a_cache():
    """What another home's VMs are made of is neither pruned nor removed; with the VM gone, it is."""
    with Home() as one, Home() as two, Registry() as registry:
        for home in (one, two):
            home.env["KILN_IMAGE_CACHE"] = str(one.dir / "cache")
            home.store = one.dir / "cache/store"
        used, other = registry.add(big_image(1, 1000), "used"), registry.add(big_image(1, 1000), "other")
        one.ok("create", "--name", "v", used, "x")
        two.ok("pull", other)
        assert len(one.blobs()) == 6
        two.ok("image", "prune", "-a")
        assert len(one.blobs()) == 3, one.blobs()
        two.refused("image", "rm", used, words=("a VM is made of",))
        one.verify()
        # A home whose configurations cannot be read may use anything.
        config = next((one.dir / "home/vms").glob("*/config.json"))
        text = config.read_text()
        config.write_text("no configuration")
        two.refused("image", "prune", "-a", words=(str(one.dir / "home"),))
        config.write_text(text)
        one.ok("rm", "v")
        two.ok("image", "prune", "-a")
        assert one.blobs() == []
        # The cache of a home, used by another one, and one that is gone meanwhile.
        del one.env["KILN_IMAGE_CACHE"]
        two.env["KILN_IMAGE_CACHE"] = str(one.dir / "home/images")
        one.store = one.dir / "home/images/store"
        one.ok("create", "--name", "v", used, "x")
        two.ok("pull", other)
        two.ok("image", "prune", "-a")
        assert len(one.blobs()) == 3
        two.ok("create", "--name", "w", other, "x")
        shutil.rmtree(two.dir / "home")
        one.ok("image", "prune", "-a")
        assert len(one.blobs()) == 3


main(globals())
