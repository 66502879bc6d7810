#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What tools/cross/sign.py signs, macho.py finds right; what is changed afterwards, it finds.

usage: sign_test.py SOURCE-ROOT

On the smallest programs that have what both look at, made here: with and without an old signature,
since zig signs for one of a Mac's processors and not for the other.
"""
import pathlib
import struct
import subprocess
import sys
import tempfile

root = pathlib.Path(sys.argv[1])
sign, universal, macho = root / "tools/cross/sign.py", root / "tools/cross/universal.py", root / "tests/link/macho.py"
PROCESSORS = {"x86_64": (0x01000007, 3), "aarch64": (0x0100000c, 0)}


def segment(name, offset, size):
    return struct.pack("<II16sQQQQiiII", 0x19, 72, name, 0x100000000 + offset, size, offset, size, 7, 5, 0, 0)


def dylib(path):
    name = path + b"\0" * (8 - len(path) % 8)
    return struct.pack("<IIIIII", 0xc, 24 + len(name), 24, 0, 0x10000, 0x10000) + name


def program(processor, objc, signed):
    """A page of load commands, two of something like code, then a symbol and its name."""
    strings = b"\0_objc_msgSend\0" if objc else b"\0_write\0\0"
    symbol = struct.pack("<IBBHQ", 1, 1, 0, (2 if objc else 1) << 8, 0)
    commands = [segment(b"__TEXT", 0, 0x4000), segment(b"__LINKEDIT", 0x4000, 16 + len(strings)),
                dylib(b"/usr/lib/libSystem.B.dylib"), dylib(b"/usr/lib/libobjc.A.dylib"),
                struct.pack("<IIIIII", 0x2, 24, 0x4000, 1, 0x4010, len(strings)),
                struct.pack("<IIIIII", 0x32, 24, 1, 13 << 16, 13 << 16, 0)]
    end = 0x4010 + len(strings)
    if signed:
        commands.append(struct.pack("<IIII", 0x1d, 16, end + -end % 16, 64))
    body = b"".join(commands)
    header = struct.pack("<IIIIIIII", 0xfeedfacf, *PROCESSORS[processor], 2, len(commands), len(body), 0x85, 0)
    code = bytes(i * 7 & 255 for i in range(0x4000 - 32 - len(body) - 64))
    text = (header + body + bytes(64) + code).ljust(0x4000, b"\0")
    data = text + symbol + strings
    return data + (bytes(-len(data) % 16) + b"old".ljust(64, b"!") if signed else b"")


def run(*args):
    return subprocess.run([sys.executable, *map(str, args)], capture_output=True, text=True)


def make(directory, name, *options, identifier=None):
    slices = []
    for processor in PROCESSORS:
        plain, out = directory / f"{name}.{processor}.plain", directory / f"{name}.{processor}"
        plain.write_bytes(program(processor, name == "kiln-runner", processor == "aarch64"))
        made = run(sign, *options, identifier or name, plain, out)
        assert made.returncode == 0, made.stderr
        slices.append(out)
    made = run(universal, directory / name, *slices)
    assert made.returncode == 0, made.stderr
    return directory / name


def accepted(path):
    return run(macho, "--signed", path)


def refused(path, why):
    found = accepted(path)
    assert found.returncode != 0, f"not noticed: {why}"
    assert why in found.stderr, f"{why}: {found.stderr}"


def changed(path, old, new, count=-1):
    data = path.read_bytes()
    assert old in data, old
    path.write_bytes(data.replace(old, new, count))


with tempfile.TemporaryDirectory() as name:
    directory = pathlib.Path(name)
    entitled = ("--entitlements", root / "data/vz.entitlements")

    for program_name, options in (("kiln-image", ()), ("kiln-runner", entitled)):
        found = accepted(make(directory, program_name, *options))
        assert found.returncode == 0, found.stderr

    runner = make(directory, "kiln-runner", *entitled)
    changed(runner, bytes(range(0, 49, 7)), bytes(7), 1)
    refused(runner, "is not what was signed")
    runner = make(directory, "kiln-runner", *entitled)
    changed(runner, b"<true/>", b"<null/>")
    refused(runner, "is not what was signed")
    runner = make(directory, "kiln-runner", *entitled)
    changed(runner, b"security.virtualization\x01\x01\xff", b"security.virtualization\x01\x01\x00")
    refused(runner, "slot 7 is not what was signed")

    refused(make(directory, "kiln-runner"), "has no entitlements")
    refused(make(directory, "kiln-image", *entitled), "has an entitlement")
    refused(make(directory, "kiln-image", identifier="kiln"), "signed as kiln")

    image = make(directory, "kiln-image")
    plain = directory / "kiln-image.x86_64.plain"
    made = run(universal, image, plain, directory / "kiln-image.aarch64")
    assert made.returncode == 0, made.stderr
    refused(image, "not signed")
    made = run(universal, image, directory / "kiln-image.aarch64")
    refused(image, "not for each of a Mac's processors")
    image.write_bytes(make(directory, "kiln-image").read_bytes() + b"more")
    # What follows the last slice is in no slice: nobody runs it, and it is not looked at.
    assert accepted(image).returncode == 0

    assert run(sign, "x", image, directory / "out").returncode != 0 # of one processor only
print("shown: ad-hoc signatures made on Linux are read back, and eight ways to break one are noticed")
