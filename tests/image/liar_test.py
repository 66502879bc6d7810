#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Registries that lie, stall or break: what is said then names registry, image and digest, and nothing unverified is seen."""
import json
import os
import threading
import time

from imagetest import (ARCH, Home, Image, OCI_INDEX, OCI_MANIFEST, Registry, entry, main, sha256, tar_of)

BIG = tar_of([entry("big", data=os.urandom(600_000))])


def lies(hook=None, image=None, words=(), spoil=None, name="test", seen=()):
    """Pulls from a registry with the hook: it is refused, naming it, and nothing but @seen is visible."""
    image = image or Image()
    with Home() as home, Registry(hook) as registry:
        reference = registry.add(image, name)
        if spoil:
            spoil(registry, image)
        began = time.monotonic()
        text = home.refused("pull", reference, words=(registry.host, name, *words))
        assert time.monotonic() - began < 60
        assert set(home.blobs()) <= {digest[7:] for digest in seen}, home.blobs()
        home.verify()
        assert home.ok("image", "ls", "-q") == ""
        home.no_process_left()
        return text


def is_layer(handler, image):
    return handler.path.endswith(image.manifest["layers"][0]["digest"])


def test_a_wrong_layer():
    image = Image([BIG])
    wrong = bytes(len(image.layers[0]))
    layer = image.manifest["layers"][0]["digest"]
    lies(image=image, words=(layer, sha256(wrong)), spoil=lambda r, i: r.blobs.__setitem__(layer, wrong))


def test_a_layer_that_is_too_short():
    image = Image([BIG])
    layer = image.manifest["layers"][0]["digest"]
    lies(image=image, words=(layer, "bytes"), spoil=lambda r, i: r.blobs.__setitem__(layer, i.layers[0][:-1]))


def test_a_layer_that_is_too_long():
    image = Image([BIG])
    layer = image.manifest["layers"][0]["digest"]
    lies(image=image, words=(layer, "more than"), spoil=lambda r, i: r.blobs.__setitem__(layer, i.layers[0] + b"x"))


def test_an_endless_layer():
    image = Image([BIG])

    def hook(handler):
        if not is_layer(handler, image):
            return False
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(image.layers[0])
    lies(hook, image, words=(image.manifest["layers"][0]["digest"], "more than"))


def test_an_endless_manifest():
    def hook(handler):
        if "/manifests/" not in handler.path:
            return False
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(b'{"schemaVersion": 2, ' + b" " * 65536)
    lies(hook, words=("more than",))


def test_a_wrong_config():
    image = Image()
    config = image.manifest["config"]["digest"]
    other = bytes(image.manifest["config"]["size"])
    lies(image=image, words=(config, "digest"), spoil=lambda r, i: r.blobs.__setitem__(config, other))


def test_a_manifest_with_another_digest_than_was_asked_for():
    image, other = Image(), Image([BIG])
    with Home() as home, Registry() as registry:
        registry.add(image)
        registry.documents[("test", other.digest)] = (OCI_MANIFEST, image.text)
        home.refused("pull", f"{registry.host}/test@{other.digest}", words=(registry.host, "test", other.digest, image.digest))
        assert home.blobs() == []


def test_a_header_with_another_digest():
    def hook(handler):
        if "/manifests/" not in handler.path:
            return False
        handler.send(200, Image().text, [("Content-Type", OCI_MANIFEST), ("Docker-Content-Digest", "sha256:" + "0" * 64)])
        return True
    lies(hook, words=("sha256:000000",))


