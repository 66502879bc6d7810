# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command share: a home of their own, roots, and a count of what is left behind.

Each test file is a program: it runs its test functions in order, prints a line for each, and exits
with 0 (all passed), 1, or 77 (nothing of it can run here, with the reason).
"""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("KILN_BUILD", SOURCE / "build"))
CACHE = pathlib.Path(os.environ.get("KILN_CACHE", SOURCE / ".cache"))
KILN = str(BUILD / "kiln")
SOAK = os.environ.get("KILN_SOAK") == "1"
DEADLINE = 300  # seconds for one command: TCG on a busy machine, ten times slower than a good one


TINYVM_OUTPUT = (SOURCE / "tests" / "rig" / "tinyvm.out").read_text()  # of examples/tinyvm.c, wherever it runs


class Skip(Exception):
    """Raised with the reason why a test cannot run here."""


class Result:
    def __init__(self, completed):
        self.code = completed.returncode
        self.out = completed.stdout
        self.err = completed.stderr

    def __repr__(self):
        return f"exit {self.code}\nstdout: {self.out[-2000:]!r}\nstderr: {self.err[-2000:]!r}"


class Home:
    """A KILN_HOME and runtime directory for one test file; the image cache is shared between files."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kiln-test-"))
        self.home = self.dir / "home"
        self.runtime = self.dir / "run"
        self.home.mkdir()
        self.runtime.mkdir(mode=0o700)
        self.emulation_told = self.runtime / "emulation-told"  # standard error is the command's alone
        self.emulation_told.touch()
        cache = CACHE / "test-images"
        cache.mkdir(parents=True, exist_ok=True)
        self.env = dict(os.environ, KILN_HOME=str(self.home), KILN_RUNTIME_DIR=str(self.runtime),
                        KILN_IMAGE_CACHE=str(cache))

    def popen(self, *args, **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([KILN, *map(str, args)], env=self.env, **kwargs)

    def kiln(self, *args, stdin=None, timeout=DEADLINE):
        """Runs a command to its end; text in and out."""
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        return Result(subprocess.run([KILN, *map(str, args)], env=self.env, capture_output=True,
                                     text=True, timeout=timeout, check=False, **given))

    def ok(self, *args, **kwargs):
        result = self.kiln(*args, **kwargs)
        assert result.code == 0, f"kiln {' '.join(map(str, args))}: {result!r}"
        return result.out

    def vms(self):
        return json.loads(self.ok("ls", "-a", "--format", "json"))

    def processes(self):
        """The processes that belong to this home: by their environment or their open files."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                environ = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.dir).encode() in environ and command and b"python" not in command.split(b"\0")[0]:
                found.append((int(entry.name), command.replace(b"\0", b" ").decode(errors="replace")[:160]))
        return found

    def leftovers(self):
        """All that must not be there once no VM is: processes, sockets, directories, names, temporary files."""
        found = [f"process {pid}: {command}" for pid, command in self.processes()]
        found += [f"runtime: {p.relative_to(self.runtime)}" for p in self.runtime.rglob("*")
                  if p.is_socket() or (p.is_dir() and p.parent.name == "kiln")]
        for name in ("vms", "names"):
            folder = self.home / name
            if folder.is_dir():
                found += [f"{name}: {p.name}" for p in folder.iterdir()]
        found += [f"temporary: {p}" for p in self.home.rglob(".kiln-tmp-*")]
        found += [f"temporary: {p}" for p in pathlib.Path(self.env["KILN_IMAGE_CACHE"]).glob("tmp/*")]
        return found

    def assert_clean(self, deadline=DEADLINE):
        """Processes that were just killed may take a moment to be gone; waits for them by pidfd."""
        end = time.monotonic() + deadline
        for pid, _ in self.processes():
            wait_gone(pid, end - time.monotonic())
        left = self.leftovers()
        assert not left, "left behind:\n  " + "\n  ".join(left)

    def done(self):
        for pid, command in self.processes():
            print(f"  (killing leftover {pid}: {command})")
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        shutil.rmtree(self.dir, ignore_errors=True)


def wait_gone(pid, timeout):
    """Waits for a process that is not ours to end; an event, not a poll."""
    import select
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], max(timeout, 0))[0])
    finally:
        os.close(fd)


def debian_root():
    """A Debian root as a tar file, made once with mmdebstrap."""
    root = CACHE / "demo" / "debian.tar"
    if not root.exists():
        if not shutil.which("mmdebstrap"):
            raise Skip("mmdebstrap is not installed, and there is no root yet")
        subprocess.run([str(SOURCE / "tools" / "debian-root.sh"), str(root)], check=True)
    return root


def busybox_root():
    """A tiny root as a directory: busybox with its applets, /etc/passwd, a few folders."""
    busybox = shutil.which("busybox") or "/bin/busybox"
    if not os.path.exists(busybox):
        raise Skip("busybox-static is not installed")
    root = CACHE / "test-images" / "busybox-root"
    if (root / "etc" / "passwd").exists():
        return root
    temporary = pathlib.Path(tempfile.mkdtemp(dir=root.parent))
    for folder in ("bin", "etc", "root", "home/user", "var/tmp"):
        (temporary / folder).mkdir(parents=True)
    temporary.chmod(0o755)
    shutil.copy2(busybox, temporary / "bin" / "busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (temporary / "bin" / applet).symlink_to("busybox")
    (temporary / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n")
    (temporary / "etc" / "group").write_text("root:x:0:\nuser:x:1000:\n")
    try:
        temporary.rename(root)
    except OSError:
        shutil.rmtree(temporary)  # another test was first
    return root


def shown(what):
    """Says what a test has shown, and how often, for the list at the end of the suite."""
    print(f"shown: {what}", flush=True)


def chunks(mib):
    """MIB pieces of a mebibyte, no two alike: what is lost, doubled or out of order changes the checksum."""
    noise = random.Random(mib).randbytes((1 << 20) - 8)
    for n in range(mib):
        yield n.to_bytes(8, "big") + noise


def need_qemu():
    if not shutil.which("qemu-system-x86_64"):
        raise Skip("qemu-system-x86_64 is not installed")


def need_kvm():
    """A /dev/kvm, if only one for small programs."""
    if os.uname().machine != "x86_64":
        raise Skip("it is a program for x86_64")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("/dev/kvm cannot be opened here")


def main(module):
    """Runs the functions of a test file whose names begin with test_, each with a home of its own."""
    passed = failed = skipped = 0
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # commands inherit it; nohup(1) has it ignored
    only = sys.argv[1:]
    for name, function in list(vars(module).items()):
        if not name.startswith("test_") or (only and name not in only):
            continue
        home = Home()
        begin = time.monotonic()
        try:
            function(home)
            passed += 1
            print(f"ok    {name}  ({time.monotonic() - begin:.1f} s)", flush=True)
        except Skip as why:
            skipped += 1
            print(f"skip  {name}: {why}", flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f"FAIL  {name}\n{traceback.format_exc()}", flush=True)
        finally:
            home.done()
    if failed:
        sys.exit(1)
    sys.exit(0 if passed else 77)
