# SPDX-License-Identifier: Apache-2.0
"""The jailer's face: checks its arguments, closes what it inherited, clears the environment, makes the jail and becomes
the program in it. QEMU and its libraries, which a stand-in needs there, come in by read-only bind mounts of /usr
and /proc in the jail's own mount namespace: nobody else sees them.

The order is the real one's: arguments, cgroups, the chroot, devices, then the user, then the program."""
import json
import os
import re
import resource
import shutil
import signal
import stat
import sys
import time

from . import settings, spawn

OPTIONS = {"id": True, "exec-file": True, "uid": True, "gid": True, "chroot-base-dir": True, "cgroup": True, "cgroup-version": True,
           "parent-cgroup": True, "netns": True, "new-pid-ns": False, "resource-limit": True, "daemonize": False, "version": False,
           "help": False}
MANY = ("cgroup", "resource-limit")
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x20000000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE, MNT_DETACH = 1, 32, 4096, 16384, 1 << 18, 1 << 19, 2
CLOSE_RANGE = 436  # system call number, the same everywhere


def refuse(name, text):
    print(f"Error: {name}: {text}", file=sys.stderr)
    sys.exit(1)


def os_call(what, result):
    if result < 0:
        import ctypes
        errno = ctypes.get_errno()
        refuse(what, f"{os.strerror(errno)} (os error {errno})")
    return result


def parse_arguments(argv):
    options, rest = {}, iter(argv)
    for argument in rest:
        if argument == "--":
            return options, list(rest)
        name = argument[2:]
        if not argument.startswith("--") or name not in OPTIONS:
            refuse("ArgumentParsing", f"Found argument '{argument}' which wasn't expected, or isn't valid in this context.")
        if name in options and name not in MANY:
            refuse("ArgumentParsing", f"The argument '{name}' was provided more than once.")
        value = next(rest, None) if OPTIONS[name] else True
        if value is None or (value is not True and value.startswith("--")):
            refuse("ArgumentParsing", f"The argument '{name}' requires a value, but none was supplied.")
        if name in MANY:
            options.setdefault(name, []).append(value)
        else:
            options[name] = value
    return options, []


