# SPDX-License-Identifier: Apache-2.0
"""The machine behind both faces: QEMU by TCG, driven by QMP, with kiln's vsock device in a process beside it.

A microvm: virtio-mmio described by ACPI, or PCI Express with root ports to plug into, an i8042 (whose reset line
is what `reboot=k` pulls) and ACPI's event device. Where processors or memory are to be added at run time, a pc.
"""
import errno
import json
import os
import shutil
import socket
import tempfile

from . import movable, qmp, settings, spawn

PORTS = 8  # free root ports, for devices to come


class EngineError(Exception):
    pass


def find_qemu():
    program = settings.get("QEMU") or shutil.which("qemu-system-x86_64", path=os.environ.get("PATH", "/usr/bin:/bin"))
    if not program:
        raise EngineError("qemu-system-x86_64 is not there")
    return program


class Vsock:
    """The device's process. It listens at @path from the beginning."""

    def __init__(self, cid, path, restored=False):
        self.path, self.cid = path, cid
        program = _program("standin-vsock")
        ours, self.qemu_end = socket.socketpair()
        out, out_child = os.pipe()
        null = os.open("/dev/null", os.O_RDWR)
        self.child = spawn.spawn(program, ["standin-vsock", "3", str(cid), path, *(["restored"] if restored else [])],
                                 {0: null, 1: out_child, 2: 2, 3: ours.fileno()})
        for fd in (program, out_child, null):
            os.close(fd)
        ours.close()
        with open(out, encoding="utf-8") as answer:
            said = answer.readline().strip()
        if said != "ok":
            self.child.wait()
            self.qemu_end.close()
            raise EngineError(said or "the vsock device's process has ended")

    def end(self, remove):
        self.qemu_end.close()
        self.child.kill()
        self.child.wait()
        if remove:
            try:
                os.unlink(self.path)
            except OSError:
                pass


def _program(name):
    """A program of our own archive as a descriptor that can be executed: open for reading, and nobody has it open
    for writing. Where there is no /proc (a jail), by a file that is gone again."""
    fd = os.memfd_create(name)
    path = f"/proc/self/fd/{fd}"
    if not os.path.exists(path):
        os.close(fd)
        fd, path = tempfile.mkstemp(dir="/")
        os.fchmod(fd, 0o700)
    os.write(fd, settings.packed(name))
    runnable = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.close(fd)
    if not path.startswith("/proc"):
        os.unlink(path)
    return runnable


