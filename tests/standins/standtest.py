# SPDX-License-Identifier: Apache-2.0
"""What the tests of the stand-ins share: a plain HTTP client, the programs, and guests to boot."""
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests" / "guest"))
import kilntest  # noqa: E402 pylint: disable=wrong-import-position
from kilntest import BUILD, Skip  # noqa: E402 pylint: disable=wrong-import-position

PROGRAMS = BUILD / "tests" / "standins"
GUEST = PROGRAMS / "standin-guest"  # tests/contract/guest.S
DEADLINE = 120


def guest():
    """The contract suite's guest: KILN_READY on its serial port, then it echoes; a line that begins with p powers
    off, with r resets."""
    if not shutil.which("qemu-system-x86_64"):
        raise Skip("qemu-system-x86_64 is not installed")
    if not GUEST.exists():
        raise Skip("there is no guest for this machine")
    return str(GUEST)


def debian(home, *modules):
    """Debian's kernel as a vmlinux and the vsock test's guest in an initramfs: the two paths."""
    for program in ("qemu-system-x86_64", "lz4", "musl-gcc", "cpio", "modprobe"):
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")
    here = SOURCE / "tests" / "guest"
    fetched = subprocess.run([here / "fetch-kernel.sh"], capture_output=True, text=True, check=False)
    if fetched.returncode:
        raise Skip(fetched.stderr.strip())
    folder = pathlib.Path(fetched.stdout.strip())
    packed = (folder / "vmlinuz").read_bytes()
    begin = packed.find(b"\x02\x21\x4c\x18")  # LZ4's legacy frame
    if begin < 0:
        raise Skip("the kernel is not packed by LZ4")
    vmlinux = home.dir / "vmlinux"
    with open(vmlinux, "wb") as out:  # what follows the frame is not LZ4, and said so
        subprocess.run(["lz4", "-dc", "-"], input=packed[begin:], stdout=out, stderr=subprocess.DEVNULL, check=False)
    init, initrd = home.dir / "init", home.dir / "initrd"
    subprocess.run(["musl-gcc", "-static", "-O2", "-idirafter", "/usr/include", "-idirafter",
                    "/usr/include/x86_64-linux-gnu", "-o", init, here / "vsock" / "guest.c"], check=True)
    subprocess.run([here / "vsock" / "mkinitrd.sh", folder, init, initrd, "virtio_mmio", "virtio_pci",
                    "vmw_vsock_virtio_transport", *modules], check=True)
    return str(vmlinux), str(initrd)


def main(module):
    """kilntest's, but that what a failed test has left running is ended."""
    def ending(function):
        def test(home):
            try:
                function(home)
            finally:
                while Program.running:
                    Program.running[0].end()
        return test

    for name, function in list(vars(module).items()):
        if name.startswith("test_"):
            setattr(module, name, ending(function))
    kilntest.main(module)


def assert_clean(home):
    """Nothing is left: no stand-in (of which kilntest, which looks past Python, does not know), QEMU or device."""
    assert not Program.running, "a program was not ended"
    home.assert_clean()


def assert_gone(path):
    """A thing of the kernel's, which goes a moment after its process."""
    end = time.monotonic() + DEADLINE
    while os.path.exists(path):
        assert time.monotonic() < end, f"{path} is still there"


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:500]!r}"


class Api:
    """One connection, kept."""

    def __init__(self, path, timeout=DEADLINE):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.buffer = b""

    def close(self):
        self.socket.close()

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def send(self, method, path, body=None, fds=()):
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n" + (f"Content-Length: {len(raw)}\r\n" if raw else "") + "\r\n"
        socket.send_fds(self.socket, [head.encode() + raw], fds)

    def receive(self):
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        while len(self.buffer) < length:
            self.more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Response(int(status.split(" ")[1]), headers, body)

    def call(self, method, path, body=None, fds=()):
        self.send(method, path, body, fds)
        return self.receive()

    def ok(self, method, path, body=None, fds=()):
        response = self.call(method, path, body, fds)
        assert response.status in (200, 204), f"{method} {path}: {response!r}"
        assert (response.status == 204) == (not response.body), f"{method} {path}: {response!r}"
        return response.json() if response.body else None


