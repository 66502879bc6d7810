#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which registries are asked, who one is to them, and that none but them learns it."""
import base64
import json
import shutil
import socket
import ssl
import stat
import subprocess

from imagetest import Home, Image, Registry, Skip, big_image, main, need


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


def test_a_helper_takes_a_secret_of_any_length():
    with Home() as home, Registry() as registry:
        program = home.dir / "docker-credential-long"
        program.write_text(f"#!/bin/sh\ncat > {home.dir}/got\n")
        program.chmod(0o755)
        home.env["PATH"] = f"{home.dir}:{home.env['PATH']}"
        (home.dir / ".config/containers").mkdir(parents=True)
        (home.dir / ".config/containers/auth.json").write_text('{"credsStore": "long"}')
        secret = '"' * 60_000  # twice that as JSON, more than a pipe holds
        process = home.popen("login", "-u", "me", "--password-stdin", registry.host, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            _, err = process.communicate(secret, timeout=30)
        finally:
            process.kill()
        assert process.returncode == 0, err
        assert json.loads((home.dir / "got").read_text()) == {"ServerURL": registry.host, "Username": "me", "Secret": secret}


def test_logins_at_once():
    """None of them is lost: who changes the file of logins has it alone."""
    with Home() as home, Registry(address="0.0.0.0") as registry:
        hosts = [f"127.0.0.{i}:{registry.port}" for i in range(1, 9)]
        for _ in range(10):
            processes = [home.popen("login", "-u", f"me{i}", "--password-stdin", host, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
                         for i, host in enumerate(hosts)]
            for process in processes:
                process.stdin.write("pw")
                process.stdin.close()
            assert [process.wait(60) for process in processes] == [0] * len(hosts)
            for process in processes:
                process.stderr.close()
            auth = home.dir / ".config/containers/auth.json"
            assert sorted(json.loads(auth.read_text())["auths"]) == sorted(hosts)
            auth.unlink()


def test_logout_is_out():
    """After it no login is found, under whatever key it was; where another tool has one, its file is named."""
    packed = base64.b64encode(b"me:pw").decode()

    def hook(handler):
        if handler.headers.get("Authorization") == "Basic " + packed:
            return False
        handler.send(401, b"", [("WWW-Authenticate", 'Basic realm="x"')])
        return True
    with Home() as home, Registry(hook) as registry:
        reference = registry.add(big_image(1))
        docker, ours = home.dir / ".docker/config.json", home.dir / ".config/containers/auth.json"
        docker.parent.mkdir()
        ours.parent.mkdir(parents=True)
        for key in (registry.host, f"https://{registry.host}/", f"https://{registry.host}/v1/"):
            for path in (docker, ours):
                path.write_text(json.dumps({"auths": {key: {"auth": packed}, "other.example": {"auth": packed}}}))
                home.ok("pull", reference)
                if path == docker:
                    home.refused("logout", registry.host, words=(str(docker), registry.host, "docker logout"))
                    path.unlink()
                else:
                    assert "logged out" in home.kiln("logout", registry.host).stderr
                    assert list(json.loads(path.read_text())["auths"]) == ["other.example"]
                home.refused("pull", reference, words=("401",))
                assert "no login" in home.kiln("logout", registry.host).stderr
        # Nor does an older key shadow a newer login.
        ours.write_text(json.dumps({"auths": {f"https://{registry.host}/": {"auth": base64.b64encode(b"me:old").decode()}}}))
        home.ok("login", "-u", "me", "--password-stdin", registry.host, input="pw")
        home.ok("pull", reference)
        assert list(json.loads(ours.read_text())["auths"]) == [registry.host]


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


class Authority:
    """Certificates of its own, by openssl: ca.pem, server.pem for localhost, client.pem, each with its key."""

    def __init__(self, path):
        need("openssl")
        self.dir = path
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self.openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "3", "-subj", "/CN=test CA")
        (path / "ext").write_text("subjectAltName=DNS:localhost\n")
        for name in ("server", "client"):
            self.openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.req", "-subj", f"/CN={name}")
            self.openssl("x509", "-req", "-in", f"{name}.req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3", "-extfile", "ext",
                         "-out", f"{name}.pem")

    def openssl(self, *args):
        subprocess.run(["openssl", *args], cwd=self.dir, check=True, capture_output=True)

    def serve(self, registry, verify=ssl.CERT_NONE):
        """The registry by TLS from now on: its name. Whoever has shown a certificate with a request has it in handler.shown."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.dir / "server.pem", self.dir / "server.key")
        context.load_verify_locations(self.dir / "ca.pem")
        context.verify_mode = verify
        registry.context = context
        registry.server.socket = context.wrap_socket(registry.server.socket, server_side=True, do_handshake_on_connect=False)
        return f"localhost:{registry.port}"

    def trust(self, home, host, client=False):
        """kiln checks this registry's certificate, by this authority, and may have one itself."""
        conf = home.dir / ".config/kiln/registries.conf"
        conf.parent.mkdir(parents=True, exist_ok=True)
        with open(conf, "a", encoding="utf-8") as file:
            file.write(f'[[registry]]\nlocation = "{host}"\ninsecure = false\n')
        folder = home.dir / ".config/containers/certs.d" / host
        folder.mkdir(parents=True)
        shutil.copy(self.dir / "ca.pem", folder / "ca.crt")
        if client:
            shutil.copy(self.dir / "client.pem", folder / "me.cert")
            shutil.copy(self.dir / "client.key", folder / "me.key")


def test_certificates_of_a_registry():
    """certs.d: an authority that only this registry has, and who we are to one that asks; for it and for no other."""
    with Home() as home, Registry() as registry:
        authority = Authority(home.dir)
        host = authority.serve(registry)
        registry.add(Image())
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
        registry.context.verify_mode = ssl.CERT_REQUIRED
        home.refused("pull", f"{host}/test:1", words=(host, ))
        shutil.copy(home.dir / "client.pem", folder / "me.cert")
        home.refused("pull", f"{host}/test:1", words=("me.cert", "belong together"))
        shutil.copy(home.dir / "client.key", folder / "me.key")
        home.ok("pull", f"{host}/test:1")
        (folder / "ca.crt").unlink()
        home.refused("pull", f"{host}/test:1", words=(host, "ertificate"))


# --- what is shown to whom -----------------------------------------------------------------------------------

def shown_to(registry, serve=None):
    """What each request to it has shown: (path, with a certificate, with an Authorization)."""
    seen = []

    def hook(handler):
        shown = bool(handler.connection.getpeercert()) if isinstance(handler.connection, ssl.SSLSocket) else False
        seen.append((handler.path, shown, handler.headers.get("Authorization")))
        return serve(handler) if serve else False
    registry.hook = hook
    return seen


def test_a_client_certificate_is_shown_to_its_registry_only():
    """Not to the token server that it names on another host, nor where it sends us for a layer; and not when it is sent back from there."""
    image = big_image(2)
    layer, second = (item["digest"] for item in image.manifest["layers"])
    with Home() as home, Registry() as elsewhere, Registry() as registry:
        authority = Authority(home.dir)
        away, host = (authority.serve(each, ssl.CERT_OPTIONAL) for each in (elsewhere, registry))
        authority.trust(home, host, client=True)
        registry.add(image)
        elsewhere.add(image)

        def at_home(handler):
            if handler.path.endswith("?back"):
                handler.path = handler.path[:-len("?back")]
                return False
            if handler.headers.get("Authorization") != "Bearer abc":
                handler.send(401, b"", [("WWW-Authenticate", f'Bearer realm="https://{away}/token",service="s",scope="x"')])
                return True
            if handler.path.endswith((layer, second)):
                handler.send(307, b"", [("Location", f"https://{away}{handler.path}")])
                return True
            return False

        def there(handler):
            if handler.path.startswith("/token"):
                handler.send(200, b'{"token": "abc"}')
                return True
            if handler.path.endswith(second):
                handler.send(302, b"", [("Location", f"https://{host}{handler.path}?back")])
                return True
            return False
        home_saw, away_saw = shown_to(registry, at_home), shown_to(elsewhere, there)
        home.ok("pull", f"{host}/test:1")
        back = [request for request in home_saw if request[0].endswith("?back")]
        assert back == [(f"/v2/test/blobs/{second}?back", False, None)], back
        assert all(shown for path, shown, _ in home_saw if not path.endswith("?back")), home_saw
        assert {path.split("?")[0].rsplit("/", 1)[1] for path, _, _ in away_saw} == {"token", layer, second}, away_saw
        assert not any(shown or authorization for _, shown, authorization in away_saw), away_saw


def test_a_token_server_on_the_registry_itself_sees_its_client():
    with Home() as home, Registry() as registry:
        authority = Authority(home.dir)
        host = authority.serve(registry, ssl.CERT_REQUIRED)
        authority.trust(home, host, client=True)
        registry.add(Image())

        def serve(handler):
            if handler.path.startswith("/token"):
                handler.send(200, b'{"token": "abc"}')
                return True
            if handler.headers.get("Authorization") == "Bearer abc":
                return False
            handler.send(401, b"", [("WWW-Authenticate", f'Bearer realm="https://{host}/token",service="s"')])
            return True
        saw = shown_to(registry, serve)
        home.ok("pull", f"{host}/test:1")
        assert all(shown for _, shown, _ in saw) and any(path.startswith("/token") for path, _, _ in saw), saw


def test_a_password_goes_to_no_token_server_by_http():
    """A registry whose certificate is checked cannot have the password sent in the clear."""
    with Home() as home, Registry() as elsewhere, Registry() as registry:
        authority = Authority(home.dir)
        host = authority.serve(registry)
        authority.trust(home, host)
        registry.add(Image())

        def serve(handler):
            handler.send(401, b"", [("WWW-Authenticate", f'Bearer realm="http://{elsewhere.host}/token",service="s"')])
            return True
        shown_to(registry, serve)
        home.refused("login", "-u", "me", "--password-stdin", host, input="pw", words=(host, f"http://{elsewhere.host}/token"))
        assert not elsewhere.requests, elsewhere.requests


def elsewhere_on_a_network():
    """An address of this machine that is no loopback, to stand for another host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))  # sends nothing
            return s.getsockname()[0]
        except OSError:
            pass
    raise Skip("there is no network interface but loopback")


def test_insecure_is_said_of_one_registry():
    """One that may be spoken to by http has neither password, token request nor layer go to another host in the clear."""
    address = elsewhere_on_a_network()
    packed = base64.b64encode(b"me:pw").decode()
    for login in ({"auth": packed}, {"identitytoken": "secret"}, None):
        with Home() as home, Registry(address=address) as elsewhere, Registry() as registry:
            image = Image()
            reference = registry.add(image)
            elsewhere.add(image)
            (home.dir / ".docker").mkdir()
            (home.dir / ".docker/config.json").write_text(json.dumps({"auths": {registry.host: login} if login else {}}))

            def challenge(handler, elsewhere=elsewhere):
                handler.send(401, b"", [("WWW-Authenticate", f'Bearer realm="http://{elsewhere.host}/token",service="s"')])
                return True

            def send_on(handler, elsewhere=elsewhere):
                handler.send(307, b"", [("Location", f"http://{elsewhere.host}{handler.path}")])
                return True
            registry.hook = challenge if login else send_on
            home.refused("pull", reference, words=(f"http://{elsewhere.host}/", "no https"))
            assert not elsewhere.requests, elsewhere.requests
            # By https its certificate is checked, as ever.
            realm = f"https://{elsewhere.host}/token"

            def secured(handler, realm=realm):
                handler.send(401, b"", [("WWW-Authenticate", f'Bearer realm="{realm}",service="s"')])
                return True
            registry.hook = secured
            authority = Authority(home.dir)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(authority.dir / "server.pem", authority.dir / "server.key")
            elsewhere.server.socket = context.wrap_socket(elsewhere.server.socket, server_side=True)
            home.refused("pull", reference, words=("token server", realm))
            assert not elsewhere.requests, elsewhere.requests


def test_a_token_server_that_sends_us_on():
    """Name and password are for it alone; a form with an identity token is not sent on at all."""
    packed = base64.b64encode(b"me:pw").decode()
    for login, refused in (({"auth": packed}, False), ({"identitytoken": "secret"}, True)):
        with Home() as home, Registry() as elsewhere, Registry() as registry:
            reference = registry.add(Image())
            (home.dir / ".docker").mkdir()
            (home.dir / ".docker/config.json").write_text(json.dumps({"auths": {registry.host: login}}))

            def serve(handler, registry=registry, elsewhere=elsewhere):
                if handler.path.startswith("/token"):
                    handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
                    handler.send(307, b"", [("Location", f"http://localhost:{elsewhere.port}{handler.path}")])
                    return True
                if handler.headers.get("Authorization") == "Bearer abc":
                    return False
                handler.send(401, b"", [("WWW-Authenticate", f'Bearer realm="http://{registry.host}/token",service="s"')])
                return True

            def there(handler):
                handler.send(200, b'{"token": "abc"}')
                return True
            saw, away = shown_to(registry, serve), shown_to(elsewhere, there)
            if refused:
                home.refused("pull", reference, words=(registry.host, "307"))
                assert not away, away
            else:
                home.ok("pull", reference)
                assert len(away) == 1 and away[0][2] is None, away
                assert [a for path, _, a in saw if path.startswith("/token")] == ["Basic " + packed], saw


def test_redirections_within_the_registry():
    """Relative ones, which keep who we are, as often as is allowed."""
    image = big_image(1)
    with Home() as home, Registry() as registry:
        reference = registry.add(image)
        home.ok("login", "-u", "me", "--password-stdin", registry.host, input="pw")
        basic = "Basic " + base64.b64encode(b"me:pw").decode()

        def serve(handler):
            if handler.headers.get("Authorization") != basic:
                handler.send(401, b"", [("WWW-Authenticate", 'Basic realm="x"')])
                return True
            digest, _, hops = handler.path.rpartition("/")[2].partition("?")
            if "/blobs/" in handler.path and len(hops) < 8:
                handler.send(303, b"moved", [("Location", f"./{digest}?{hops}x")])
                return True
            handler.path = handler.path.split("?")[0]
            return False
        shown_to(registry, serve)
        home.ok("pull", reference)
        home.verify()


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


main(globals())