class Machine:
    """One QEMU. @spec is a dictionary: README.md, "The engine"."""

    def __init__(self, spec):
        self.spec = spec
        self.child = self.qmp = None
        self.reason = None
        self.paused = self.movable = False
        self.program = None
        self.hotplugged = {}
        self.ports_used = 0

    # --- what QEMU is told -------------------------------------------------------------

    def bus(self):
        return "pci" if self.spec.get("pci") else "device"

    def hotplug(self):
        spec = self.spec
        return spec.get("max_cpus", spec["cpus"]) > spec["cpus"] or spec.get("max_memory", 0) > spec["memory"]

    def machine_args(self):
        spec = self.spec
        if self.hotplug():
            machine = "pc,accel=tcg,memory-backend=ram,vmport=off"
        else:
            machine = f"microvm,accel=tcg,memory-backend=ram,pcie={'on' if spec.get('pci') else 'off'}"
        memory = f"size={spec['memory'] // 1024}k"
        if self.hotplug():
            memory += f",slots=8,maxmem={max(spec.get('max_memory', 0), spec['memory']) // 1024 + 1024 * 1024}k"
        args = ["-machine", machine, "-cpu", "max", "-smp", f"{spec['cpus']},maxcpus={spec.get('max_cpus', spec['cpus'])}",
                "-m", memory, "-object", f"memory-backend-memfd,id=ram,share=on,size={spec['memory']}"]
        if not self.hotplug():
            args += ["-device", "i8042"]
            if spec.get("pci"):
                for port in range(PORTS):
                    args += ["-device", f"pcie-root-port,id=port{port},chassis={port + 1},slot={port + 1},addr={16 + port:#x}"]
        return args

    def boot_args(self):
        spec = self.spec
        if spec.get("firmware"):
            return ["-bios", _own(spec["firmware"])]
        args = ["-kernel", _own(spec["kernel"]), "-append", self.cmdline()]
        if spec.get("initrd"):
            args += ["-initrd", _own(spec["initrd"])]
        return args

    def cmdline(self):
        """The guest's own, and what emulation needs: the TSC's speed, which cannot be measured on a busy host, and
        that the kernel may use the root ports' own hot plugging, which a microvm's ACPI does not offer it."""
        khz = settings.tsc_khz()
        return (self.spec.get("cmdline", "") + (f" tsc_early_khz={khz}" if khz else "")
                + (" pcie_ports=native" if self.spec.get("pci") and not self.hotplug() else ""))

    @staticmethod
    def chardev(name, how):
        """@how: None, or a list: the kind and its arguments."""
        if how is None or how[0] == "null":
            return f"null,id={name}"
        if how[0] == "stdio":
            return f"stdio,id={name},signal=off"
        if how[0] == "file":
            return f"file,id={name},path={_comma(how[1])}"
        if how[0] == "socket":
            return f"socket,id={name},path={_comma(how[1])},server=on,wait=off"
        return f"pty,id={name}"

    def serial_args(self):
        args = []
        if self.spec.get("serial"):
            args += ["-chardev", self.chardev("serial", self.spec["serial"]), "-serial", "chardev:serial"]
        if self.spec.get("console"):
            args += ["-chardev", self.chardev("console", self.spec["console"]), "-device", f"virtio-serial-{self.bus()}",
                     "-device", "virtconsole,chardev=console"]
        return args

    def disk_node(self, disk):
        return {"driver": disk.get("format", "raw"), "node-name": f"node-{disk['id']}", "read-only": disk.get("readonly", False),
                "cache": {"direct": disk.get("direct", False), "no-flush": disk.get("unsafe", False)},
                "file": {"driver": "file", "filename": _own(disk["path"]), "read-only": disk.get("readonly", False),
                         "locking": "off"}}

    def device_of_disk(self, disk):
        device = {"driver": f"virtio-blk-{self.bus()}", "drive": f"node-{disk['id']}", "id": disk["id"]}
        if disk.get("serial"):
            device["serial"] = disk["serial"][:20]
        return device

    def device_of_net(self, net):
        device = {"driver": f"virtio-net-{self.bus()}", "netdev": f"net-{net['id']}", "id": net["id"]}
        if self.bus() == "pci":
            device["romfile"] = ""
        if net.get("mac"):
            device["mac"] = net["mac"]
        if net.get("mtu"):
            device["host_mtu"] = net["mtu"]
        return device

    def device_args(self, fds):
        spec, args = self.spec, []
        for disk in spec.get("disks", ()):
            args += ["-blockdev", json.dumps(self.disk_node(disk)), "-device", json.dumps(self.device_of_disk(disk))]
        for net in spec.get("nets", ()):
            number = 10 + len(fds)
            fds[number] = net["fd"]
            args += ["-netdev", f"tap,id=net-{net['id']},fd={number}", "-device", json.dumps(self.device_of_net(net))]
        if spec.get("vsock"):
            fds[4] = spec["vsock"].qemu_end.fileno()
            args += ["-chardev", "socket,id=vsock,fd=4", "-device", f"vhost-user-vsock-{self.bus()},chardev=vsock,id=vsock"]
        for share in spec.get("shares", ()):
            args += ["-chardev", f"socket,id=fs-{share['id']},path={_comma(share['socket'])}", "-device",
                     f"vhost-user-fs-{self.bus()},chardev=fs-{share['id']},tag={_comma(share['tag'])},id={share['id']}"]
        if spec.get("balloon") is not None:
            balloon = spec["balloon"]
            args += ["-device", f"virtio-balloon-{self.bus()},id=balloon,deflate-on-oom={_on(balloon.get('deflate'))},"
                                f"free-page-reporting={_on(balloon.get('reporting'))}"]
        if spec.get("rng"):
            args += ["-object", f"rng-random,id=rng,filename={spec['rng']}", "-device", f"virtio-rng-{self.bus()},rng=rng"]
        return args

    def argv(self, fds):
        return [find_qemu(), "-nodefaults", "-no-user-config", "-display", "none", "-S",
                "-action", "reboot=shutdown", "-action", f"shutdown={self.spec.get('at_end', 'poweroff')}",
                *self.machine_args(), *self.boot_args(), "-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control",
                *self.serial_args(), *self.device_args(fds), *(["-incoming", "defer"] if self.spec.get("incoming") else [])]

    # --- its life ------------------------------------------------------------------------

    def start(self, run=True):
        """Starts QEMU; with @run the guest, too. EngineError with its words."""
        ours, theirs = socket.socketpair()
        words = tempfile.TemporaryFile() if os.path.isdir("/tmp") else open(os.memfd_create("stderr"), "w+b")
        fds = {3: theirs.fileno()}
        argv = self.argv(fds)
        uses_stdio = ["stdio"] in (self.spec.get("serial"), self.spec.get("console"))
        null = os.open("/dev/null", os.O_RDWR)
        self.child = spawn.spawn(argv[0], argv, {**fds, 0: 0 if uses_stdio else null, 1: 1 if uses_stdio else null,
                                                 2: words.fileno()})
        os.close(null)
        theirs.close()
        self.qmp = qmp.Qmp(ours)
        try:
            self.qmp.greet()
            self.program = os.path.realpath(argv[0])
            if self.spec.get("incoming"):
                self.allow_move()
            if run:
                self.qmp.command("cont")
                self.qmp.drain()
        except qmp.QmpError:
            self.kill()
            words.seek(0)
            lines = words.read().decode("utf-8", "replace").strip().splitlines()
            raise EngineError(lines[-1] if lines else "QEMU has ended") from None
        finally:
            words.close()

    def end_of(self, events):
        """Why it ended, if these events tell: "poweroff", "reset", "panic"."""
        for event in events:
            if event["event"] == "SHUTDOWN":
                reason = event["data"]["reason"]
                self.reason = {"guest-shutdown": "poweroff", "guest-reset": "reset", "guest-panic": "panic"}.get(reason, self.reason)
        return self.reason

    def kill(self):
        if self.child:
            self.child.kill()
            self.child.wait()
        if self.qmp:
            self.qmp.socket.close()
        self.child = self.qmp = None

    def pause(self):
        if not self.paused:
            self.qmp.command("stop")
            self.qmp.await_event(["STOP"])
            self.paused = True

    def resume(self):
        if self.paused:
            self.qmp.command("cont")
            self.qmp.await_event(["RESUME"])
            self.paused = False

    # --- snapshots -------------------------------------------------------------------------

    def save(self, path):
        """The paused machine's memory and state as QEMU's migration stream."""
        if self.qmp.command("query-status")["status"] == "postmigrate":  # a second one: QEMU wants to have run
            self.qmp.command("cont")
            self.qmp.command("stop")
            self.qmp.drain()
        self.allow_move()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self.qmp.command("getfd", fdname="out", fd=fd)
        finally:
            os.close(fd)
        self.qmp.command("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        self.qmp.command("migrate-set-parameters", max_bandwidth=10**12)
        self.qmp.command("migrate", uri="fd:out")
        self._await_migration()
        while self.qmp.command("query-status")["status"] == "finish-migrate":
            pass  # the event comes a moment before the end, of which there is none

    def load(self, path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.qmp.command("getfd", fdname="in", fd=fd)
        finally:
            os.close(fd)
        self.qmp.command("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        self.qmp.command("migrate-incoming", uri="fd:in")
        self._await_migration()
        self.paused = True

    def allow_move(self):
        if self.spec.get("vsock") and not self.movable:
            self.movable = movable.allow(self.child.pid, self.program)

    def _await_migration(self):
        while True:
            event = self.qmp.await_event(["MIGRATION"], timeout=300)
            if event["data"]["status"] == "completed":
                return
            if event["data"]["status"] == "failed":
                info = self.qmp.command("query-migrate")
                raise EngineError(info.get("error-desc", "the stream cannot be taken"))


def _own(path):
    """What /proc/self is to the VMM, which is not its QEMU."""
    return path.replace("/proc/self/", f"/proc/{os.getpid()}/", 1) if path.startswith("/proc/self/") else path


def _comma(text):
    return text.replace(",", ",,")


def _on(value):
    return "on" if value else "off"


def open_tap(name):
    """An existing or new TAP, with the header that QEMU asks the kernel about."""
    import fcntl
    import struct
    IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, TUNSETIFF = 0x2, 0x1000, 0x4000, 0x400454CA
    if len(name) > 15:  # IFNAMSIZ
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    except OSError:
        os.close(fd)
        raise
    return fd