class Program:
    """A stand-in that runs, its output by a file, its input by a pipe."""

    running = []

    def __init__(self, home, name, *args, settings=None, **kwargs):
        self.output = home.dir / f"{name}.out"
        env = {**home.env, **{f"STANDIN_{key}": str(value) for key, value in (settings or {}).items()}}
        with open(self.output, "wb") as out:
            self.process = subprocess.Popen([PROGRAMS / name, *map(str, args)], env=env, stdin=subprocess.PIPE, stdout=out,
                                            stderr=out, **kwargs)
        self.running.append(self)

    def text(self):
        return self.output.read_text(errors="replace")

    def await_text(self, text, count=1):
        end = time.monotonic() + DEADLINE
        watch = Watch(self.output)
        while self.text().count(text) < count:
            assert self.process.poll() is None or self.text().count(text) >= count, f"it has ended: {self.text()[-2000:]}"
            assert watch.wait(end - time.monotonic()), f"no {text!r}: {self.text()[-2000:]}"
        watch.close()

    def type(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def wait(self):
        return self.process.wait(DEADLINE)

    def end(self):
        self.running.remove(self)
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


def await_text(path, text):
    """Waits until @text is in the file."""
    end, watch = time.monotonic() + DEADLINE, Watch(path)
    while text not in path.read_text(errors="replace"):
        assert watch.wait(end - time.monotonic()), f"no {text!r} in {path}"
    watch.close()


class Watch:
    """Waits for changes of a file, or for names in a folder, by inotify."""
    IN_MODIFY, IN_CREATE, IN_MOVED_TO = 0x2, 0x100, 0x80

    def __init__(self, path):
        import ctypes
        libc = ctypes.CDLL(None)
        self.fd = libc.inotify_init1(os.O_CLOEXEC)
        libc.inotify_add_watch(self.fd, str(path).encode(), self.IN_MODIFY | self.IN_CREATE | self.IN_MOVED_TO)

    def wait(self, seconds):
        import select
        if not select.select([self.fd], [], [], max(seconds, 0))[0]:
            return False
        os.read(self.fd, 4096)
        return True

    def close(self):
        os.close(self.fd)


def await_path(folder, name):
    """The path of @name once it is in @folder and, if it is a socket, answers: an event, then connects."""
    path, end = pathlib.Path(folder) / name, time.monotonic() + DEADLINE
    watch = Watch(folder)
    while not path.exists():
        assert watch.wait(end - time.monotonic()), f"no {path}"
    watch.close()
    return path


def connect(path):
    """Between bind and listen a socket refuses: retried, as the specification of kiln's own client has it."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return Api(path)
        except ConnectionRefusedError:
            assert time.monotonic() < end


def vsock(path, port):
    """A connection to a port of the guest by the hybrid convention."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(DEADLINE)
    peer.connect(str(path))
    peer.sendall(f"CONNECT {port}\n".encode())
    line = b""
    while not line.endswith(b"\n"):
        byte = peer.recv(1)
        assert byte, "the guest refused"
        line += byte
    assert line.startswith(b"OK "), line
    return peer


def echo(peer, text):
    """Has the guest (pattern.h, OP_ECHO) send @text back."""
    peer.sendall(struct.pack("<IIQ", 3, 0, 0) + text)
    got = b""
    while len(got) < len(text):
        got += peer.recv(100)
    return got


def hello(path):
    """A listener for the guest's first connection, to host port 5000."""
    listener = socket.socket(socket.AF_UNIX)
    listener.settimeout(DEADLINE)
    listener.bind(f"{path}_5000")
    listener.listen(1)
    return listener
