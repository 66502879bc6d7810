# SPDX-License-Identifier: Apache-2.0
"""kiln-image root, kernel and initramfs against what other programs read of their output.

test_root.py KILN-IMAGE: needs unsquashfs, mksquashfs' sibling; exits 77 where it is missing.
"""
import gzip, io, json, lzma, os, re, shutil, socket, stat, struct, subprocess, sys, tarfile, tempfile, unittest

PROGRAM = sys.argv.pop(1)


def call(*args, inputs=(), output=None, directory=None):
    """Runs kiln-image; inputs and output are open files. (result or error object, exit code)"""
    argv = [PROGRAM, *args]
    fds = []
    for option, file in [("--input", f) for f in inputs] + [("--output", output), ("--dir", directory)]:
        if file is not None:
            fd = file if isinstance(file, int) else file.fileno()
            argv[2:2] = [option, str(fd)]
            fds.append(fd)
    done = subprocess.run(argv, pass_fds=fds, capture_output=True, timeout=60)
    text = done.stdout if done.returncode == 0 else done.stderr
    return json.loads(text), done.returncode


def make_root(source, *args):
    """A squashfs of a tar archive (bytes) or a directory (path): (path of the image, result)."""
    image = tempfile.NamedTemporaryFile(suffix=".sqfs")
    if isinstance(source, bytes):
        with tempfile.TemporaryFile() as tar:
            tar.write(source)
            tar.seek(0)
            result, code = call("root", "--name", "r.tar", *args, inputs=[tar], output=image)
    else:
        fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
        result, code = call("root", "--name", "r", *args, directory=fd, output=image)
        os.close(fd)
    return image, result, code


def listing(image):
    """What unsquashfs reads: {path: (mode, owner, size or device, what follows the path)}."""
    out = subprocess.run(["unsquashfs", "-UTC", "-lln", "-d", "", image.name], check=True,
                         capture_output=True, text=True).stdout
    found = {}
    for line in out.splitlines():
        match = re.match(r"([-dlcbps][-rwxsStT]{9}) (\d+/\d+)\s+(\d+(?:,\s*\d+)?) (\S+ \S+) (/?[^>]*?)( -> .*)?$", line)
        if match:
            mode, owner, size, time, path, link = match.groups()
            found[path.lstrip("/")] = (mode, owner, re.sub(r"\s", "", size), time, link or "")
    return found


def extract(image, path):
    return subprocess.run(["unsquashfs", "-cat", image.name, path], check=True, capture_output=True).stdout


class Tar:
    def __init__(self, format=tarfile.PAX_FORMAT):
        self.file = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.file, mode="w", format=format)

    def add(self, name, type=tarfile.REGTYPE, data=b"", **fields):
        info = tarfile.TarInfo(name)
        info.type = type
        info.size = len(data)
        info.mode = fields.pop("mode", 0o755 if type == tarfile.DIRTYPE else 0o644)
        info.mtime = fields.pop("mtime", 1000000000)
        for key, value in fields.items():
            setattr(info, key, value)
        self.tar.addfile(info, io.BytesIO(data))
        return self

    def bytes(self):
        self.tar.close()
        return self.file.getvalue()


def debian_like():
    t = Tar()
    for d in (".", "./bin", "./dev", "./etc", "./home", "./home/user", "./var", "./var/log"):
        t.add(d, tarfile.DIRTYPE)
    t.add("./etc/os-release", data=b"ID=debian\n")
    t.add("./etc/shadow", data=b"root:*\n", mode=0o640, gid=42)
    t.add("./bin/su", data=os.urandom(300000), mode=0o4755)
    t.add("./bin/sh", tarfile.SYMTYPE, linkname="dash")
    t.add("./bin/dash", data=b"\x7fELF" * 1000, mode=0o755)
    t.add("./bin/dash2", tarfile.LNKTYPE, linkname="./bin/dash")
    t.add("./bin/ping", data=b"ping", mode=0o755,
          pax_headers={"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00 \x00\x00" + "\x00" * 12,
                       "SCHILY.xattr.user.note": "hello"})
    t.add("./dev/null", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)
    t.add("./dev/sda300", tarfile.BLKTYPE, mode=0o660, devmajor=259, devminor=70000, gid=6)
    t.add("./dev/fifo", tarfile.FIFOTYPE, mode=0o600)
    t.add("./home/user/caf\u00e9", data=b"utf-8", uid=1000, gid=1000)
    t.add("./home/user/" + "n" * 200, data=b"long", uid=4000000000, gid=3999999999)
    t.add("./var/log/zero", data=b"\0" * 3000000)
    t.add("./tmp/implied/file", data=b"parents come from nowhere")
    return t


