#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The sequence of messages to Virtualization.framework for each configuration in golden/.

usage: golden_test.py TRACE-PROGRAM [--update]
"""
import difflib
import pathlib
import socket
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent / "golden"
program, update = sys.argv[1], "--update" in sys.argv
failed, count = False, 0
for config in sorted(here.glob("*.json")):
    with tempfile.TemporaryDirectory(prefix="kiln-vz-") as name:
        directory = pathlib.Path(name)
        state = directory / "state"
        state.mkdir()
        (directory / "work").mkdir()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as switch, socket.socket(socket.AF_UNIX) as port:
            switch.bind(f"{name}/switch.sock")
            port.bind(f"{name}/port.sock")
            port.listen(8)
            for file in ("vmlinuz", "initrd", "root.img", "root.squashfs", "a.img", "b.img", "c.img", "d.img"):
                (directory / file).write_bytes(b"")
            (directory / "config.json").write_text(config.read_text().replace("@DIR@", name))
            command = [program, directory / "config.json", state]
            if config.stem.endswith("second-boot"):
                subprocess.run(command, check=True, capture_output=True)
            run = subprocess.run(command, capture_output=True, text=True)
    said = run.stdout.replace(name, "DIR") + run.stderr
    expected = config.with_suffix(".txt")
    if update:
        expected.write_text(said)
    wanted = expected.read_text() if expected.exists() else ""
    if said != wanted or run.returncode:
        failed = True
        print(f"{config.name}: exit code {run.returncode}")
        sys.stdout.writelines(difflib.unified_diff(wanted.splitlines(True), said.splitlines(True), "wanted", "said"))
    count += 1
if count < 10:
    failed = True
    print(f"only {count} configurations")
sys.exit(failed)
