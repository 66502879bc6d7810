#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""instructions.py: what a second `kiln run IMAGE` executes beside one that names the same squashfs, kiln and kiln-runner together.

Counted by callgrind, which repeats but for what comes in one read or in two: the median of RUNS. Of two images: one that says nothing of its process, and one
with an environment and a command, as distributions' images have them. Both are measured against a run that names the squashfs and gives no options: what the
image's configuration costs is counted, too. (Beside it, for comparison, one that gives the same environment by an option.) The runner is one without its jail
(unjailed.c), which makes what both runs have in common smaller and so the ratio stricter. Fails above BOUND.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests/image"))
from imagetest import BUILD, Home, Image, KILN, entry, need, tar_of  # noqa: E402

import tarfile  # noqa: E402

RUNS = int(os.environ.get("RUNS", "5"))
BOUND = 1.03
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENV = ["-e", PATH]
COMMAND = ["--", "/bin/busybox", "echo", "warm"]


def layer():
    busybox = pathlib.Path("/bin/busybox").read_bytes()
    folders = [entry(name, tarfile.DIRTYPE) for name in ("bin", "etc", "dev", "proc", "run", "sys", "tmp")]
    return tar_of([*folders, entry("bin/busybox", data=busybox, mode=0o755), entry("etc/passwd", data=b"root:x:0:0::/:/bin/sh\n")])


def count(home, *args):
    """Instructions of one run: of kiln, of kiln-runner."""
    with tempfile.TemporaryDirectory() as tmp:
        env = {**home.env, "KILN_RUNNER": str(BUILD / "tests/bench/kiln-runner-counted")}
        result = subprocess.run(["valgrind", "-q", "--tool=callgrind", "--trace-children=yes", "--trace-children-skip=*qemu-system*,*kiln-image*,*passt*",
                                 f"--callgrind-out-file={tmp}/%p", f"--log-file={tmp}/%p.log", KILN, "run", *map(str, args), *COMMAND], env=env, text=True,
                                capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
        assert result.returncode == 0 and "warm" in result.stdout, result
        totals = {}
        for path in pathlib.Path(tmp).iterdir():
            if path.suffix == ".log":
                continue
            fields = dict(line.split(": ", 1) for line in path.read_text(errors="replace").splitlines() if line.startswith(("cmd: ", "totals: ")))
            name = "runner" if "kiln-runner" in fields["cmd"] else "kiln"
            totals[name] = totals.get(name, 0) + int(fields["totals"])
        assert set(totals) == {"kiln", "runner"}, totals
        return totals["kiln"], totals["runner"]


def median(counts):
    return [statistics.median(column) for column in zip(*counts)]


def main():
    need("valgrind", "busybox")
    subprocess.run(["ninja", "-C", str(BUILD), "tests/bench/kiln-runner-counted"], check=True, stdout=subprocess.DEVNULL)
    configs = {"plain": {}, "usual": {"Env": [PATH], "Cmd": ["/bin/sh"]}}
    failed = False
    with Home() as home:
        for name, config in configs.items():
            Image([layer()], config=config).layout(home.dir / name, name)
            home.ok("image", "load", f"oci:{home.dir / name}", name)
            home.ok("run", name, *COMMAND)  # its root is made
        root = next(path for path in home.objects() if "-chain-" in path.name)
        direct = median(count(home, "--rootfs", root) for _ in range(RUNS))
        same = median(count(home, *ENV, "--rootfs", root) for _ in range(RUNS))
        print(f"kiln run --rootfs FILE.squashfs: {direct[0]:,.0f} instructions in kiln, {direct[1]:,.0f} in kiln-runner")
        print(f"kiln run -e PATH=... --rootfs FILE.squashfs: {same[0]:,.0f} and {same[1]:,.0f}")
        for name in configs:
            image = median(count(home, name) for _ in range(RUNS))
            ratio = sum(image) / sum(direct)
            failed |= ratio > BOUND
            print(f"kiln run IMAGE ({name}): {image[0]:,.0f} and {image[1]:,.0f}; together {ratio:.4f} times (bound {BOUND})"
                  f"{f'; beside the same environment {sum(image) / sum(same):.4f}' if name == 'usual' else ''}")
    if failed:
        print("FAIL  an image costs more than its bound")
    sys.exit(failed)


main()
