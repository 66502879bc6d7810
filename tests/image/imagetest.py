# SPDX-License-Identifier: Apache-2.0
"""What the tests of images share: homes, images made by hand, a registry that does as it is told, and Debian's real one.

Each test file is a program: it runs its test functions in order, prints a line for each, and exits with 0, 1, or 77 (skipped).
"""
import gzip
import hashlib
import http.server
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("KILN_BUILD", SOURCE / "build"))
KILN = str(BUILD / "kiln")
HELPER = str(BUILD / "kiln-image")
SOAK = os.environ.get("KILN_SOAK") == "1"
DEADLINE = 180

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_TAR = "application/vnd.oci.image.layer.v1.tar"
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


class Skip(Exception):
    """Raised with the reason why a test cannot run here."""


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Home:
    """A KILN_HOME of its own, gone with the test."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kiln-image-"))
        (self.dir / "run").mkdir(mode=0o700)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("KILN_", "XDG_", "DOCKER_", "REGISTRY_")) and
                    not k.lower().endswith("_proxy")}
        self.env.update(KILN_HOME=str(self.dir / "home"), KILN_RUNTIME_DIR=str(self.dir / "run"), HOME=str(self.dir),
                        KILN_PULL_TIMEOUT="2", KILN_BUILD=str(BUILD))
        self.store = self.dir / "home/images/store"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def popen(self, *args, **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([KILN, *map(str, args)], env=self.env, text=True, **kwargs)

    def kiln(self, *args, **kwargs):
        if "input" not in kwargs:
            kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("text", True)
        return subprocess.run([KILN, *map(str, args)], env=self.env, capture_output=True, timeout=DEADLINE, check=False, **kwargs)

    def ok(self, *args, **kwargs):
        result = self.kiln(*args, **kwargs)
        assert result.returncode == 0, f"kiln {' '.join(map(str, args))}: {result}"
        return result.stdout

    def refused(self, *args, words=(), **kwargs):
        """It fails as kiln fails, with these words, and in no other way."""
        result = self.kiln(*args, **kwargs)
        assert result.returncode == 125, f"kiln {' '.join(map(str, args))}: {result}"
        for word in words:
            assert word in result.stderr, f"no {word!r} in {result.stderr!r}"
        assert "killed by signal" not in result.stderr and "ended with code" not in result.stderr, result.stderr
        return result.stderr

    def blobs(self):
        """What is visible: complete blobs."""
        path = self.store / "blobs/sha256"
        return sorted(p.name for p in path.iterdir() if not p.name.endswith(".partial")) if path.exists() else []

    def verify(self):
        """Every visible blob is what its name says, and all that the index names is there."""
        for name in self.blobs():
            data = (self.store / "blobs/sha256" / name).read_bytes()
            assert hashlib.sha256(data).hexdigest() == name, f"{name} is not what it says"
        index = self.store / "index.json"
        for item in json.loads(index.read_text())["manifests"] if index.exists() else []:
            manifest = json.loads((self.store / "blobs/sha256" / item["digest"][7:]).read_text())
            for blob in [manifest["config"], *manifest["layers"]]:
                assert (self.store / "blobs/sha256" / blob["digest"][7:]).stat().st_size == blob["size"], blob

    def objects(self):
        path = self.dir / "home/images/objects"
        return sorted(path.iterdir()) if path.exists() else []

    def no_process_left(self):
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environ = (entry / "environ").read_bytes()
                except OSError:
                    continue
                assert f"KILN_HOME={self.dir}/home".encode() not in environ.split(b"\0"), (entry / "cmdline").read_bytes()


def helper_of(process):
    """The one process that @process has begun."""
    [pid] = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "kiln-image"
    return int(pid)


# --- images made by hand ------------------------------------------------------------------------------

def tar_of(entries, **kwargs):
    """A tar archive of TarInfo objects or (TarInfo, bytes)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **{"format": tarfile.PAX_FORMAT, **kwargs}) as tar:
        for item in entries:
            info, data = item if isinstance(item, tuple) else (item, b"")
            if info.isreg():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data) if data else None)
    return out.getvalue()


def entry(name, type=tarfile.REGTYPE, data=None, **attributes):
    info = tarfile.TarInfo(name)
    info.type = type
    info.mode = 0o755 if type == tarfile.DIRTYPE else 0o644
    for key, value in attributes.items():
        setattr(info, key, value)
    return (info, data) if data is not None else info


