#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cloud images by name, pulled from a vendor on loopback by TLS: what is not what the checksums say is never seen.

usage: cloud_pull_test.py KILN
"""
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "image"))
from vendor import Vendor # pylint: disable=wrong-import-position

kiln = os.path.abspath(sys.argv[1])
work = pathlib.Path(tempfile.mkdtemp(prefix="kiln-cloud-test-"))
home = work / "home"
for program in ("openssl", "qemu-img"):
    if not shutil.which(program):
        print(program, "is not installed")
        sys.exit(77)


vendor = Vendor(work)
asked, ranges, answers, base, server = vendor.asked, vendor.ranges, vendor.answers, vendor.base, vendor.server
catalogue = work / "catalogue.json"


def offer(name="test-1", file="image.raw", digest="sha512", checksums="SUMS"):
    catalogue.write_text(json.dumps({"images": [{"name": name, "arch": "x86_64", "url": f"{base}/{file}", "checksums": f"{base}/{checksums}", "digest": digest}]}))


def run(*args, **more):
    env = {**os.environ, "KILN_HOME": str(home), "KILN_CLOUD_IMAGES": str(catalogue), "SSL_CERT_FILE": str(work / "ca.pem"), **more}
    asked.clear()
    return subprocess.run([kiln, *args], capture_output=True, text=True, env=env, timeout=120)


def pull(**more):
    return run("disk", "pull", "--arch", "x86_64", "--progress", "plain", "test-1", **more)


def visible(partial=True):
    """All that a pull has left; without what the next one goes on with."""
    names = sorted(p.name for p in (home / "cloud").iterdir() if p.name != "lock") if (home / "cloud").exists() else []
    return [n for n in names if partial or not n.endswith(".partial")]


def refused(result, *words):
    assert result.returncode == 125, result
    for word in words:
        assert word in result.stderr, (word, result)
    assert not any(n.startswith(".kiln-tmp") for n in visible()), visible()


image = random.Random(1).randbytes(3 << 20) + bytes(5 << 20)
other = random.Random(2).randbytes(1 << 20)


def sums(content, name="image.raw", kind="sha512", form="{0}  {1}\n"):
    return form.format(hashlib.new(kind, content).hexdigest(), name).encode()


def test_an_image_is_pulled_verified_and_cloned():
    offer()
    answers.update({"/image.raw": image, "/SUMS": b"# all of them\n" + sums(b"x", "image.raw.bak") + sums(image) + sums(b"y", "dir/image.raw")})
    assert run("disk", "ls").stdout.splitlines()[1].split()[:3] == ["test-1", "x86_64", "no"]
    refused(run("disk", "clone", "--arch", "x86_64", "test-1", str(work / "early")), "has not been pulled", "kiln disk pull test-1")
    result = pull()
    assert result.returncode == 0 and pathlib.Path(result.stdout.strip()).read_bytes() == image, result
    assert visible() == ["test-1-x86_64.json", "test-1-x86_64.raw"], visible()
    allocated = json.loads(run("disk", "info", "--format", "json", result.stdout.strip()).stdout)[0]["allocated"]
    assert allocated < 4 << 20, "zeros take room"
    cloned = run("disk", "clone", "--arch", "x86_64", "--size", "16M", "test-1", str(work / "mine"))
    assert cloned.returncode == 0 and (work / "mine").read_bytes()[:len(image)] == image and (work / "mine").stat().st_size == 16 << 20, cloned
    again = pull()
    assert again.returncode == 0 and asked == ["/SUMS"], (again, asked)
    # What the vendor replaces is pulled again, and clones stay as they are.
    answers.update({"/image.raw": other, "/SUMS": sums(other)})
    result = pull()
    assert result.returncode == 0 and pathlib.Path(result.stdout.strip()).read_bytes() == other and asked == ["/SUMS", "/image.raw"], (result, asked)


def test_a_vendor_that_lies_changes_nothing():
    offer()
    before = {n: (home / "cloud" / n).read_bytes() for n in visible()}

    def short(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(image)))
        handler.end_headers()
        handler.wfile.write(image[:-1000])

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(5000):
            handler.wfile.write(b"0" * 4096)

    def plain(handler):
        handler.send_response(302)
        handler.send_header("Location", f"http://localhost:{server.server_address[1]}/image.raw")
        handler.end_headers()

    def loop(handler):
        handler.send_response(302)
        handler.send_header("Location", f"{base}/image.raw")
        handler.end_headers()

    for what, body, checksums, words in (
            ("another image", image[:-1] + b"x", sums(image), ("is not what its vendor says", "/image.raw", "sha512")),
            ("a short one", short, sums(image), ("image.raw", )),
            ("none", None, sums(image), ("answers 404", "image.raw")),
            ("plain http", plain, sums(image), ("http", )),
            ("a loop", loop, sums(image), ("redirects", )),
            ("no checksums", image, None, ("cannot tell what it must be", "SUMS")),
            ("checksums of others", image, sums(image, "image.raw2"), ("have none of image.raw", )),
            ("two checksums", image, sums(image) + sums(other), ("two different", )),
            ("the wrong kind", image, sums(image, kind="sha256"), ("have none of image.raw", )),
            ("endless checksums", image, endless, ("longer than", )),
            ("rubbish", image, bytes(range(256)) * 100, ("have none of", ))):
        answers.update({"/image.raw": body, "/SUMS": checksums})
        refused(pull(), *words)
        assert before == {n: (home / "cloud" / n).read_bytes() for n in visible(False)}, what
        assert what != "another image" or visible() == visible(False), visible()
        for left in (home / "cloud").glob("*.partial"):
            left.unlink()


def test_certificates_are_checked():
    offer()
    answers.update({"/image.raw": image, "/SUMS": sums(image)})
    refused(pull(SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt"), "ertificate")
    catalogue.write_text(catalogue.read_text().replace("localhost", "127.0.0.1"))  # not its name
    refused(pull(), "SSL")
    catalogue.write_text(catalogue.read_text().replace("https://", "http://"))
    refused(pull(), "must be https")


def test_other_forms():
    for kind, form in (("sha256", "SHA256 ({1}) = {0}\n"), ("sha512", "{0} *{1}\r\n"), ("sha256", "{0}  ./{1}\n"), ("sha512", "SHA512 ({1}) = {0}")):
        shutil.rmtree(home / "cloud", ignore_errors=True)
        offer(digest=kind)
        answers.update({"/image.raw": image, "/SUMS": b"-----BEGIN PGP SIGNED MESSAGE-----\n\n" + sums(image, kind=kind, form=form)})
        result = pull()
        assert result.returncode == 0, result
    (work / "raw").write_bytes(image)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", work / "raw", work / "q"], check=True)
    packed = (work / "q").read_bytes()
    offer(file="image.qcow2")
    answers.update({"/image.qcow2": packed, "/SUMS": sums(packed, "image.qcow2")})
    result = pull()
    assert result.returncode == 0 and pathlib.Path(result.stdout.strip()).read_bytes() == image, result
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", work / "b"], check=True)
    hostile = (work / "b").read_bytes()
    answers.update({"/image.qcow2": hostile, "/SUMS": sums(hostile, "image.qcow2")})
    refused(pull(), "differs from another file")


def test_the_catalogue_is_checked():
    for change, words in (({"name": "../x"}, "plain words"), ({"url": "https:///x"}, "https"), ({"url": "https://user@host/x"}, "https"),
                          ({"url": "https://host/"}, "name of a file"), ({"checksums": "ftp://h/x"}, "https"), ({"digest": "md5"}, "sha256 or sha512"), ({"arch": None}, "plain words")):
        offer()
        document = json.loads(catalogue.read_text())
        document["images"][0].update(change)
        catalogue.write_text(json.dumps(document))
        refused(run("disk", "ls"), words, "images[0]")
    for text in ("", "{", "[]", "{}", '{"images": []}'):
        catalogue.write_text(text)
        refused(run("disk", "ls"), str(catalogue))
    offer()
    refused(run("disk", "pull", "--arch", "x86_64", "nothing"), "no image", "test-1")


def test_several_pull_at_once_and_one_is_killed():
    shutil.rmtree(home / "cloud", ignore_errors=True)
    offer()
    gate = threading.Event()

    def slow(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(image)))
        handler.end_headers()
        handler.wfile.write(image[:1 << 20])
        started.set()
        gate.wait(60)
        handler.wfile.write(image[1 << 20:])

    started = threading.Event()
    answers.update({"/image.raw": slow, "/SUMS": sums(image)})
    env = {**os.environ, "KILN_HOME": str(home), "KILN_CLOUD_IMAGES": str(catalogue), "SSL_CERT_FILE": str(work / "ca.pem")}
    words = [kiln, "disk", "pull", "--arch", "x86_64", "test-1"]
    killed = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL)
    assert started.wait(60)
    while not any(p.stat().st_size for p in (home / "cloud").rglob("*.partial")):
        assert killed.poll() is None  # it has a deadline of its own
        os.sched_yield()
    killed.kill()
    killed.wait()
    assert [n for n in visible() if n.endswith(".partial")] and not any(n.endswith("64.raw") for n in visible()), visible()
    gate.set()
    asked.clear()
    ranges.clear()
    several = [subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) for _ in range(5)]
    assert [p.communicate(timeout=100)[0] for p in several] == [str(home / "cloud" / "test-1-x86_64.raw") + "\n"] * 5
    assert asked.count("/image.raw") == 1, asked
    # What was there when the first was killed is not asked for again, though this server sends it all the same.
    assert len(ranges) == 1 and 0 < int(ranges[0][6:-1]) <= 1 << 20, ranges
    assert visible() == ["test-1-x86_64.json", "test-1-x86_64.raw"], visible()


def test_a_download_goes_on():
    """Cut off, busy, or killed: it goes on by a range; what is there and wrong is got anew."""
    offer()
    sent = []

    def cut(handler):
        at = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        handler.send_response(206 if at else 200)
        handler.send_header("Content-Length", str(len(image) - at))
        if at:
            handler.send_header("Content-Range", f"bytes {at}-{len(image) - 1}/{len(image)}")
        handler.end_headers()
        sent.append(at)
        handler.wfile.write(image[at:at + (1 << 20)])

    answers.update({"/image.raw": cut, "/SUMS": sums(image)})
    shutil.rmtree(home / "cloud", ignore_errors=True)
    result = pull()
    assert result.returncode == 0 and (home / "cloud/test-1-x86_64.raw").read_bytes() == image, result
    assert sent[0] == 0 and all(a < b for a, b in zip(sent, sent[1:])) and len(sent) == 8, sent
    # One that gives a byte each time is given up like one that gives nothing.
    sent.clear()

    def drip(handler):
        at = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        handler.send_response(206 if at else 200)
        handler.send_header("Content-Length", str(len(image) - at))
        if at:
            handler.send_header("Content-Range", f"bytes {at}-{len(image) - 1}/{len(image)}")
        handler.end_headers()
        sent.append(at)
        handler.wfile.write(image[at:at + 1])

    answers["/image.raw"] = drip
    shutil.rmtree(home / "cloud", ignore_errors=True)
    refused(pull(), f"{base}/image.raw")
    assert len(sent) <= 6, sent
    answers["/image.raw"] = cut
    # Of a pull that was killed: rubbish of the right name, and the leftovers of another version.
    shutil.rmtree(home / "cloud", ignore_errors=True)
    (home / "cloud").mkdir(mode=0o700)
    (home / "cloud" / f"test-1-x86_64.{hashlib.sha512(image).hexdigest()}.partial").write_bytes(b"rubbish" * 1000)
    (home / "cloud" / "test-1-x86_64.0123.partial").write_bytes(b"older")
    (home / "cloud" / "test-10-x86_64.0123.partial").write_bytes(b"another's")
    sent.clear()
    result = pull()
    assert result.returncode == 0 and (home / "cloud/test-1-x86_64.raw").read_bytes() == image, result
    assert sent[0] == 7000 and 0 in sent, sent
    assert visible() == ["test-1-x86_64.json", "test-1-x86_64.raw", "test-10-x86_64.0123.partial"], visible()
    # Whole already: there is nothing to ask for but the checksums.
    shutil.rmtree(home / "cloud", ignore_errors=True)
    (home / "cloud").mkdir(mode=0o700)
    (home / "cloud" / f"test-1-x86_64.{hashlib.sha512(image).hexdigest()}.partial").write_bytes(image)
    result = pull()
    assert result.returncode == 0 and asked == ["/SUMS"], (result, asked)


def test_our_own_catalogue_is_good():
    env = {k: v for k, v in os.environ.items() if k != "KILN_CLOUD_IMAGES"}
    done = subprocess.run([kiln, "disk", "ls", "--format", "json"], capture_output=True, text=True, env=dict(env, KILN_HOME=str(home)))
    names = {i["name"] for i in json.loads(done.stdout)}
    assert {"debian-12", "ubuntu-24.04"} <= names, done


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
