#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes empty ext4 file systems of some sizes and writes what is not zero in them as C.

ext4_templates.py OUTPUT.h

Needs mke2fs (e2fsprogs). The same everywhere: identifiers and times are fixed.
"""
import os
import shutil
import subprocess
import sys
import tempfile

SIZES = [16 << 20, 256 << 20, 1 << 30, 4 << 30, 16 << 30]
BLOCK = 4096
CHUNK = 32
UUID = "6b696c6e-0000-4000-8000-000000000000"

# Ephemeral disks have no journal, being thrown away with the VM; volumes have one. meta_bg instead of a resize inode: grows
# online without bound and without converting first. No sparse_super2: Linux does not resize it.
FEATURES = ("none,ext_attr,dir_index,filetype,sparse_super,large_file,huge_file,dir_nlink,extra_isize,"
            "meta_bg,extent,64bit,flex_bg,metadata_csum")

# mke2fs's own configuration: distributions differ in theirs.
CONFIG = "[fs_types]\n" + "".join("\t%s = {\n\t\tblocksize = 4096\n\t}\n" % t for t in ("ext4", "small"))


def make(path, size, journal):
    mke2fs = shutil.which("mke2fs", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not mke2fs:
        sys.exit("mke2fs is missing: install e2fsprogs")
    with open(path, "wb") as f:
        f.truncate(size)
    # The smallest have as many inodes a group as the others: growing keeps that number.
    inodes = ["-N", "8192"] if size < 128 << 20 else ["-i", "16384"]
    features, extra = FEATURES, "lazy_itable_init=1"
    if journal:
        features += ",has_journal"
        extra += ",lazy_journal_init=1"
        inodes += ["-J", "size=%d" % (4 if size < 128 << 20 else 16 if size < 1 << 30 else 64)]
    with open(path + ".conf", "w") as f:
        f.write(CONFIG)
    env = dict(os.environ, E2FSPROGS_FAKE_TIME="1", MKE2FS_CONFIG=path + ".conf")
    subprocess.run([mke2fs, "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-I", "256", *inodes, "-m", "0",
                    "-O", features, "-U", UUID, "-L", "kiln",
                    "-E", "hash_seed=%s,%s,nodiscard,root_owner=0:0" % (UUID, extra), path],
                   check=True, env=env)


def chunks(path):
    """(offset, bytes) of all runs that are not zero, in steps of CHUNK, never across a block."""
    fd = os.open(path, os.O_RDONLY)
    at, end = 0, os.fstat(fd).st_size
    while at < end:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA) // BLOCK * BLOCK
        except OSError:
            break
        block = os.pread(fd, BLOCK, at)
        start = None
        for i in range(0, BLOCK + CHUNK, CHUNK):
            if i < BLOCK and any(block[i:i + CHUNK]):
                start = i if start is None else start
            elif start is not None:
                yield at + start, block[start:i]
                start = None
        at += BLOCK
    os.close(fd)


def main():
    rows, data, templates = [], bytearray(), []
    with tempfile.TemporaryDirectory() as d:
        for journal, size in [(j, s) for j in (False, True) for s in SIZES]:
            path = os.path.join(d, "image")
            make(path, size, journal)
            first = len(rows)
            for offset, piece in chunks(path):
                rows.append((offset, len(data), len(piece)))
                data += piece
            templates.append((size, journal, first, len(rows) - first))
            os.unlink(path)
    with open(sys.argv[1], "w") as out:
        out.write("/* Made by tools/ext4_templates.py. */\n")
        out.write("static const uint8_t template_data[] = {\n")
        for i in range(0, len(data), 24):
            out.write("\t" + ",".join(str(b) for b in data[i:i + 24]) + ",\n")
        out.write("};\n\nstatic const struct chunk template_chunks[] = {\n")
        for row in rows:
            out.write("\t{%dull, %d, %d},\n" % row)
        out.write("};\n\nstatic const struct template templates[] = {\n")
        for row in templates:
            out.write("\t{%dull, %d, %d, %d},\n" % row)
        out.write("};\n")


main()