class Image:
    """An image by its documents; each of them can be spoilt before it is served."""

    def __init__(self, layers=None, config=None, packed=True):
        layers = [tar_of([entry("etc", tarfile.DIRTYPE), entry("etc/os-release", data=b"NAME=test\n")])] if layers is None else layers
        self.layers = [gzip.compress(layer, 1, mtime=0) if packed else layer for layer in layers]
        self.config = {"architecture": ARCH, "os": "linux", "config": config or {},
                       "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]}}
        self.blobs = {}
        self.packed = packed
        self.finish()

    def finish(self):
        config = json.dumps(self.config).encode()
        self.blobs = {sha256(config): config, **{sha256(layer): layer for layer in self.layers}}
        self.manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST,
                         "config": {"mediaType": OCI_CONFIG, "digest": sha256(config), "size": len(config)},
                         "layers": [{"mediaType": OCI_GZIP if self.packed else OCI_TAR, "digest": sha256(layer), "size": len(layer)}
                                    for layer in self.layers]}

    @property
    def text(self):
        return json.dumps(self.manifest).encode()

    @property
    def digest(self):
        return sha256(self.text)

    def layout(self, path, name="test"):
        """Writes it as an OCI layout."""
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        for digest, data in {**self.blobs, self.digest: self.text}.items():
            (path / "blobs/sha256" / digest[7:]).write_bytes(data)
        (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": self.digest, "size": len(self.text),
             "annotations": {"org.opencontainers.image.ref.name": name}}]}))


def big_image(layers=4, size=400_000):
    return Image([tar_of([entry(f"file{i}", data=os.urandom(size))]) for i in range(layers)])


# --- a registry that does as it is told ------------------------------------------------------------------

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body=b"", headers=(), length=None):
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        registry = self.server.registry
        with registry.lock:
            registry.requests.append((self.path, dict(self.headers)))
        try:
            if registry.hook and registry.hook(self):
                return
            registry.serve(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_POST = do_GET


class Registry:
    """Serves images by name; hook(handler) may answer instead, and then returns True."""

    def __init__(self, hook=None, address="127.0.0.1"):
        self.hook = hook
        self.lock = threading.Lock()
        self.requests = []
        self.documents = {}  # (name, reference): (media type, bytes)
        self.blobs = {}
        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.server.daemon_threads = True
        self.server.registry = self
        self.server.handle_error = lambda *_: None  # who was told enough hangs up
        self.port = self.server.server_address[1]
        self.host = f"{address}:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def add(self, image, name="test", tag="1"):
        self.documents[(name, tag)] = self.documents[(name, image.digest)] = (OCI_MANIFEST, image.text)
        self.blobs.update(image.blobs)
        return f"{self.host}/{name}:{tag}"

    def serve(self, handler):
        parts = handler.path.split("/")
        if handler.path == "/v2/":
            return handler.send(200, b"{}")
        kind, name, which = parts[-2], "/".join(parts[2:-2]), parts[-1]
        if kind == "manifests" and (name, which) in self.documents:
            media_type, text = self.documents[(name, which)]
            return handler.send(200, text, [("Content-Type", media_type)])
        if kind == "blobs" and which in self.blobs:
            data = self.blobs[which]
            given = handler.headers.get("Range")
            if given:
                at = int(given.split("=")[1].split("-")[0])
                return handler.send(206, data[at:], [("Content-Range", f"bytes {at}-{len(data) - 1}/{len(data)}")])
            return handler.send(200, data)
        return handler.send(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')

    def count(self, part):
        with self.lock:
            return sum(part in path for path, _ in self.requests)


# --- Debian's registry ---------------------------------------------------------------------------------------

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class RealRegistry:
    def __init__(self, extra=None):
        need("docker-registry", "skopeo")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kiln-registry-"))
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        config = {"version": 0.1, "log": {"level": "error"}, "storage": {"filesystem": {"rootdirectory": str(self.dir / "data")}},
                  "http": {"addr": self.host}, **(extra or {})}
        (self.dir / "config.yml").write_text(json.dumps(config))
        self.process = subprocess.Popen(["docker-registry", "serve", str(self.dir / "config.yml")], stdout=subprocess.DEVNULL,
                                        stderr=open(self.dir / "log", "wb"))
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                assert self.process.poll() is None and time.monotonic() < until, (self.dir / "log").read_text()
                time.sleep(0.05)

    def push(self, source, name, *options):
        subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", *options, source, f"docker://{self.host}/{name}"], check=True,
                       stdout=subprocess.DEVNULL)
        return f"{self.host}/{name}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def main(tests):
    failed = skipped = 0
    only = sys.argv[1:]
    for name, test in list(tests.items()):
        if not name.startswith("test_") or (only and name not in only):
            continue
        try:
            test()
            print(f"ok    {name}", flush=True)
        except Skip as why:
            skipped += 1
            print(f"skip  {name}: {why}", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL  {name}\n{traceback.format_exc()}", flush=True)
    sys.exit(1 if failed else 77 if skipped and not failed and skipped == sum(n.startswith("test_") for n in tests) else 0)
