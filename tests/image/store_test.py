#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The store: verified, atomic, shared by processes that die at any moment; and who one is to a registry."""
import base64
import json
import os
import pathlib
import random
import signal
import stat
import shutil
import ssl
import subprocess
import threading
import time

from imagetest import (ARCH, Home, Image, OCI_GZIP, OCI_INDEX, OCI_MANIFEST, Registry, SOAK, Skip, entry, main, need, sha256, tar_of)


def big_image(layers=4, size=400_000):
    return Image([tar_of([entry(f"file{i}", data=os.urandom(size))]) for i in range(layers)])


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


def test_killed_at_any_moment():
    """After each SIGKILL the store is whole, and the next pull gets what is missing, and no byte of a whole layer again."""
    rng = random.Random(11)
    kills = 50 if SOAK else 12
    for i in range(kills):
        image = big_image(3, 600_000)

        def hook(handler):
            if "/blobs/" not in handler.path:
                return False
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
            process = home.popen("pull", reference, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.25)
            process.kill()
            process.wait()
            until = time.monotonic() + 10
            while time.monotonic() < until:
                try:
                    home.no_process_left()
                    break
                except AssertionError:
                    time.sleep(0.01)
            home.verify()
            before = {layer["digest"] for layer in image.manifest["layers"] if layer["digest"][7:] in home.blobs()}
            asked = len(registry.requests)
            assert image.digest in home.ok("pull", reference)
            again = [path for path, _ in registry.requests[asked:] if "/blobs/" in path]
            assert not [path for path in again if path.split("/")[-1] in before], (before, again)
            home.verify()
            assert not list((home.store / "blobs/sha256").glob("*.partial"))
            assert len([p for p in home.objects() if "chain" in p.name]) == 1
    print(f"shown: {kills} pulls killed, the store whole each time")


def test_a_root_killed_at_any_moment():
    """The same of a root's making: nothing half made is there, the store is whole, and the next to ask makes it without the registry."""
    rng = random.Random(12)
    kills = 50 if SOAK else 8
    cut = 0
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
        for _ in range(kills):
            root.unlink()
            asked = registry.count("/blobs/")
            process = home.popen("pull", reference, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * takes)
            process.kill()
            process.wait()
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
    assert cut > kills // 3, cut
    print(f"shown: {kills} makings of a root killed, {cut} of them before it was there; the store whole each time")


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


# --- who one is ------------------------------------------------------------------------------------------

def tokened(user="me", password="pw:with:colons"):
    """A hook for a registry with a token server; tokens hold for one request only if they begin with "short"."""
    tokens = {"asked": 0, "valid": set()}
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def hook(handler):
        if handler.path.startswith("/token"):
            tokens["asked"] += 1
            given = handler.headers.get("Authorization")
            length = int(handler.headers.get("Content-Length") or 0)
            form = handler.rfile.read(length).decode()
            if given != expected and "refresh_token=idtoken" not in form:
                handler.send(401, b"{}")
                return True
            token = f"token{tokens['asked']}"
            tokens["valid"] = {token}
            handler.send(200, json.dumps({"access_token": token}).encode())
            return True
        given = (handler.headers.get("Authorization") or "")[len("Bearer "):]
        if given in tokens["valid"]:
            if "/blobs/" in handler.path and tokens["asked"] < 3:
                tokens["valid"] = set()  # it has run out in the middle of a pull
            return False
        handler.send(401, b"", [("WWW-Authenticate", "Basic realm=\"x\""), ("WWW-Authenticate",
                     f'Bearer realm="http://{handler.headers["Host"]}/token?a=b",service="reg, with commas",scope="repository:test:pull"')])
        return True
    return hook, tokens


def test_login_and_tokens_that_run_out():
    hook, tokens = tokened()
    image = big_image(3)
    with Home() as home, Registry(hook) as registry:
        reference = registry.add(image)
        home.refused("pull", reference, words=("401", f"kiln login {registry.host}"))
        home.refused("login", "-u", "me", "--password-stdin", registry.host, input="wrong\n", words=("401",))
        assert not (home.dir / ".config/containers/auth.json").exists()
        assert "pw:with" not in home.ok("login", "-u", "me", "--password-stdin", registry.host, input="pw:with:colons\n")
        auth = home.dir / ".config/containers/auth.json"
        assert stat.S_IMODE(auth.stat().st_mode) == 0o600
        assert json.loads(auth.read_text())["auths"][registry.host]["auth"] == base64.b64encode(b"me:pw:with:colons").decode()
        tokens["asked"] = 0
        home.ok("pull", reference)
        assert tokens["asked"] >= 3, "tokens that had run out were not asked for anew"
        assert all("service=reg%2C%20with%20commas" in path for path, _ in registry.requests if path.startswith("/token"))
        home.ok("logout", registry.host)
        home.refused("pull", reference, words=("401",))