def test_a_truncated_manifest():
    image = Image()
    lies(image=image, words=("JSON",),
         spoil=lambda r, i: r.documents.__setitem__(("test", "1"), (OCI_MANIFEST, i.text[:len(i.text) // 2])))


def test_a_manifest_that_ends_before_its_length():
    def hook(handler):
        if "/manifests/" not in handler.path:
            return False
        handler.send(200, b'{"schema', [("Content-Type", OCI_MANIFEST)], length=1000)
        handler.close_connection = True
        return True
    lies(hook, words=("test:1",))


def spoilt(change, words):
    image = Image()
    change(image)
    lies(image=image, words=words)


def test_documents_that_make_no_sense():
    def layer(key, value):
        return lambda i: i.manifest["layers"][0].__setitem__(key, value)
    spoilt(lambda i: i.manifest.__delitem__("layers"), ("layers",))
    spoilt(lambda i: i.manifest.__delitem__("config"), ("configuration",))
    spoilt(layer("digest", "sha256:../../../etc/passwd"), ("SHA-256",))
    spoilt(layer("digest", "md5:" + "0" * 32), ("SHA-256",))
    spoilt(layer("digest", "sha512:" + "0" * 128), ("SHA-256",))
    spoilt(layer("size", -1), ("size",))
    spoilt(layer("size", 1 << 62), ("MiB",))
    spoilt(layer("size", "1"), ("size",))
    spoilt(layer("mediaType", "application/vnd.oci.image.layer.v1.tar+encrypted"), ("encrypted",))
    spoilt(lambda i: i.manifest.__setitem__("schemaVersion", 1), ("schema 1",))
    spoilt(lambda i: i.manifest["config"].__setitem__("mediaType", "application/vnd.cncf.helm.config.v1+json"), ("helm",))
    spoilt(lambda i: i.manifest["layers"].extend(i.manifest["layers"] * 200), ("127",))
    spoilt(lambda i: i.manifest.__setitem__("mediaType", "text/plain"), ("text/plain",))


def config_spoilt(change, words):
    image = Image()
    change(image.config)
    image.finish()
    lies(image=image, words=words)


def test_configurations_that_make_no_sense():
    config_spoilt(lambda c: c.__setitem__("architecture", "s390x"), ("s390x",))
    config_spoilt(lambda c: c.__setitem__("os", "windows"), ("windows",))
    config_spoilt(lambda c: c["rootfs"].__setitem__("diff_ids", []), ("layers",))
    config_spoilt(lambda c: c["rootfs"].__setitem__("diff_ids", ["x"]), ("diff_ids",))
    config_spoilt(lambda c: c.__delitem__("rootfs"), ("layers",))
    config_spoilt(lambda c: c["config"].__setitem__("Env", "A=b"), ("Env",))
    config_spoilt(lambda c: c["config"].__setitem__("Cmd", [1]), ("Cmd",))
    config_spoilt(lambda c: c["config"].__setitem__("User", 5), ("User",))


def test_an_index_without_this_platform():
    image = Image()
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": image.digest, "size": len(image.text), "platform": {"os": os_, "architecture": arch}}
        for os_, arch in (("linux", "s390x"), ("windows", ARCH))]}).encode()
    text = lies(image=image, words=(f"linux/{ARCH}",), spoil=lambda r, i: r.documents.__setitem__(("test", "1"), (OCI_INDEX, index)))
    assert "linux/s390x, windows/" in text, text


def test_an_index_whose_manifest_is_another():
    image = Image()
    other = b"x" * len(image.text)
    index = json.dumps({"schemaVersion": 2, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": image.digest, "size": len(image.text), "platform": {"os": "linux", "architecture": ARCH}}]}).encode()

    def spoil(registry, image):
        registry.documents[("test", "1")] = (OCI_INDEX, index)
        registry.documents[("test", image.digest)] = (OCI_MANIFEST, other)
    lies(image=image, words=(image.digest, "digest"), spoil=spoil)


def test_redirections_without_end():
    def hook(handler):
        if "/manifests/" not in handler.path:
            return False
        handler.send(307, b"", [("Location", handler.path + "x")])
        return True
    lies(hook, words=("redirects",))


def test_a_redirection_to_a_file():
    def hook(handler):
        if "/manifests/" not in handler.path:
            return False
        handler.send(307, b"", [("Location", "file:///etc/passwd")])
        return True
    lies(hook, words=("test:1",))


def challenged(handler, realm):
    handler.send(401, b"", [("WWW-Authenticate", f'Bearer realm="{realm}",service="s",scope="repository:test:pull"')])
    return True


def test_401_for_ever():
    def hook(handler):
        if handler.path.startswith("/token"):
            handler.send(200, b'{"token": "abc"}')
            return True
        return challenged(handler, f"http://{handler.headers['Host']}/token")
    lies(hook, words=("401", "kiln login"))


def test_tokens_that_are_none():
    for body in (b"", b"{}", b'{"token": "a\\r\\nX: y"}', b'{"token": 5}', b'{"token": "' + b"x" * 100_000 + b'"}', b"{" * 2_000_000):
        def hook(handler, body=body):
            if handler.path.startswith("/token"):
                handler.send(200, body)
                return True
            return challenged(handler, f"http://{handler.headers['Host']}/token")
        lies(hook, words=())


def test_a_token_server_that_is_no_url():
    lies(lambda handler: challenged(handler, "file:///etc/passwd"), words=("file:///etc/passwd",))


def test_slow_drips():
    image = Image([BIG])

    def drip(part):
        def hook(handler):
            if part not in handler.path:
                return False
            handler.send_response(200)
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
            handler.close_connection = True
            stop = threading.Event()
            while not stop.wait(0.2):
                handler.wfile.write(b" ")
                handler.wfile.flush()
        return hook
    lies(drip("/manifests/"), image, words=("test:1",))
    lies(drip(image.manifest["layers"][0]["digest"]), image, words=(image.manifest["layers"][0]["digest"],))


def test_drips_over_many_connections():
    """Of a layer a byte each time, or now and then a bit less than before: nobody gets on so, and it is given up."""
    image = Image([tar_of([entry("big", data=os.urandom(200_000))])])
    layer = image.manifest["layers"][0]["digest"]
    data = image.blobs[layer]
    for ranges, counts in ((True, (1,)), (False, (1000, 10)), (False, (1000, 1001))):
        asked = []

        def hook(handler, ranges=ranges, counts=counts, asked=asked):
            if not handler.path.endswith(layer):
                return False
            at = int((handler.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0]) if ranges else 0
            handler.send_response(206 if at else 200)
            handler.send_header("Content-Length", str(len(data) - at))
            if at:
                handler.send_header("Content-Range", f"bytes {at}-{len(data) - 1}/{len(data)}")
            handler.end_headers()
            handler.wfile.write(data[at:at + counts[len(asked) % len(counts)]])
            handler.close_connection = True
            asked.append(at)
            return True
        lies(hook, image, words=(layer,))
        assert len(asked) <= 8, asked


def test_a_registry_that_hangs_up():
    def hook(handler):
        handler.close_connection = True
        return True
    lies(hook, words=("test:1",))


def test_statuses():
    for status, words in ((404, ("404",)), (403, ("403", "kiln login")), (500, ("500",)), (418, ("418",))):
        def hook(handler, status=status):
            handler.send(status, b'{"errors":[{"code":"X","message":"why it is so \x1b[31m"}]}')
            return True
        text = lies(hook, words=words)
        assert "\x1b" not in text, text


def test_an_error_page_without_end():
    def hook(handler):
        handler.send_response(403)
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(b"<html>" * 1000)
    lies(hook, words=("403",))


def test_bytes_from_elsewhere_in_the_layer():
    """A range that is not the one that was asked for is not put behind what is there."""
    image = Image([BIG])
    first = threading.Event()

    def hook(handler):
        if not is_layer(handler, image):
            return False
        data = image.layers[0]
        if not first.is_set():
            first.set()
            handler.send(200, data[:1000], length=len(data))
            handler.close_connection = True
            return True
        handler.send(206, data[5:], [("Content-Range", f"bytes 5-{len(data) - 1}/{len(data)}")])
        return True
    lies(hook, image, words=(image.manifest["layers"][0]["digest"],))


main(globals())