class Jailer:
    def __init__(self, options, extra):
        self.extra = extra
        for name in ("id", "exec-file", "uid", "gid"):
            if name not in options:
                refuse("ArgumentParsing", f"Argument '{name}' required, but not found.")
        self.id = options["id"]
        if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", self.id):
            refuse("InvalidInstanceId", f"Invalid instance ID: {self.id}")
        self.exec_file = self.canonical(options["exec-file"])
        if not os.path.isfile(self.exec_file):
            refuse("NotAFile", self.exec_file)
        self.name = os.path.basename(self.exec_file)
        if "firecracker" not in self.name:
            refuse("ExecFileName", f"The filename of the exec file should contain 'firecracker': {self.name}")
        base = self.canonical(options.get("chroot-base-dir", "/srv/jailer"))
        if not os.path.isdir(base):
            refuse("NotADirectory", base)
        self.root = os.path.join(base, self.name, self.id, "root")
        self.uid, self.gid = (self.number(name, options[name]) for name in ("uid", "gid"))
        self.netns = options.get("netns")
        self.new_pid_ns = "new-pid-ns" in options
        self.daemonize = "daemonize" in options
        self.limits = self.parse_limits(options.get("resource-limit", []))
        self.parse_cgroups(options)

    @staticmethod
    def canonical(path):
        try:
            return os.path.realpath(path, strict=True)
        except OSError as why:
            return refuse("Canonicalize", f"{path}: {os.strerror(why.errno)} (os error {why.errno})")

    @staticmethod
    def number(name, text):
        if not re.fullmatch(r"\d+", text) or int(text) > 2**32 - 1:
            refuse(name.title(), f"Invalid {name}: {text}")
        return int(text)

    @staticmethod
    def parse_limits(arguments):
        limits = {"no-file": 2048}
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if not equals:
                refuse("ResLimitFormat", f"Invalid format for resources limits: {argument}")
            if name not in ("fsize", "no-file"):
                refuse("ResLimitArgument", f"Resource limit argument not supported: {name}")
            if not re.fullmatch(r"\d+", value):
                refuse("ResLimitValue", f"Invalid value for resource limit: {value}")
            limits[name] = int(value)
        return limits

    def parse_cgroups(self, options):
        version = options.get("cgroup-version", "1")
        if version not in ("1", "2"):
            refuse("CgroupInvalidVersion", version)
        self.cgroup_version = int(version)
        self.parent_cgroup = options.get("parent-cgroup", self.name)
        if self.parent_cgroup.startswith("/") or any(part in (".", "..") for part in self.parent_cgroup.split("/")):
            refuse("CgroupInvalidParentPath", self.parent_cgroup)
        self.has_parent = "parent-cgroup" in options
        self.cgroups = []
        for argument in options.get("cgroup", []):
            file, equals, value = argument.partition("=")
            if not equals or not value or "=" in value:
                refuse("CgroupFormat", argument)
            if file.startswith("/") or ".." in file or "." not in file:
                refuse("CgroupInvalidFile", file)
            self.cgroups.append((file, value))

    # --- what is done ---------------------------------------------------------------------

    def copy_program(self):
        os.makedirs(self.root, exist_ok=True)
        target = os.path.join(self.root, self.name)
        shutil.copyfile(self.exec_file, target)
        shutil.copymode(self.exec_file, target)
        os.chown(target, self.uid, self.gid)

    def cgroup_folder(self, controller):
        """Where the hierarchy is mounted; refuses if it is not."""
        with open("/proc/mounts", encoding="utf-8") as mounts:
            for line in mounts:
                _, where, kind, flags = line.split(" ")[:4]
                if self.cgroup_version == 2 and kind == "cgroup2":
                    return where
                if self.cgroup_version == 1 and kind == "cgroup" and controller in flags.split(","):
                    return where
        return refuse("CgroupHierarchyMissing", f"Could not find cgroup hierarchy version {self.cgroup_version}.")

    def join_cgroups(self):
        if not self.cgroups and not (self.has_parent and self.cgroup_version == 2):
            return
        folders = set()
        for file, value in self.cgroups or [("", "")]:
            controller = file.split(".")[0]
            top = self.cgroup_folder(controller)
            if not file:  # no property: the VMM moves to the parent group itself
                folders.add(os.path.join(top, self.parent_cgroup))
                continue
            folder = os.path.join(top, self.parent_cgroup, self.id)
            try:
                self.enable(top, controller)
                os.makedirs(folder, exist_ok=True)
                with open(os.path.join(folder, file), "w", encoding="ascii") as opened:
                    opened.write(value)
            except OSError as why:
                refuse("CgroupWrite", f"{folder}/{file}: {os.strerror(why.errno)} (os error {why.errno})")
            folders.add(folder)
        for folder in folders:
            name = "cgroup.procs" if self.cgroup_version == 2 else "tasks"
            try:
                with open(os.path.join(folder, name), "w", encoding="ascii") as opened:
                    opened.write(str(os.getpid()))
            except OSError as why:
                refuse("CgroupMove", f"{folder}: {os.strerror(why.errno)} (os error {why.errno})")

    def enable(self, top, controller):
        """The controller for all groups below, from the top to the VM's parent."""
        folder = top
        for part in ["", *self.parent_cgroup.split("/")]:
            folder = os.path.join(folder, part)
            os.makedirs(folder, exist_ok=True)
            if self.cgroup_version == 2:
                with open(os.path.join(folder, "cgroup.subtree_control"), "w", encoding="ascii") as file:
                    file.write(f"+{controller}")

    def limit(self):
        if "fsize" in self.limits:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limits["fsize"],) * 2)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.limits["no-file"],) * 2)

    def mount(self, source, target, kind, flags):
        os_call("Mount", spawn.libc().mount(*[x.encode() if x else None for x in (source, target, kind)],
                                            spawn_ulong(flags), None))

    def bring_in(self):
        """What QEMU needs: /usr and /proc, and the links by which a merged /usr is known."""
        folder = os.path.join(self.root, "usr")
        os.makedirs(folder, exist_ok=True)
        self.mount("/usr", folder, None, MS_BIND | MS_REC)
        self.mount(None, folder, None, MS_BIND | MS_REMOUNT | MS_RDONLY)
        for name in ("bin", "sbin", "lib", "lib64", "lib32"):
            if os.path.islink(f"/{name}") and not os.path.lexists(os.path.join(self.root, name)):
                os.symlink(os.readlink(f"/{name}"), os.path.join(self.root, name))
        os.makedirs(os.path.join(self.root, "proc"), exist_ok=True)
        wanted = {key: value for key, value in settings.every().items() if key.isupper()}
        wanted.setdefault("TSC_KHZ", str(settings.tsc_khz() or ""))
        with open(os.path.join(self.root, "standin.json"), "w", encoding="utf-8") as file:
            json.dump(wanted, file)

    def enter(self):
        libc = spawn.libc()
        os_call("UnshareNewNs", libc.unshare(CLONE_NEWNS))
        self.mount(None, "/", None, MS_SLAVE | MS_REC)
        self.mount(self.root, self.root, None, MS_BIND | MS_REC)
        self.bring_in()
        os.chdir(self.root)
        os.makedirs("old_root", exist_ok=True)
        os_call("PivotRoot", libc.pivot_root(b".", b"old_root"))
        os.chdir("/")
        if not self.new_pid_ns:
            self.mount("proc", "/proc", "proc", 0)
        os_call("UmountOldRoot", libc.umount2(b"old_root", MNT_DETACH))
        os.rmdir("old_root")

    def make_devices(self):
        for folder in ("/", "/dev", "/dev/net", "/run"):
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, 0o700)
            os.chown(folder, self.uid, self.gid)
        # urandom and null are what the stand-in adds for QEMU's sake (the real one makes urandom as well).
        for path, major, minor in (("/dev/net/tun", 10, 200), ("/dev/kvm", 10, 232), ("/dev/urandom", 1, 9), ("/dev/null", 1, 3)):
            if os.path.exists(path):
                refuse("MknodDev", f"Failed to create {path} via mknod inside the jail: File exists (os error 17)")
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(major, minor))
            os.chown(path, self.uid, self.gid)

    def become(self):
        os.setgroups([])
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)
        now = int(time.monotonic() * 1e6)
        os.execve(f"/{self.name}", [f"/{self.name}", "--id", self.id, "--start-time-us", str(now), "--start-time-cpu-us", "0",
                                    "--parent-cpu-time-us", "0", *self.extra], {})

    def run(self):
        self.copy_program()
        self.join_cgroups()
        self.limit()
        if self.netns:
            try:
                fd = os.open(self.netns, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as why:
                refuse("FileOpen", f"{self.netns}: {os.strerror(why.errno)} (os error {why.errno})")
            os_call("SetNetNs", spawn.libc().setns(fd, CLONE_NEWNET))
            os.close(fd)
        null = os.open("/dev/null", os.O_RDWR) if self.daemonize else -1
        self.enter()
        self.make_devices()
        if self.daemonize:
            os.setsid()
            for fd in (0, 1, 2):
                os.dup2(null, fd)
        if not self.new_pid_ns:
            self.become()
        os_call("Clone", spawn.libc().unshare(CLONE_NEWPID))
        pid = os.fork()
        if pid == 0:
            self.mount("proc", "/proc", "proc", 0)
            self.become()
        with open(f"/{self.name}.pid", "x", encoding="ascii") as file:
            file.write(str(pid))


def spawn_ulong(value):
    import ctypes
    return ctypes.c_ulong(value)


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The first thing: what was inherited goes, but for the standard three. The program's own archive is opened anew.
    os_call("CloseRange", spawn.libc().syscall(CLOSE_RANGE, 3, 2**31 - 1, 0))
    options, extra = parse_arguments(sys.argv[1:])
    version = settings.version("1.17.0-dev")[0]
    if "version" in options:
        print(f"Jailer v{version}\n")
        return
    if "help" in options:
        print(f"Jailer v{version}\n\noptions: " + " ".join(f"--{name}" for name in OPTIONS))
        return
    jailer = Jailer(options, extra)
    os.environ.clear()
    jailer.run()
