#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Signs a Mach-O program of one processor ad hoc: what `codesign --sign -` does on a Mac.

usage: sign.py [--entitlements FILE] IDENTIFIER PROGRAM OUTPUT

An ad-hoc signature names nobody: it is hashes of the program's pages, of its entitlements and of its
(empty) requirements, which is all that Apple silicon asks of a program that never left its owner's
hands. The formats are those of xnu's osfmk/kern/cs_blobs.h and <mach-o/loader.h>; numbers in a
signature are big-endian. Entitlements are in it twice, as XML and, which is what newer systems read,
as DER. tests/link/macho.py reads it back, with no code from here.
"""
import argparse
import hashlib
import os
import plistlib
import struct
import sys

MH_MAGIC_64, MH_EXECUTE = 0xfeedfacf, 2
LC_SEGMENT_64, LC_CODE_SIGNATURE = 0x19, 0x1d
PAGE_SHIFT = 12  # of the hashes, whatever the processor's pages are
SEGMENT_ALIGN = 1 << 14

SUPERBLOB, DIRECTORY, REQUIREMENTS = 0xfade0cc0, 0xfade0c02, 0xfade0c01
ENTITLEMENTS, ENTITLEMENTS_DER, WRAPPER = 0xfade7171, 0xfade7172, 0xfade0b01
SLOT_DIRECTORY, SLOT_REQUIREMENTS, SLOT_ENTITLEMENTS, SLOT_DER, SLOT_CMS = 0, 2, 5, 7, 0x10000
CS_ADHOC, CS_EXECSEG_MAIN_BINARY = 2, 1
WITH_EXECSEG = 0x20400  # the version of the code directory that has the executable segment
SHA256 = 2


def align(number, to):
    return (number + to - 1) // to * to


def blob(magic, data):
    return struct.pack(">II", magic, 8 + len(data)) + data


# --- entitlements as DER ---------------------------------------------------------------

def tlv(tag, data):
    if len(data) < 128:
        return bytes([tag, len(data)]) + data
    length = len(data).to_bytes((len(data).bit_length() + 7) // 8, "big")
    return bytes([tag, 128 | len(length)]) + length + data


def der(value):
    if value is True or value is False:
        return tlv(0x01, b"\xff" if value else b"\0")
    if isinstance(value, int):
        return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if isinstance(value, str):
        return tlv(0x0c, value.encode())
    if isinstance(value, list):
        return tlv(0x30, b"".join(der(v) for v in value))
    if isinstance(value, dict):
        pairs = (tlv(0x30, der(key) + der(value[key])) for key in sorted(value))
        return tlv(0xb0, b"".join(pairs))
    sys.exit(f"an entitlement cannot be a {type(value).__name__}")


def entitlement_blobs(path):
    """The XML anew, without comments: the kernel's parser does not take them."""
    values = plistlib.load(open(path, "rb"))
    return {SLOT_ENTITLEMENTS: blob(ENTITLEMENTS, plistlib.dumps(values)),
            SLOT_DER: blob(ENTITLEMENTS_DER, tlv(0x70, der(1) + der(values)))}


# --- the program -------------------------------------------------------------------------