def logged_in(make):
    """A pull from a registry that wants a login, which @make prepares, works."""
    hook, _ = tokened()
    with Home() as home, Registry(hook) as registry:
        reference = registry.add(big_image(1))
        make(home, registry)
        home.ok("pull", reference)
        home.no_process_left()


def test_files_of_docker_and_containers():
    packed = base64.b64encode(b"me:pw:with:colons").decode()

    def write(path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    logged_in(lambda h, r: write(h.dir / ".docker/config.json", {"auths": {f"https://{r.host}/v1/": {"auth": packed}}}))
    logged_in(lambda h, r: write(h.dir / ".config/containers/auth.json", {"auths": {f"{r.host}/test": {"auth": packed}, r.host: {"auth": "eDp5"}}}))
    logged_in(lambda h, r: write(h.dir / ".docker/config.json", {"auths": {r.host: {"identitytoken": "idtoken"}}}))

    def runtime(h, r):
        h.env["XDG_RUNTIME_DIR"] = str(h.dir / "run")
        write(h.dir / "run/containers/auth.json", {"auths": {r.host: {"auth": packed}}})
    logged_in(runtime)

    def helper(h, r, key="credHelpers"):
        program = h.dir / "docker-credential-mine"
        program.write_text(f"""#!/bin/sh
[ "$1" = get ] && [ "$(cat)" = {r.host} ] || {{ echo "credentials not found in native keychain"; exit 1; }}
echo '{{"ServerURL":"x","Username":"me","Secret":"pw:with:colons"}}'
""")
        program.chmod(0o755)
        h.env["PATH"] = f"{h.dir}:{h.env['PATH']}"
        write(h.dir / ".docker/config.json", {key: {r.host: "mine"} if key == "credHelpers" else "mine"})
    logged_in(helper)
    logged_in(lambda h, r: helper(h, r, "credsStore"))


def test_basic_authentication():
    expected = "Basic " + base64.b64encode(b"me:pw").decode()

    def hook(handler):
        if handler.headers.get("Authorization") == expected:
            return False
        handler.send(401, b"", [("WWW-Authenticate", 'Basic realm="x"')])
        return True
    with Home() as home, Registry(hook) as registry:
        reference = registry.add(big_image(1))
        home.refused("pull", reference, words=("401",))
        home.ok("login", "-u", "me", "--password-stdin", registry.host, input="pw")
        home.ok("pull", reference)


def test_secrets_go_to_their_registry_only():
    """A registry that sends us to another host for a layer does not send our token with us."""
    image = big_image(1)
    layer = image.manifest["layers"][0]["digest"]
    hook, _ = tokened()
    with Home() as home, Registry() as elsewhere, Registry() as registry:
        elsewhere.add(image)

        def both(handler):
            if hook(handler):
                return True
            if not handler.path.endswith(layer):
                return False
            handler.send(307, b"", [("Location", f"http://localhost:{elsewhere.port}{handler.path}")])
            return True
        registry.hook = both
        reference = registry.add(image)
        home.ok("login", "-u", "me", "--password-stdin", registry.host, input="pw:with:colons")
        home.ok("pull", reference)
        [headers] = [headers for path, headers in elsewhere.requests if path.endswith(layer)]
        assert "Authorization" not in headers, headers


# --- registries.conf ------------------------------------------------------------------------------------------

def test_mirrors_and_blocked_registries():
    image = big_image(2)
    with Home() as home, Registry() as mirror, Registry() as real:
        mirror.add(image, "copies/test")
        real.add(image, "team/test")
        conf = home.dir / "registries.conf"
        home.env["KILN_REGISTRIES"] = str(conf)
        conf.write_text(f"""unqualified-search-registries = ["example.invalid", "{real.host}"]  # in this order
[[registry]]
prefix = "example.com/team"
location = "{real.host}/team"
insecure = true
[[registry.mirror]]
location = "{mirror.host}/copies"
insecure = true
[[registry]]
prefix = "*.blocked.org"
blocked = true
[[registry]]
location = "example.invalid"
insecure = true
""")
        home.ok("pull", "example.com/team/test:1")
        assert mirror.count("/copies/test/") and not real.requests
        assert json.loads(home.ok("image", "ls", "--format", "json"))[0]["name"] == "example.com/team/test:1"
        # A mirror that has only part of it: the rest comes from the registry itself.
        home.ok("image", "rm", "example.com/team/test:1")
        gone = image.manifest["layers"][1]["digest"]
        del mirror.blobs[gone]
        home.ok("pull", "example.com/team/test:1")
        assert real.count(gone) == 1
        home.refused("pull", "a.blocked.org/x", words=("blocked",))
        home.ok("pull", "team/test:1")
        for line, words in (("[registries.search]", "registries.search"), ("short-name-mode = \"enforcing\"", "short-name-mode"),
                            ("[[registry]]\nprefix = 5", "quotes"), ("[[registry]]\ninsecure = true", "neither prefix nor location"),
                            ("unqualified-search-registries = [\"a b\"]", "HOST"), ("[[registry.mirror]]", "below its"),
                            ("[[registry]]\nlocation = \"a.b\" extra", "line should end"), ("x", "=")):
            conf.write_text(line + "\n")
            home.refused("pull", "team/other:1", words=("registries.conf, line", words))


def test_certificates_of_a_registry():
    """certs.d: an authority that only this registry has, and who we are to one that asks; for it and for no other."""
    need("openssl")
    with Home() as home, Registry() as registry:
        def openssl(*args):
            subprocess.run(["openssl", *args], cwd=home.dir, check=True, capture_output=True)

        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "3", "-subj", "/CN=test CA")
        (home.dir / "ext").write_text("subjectAltName=DNS:localhost\n")
        for name in ("server", "client"):
            openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.req", "-subj", f"/CN={name}")
            openssl("x509", "-req", "-in", f"{name}.req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3", "-extfile", "ext",
                    "-out", f"{name}.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(home.dir / "server.pem", home.dir / "server.key")
        context.load_verify_locations(home.dir / "ca.pem")
        registry.server.socket = context.wrap_socket(registry.server.socket, server_side=True, do_handshake_on_connect=False)
        registry.add(Image())
        host = f"localhost:{registry.port}"
        (home.dir / ".config/kiln").mkdir(parents=True)
        (home.dir / ".config/kiln/registries.conf").write_text(f'[[registry]]\nlocation = "{host}"\ninsecure = false\n')
        folder = home.dir / ".config/containers/certs.d" / host
        home.refused("pull", f"{host}/test:1", words=(host, "ertificate"))
        other = folder.parent / "localhost:1"
        other.mkdir(parents=True)
        shutil.copy(home.dir / "ca.pem", other / "ca.crt")
        home.refused("pull", f"{host}/test:1", words=(host, "ertificate"))
        folder.mkdir()
        shutil.copy(home.dir / "ca.pem", folder / "ca.crt")
        home.ok("pull", f"{host}/test:1")
        # One that wants to know who asks.
        context.verify_mode = ssl.CERT_REQUIRED
        home.refused("pull", f"{host}/test:1", words=(host, ))
        shutil.copy(home.dir / "client.pem", folder / "me.cert")
        home.refused("pull", f"{host}/test:1", words=("me.cert", "belong together"))
        shutil.copy(home.dir / "client.key", folder / "me.key")
        home.ok("pull", f"{host}/test:1")
        (folder / "ca.crt").unlink()
        home.refused("pull", f"{host}/test:1", words=(host, "ertificate"))


def test_a_proxy_from_the_environment():
    image = big_image(1)
    with Home() as home, Registry() as proxy:
        proxy.add(image)

        def hook(handler):
            handler.path = "/" + handler.path.split("/", 3)[3] if handler.path.startswith("http://") else handler.path
            return False
        proxy.hook = hook
        home.env["KILN_REGISTRIES"] = str(home.dir / "r.conf")
        (home.dir / "r.conf").write_text('[[registry]]\nlocation = "registry.invalid"\ninsecure = true\n')
        home.refused("pull", "registry.invalid/test:1", words=("registry.invalid",))
        home.env["http_proxy"] = f"http://{proxy.host}"
        home.ok("pull", "registry.invalid/test:1")
        assert proxy.count("http://registry.invalid/v2/test/") or proxy.requests


def test_progress():
    image = big_image(2)
    with Home() as home, Registry() as registry:
        reference = registry.add(image)
        result = home.kiln("pull", "--progress", "plain", reference)
        assert result.returncode == 0 and "pulling " + reference in result.stderr and "\r" not in result.stderr, result
        assert home.kiln("pull", "--progress", "none", reference).stderr == ""


main(globals())
