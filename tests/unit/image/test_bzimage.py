#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kiln-image takes the kernel out of a bzImage, whatever its payload is compressed with, and keeps what
follows it there: the table of relocations, without which a kernel cannot be moved. Zeros that it ends with are
taken out of its segments' file sizes.
Usage: test_bzimage.py KILN-IMAGE"""
import gzip, json, lzma, os, shutil, struct, subprocess, sys, tempfile, unittest

program = os.path.abspath(sys.argv.pop(1))

SEGMENT = 0x1000


def vmlinux(pvh=True, trimmed=False, gap=0):
    """A kernel with the PVH note and a table of sections at its end; 200 KiB that compress, but not to nothing, and
    three pages of zeros and a bit, of which the file size has the whole pages, or, trimmed, none."""
    note = struct.pack("<III4sI", 4, 4, 18 if pvh else 17, b"Xen\0", 0x1000010)
    text = note + b"".join(struct.pack("<I", i * 2654435761 & 0xffff0fff) for i in range(50000))
    if gap:  # pages of zeros, and one that is none
        text = text.ljust(len(text) + -len(text) % 4096 + gap * 4096, b"\0") + bytes(4000) + b"the end"
    size = len(text) + -len(text) % 4096
    text = text.ljust(size + 2 * 4096 + 12, b"\0")
    sections = SEGMENT + len(text) + -len(text) % 8
    header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x1000000, 64, sections, 0, 64,
                                                       56, 2, 64, 2, 1)
    load = struct.pack("<IIQQQQQQ", 1, 5, SEGMENT, 0xffffffff81000000, 0x1000000, size if trimmed else len(text),
                       len(text) + 4096, 4096)
    notes = struct.pack("<IIQQQQQQ", 4, 4, SEGMENT, 0, 0, len(note), len(note), 4)
    image = (header + load + notes).ljust(SEGMENT, b"\0") + text
    return image.ljust(sections, b"\0") + bytes(128)


def relocs():
    table = [0, *(0x81000100 + 8 * i for i in range(500)), 0, 0x81000020, 0, *(0x81000104 + 8 * i for i in range(500))]
    return struct.pack(f"<{len(table)}I", *table)


def tool(*command):
    def compress(data):
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout
    return compress


def xzkern(data):
    """As scripts/xz_wrap.sh does for x86."""
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 6}]
    return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)


# scripts/Makefile.lib: all but gzip have the size appended; gzip ends with it by itself.
PAYLOADS = {"gzip": (None, lambda data: gzip.compress(data, 9)),
            "xz": (None, xzkern),
            "zstd": ("zstd", tool("zstd", "-22", "--ultra", "-c")),
            "lz4": ("lz4", tool("lz4", "-l", "-9", "-c"))}


def bzimage(kernel, compress, appended):
    payload = compress(kernel) + (struct.pack("<I", len(kernel)) if appended else b"")
    body = bytes(256) + payload
    body += bytes(-len(body) % 16)
    setup = bytearray(1024)
    setup[0x1f1] = 1
    struct.pack_into("<I", setup, 0x1f4, len(body) // 16)
    struct.pack_into("<H", setup, 0x1fe, 0xaa55)
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<HIHHB", setup, 0x206, 0x20f, 0, 0, 0x300 - 0x200, 0)
    setup[0x211] = 1
    struct.pack_into("<H", setup, 0x236, 1)
    struct.pack_into("<II", setup, 0x248, 256, len(payload))
    setup[0x300:0x310] = b"6.1.0-1-test (x)"
    return bytes(setup) + body


class BzImage(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)

    def unpack(self, image):
        given, taken = os.path.join(self.directory, "given"), os.path.join(self.directory, "taken")
        with open(given, "wb") as file:
            file.write(image)
        with open(given, "rb") as source, open(taken, "wb") as target:
            run = subprocess.run([program, "kernel", "--input", "3", "--output", "4", "--name", "k", "--arch", "x86_64"],
                                 preexec_fn=lambda: (os.dup2(source.fileno(), 13), os.dup2(target.fileno(), 14),
                                                     os.dup2(13, 3), os.dup2(14, 4)),
                                 close_fds=False, capture_output=True, text=True)
        with open(taken, "rb") as file:
            return json.loads(run.stdout or "{}"), file.read(), run

    def check(self, name):
        needs, compress = PAYLOADS[name]
        if needs and not shutil.which(needs):
            self.skipTest(f"{needs} is missing")
        kernel = vmlinux()
        for table in (relocs(), b""):
            about, taken, run = self.unpack(bzimage(kernel + table, compress, name != "gzip"))
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
            self.assertEqual((about["format"], about["pvh"], about["size"], about["release"]),
                             ("elf", True, len(kernel + table), "6.1.0-1-test"))
            self.assertEqual(taken[len(kernel):], table)
            self.assertEqual(taken, vmlinux(trimmed=True) + table)

    def test_gzip(self):
        self.check("gzip")

    def test_xz(self):
        self.check("xz")

    def test_zstd(self):
        self.check("zstd")

    def test_lz4(self):
        self.check("lz4")

    def test_a_vmlinux_by_itself(self):
        about, taken, run = self.unpack(vmlinux())
        self.assertEqual(about.get("format"), "elf", run.stdout + run.stderr)
        self.assertEqual(taken, vmlinux(trimmed=True))

    def test_zeros_within_a_segment_are_no_part_of_it(self):
        given = vmlinux(gap=40)
        about, taken, run = self.unpack(given)
        self.assertEqual(about.get("format"), "elf", run.stdout + run.stderr)
        self.assertEqual(taken[SEGMENT:], given[SEGMENT:])
        self.assertEqual(struct.unpack_from("<H", taken, 56)[0], 3)
        first, note, second = (struct.unpack_from("<IIQQQQQQ", taken, 64 + 56 * i) for i in range(3))
        kept = struct.unpack_from("<IIQQQQQQ", given, 64 + 56)
        self.assertEqual(note, kept)
        end = 0x31000 + 40 * 4096  # 200,000 bytes and the note, in whole pages
        self.assertEqual(first, (1, 5, SEGMENT, 0xffffffff81000000, 0x1000000, 0x31000, end, 4096))
        size = struct.unpack_from("<Q", given, 64 + 40)[0]
        self.assertEqual(second, (1, 5, SEGMENT + end, 0xffffffff81000000 + end, 0x1000000 + end, 4096, size - end, 4096))

    def test_few_zeros_stay(self):
        _, taken, _ = self.unpack(vmlinux(gap=31))
        self.assertEqual(taken, vmlinux(gap=31, trimmed=True))

    def test_without_a_pvh_entry_it_stays_what_it_is(self):
        image = bzimage(vmlinux(pvh=False), gzip.compress, False)
        about, taken, run = self.unpack(image)
        self.assertEqual(about.get("format"), "bzimage", run.stdout + run.stderr)
        self.assertEqual(taken, image)


unittest.main()
