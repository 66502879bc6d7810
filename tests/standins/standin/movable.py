# SPDX-License-Identifier: Apache-2.0
"""Makes a QEMU save a machine with a vhost-user-vsock device, which it refuses: it marks the device as one that cannot
be moved, although all that it would have to save is what it saves of vhost-vsock, the same device with its back-end in the
kernel. So the one's description takes the place of the other's, in the memory of the QEMU that was just started.

The descriptions (struct VMStateDescription in QEMU's include/migration/vmstate.h) are found by their names, of which each is
in QEMU once; a QEMU whose memory does not look as expected is left alone, and then refuses to save, by itself."""
import re

UNMOVABLE, MOVABLE = b"\0vhost-user-vsock\0", b"\0virtio-vhost_vsock\0"
# What follows the name: flags, two version numbers, a priority; six functions; fields and subsections.
REST = 8, 88


def _regions(pid, program):
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (....) \S+ \S+ \S+ +(.*)$", line)
            if match and match[4] == program and match[3].startswith("r"):
                yield int(match[1], 16), int(match[2], 16)


def _find(memory, regions, wanted):
    found = []
    for begin, end in regions:
        memory.seek(begin)
        content = memory.read(end - begin)
        at = content.find(wanted)
        while at >= 0:
            found.append(begin + at)
            at = content.find(wanted, at + 1)
    return found


def _description(memory, regions, name):
    """Where the description of that name is; None unless there is exactly one."""
    names = _find(memory, regions, name)
    if len(names) != 1:
        return None
    pointers = [at for at in _find(memory, regions, (names[0] + 1).to_bytes(8, "little")) if at % 8 == 0]
    for at in pointers:
        memory.seek(at + REST[0])
        rest = memory.read(REST[1] - REST[0])
        # The one is marked and has nothing else; the other is not, and has fields.
        if (rest[0] == 1 and not any(rest[16:])) if name == UNMOVABLE else (rest[0] == 0 and any(rest[64:72])):
            return at
    return None


def allow(pid, program):
    """True if it is done."""
    try:
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            regions = list(_regions(pid, program))
            unmovable, movable = (_description(memory, regions, name) for name in (UNMOVABLE, MOVABLE))
            if unmovable is None or movable is None:
                return False
            memory.seek(movable + REST[0])
            rest = memory.read(REST[1] - REST[0])
            memory.seek(unmovable + REST[0])
            memory.write(rest)
            return True
    except OSError:
        return False