class Program:
    def __init__(self, path):
        self.data = bytearray(open(path, "rb").read())
        if len(self.data) < 32 or struct.unpack_from("<I", self.data)[0] != MH_MAGIC_64:
            sys.exit(f"{path}: not a 64-bit Mach-O file of one processor")
        self.kind, self.count, self.size = struct.unpack_from("<III", self.data, 12)
        self.segments, self.signature, self.contents = {}, None, len(self.data)
        at = 32
        for _ in range(self.count):
            command, size = struct.unpack_from("<II", self.data, at)
            if command == LC_SEGMENT_64:
                self.segments[self.data[at + 8:at + 24].rstrip(b"\0").decode()] = at
                self.note_sections(at)
            elif command == LC_CODE_SIGNATURE:
                self.signature = at
            at += size
        if self.kind != MH_EXECUTE or not {"__TEXT", "__LINKEDIT"} <= set(self.segments):
            sys.exit(f"{path}: not an executable")

    def note_sections(self, at):
        """Where the first section's contents begin: load commands may not grow beyond."""
        for i in range(struct.unpack_from("<I", self.data, at + 64)[0]):
            offset = struct.unpack_from("<I", self.data, at + 72 + 80 * i + 48)[0]
            if offset:
                self.contents = min(self.contents, offset)

    def make_room(self):
        """Cuts off an old signature, or adds the command for one. Returns where it goes."""
        if self.signature is not None:
            del self.data[struct.unpack_from("<I", self.data, self.signature + 8)[0]:]
        else:
            self.signature = 32 + self.size
            if self.signature + 16 > self.contents:
                sys.exit("no room for one more load command: link with -headerpad_max_install_names")
            self.count, self.size = self.count + 1, self.size + 16
            struct.pack_into("<II", self.data, 16, self.count, self.size)
        self.data += bytes(align(len(self.data), 16) - len(self.data))
        return len(self.data)

    def place(self, limit, size):
        struct.pack_into("<IIII", self.data, self.signature, LC_CODE_SIGNATURE, 16, limit, size)
        at = self.segments["__LINKEDIT"]
        start = struct.unpack_from("<Q", self.data, at + 40)[0]
        length = limit + size - start
        struct.pack_into("<Q", self.data, at + 32, align(length, SEGMENT_ALIGN))
        struct.pack_into("<Q", self.data, at + 48, length)

    def text(self):
        return struct.unpack_from("<QQ", self.data, self.segments["__TEXT"] + 40)


# --- the signature -------------------------------------------------------------------------

def code_directory(identifier, program, limit, special):
    pages = align(limit, 1 << PAGE_SHIFT) >> PAGE_SHIFT
    slots = max(special)
    name = identifier.encode() + b"\0"
    hashes = 88 + len(name) + 32 * slots
    start, length = program.text()
    parts = [struct.pack(">IIIIIIIBBBBI", WITH_EXECSEG, CS_ADHOC, hashes, 88, slots, pages, limit, 32,
                         SHA256, 0, PAGE_SHIFT, 0),
             struct.pack(">IIIQQQQ", 0, 0, 0, 0, start, length, CS_EXECSEG_MAIN_BINARY), name]
    for slot in range(slots, 0, -1):  # they lie before the pages', the first one last
        parts.append(hashlib.sha256(special[slot]).digest() if slot in special else bytes(32))
    for page in range(pages):
        data = program.data[page << PAGE_SHIFT:min((page + 1) << PAGE_SHIFT, limit)]
        parts.append(hashlib.sha256(data).digest())
    return blob(DIRECTORY, b"".join(parts))


def superblob(identifier, program, limit, special):
    blobs = {SLOT_DIRECTORY: code_directory(identifier, program, limit, special), **special,
             SLOT_CMS: blob(WRAPPER, b"")}
    at, index = 12 + 8 * len(blobs), b""
    for slot in sorted(blobs):
        index += struct.pack(">II", slot, at)
        at += len(blobs[slot])
    return blob(SUPERBLOB, struct.pack(">I", len(blobs)) + index + b"".join(blobs[s] for s in sorted(blobs)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--entitlements")
    parser.add_argument("identifier")
    parser.add_argument("program")
    parser.add_argument("output")
    args = parser.parse_args()
    program = Program(args.program)
    special = {SLOT_REQUIREMENTS: blob(REQUIREMENTS, struct.pack(">I", 0))}
    if args.entitlements:
        special.update(entitlement_blobs(args.entitlements))
    limit = program.make_room()
    # Its length does not depend on the hashes, which depend on the commands that tell its length.
    size = align(len(superblob(args.identifier, program, limit, special)), 16)
    program.place(limit, size)
    signature = superblob(args.identifier, program, limit, special)
    with open(args.output + ".new", "wb") as out:
        out.write(program.data + signature + bytes(size - len(signature)))
    os.chmod(args.output + ".new", 0o755)
    os.replace(args.output + ".new", args.output)


main()
