#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A program for macOS links nothing but libSystem and libobjc, and runs on macOS 13.

usage: macho.py [--signed] FILE...

Reads the load commands (mach-o/loader.h): libraries, least version, undefined symbols by library; and, where
there is a code signature (on aarch64 there must be), compares each page with its hash in the code directory
(xnu, osfmk/kern/cs_blobs.h). With --signed also what was signed besides: each file is universal, its code
directory names the program, hashes its requirements and entitlements, and ends where the signature begins;
kiln-runner has the entitlement that its file in data/ has, as XML and as DER, and no other program has any.
Nothing here is taken from what signs.
"""
import hashlib
import os
import plistlib
import struct
import sys

CPUS = {0x01000007: "x86_64", 0x0100000c: "aarch64"}
LIBRARIES = {"/usr/lib/libSystem.B.dylib", "/usr/lib/libobjc.A.dylib"}
LC_SYMTAB, LC_LOAD_DYLIB, LC_CODE_SIGNATURE, LC_BUILD_VERSION = 0x2, 0xc, 0x1d, 0x32
MINIMUM = 13 << 16
# The programs in which the vz backend is; and what is signed with an entitlement.
OBJC = {"link-test", "kiln", "kiln-runner"}
ENTITLED = {"kiln-runner": {"com.apple.security.virtualization": True}}
# Of libSystem, but only since a later system than the least one.
TOO_NEW = {"_" + name for name in ("memrchr", "mempcpy", "pipe2", "dup3", "reallocarray", "scandirat", "strchrnul",
                                   "explicit_bzero", "qsort_r", "secure_getenv", "fdopendirat")}


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
    program = os.path.basename(path)
    new = {symbol for symbol, _ in symbols} & TOO_NEW
    if new:
        sys.exit(f"{path}: macOS 13 has no {', '.join(sorted(new))}")
    if set(libraries) - LIBRARIES:
        sys.exit(f"{path}: links {', '.join(sorted(set(libraries) - LIBRARIES))}")
    if least != MINIMUM:
        sys.exit(f"{path}: is for macOS {least and least >> 16}.{least and least >> 8 & 255}, not for 13.0")
    if name == "aarch64" and not signed:
        sys.exit(f"{path}: Apple silicon runs nothing unsigned")
    of_objc = [s for s, library in symbols if libraries[library - 1].endswith("libobjc.A.dylib")]
    if ("_objc_msgSend" in of_objc) != (program in OBJC):
        sys.exit(f"{path}: the vz backend is {'not ' if program in OBJC else ''}in it")
    print(f"shown: for {name} macOS: {len(symbols)} symbols of {len(libraries)} libraries, "
          f"{len(of_objc)} of them the Objective-C runtime's; pages signed: {signed or 0}")


def read_der(data):
    """One value of DER (X.690): dictionaries are [16] of sequences of two."""
    tag, length, at = data[0], data[1], 2
    if length & 128:
        at += length & 127
        length = int.from_bytes(data[2:at], "big")
    body, rest = data[at:at + length], data[at + length:]
    if len(body) != length:
        sys.exit("the entitlements' DER is cut short")
    if tag == 0x0c:
        return body.decode(), rest
    if tag == 0x01:
        return {b"\xff": True, b"\0": False}[bytes(body)], rest
    if tag == 0x02:
        return int.from_bytes(body, "big", signed=True), rest
    values = []
    while body:
        value, body = read_der(body)
        values.append(value)
    return (dict(values) if tag == 0xb0 else values), rest


def blobs(data, at):
    """{slot: (magic, whole blob)} of a signature, which must lie within what the command says."""
    offset, size = struct.unpack_from("<II", data, at + 8)
    if offset + size != len(data) or offset % 16:
        sys.exit("the code signature is not the end of the file")
    _, length, count = struct.unpack_from(">III", data, offset)
    found = {}
    for i in range(count):
        slot, place = struct.unpack_from(">II", data, offset + 12 + 8 * i)
        magic, long = struct.unpack_from(">II", data, offset + place)
        if place + long > length or length > size:
            sys.exit("a part of the code signature lies outside of it")
        found[slot] = magic, bytes(data[offset + place:offset + place + long])
    return offset, found


def check_directory(path, directory, limit, found):
    """The code directory's header; its special slots are the hashes of the other blobs."""
    version, flags, hashes, ident, special, _, end, size, kind = struct.unpack_from(">IIIIIIIBB", directory, 8)
    name = text(directory, ident)
    if name != os.path.basename(path):
        sys.exit(f"{path}: signed as {name}")
    if end != limit or not flags & 2 or version < 0x20400 or (size, kind) != (32, 2):
        sys.exit(f"{path}: the code directory is not one of an ad-hoc signature of all of it")
    if struct.unpack_from(">Q", directory, 80)[0] != 1:
        sys.exit(f"{path}: not signed as a main program")
    for slot in range(1, special + 1):
        wanted = hashlib.sha256(found[slot][1]).digest() if slot in found else bytes(32)
        if directory[hashes - 32 * slot:hashes - 32 * (slot - 1)] != wanted:
            sys.exit(f"{path}: slot {slot} is not what was signed")
    if set(found) - {0, 0x10000} - set(range(1, special + 1)):
        sys.exit(f"{path}: a part of the signature is in no slot")


def check_signature(path, data):
    at = next((a for _, command, a in commands(data) if command == LC_CODE_SIGNATURE), None)
    if at is None:
        sys.exit(f"{path}: not signed")
    limit, found = blobs(data, at)
    check_directory(path, found[0][1], limit, found)
    if found[2] != (0xfade0c01, struct.pack(">III", 0xfade0c01, 12, 0)):
        sys.exit(f"{path}: its requirements are not the empty set")
    wanted = ENTITLED.get(os.path.basename(path))
    if not wanted:
        if 5 in found or 7 in found:
            sys.exit(f"{path}: has an entitlement")
        return
    if 5 not in found or 7 not in found:
        sys.exit(f"{path}: has no entitlements")
    if found[5][0] != 0xfade7171 or plistlib.loads(found[5][1][8:]) != wanted or b"<!--" in found[5][1]:
        sys.exit(f"{path}: other entitlements than {wanted}")
    if found[7][0] != 0xfade7172 or found[7][1][8] != 0x70 or read_der(found[7][1][8:]) != ([1, wanted], b""):
        sys.exit(f"{path}: other entitlements in DER than {wanted}")
    print(f"shown: {os.path.basename(path)} is signed with {', '.join(wanted)}, and no other program is")


arguments = sys.argv[1:]
signed = arguments[0] == "--signed"
for argument in arguments[signed:]:
    programs = parts(open(argument, "rb").read())
    if signed and len(programs) != len(CPUS):
        sys.exit(f"{argument}: is not for each of a Mac's processors")
    for part in programs:
        check(argument, part)
        if signed:
            check_signature(argument, part)
