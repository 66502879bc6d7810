#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts programs for several processors into one universal file of macOS (mach-o/fat.h).

usage: universal.py OUTPUT FILE...
"""
import os
import struct
import sys

FAT_MAGIC, ALIGN = 0xcafebabe, 14  # 2^14: the largest page of the processors

output, files = sys.argv[1], sys.argv[2:]
slices, at = [], 1 << ALIGN
for name in files:
    data = open(name, "rb").read()
    magic, cpu, subtype = struct.unpack_from("<III", data)
    if magic != 0xfeedfacf:
        sys.exit(f"{name}: not a 64-bit Mach-O file")
    if cpu in [s[0] for s in slices]:
        sys.exit(f"{name}: there is one for this processor already")
    slices.append((cpu, subtype, at, data))
    at = (at + len(data) + (1 << ALIGN) - 1) >> ALIGN << ALIGN
with open(output + ".new", "wb") as out:
    out.write(struct.pack(">II", FAT_MAGIC, len(slices)))
    for cpu, subtype, offset, data in slices:
        out.write(struct.pack(">IIIII", cpu, subtype, offset, len(data), ALIGN))
    for _, _, offset, data in slices:
        out.seek(offset)
        out.write(data)
os.chmod(output + ".new", 0o755)
os.replace(output + ".new", output)
