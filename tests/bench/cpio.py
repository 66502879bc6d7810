#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cpio.py INIT OUT: a newc archive with /init, /dev and /dev/console."""
import sys


def entry(name, mode, data=b"", rdev=(0, 0)):
    name = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(name), 0)
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name
    head += b"\0" * (-len(head) % 4)
    return head + data + b"\0" * (-len(data) % 4)


with open(sys.argv[1], "rb") as f:
    init = f.read()
with open(sys.argv[2], "wb") as f:
    f.write(entry("dev", 0o040755) + entry("dev/console", 0o020600, rdev=(5, 1)) +
            entry("init", 0o100755, init) + entry("TRAILER!!!", 0))
