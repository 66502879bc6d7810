#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A program for macOS links nothing but libSystem and libobjc, and runs on macOS 13.

usage: macho.py FILE...

Reads the load commands (mach-o/loader.h): libraries, least version, undefined symbols by library; and, where
there is a code signature (on aarch64 there must be), compares each page with its hash in the code directory
(xnu, osfmk/kern/cs_blobs.h).
"""
import hashlib
import struct
import sys

CPUS = {0x01000007: "x86_64", 0x0100000c: "aarch64"}
LIBRARIES = {"/usr/lib/libSystem.B.dylib", "/usr/lib/libobjc.A.dylib"}
LC_SYMTAB, LC_LOAD_DYLIB, LC_CODE_SIGNATURE, LC_BUILD_VERSION = 0x2, 0xc, 0x1d, 0x32
MINIMUM = 13 << 16


def text(data, at):
    return data[at:data.index(b"\0", at)].decode()


def commands(data):
    magic, cpu, _, _, count = struct.unpack_from("<IIIII", data)
    if magic != 0xfeedfacf:
        sys.exit("not a 64-bit Mach-O file")
    at = 32
    for _ in range(count):
        command, size = struct.unpack_from("<II", data, at)
        yield cpu, command, at
        at += size


def undefined(data, at):
    """(name, number of the library) of each undefined symbol."""
    symbols, count, strings, _ = struct.unpack_from("<IIII", data, at + 8)
    for i in range(count):
        name, kind, _, describe, _ = struct.unpack_from("<IBBHQ", data, symbols + 16 * i)
        if kind & 0xe0 == 0 and kind & 0x0e == 0 and kind & 1:
            yield text(data, strings + name), describe >> 8


def pages(data, at):
    """How many pages the signature has the hashes of; ends the program if one is wrong."""
    offset, _ = struct.unpack_from("<II", data, at + 8)
    magic, _, count = struct.unpack_from(">III", data, offset)
    if magic != 0xfade0cc0:
        sys.exit("the code signature is none")
    for i in range(count):
        kind, blob = struct.unpack_from(">II", data, offset + 12 + 8 * i)
        if kind != 0:
            continue
        start = offset + blob
        hashes, _, _, slots, limit = struct.unpack_from(">IIIII", data, start + 16)
        size, page = data[start + 36], 1 << data[start + 39]
        for slot in range(slots):
            wanted = data[start + hashes + slot * size:start + hashes + (slot + 1) * size]
            found = hashlib.sha256(data[slot * page:min((slot + 1) * page, limit)]).digest()
            if found != wanted:
                sys.exit(f"page {slot} is not what was signed")
        return slots
    sys.exit("the code signature has no code directory")


def parts(data):
    """The programs in a universal file (mach-o/fat.h), or the one."""
    magic, count = struct.unpack_from(">II", data)
    if magic != 0xcafebabe:
        return [data]
    places = [struct.unpack_from(">II", data, 8 + 20 * i + 8) for i in range(count)]
    return [data[offset:offset + size] for offset, size in places]


def check(path, data):
    libraries, symbols, signed, least = [], [], None, None
    for cpu, command, at in commands(data):
        if command == LC_LOAD_DYLIB:
            libraries.append(text(data, at + struct.unpack_from("<I", data, at + 8)[0]))
        elif command == LC_SYMTAB:
            symbols = list(undefined(data, at))
        elif command == LC_CODE_SIGNATURE:
            signed = pages(data, at)
        elif command == LC_BUILD_VERSION:
            least = struct.unpack_from("<I", data, at + 12)[0]
    name = CPUS.get(cpu, hex(cpu))
    if set(libraries) - LIBRARIES:
        sys.exit(f"{path}: links {', '.join(sorted(set(libraries) - LIBRARIES))}")
    if least != MINIMUM:
        sys.exit(f"{path}: is for macOS {least and least >> 16}.{least and least >> 8 & 255}, not for 13.0")
    if name == "aarch64" and not signed:
        sys.exit(f"{path}: Apple silicon runs nothing unsigned")
    of_objc = [s for s, library in symbols if libraries[library - 1].endswith("libobjc.A.dylib")]
    if "_objc_msgSend" not in of_objc:
        sys.exit(f"{path}: the vz backend is not in it")
    print(f"shown: for {name} macOS: {len(symbols)} symbols of {len(libraries)} libraries, "
          f"{len(of_objc)} of them the Objective-C runtime's; pages signed: {signed or 0}")


for argument in sys.argv[1:]:
    for part in parts(open(argument, "rb").read()):
        check(argument, part)