class Roots(unittest.TestCase):
    def test_everything_a_tar_says_is_in_the_image(self):
        image, result, code = make_root(debian_like().bytes())
        self.assertEqual(code, 0, result)
        files = listing(image)
        t = "2001-09-09 01:46"
        self.assertEqual(files["etc/os-release"], ("-rw-r--r--", "0/0", "10", t, ""))
        self.assertEqual(files["etc/shadow"], ("-rw-r-----", "0/42", "7", t, ""))
        self.assertEqual(files["bin/su"][:3], ("-rwsr-xr-x", "0/0", "300000"))
        self.assertEqual((files["bin/sh"][0][0], files["bin/sh"][4]), ("l", " -> dash"))
        self.assertEqual(files["dev/null"][:3], ("crw-rw-rw-", "0/0", "1,3"))
        # unsquashfs prints Linux's 32-bit encoding (minor & 0xff, major << 8, rest of minor << 12) undecoded.
        device = 70000 & 0xff | 259 << 8 | (70000 & ~0xff) << 12
        self.assertEqual(files["dev/sda300"][:3], ("brw-rw----", "0/6", "%d,%d" % (device >> 8, device & 0xff)))
        self.assertEqual(files["dev/fifo"][0], "prw-------")
        self.assertEqual(files["home/user/caf\u00e9"][:3], ("-rw-r--r--", "1000/1000", "5"))
        self.assertEqual(files["home/user/" + "n" * 200][:3], ("-rw-r--r--", "4000000000/3999999999", "4"))
        self.assertEqual(files["tmp/implied"][:2], ("drwxr-xr-x", "0/0"))
        self.assertEqual(files["var/log/zero"][2], "3000000")
        self.assertEqual(extract(image, "bin/dash2"), b"\x7fELF" * 1000)
        self.assertLess(result["size"], 400000)  # the zeros take no room

    def test_hard_links_and_attributes_survive_unpacking(self):
        image, result, code = make_root(debian_like().bytes())
        self.assertEqual(code, 0, result)
        with tempfile.TemporaryDirectory() as d:
            out = os.path.join(d, "root")
            subprocess.run(["unsquashfs", "-q", "-n", "-no-progress", "-user-xattrs", "-excludes", "-d", out,
                            image.name, "dev"], check=True, capture_output=True)
            a, b = os.stat(out + "/bin/dash"), os.stat(out + "/bin/dash2")
            self.assertEqual((a.st_ino, a.st_nlink), (b.st_ino, 2))
            try:
                self.assertEqual(os.getxattr(out + "/bin/ping", "user.note"), b"hello")
            except OSError as e:
                self.assertEqual(e.errno, 95, e)  # the file system of /tmp has none

    def test_archives_of_every_format_and_compression(self):
        for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            data = Tar(format).add("a/" + "d" * 90 + "/file", data=b"x" * 5000).bytes()
            for pack in (lambda b: b, gzip.compress, lzma.compress):
                image, result, code = make_root(pack(data))
                self.assertEqual(code, 0, result)
                self.assertEqual(extract(image, "a/" + "d" * 90 + "/file"), b"x" * 5000)

    def test_the_same_input_gives_the_same_image(self):
        data = debian_like().bytes()
        images = [make_root(data)[0].read() for _ in range(2)]
        self.assertEqual(*images)

    def test_later_entries_replace_earlier_ones(self):
        t = Tar().add("f", data=b"old").add("l", tarfile.LNKTYPE, linkname="f").add("f", data=b"newer")
        t.add("d", tarfile.DIRTYPE, mode=0o700).add("d/in", data=b"1").add("d", tarfile.DIRTYPE, mode=0o711)
        image, result, code = make_root(t.bytes())
        self.assertEqual(code, 0, result)
        self.assertEqual((extract(image, "f"), extract(image, "l"), extract(image, "d/in")), (b"newer", b"old", b"1"))
        self.assertEqual(listing(image)["d"][0], "drwx--x--x")

    def refused(self, tar, code, *words, args=()):
        image, error, status = make_root(tar if isinstance(tar, bytes) else tar.bytes(), *args)
        self.assertEqual(status, 1, error)
        self.assertEqual(error["code"], code, error)
        for word in words:
            self.assertIn(word, error["message"])

    def test_hostile_paths_are_refused_by_name(self):
        link = lambda: Tar().add("link", tarfile.SYMTYPE, linkname="/etc")
        self.refused(Tar().add("../evil"), "EFORMAT", "'../evil'", "'..'")
        self.refused(Tar().add("a/../../evil"), "EFORMAT", "'a/../../evil'")
        self.refused(Tar().add("/etc/passwd"), "EFORMAT", "'/etc/passwd'", "absolute")
        self.refused(link().add("link/passwd"), "EFORMAT", "'link/passwd'", "symbolic link")
        self.refused(link().add("hard", tarfile.LNKTYPE, linkname="link/passwd"), "EFORMAT", "symbolic link")
        self.refused(Tar().add("f").add("f/g"), "EFORMAT", "'f/g'", "no directory")
        self.refused(Tar().add("d", tarfile.DIRTYPE).add("d"), "EFORMAT", "'d'", "twice")
        self.refused(Tar().add("h", tarfile.LNKTYPE, linkname="nowhere"), "ENOENT", "'h'", "'nowhere'")
        self.refused(Tar().add("h", tarfile.LNKTYPE, linkname="../x"), "EFORMAT", "'h'", "'..'")
        self.refused(Tar().add("d/" * 1500 + "f"), "EOVERFLOW", "levels deep")
        self.refused(Tar().add("x" * 256), "EFORMAT", "longer than 255")

    def test_messages_are_fit_for_a_terminal(self):
        image, error, code = make_root(Tar(tarfile.GNU_FORMAT).add("../\x1b[31m\n").bytes())
        self.assertEqual(code, 1)
        self.assertIn("?[31m?", error["message"])

    def test_damaged_archives_are_refused(self):
        whole = debian_like().bytes()
        for cut in (600, 5000, 200000, len(whole) // 2):
            self.refused(whole[:cut], "EFORMAT", "r.tar")
        self.refused(gzip.compress(whole)[:1000], "EFORMAT", "r.tar")
        self.refused(b"not a tar archive at all\n" * 100, "EFORMAT", "r.tar")

    def test_what_little_can_grow_into_is_bounded(self):
        """A few kilobytes of archive are not hundreds of megabytes of memory."""
        tar = Tar().add("link", tarfile.SYMTYPE, linkname="a" * 4095).bytes()
        _, result, code = make_root(tar)
        self.assertEqual(code, 0, result)
        tar = Tar().add("link", tarfile.SYMTYPE, linkname="a" * 4096).bytes()
        _, result, code = make_root(tar)
        self.assertNotEqual(code, 0)
        self.assertEqual(result["code"], "EFORMAT")
        self.assertIn("'link'", result["message"])
        tar = Tar()
        for i in range(2700):  # 64 KiB each
            tar.add(f"f{i}", pax_headers={"SCHILY.xattr.user.x": f"{i:065000}"})
        _, result, code = make_root(gzip.compress(tar.bytes(), 1))
        self.assertNotEqual(code, 0)
        self.assertEqual(result["code"], "EOVERFLOW")
        self.assertIn("160 MiB", result["message"])

    def test_memory_and_time_are_limited(self):
        """By the kernel too: whatever else of an input makes it grow."""
        read, write = os.pipe()
        child = subprocess.Popen([PROGRAM, "root", "--input", str(read), "--output", "1"], pass_fds=[read],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        os.close(read)
        # It has read the beginning once the pipe, which holds less, has taken all of it: so it is in its sandbox.
        os.write(write, bytes(65536))
        try:
            os.write(write, b"\0")
        except BrokenPipeError:
            pass
        limits = {}
        try:
            with open(f"/proc/{child.pid}/limits") as file:
                for line in file:
                    limits[line[:26].strip()] = line[26:].split()[0]
        except PermissionError:
            self.skipTest("the sandboxed process cannot be looked into here")
        finally:
            os.close(write)
            child.communicate(timeout=60)
        self.assertNotEqual(limits["Max cpu time"], "unlimited")
        with open(PROGRAM, "rb") as file:
            sanitized = b"__asan_init" in file.read()  # its shadow memory has no bound
        if not sanitized:
            self.assertNotEqual(limits["Max data size"], "unlimited")

    def test_limits_are_kept(self):
        t = Tar()
        for i in range(20):
            t.add("f%d" % i, data=b"x" * 1000)
        data = t.bytes()
        self.refused(data, "EOVERFLOW", "10 entries", args=("--max-entries", "10"))
        self.refused(data, "EOVERFLOW", args=("--max-bytes", "10000"))
        self.assertEqual(make_root(data, "--max-entries", "20", "--max-bytes", "20000")[2], 0)

    def test_a_directory_becomes_what_it_is(self):
        with tempfile.TemporaryDirectory() as d:
            os.makedirs(d + "/sub/deep")
            with open(d + "/sub/file", "wb") as f:
                f.write(b"data")
            os.link(d + "/sub/file", d + "/sub/deep/link")
            os.symlink("/etc/passwd", d + "/absolute")
            os.mkfifo(d + "/fifo", 0o600)
            with open(d + "/sparse", "wb") as f:
                f.write(b"head")
                f.seek(50 << 20)
                f.write(b"tail")
            s = socket.socket(socket.AF_UNIX)
            s.bind(d + "/socket")
            s.close()
            os.chmod(d + "/sub", 0o2750)
            os.utime(d + "/sub/file", (1000000000, 1000000000))
            if os.geteuid() == 0:
                os.mknod(d + "/null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
                os.chown(d + "/sub/file", 12345, 54321)
            try:
                os.setxattr(d + "/sub/file", "user.note", b"kept")
            except OSError:
                pass
            image, result, code = make_root(d)
            self.assertEqual(code, 0, result)
            self.assertEqual(result["notes"], ["1 sockets were left out"])
            files = listing(image)
            self.assertNotIn("socket", files)
            self.assertEqual(files["sub"][0], "drwxr-s---")
            self.assertEqual(files["absolute"][4], " -> /etc/passwd")
            self.assertEqual(files["sub/file"][2:4], ("4", "2001-09-09 01:46"))
            self.assertEqual(extract(image, "sub/deep/link"), b"data")
            self.assertEqual(extract(image, "sparse"), b"head" + b"\0" * ((50 << 20) - 4) + b"tail")
            self.assertLess(result["size"], 100000)
            if os.geteuid() == 0:
                self.assertEqual(files["sub/file"][1], "12345/54321")
                self.assertEqual(files["null"][:3], ("crw-------", "0/0", "1,3"))

    def test_root_reads_other_users_files(self):
        if os.geteuid() != 0:
            self.skipTest("not root")
        with tempfile.TemporaryDirectory() as d:
            os.chmod(d, 0o755)
            with open(d + "/private", "wb") as f:
                f.write(b"of another user")
            os.chown(d + "/private", 12345, 12345)
            os.chmod(d + "/private", 0o600)
            image, result, code = make_root(d)
            self.assertEqual(code, 0, result)
            self.assertEqual(extract(image, "private"), b"of another user")

    def test_an_unreadable_file_is_named(self):
        if os.geteuid() == 0:
            self.skipTest("root reads everything")
        with tempfile.TemporaryDirectory() as d:
            os.mkdir(d + "/sub")
            open(d + "/sub/secret", "w").close()
            os.chmod(d + "/sub/secret", 0)
            image, error, code = make_root(d)
            self.assertEqual((code, error["code"]), (1, "EACCES"))
            self.assertIn("'sub/secret'", error["message"])
            self.assertIn("tar", error["hint"])


class Initramfs(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        os.makedirs(self.dir.name + "/kernel")

    def tearDown(self):
        self.dir.cleanup()

    def module(self, name, depends, pack=None, suffix=""):
        names, info = b"\0.modinfo\0", b"depends=" + depends + b"\0name=" + name.encode() + b"\0"
        header = bytearray(64)
        header[:7] = b"\x7fELF\2\1\1"
        struct.pack_into("<Q", header, 40, 64)
        struct.pack_into("<HHH", header, 58, 64, 2, 0)
        sections = bytearray(128)
        struct.pack_into("<QQ", sections, 24, 192, len(names))
        struct.pack_into("<I", sections, 64, 1)
        struct.pack_into("<QQ", sections, 64 + 24, 192 + len(names), len(info))
        data = bytes(header + sections) + names + info
        with open("%s/kernel/%s.ko%s" % (self.dir.name, name, suffix), "wb") as f:
            f.write(pack(data) if pack else data)
        return data

    def test_modules_are_unpacked_and_in_order(self):
        if not shutil.which("cpio"):
            self.skipTest("no cpio here")
        low = self.module("low", b"", lzma.compress, ".xz")
        self.module("mid-dle", b"low", gzip.compress, ".gz")
        self.module("top", b"mid_dle")
        with open(self.dir.name + "/modules.order", "w") as f:
            f.write("kernel/top.ko\nkernel/mid-dle.ko\nkernel/low.ko\n")
        with open(self.dir.name + "/modules.builtin", "w") as f:
            f.write("kernel/fs/ext4.ko\n")
        fd = os.open(self.dir.name, os.O_RDONLY | os.O_DIRECTORY)
        with tempfile.TemporaryFile() as init, tempfile.TemporaryFile() as out:
            init.write(b"I am init")
            init.seek(0)
            result, code = call("initramfs", "--", "top", "ext4", "absent?", inputs=[init], output=out, directory=fd)
            self.assertEqual(code, 0, result)
            out.seek(0)
            archive = out.read()
        os.close(fd)
        names = subprocess.run(["cpio", "-t", "--quiet"], input=archive, capture_output=True, check=True).stdout.decode().split()
        self.assertEqual(names, ["dev", "proc", "run", "sys", "dev/console", "init", "modules", "modules/low.ko",
                                 "modules/mid-dle.ko", "modules/top.ko", "modules/order"])
        self.assertIn(b"low\nmid-dle\ntop\n", archive)
        self.assertIn(low, archive)
        self.assertIn(b"I am init", archive)


class Sandbox(unittest.TestCase):
    def test_unknown_calls_are_refused(self):
        for args in ((), ("nonsense",), ("root",), ("root", "--output", "x"), ("root", "--nonsense"), ("kernel",)):
            done = subprocess.run([PROGRAM, *args], capture_output=True, timeout=60)
            self.assertEqual((done.returncode, json.loads(done.stderr)["code"]), (1, "EINVAL"))


if __name__ == "__main__":
    if not shutil.which("unsquashfs"):
        print("unsquashfs (squashfs-tools) is missing")
        sys.exit(77)
    unittest.main()
