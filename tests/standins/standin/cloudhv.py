# SPDX-License-Identifier: Apache-2.0
"""Cloud Hypervisor's face: its command line, its API as the OpenAPI document has it, and its stream of events. What
happens to the guest is engine.py's."""
import json
import os
import re
import signal
import socket
import stat
import sys
import time

from . import engine, faults, http, schema, settings
from .loop import Loop

ROOT = "/api/v1"
DEFAULT_VERSION = "53.0.0"

# What a version does not have yet.
PATHS_SINCE = {"/vm.nmi": (39,), "/vm.resize-disk": (50,), "/vm.add-generic-vhost-user": (51,)}
FIELDS_SINCE = {"pvpanic": (34,), "rate_limit_groups": (38,), "pci_segments": (39,), "landlock_enable": (41,), "landlock_rules": (41,), "debug_console": (38,),
                "generic_vhost_user": (51,)}  # of vm.create
# From which version a refusal is an array of strings, and what is not created a 404.
ARRAYS_SINCE = (48,)
# From which version a disk has the serial number that it is given.
SERIALS_SINCE = (35,)
# From which version a reboot does not say "shutdown" in between.
QUIET_REBOOT_SINCE = (50,)
# What went wrong, in the API's own words, by operation.
WHAT = {"vm.create": "The VM could not be created", "vm.boot": "The VM could not boot", "vm.delete": "The VM could not be deleted",
        "vm.info": "The VM info is not available", "vm.pause": "The VM could not be paused", "vm.resume": "The VM could not resume",
        "vm.shutdown": "The VM could not shutdown", "vm.reboot": "The VM could not reboot",
        "vm.snapshot": "The VM could not be snapshotted", "vm.restore": "The VM could not be restored",
        "vm.coredump": "The VM could not be coredumped", "vm.resize": "The VM could not be resized",
        "vm.resize-disk": "The disk could not be resized", "vm.resize-zone": "The memory zone could not be resized",
        "vm.power-button": "Could not trigger the power button", "vm.nmi": "The NMI could not be injected",
        "vm.counters": "The VM counters are not available", "vm.remove-device": "The device could not be removed from the VM"}
# Lists of the configuration, what their entries' names begin with, and how a device is added.
LISTS = {"disks": "_disk", "net": "_net", "fs": "_fs", "pmem": "_pmem", "devices": "_vfio", "user_devices": "_vfio_user",
         "vdpa": "_vdpa", "generic_vhost_user": "_generic_vhost_user"}
ADDS = {"vm.add-disk": "disks", "vm.add-net": "net", "vm.add-fs": "fs", "vm.add-pmem": "pmem", "vm.add-device": "devices",
        "vm.add-user-device": "user_devices", "vm.add-vdpa": "vdpa", "vm.add-generic-vhost-user": "generic_vhost_user",
        "vm.add-vsock": "vsock"}


class Fault(Exception):
    """A refusal: a status and the chain of reasons, outermost first."""

    def __init__(self, status, *chain):
        super().__init__(": ".join(chain))
        self.status, self.chain = status, chain


class Monitor:
    """The event stream: pretty-printed objects, an empty line after each, on a descriptor that may not take them."""

    def __init__(self, options):
        self.fd = -1
        self.begin = time.monotonic()
        option = options.get("event-monitor")
        if option is None:
            return
        key, _, value = option.partition("=")
        if key == "fd":
            self.fd = int(value)
            os.set_inheritable(self.fd, False)
        elif key == "path":
            self.fd = os.open(value, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        else:
            sys.exit(f"Error parsing event monitor option: {option}")
        os.set_blocking(self.fd, False)

    def tell(self, source, event, properties=None):
        """STANDIN_EVENTS: EVENT:drop, EVENT:garbage, EVENT:half or EVENT:split, several with ";"."""
        if self.fd < 0:
            return
        now = time.monotonic() - self.begin
        text = json.dumps({"timestamp": {"secs": int(now), "nanos": int(now % 1 * 1e9)}, "source": source, "event": event,
                           "properties": properties}, indent=2) + "\n\n"
        how = dict(item.split(":") for item in settings.get("EVENTS", "").split(";") if ":" in item).get(event)
        if how == "drop":
            return
        if how == "garbage":
            text = "{ \"timestamp\": [}\n\0\xff\n"
        if how == "half":
            text = text[:len(text) // 2]
        for piece in text if how == "split" else [text]:
            try:
                os.write(self.fd, piece.encode("latin-1"))
            except OSError:
                return  # the real one loses it as well


class CloudHypervisor:
    def __init__(self, options, loop):
        self.options, self.loop = options, loop
        self.version, self.numbers = settings.version(DEFAULT_VERSION)
        self.document = schema.Document("cloud-hypervisor.json")
        self.features = [f for f in settings.get("FEATURES", "kvm").split(",") if f]
        self.monitor = Monitor(options)
        self.config = None
        self.state = "Created"
        self.machine = None
        self.vsock = None
        self.fds = {}  # of networks, by id
        self.counter = 0
        self.server = None

    # --- requests ---------------------------------------------------------------------------

    def fault(self, *chain):
        if settings.get("ERRORS", "array" if self.numbers >= ARRAYS_SINCE else "text") == "array":
            return list(chain)
        return ": ".join(chain).encode()

    def handle(self, method, path, body, fds):
        try:
            result = self.dispatch(method, path, body, fds)
        except Fault as why:
            return http.Answer(why.status, self.fault(*why.chain))
        if isinstance(result, http.Answer):
            return result
        return http.Answer(204) if result is None else http.Answer(200, result)

    def dispatch(self, method, path, body, fds):
        entry = self.document.find(path[len(ROOT):])[0] if path.startswith(ROOT) else None
        name = path[len(ROOT) + 1:]
        missing = name == "vm.coredump" and "guest_debug" not in self.features
        if not entry or missing or self.numbers < PATHS_SINCE.get("/" + name, (0,)):
            raise Fault(404, "Not Found")
        operation = entry.get(method.lower())
        if not operation:
            raise Fault(400, "Bad Request")
        wanted, required = self.document.body(operation)
        if (wanted is None) != (not body):
            raise Fault(400, "Bad Request")
        value = None
        if wanted:
            try:
                value = schema.parse(body)
                hidden = {field for field, since in FIELDS_SINCE.items() if name == "vm.create" and self.numbers < since}
                self.document.check(wanted, value, hidden=hidden)
            except schema.Bad as why:
                raise Fault(400, "Failed to deserialize JSON", f"{why} at line 1 column {len(body)}") from None
        if name in ADDS:
            return self.add(name, value, fds)
        if fds and name != "vm.restore":
            raise Fault(400, "Bad Request")
        handler = getattr(self, name.replace(".", "_").replace("-", "_"), None)
        if not handler:
            raise Fault(500, "Error from API", f"{name} is not in this stand-in")
        try:
            return handler(*([] if value is None else [value]))
        except (engine.EngineError, engine.qmp.QmpError, OSError) as why:
            raise self.refused(name, str(why)) from None

    def refused(self, name, why, status=500):
        return Fault(status, "Error from API", WHAT.get(name, "The device could not be added to the VM"), why)

    def need_config(self, name):
        if self.config is None:
            raise self.refused(name, "VM is not created", 404 if self.numbers >= ARRAYS_SINCE else 500)

    def need_machine(self, name):
        self.need_config(name)
        if self.machine is None:
            raise self.refused(name, "VM is not running")

    # --- the VMM -----------------------------------------------------------------------------------

    def vmm_ping(self):
        return {"build_version": f"v{'.'.join(self.version.split('.')[:2])}", "version": self.version, "pid": os.getpid(),
                "features": self.features}

    def vmm_shutdown(self):
        self.delete()
        self.monitor.tell("vmm", "shutdown")
        answer = http.Answer(204)
        answer.after = lambda: self.finish(0)
        return answer

    def finish(self, code):
        self.server.flush()
        key, _, value = self.options["api-socket"].partition("=")
        path = value if key == "path" else None if key == "fd" else key
        if path:
            try:
                os.unlink(path)
            except OSError:
                pass
        os._exit(code)

    # --- configuration ----------------------------------------------------------------------------------

    def vm_create(self, value):
        if self.config is not None:
            raise self.refused("vm.create", "VM is already created")
        self.config = self.complete(value)
        self.state = "Created"

    def complete(self, config):
        """The configuration with its defaults and names, checked as the real one checks it."""
        def refuse(why):
            raise self.refused("vm.create", f"Error validating the configuration: {why}")

        config = {"cpus": {"boot_vcpus": 1, "max_vcpus": 1}, "memory": {"size": 512 * 2**20}, "rng": {"src": "/dev/urandom"},
                  "serial": {"mode": "Null"}, "console": {"mode": "Tty"}, **config}
        payload = config["payload"]
        if not payload.get("kernel") and not payload.get("firmware"):
            refuse("No kernel or firmware was given")
        if config["cpus"]["max_vcpus"] < config["cpus"]["boot_vcpus"]:
            refuse("Max CPUs lower than boot CPUs")
        memory = config["memory"]
        if config.get("fs") and not (memory.get("shared") or memory.get("hugepages")):
            refuse("Using vhost-user requires shared memory or huge pages")
        for device in ("serial", "console"):
            mode = config[device]["mode"]
            if mode in ("File", "Socket") and not config[device].get(mode.lower()):
                refuse(f"Path missing when using {mode.lower()} console mode")
        if config["serial"]["mode"] == config["console"]["mode"] == "Tty":
            refuse("Two consoles cannot both be the terminal")
        if config.get("balloon", {}).get("size", 0) >= max(memory["size"], 1):
            refuse("The balloon is larger than the memory")
        for name in LISTS:
            for device in config.get(name, []):
                self.name_device(config, name, device)
        return config

    def name_device(self, config, kind, device):
        if "id" not in device:
            device["id"] = f"{LISTS.get(kind, '_' + kind)}{self.counter}"
            self.counter += 1
        elif device["id"].startswith("_") or sum(d.get("id") == device["id"] for k in LISTS for d in config.get(k, [])) > 1:
            raise Fault(409 if self.numbers >= ARRAYS_SINCE else 500, "Error from API", WHAT["vm.create"],
                        f"Identifier {device['id']} is not unique")

    def vm_info(self):
        self.need_config("vm.info")
        config = json.loads(json.dumps(self.config))
        info = {"config": config, "state": self.state, "memory_actual_size": config["memory"]["size"]
                - config.get("balloon", {}).get("size", 0), "device_tree": {}}
        if self.machine:
            for device in ("serial", "console"):
                if config[device]["mode"] == "Pty":
                    config[device]["file"] = self.pty(device)
            for kind in LISTS:
                for entry in config.get(kind, []):
                    info["device_tree"][entry["id"]] = {"id": entry["id"], "resources": [], "children": [],
                                                        "pci_bdf": self.bdf(entry["id"])}
        return info

    def pty(self, name):
        for chardev in self.machine.qmp.command("query-chardev"):
            if chardev["label"] == name:
                return chardev["filename"].partition(":")[2]
        return None

    def vm_counters(self):
        self.need_machine("vm.counters")
        counters = {}
        for block in self.machine.qmp.command("query-blockstats"):
            stats = block["stats"]
            name = block.get("node-name", "").replace("node-", "", 1) or block.get("qdev", "disk")
            counters[name] = {"read_bytes": stats["rd_bytes"], "write_bytes": stats["wr_bytes"],
                              "read_ops": stats["rd_operations"], "write_ops": stats["wr_operations"]}
        for net in self.config.get("net", []):
            counters[net["id"]] = {"rx_bytes": 0, "tx_bytes": 0, "rx_frames": 0, "tx_frames": 0}
        return counters

    # --- the guest -----------------------------------------------------------------------------------------

    def channel(self, name):
        how = self.config[name]
        return {"Off": None, "Null": ["null"], "Tty": ["stdio"], "Pty": ["pty"], "File": ["file", how.get("file")],
                "Socket": ["socket", how.get("socket")]}[how["mode"]]

    def serial(self, disk):
        """Older ones make it of the file: device, device type and inode as decimal numbers, the first 20 digits."""
        if self.numbers >= SERIALS_SINCE:
            return disk.get("serial")
        status = os.stat(disk["path"])
        return f"{status.st_dev}{status.st_rdev}{status.st_ino}"[:20]

    def engine_disk(self, disk):
        return {"id": disk["id"], "path": disk["path"], "readonly": disk.get("readonly", False), "direct": disk.get("direct", False),
                "serial": self.serial(disk), "format": {"Qcow2": "qcow2", "FixedVhd": "vpc", "Vhdx": "vhdx"}.get(disk.get("image_type"),
                                                                                                                 "raw")}

    def engine_net(self, net):
        if net["id"] not in self.fds:
            self.fds[net["id"]] = engine.open_tap(net.get("tap", "vmtap%d"))
        return {"id": net["id"], "fd": self.fds[net["id"]], "mac": net.get("mac"), "mtu": net.get("mtu")}

    def engine_spec(self):
        config = self.config
        for kind in ("pmem", "devices", "user_devices", "vdpa", "generic_vhost_user"):
            if config.get(kind):
                raise engine.EngineError(f"{kind}: not in this stand-in")
        payload, memory, cpus = config["payload"], config["memory"], config["cpus"]
        spec = {"kernel": payload.get("kernel"), "initrd": payload.get("initramfs"), "cmdline": payload.get("cmdline", ""),
                "firmware": payload.get("firmware"), "pci": True, "cpus": cpus["boot_vcpus"], "max_cpus": cpus["max_vcpus"],
                "memory": memory["size"], "max_memory": memory["size"] + memory.get("hotplug_size", 0),
                "serial": self.channel("serial"), "console": self.channel("console"),
                "disks": [self.engine_disk(d) for d in config.get("disks", [])],
                "nets": [self.engine_net(n) for n in config.get("net", [])], "rng": config["rng"]["src"], "vsock": self.vsock,
                "shares": [{"id": s["id"], "socket": s["socket"], "tag": s["tag"]} for s in config.get("fs", [])]}
        if "balloon" in config:
            spec["balloon"] = {"deflate": config["balloon"].get("deflate_on_oom"), "reporting": config["balloon"].get("free_page_reporting")}
        return spec

    def launch(self, extra=None, start=lambda machine: machine.start()):
        for kind in ("serial", "console"):
            path = self.config[kind].get("socket") if self.config[kind]["mode"] == "Socket" else None
            if path and os.path.exists(path):
                os.unlink(path)
        if "vsock" in self.config:
            self.vsock = engine.Vsock(self.config["vsock"]["cid"], self.config["vsock"]["socket"], bool(extra))
        try:
            machine = engine.Machine({**self.engine_spec(), **(extra or {})})
            start(machine)
        except (engine.EngineError, engine.qmp.QmpError, OSError):
            self.end_vsock()
            raise
        self.machine = machine
        self.loop.watch(machine.qmp.socket, self.on_qmp)

    def end_vsock(self):
        if self.vsock:
            self.vsock.end(remove=True)
            self.vsock = None

    def vm_boot(self):
        self.need_config("vm.boot")
        if self.machine:
            raise self.refused("vm.boot", "Invalid transition: VM is already running")
        self.monitor.tell("vm", "booting")
        self.launch()
        self.inflate()
        self.state = "Running"
        self.monitor.tell("vm", "booted")

    def inflate(self):
        size = self.config.get("balloon", {}).get("size")
        if size:
            self.machine.qmp.command("balloon", value=self.config["memory"]["size"] - size)

    def stop_machine(self, tell=True):
        self.loop.forget(self.machine.qmp.socket)
        self.machine.kill()
        self.machine = None
        self.end_vsock()
        self.state = "Created"
        if tell:
            self.monitor.tell("vm", "shutdown")

    def vm_shutdown(self):
        self.need_machine("vm.shutdown")
        self.stop_machine()

    def delete(self):
        if self.machine:
            self.stop_machine()
        if self.config is not None:
            self.config = None
            for fd in self.fds.values():
                os.close(fd)
            self.fds = {}
            self.monitor.tell("vm", "deleted")

    def vm_delete(self):
        self.delete()

    def vm_reboot(self):
        self.need_machine("vm.reboot")
        self.reboot()

    def reboot(self):
        self.monitor.tell("vm", "rebooting")
        self.stop_machine(tell=self.numbers < QUIET_REBOOT_SINCE)
        self.monitor.tell("vm", "booting")
        self.launch()
        self.inflate()
        self.state = "Running"
        self.monitor.tell("vm", "booted")
        self.monitor.tell("vm", "rebooted")

    def vm_pause(self):
        self.need_machine("vm.pause")
        if self.state == "Paused":
            raise self.refused("vm.pause", "Invalid transition: from Paused to Paused")
        self.monitor.tell("vm", "pausing")
        self.machine.pause()
        self.state = "Paused"
        self.monitor.tell("vm", "paused")

    def vm_resume(self):
        self.need_machine("vm.resume")
        if self.state != "Paused":
            raise self.refused("vm.resume", "Invalid transition: from Running to Running")
        self.monitor.tell("vm", "resuming")
        self.machine.resume()
        self.state = "Running"
        self.monitor.tell("vm", "resumed")

    def vm_power_button(self):
        self.need_machine("vm.power-button")
        self.machine.qmp.command("system_powerdown")

    def vm_nmi(self):
        self.need_machine("vm.nmi")
        self.machine.qmp.command("inject-nmi")

    def on_qmp(self):
        machine = self.machine
        why = machine.end_of(machine.qmp.drain())
        if not machine.qmp.closed:
            return
        self.loop.forget(machine.qmp.socket)
        if why in ("reset", "panic"):
            self.reboot()
            return
        if why == "poweroff" and "no-shutdown" in self.options:
            self.stop_machine()
            return
        # A guest that powers off takes the whole VMM with it.
        self.delete()
        self.monitor.tell("vmm", "shutdown")
        self.finish(0 if why == "poweroff" else 1)

    # --- devices -------------------------------------------------------------------------------------------

    def add(self, name, value, fds):
        kind = ADDS[name]
        self.need_config(name)
        if kind == "vsock":
            if "vsock" in self.config or self.machine:
                raise self.refused(name, "A vsock device is there already, or cannot be added to a running machine here")
            self.config["vsock"] = value
            return None
        before = list(self.config.get(kind, []))
        self.config[kind] = before + [value]
        try:
            self.name_device(self.config, kind, value)
            if kind == "net" and fds:
                self.fds[value["id"]] = os.dup(fds[0])
            elif fds:
                raise Fault(400, "Bad Request")
            if not self.machine:
                return None
            self.plug(kind, value)
        except (engine.EngineError, engine.qmp.QmpError, OSError) as why:
            self.config[kind] = before
            raise self.refused(name, str(why)) from None
        except Fault:
            self.config[kind] = before
            raise
        return {"id": value["id"], "bdf": self.bdf(value["id"])}

    def plug(self, kind, value):
        machine, port = self.machine, self.free_port()
        where = {} if machine.hotplug() else {"bus": port}
        qmp = machine.qmp
        if kind == "disks":
            disk = self.engine_disk(value)
            qmp.execute({"execute": "blockdev-add", "arguments": machine.disk_node(disk)})
            try:
                qmp.execute({"execute": "device_add", "arguments": {**machine.device_of_disk(disk), **where}})
            except engine.qmp.QmpError:
                qmp.command("blockdev-del", node_name=f"node-{disk['id']}")
                raise
        elif kind == "net":
            net = self.engine_net(value)
            qmp.command("getfd", fdname=f"tap-{net['id']}", fd=net["fd"])
            qmp.execute({"execute": "netdev_add", "arguments": {"type": "tap", "id": f"net-{net['id']}", "fd": f"tap-{net['id']}"}})
            qmp.execute({"execute": "device_add", "arguments": {**machine.device_of_net(net), **where}})
        elif kind == "fs":
            qmp.execute({"execute": "chardev-add", "arguments": {"id": f"fs-{value['id']}", "backend": {"type": "socket", "data": {
                "addr": {"type": "unix", "data": {"path": value["socket"]}}, "server": False}}}})
            qmp.execute({"execute": "device_add", "arguments": {"driver": "vhost-user-fs-pci", "chardev": f"fs-{value['id']}",
                                                                "tag": value["tag"], "id": value["id"], **where}})
        else:
            raise engine.EngineError(f"{kind}: not in this stand-in")
        machine.hotplugged[value["id"]] = port

    def free_port(self):
        used = set(self.machine.hotplugged.values())
        for number in range(engine.PORTS):
            if f"port{number}" not in used:
                return f"port{number}"
        raise engine.EngineError("No more PCI slots")

    def bdf(self, name):
        def search(devices, path):
            for device in devices:
                if device.get("qdev_id") == name:
                    return f"0000:{device['bus']:02x}:{device['slot']:02x}.{device['function']}"
                found = search(device.get("pci_bridge", {}).get("devices", []), path)
                if found:
                    return found
            return None
        for bus in self.machine.qmp.command("query-pci"):
            found = search(bus["devices"], [])
            if found:
                return found
        return "0000:00:00.0"

    def vm_remove_device(self, value):
        self.need_config("vm.remove-device")
        name = value.get("id")
        for kind in LISTS:
            for entry in self.config.get(kind, []):
                if entry["id"] != name:
                    continue
                if self.machine:
                    self.machine.qmp.command("device_del", id=name)
                    self.machine.hotplugged.pop(name, None)
                self.config[kind].remove(entry)
                return
        raise self.refused("vm.remove-device", f"Device with id {name} not found", 404 if self.numbers >= ARRAYS_SINCE else 500)

    # --- sizes -----------------------------------------------------------------------------------------------

    def vm_resize(self, value):
        self.need_config("vm.resize")
        self.monitor.tell("vm", "resizing")
        if "desired_vcpus" in value:
            self.resize_cpus(value["desired_vcpus"])
        if "desired_ram" in value:
            self.resize_memory(value["desired_ram"])
        if "desired_balloon" in value:
            if "balloon" not in self.config:
                raise self.refused("vm.resize", "No balloon device")
            self.config["balloon"]["size"] = value["desired_balloon"]
            if self.machine:
                self.machine.qmp.command("balloon", value=self.config["memory"]["size"] - value["desired_balloon"])
        self.monitor.tell("vm", "resized")

    def resize_cpus(self, wanted):
        cpus = self.config["cpus"]
        if wanted > cpus["max_vcpus"]:
            raise self.refused("vm.resize", "Desired vCPU count exceeds maximum")
        if self.machine:
            slots = self.machine.qmp.command("query-hotpluggable-cpus") if self.machine.hotplug() else []
            slots.sort(key=lambda slot: [slot["props"].get(f"{part}-id", 0) for part in ("socket", "die", "core", "thread")])
            present = [slot for slot in slots if "qom-path" in slot]
            for number, slot in enumerate([s for s in slots if "qom-path" not in s][:max(wanted - len(present), 0)]):
                self.machine.qmp.execute({"execute": "device_add", "arguments": {
                    "driver": slot["type"], "id": f"cpu{len(present) + number}", **slot["props"]}})
            for slot in present[wanted:]:
                self.machine.qmp.command("device_del", id=slot["qom-path"])
        cpus["boot_vcpus"] = wanted

    def resize_memory(self, wanted):
        memory = self.config["memory"]
        now = memory["size"] + memory.get("hotplugged_size", 0)
        if wanted < now or wanted > memory["size"] + memory.get("hotplug_size", 0):
            raise self.refused("vm.resize", "Failed to hotplug memory: the size is out of range")
        if wanted == now:
            return
        if self.machine:
            name = f"dimm{wanted}"
            self.machine.qmp.execute({"execute": "object-add", "arguments": {"qom-type": "memory-backend-memfd", "id": f"mem-{name}",
                                                                             "size": wanted - now, "share": True}})
            self.machine.qmp.execute({"execute": "device_add", "arguments": {"driver": "pc-dimm", "id": name, "memdev": f"mem-{name}"}})
        memory["hotplugged_size"] = wanted - memory["size"]

    def vm_resize_disk(self, value):
        self.need_machine("vm.resize-disk")
        for disk in self.config.get("disks", []):
            if disk["id"] == value.get("id"):
                self.machine.qmp.command("block_resize", node_name=f"node-{disk['id']}", size=value["desired_size"])
                return
        raise self.refused("vm.resize-disk", f"No disk with id {value.get('id')}", 404)

    def vm_resize_zone(self, value):
        self.need_config("vm.resize-zone")
        raise self.refused("vm.resize-zone", f"Unknown memory zone {value.get('id')}")

    # --- snapshots ----------------------------------------------------------------------------------------------

    def directory(self, name, url):
        if not url or not url.startswith("file://"):
            raise self.refused(name, f"Invalid URL: {url}")
        return url[len("file://"):]

    def vm_snapshot(self, value):
        self.need_machine("vm.snapshot")
        folder = self.directory("vm.snapshot", value.get("destination_url"))
        if self.state != "Paused":
            raise self.refused("vm.snapshot", "Trying to snapshot while VM is running")
        self.monitor.tell("vm", "snapshotting")
        for name in ("config.json", "state.json", "memory-ranges"):
            if os.path.exists(os.path.join(folder, name)):
                raise self.refused("vm.snapshot", f"{name}: File exists (os error 17)")
        self.machine.save(os.path.join(folder, "memory-ranges"))
        for name, content in (("config.json", self.config), ("state.json", {"standin": 1})):
            with open(os.path.join(folder, name), "x", encoding="utf-8") as file:
                json.dump(content, file)
        self.monitor.tell("vm", "snapshotted")

    def vm_restore(self, value):
        if self.config is not None:
            raise self.refused("vm.restore", "VM is already created")
        folder = self.directory("vm.restore", value["source_url"])
        self.monitor.tell("vm", "restoring")
        try:
            with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
                self.config = json.load(file)
            memory = os.path.join(folder, "memory-ranges")
            self.launch({"incoming": True}, lambda machine: (machine.start(run=False), machine.load(memory)))
        except (ValueError, KeyError, OSError, engine.EngineError, engine.qmp.QmpError) as why:
            self.config = None
            raise self.refused("vm.restore", str(why)) from None
        self.state = "Paused"
        self.monitor.tell("vm", "restored")
        if value.get("resume"):
            self.vm_resume()

    def vm_coredump(self, value):
        self.need_machine("vm.coredump")
        path = self.directory("vm.coredump", value.get("destination_url"))
        if self.state != "Paused":
            raise self.refused("vm.coredump", "Trying to dump while VM is running")
        self.machine.qmp.command("dump-guest-memory", timeout=300, paging=False, protocol=f"file:{path}")


OPTIONS = {"api-socket": True, "event-monitor": True, "log-file": True, "seccomp": True, "version": False, "help": False,
           "no-shutdown": False}


def refuse_arguments(text):
    print(f"error: {text}\n\nFor more information, try '--help'.", file=sys.stderr)
    sys.exit(2)


def parse_arguments(argv):
    options = {}
    rest = iter(argv)
    for argument in rest:
        if re.fullmatch("-v+", argument):
            continue
        name, equals, value = argument.removeprefix("--").partition("=")
        name = {"-V": "version", "-h": "help"}.get(argument, name)
        if name not in OPTIONS or not (argument.startswith("--") or argument in ("-V", "-h")):
            refuse_arguments(f"unexpected argument '{argument}' found")
        options[name] = (value if equals else next(rest, None)) if OPTIONS[name] else True
        if options[name] is None:
            refuse_arguments(f"a value is required for '--{name}' but none was supplied")
    return options


def listener(option):
    key, _, value = option.partition("=")
    if key == "fd":
        sock = socket.socket(fileno=int(value))
        os.set_inheritable(int(value), False)
        return sock
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = value if key == "path" else option
    try:
        if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
        sock.bind(path)
    except OSError as why:
        print(f"Error: Cloud Hypervisor exited with the following chain of errors: Error creating API server's socket: {why}",
              file=sys.stderr)
        sys.exit(1)
    sock.listen(128)
    return sock


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    version, _ = settings.version(DEFAULT_VERSION)
    options = parse_arguments(sys.argv[1:])
    if "version" in options:
        print(f"cloud-hypervisor v{'.'.join(version.split('.')[:2])}")
        return
    if "help" in options:
        print("Launch a cloud-hypervisor VMM.\n\nUsage: cloud-hypervisor [OPTIONS]\n\n" + "\n".join(f"  --{o}" for o in OPTIONS))
        return
    if "api-socket" not in options:
        refuse_arguments("this stand-in is configured by its API socket only")
    if "log-file" in options:
        log = os.open(options["log-file"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.dup2(log, 2)
    loop = Loop()
    face = CloudHypervisor(options, loop)
    face.monitor.tell("vmm", "starting")
    faults.arm_timers(loop)
    signal.signal(signal.SIGTERM, lambda *_: (face.delete(), face.monitor.tell("vmm", "shutdown"), face.finish(0)))
    face.server = http.Server(loop, listener(options["api-socket"]), "Cloud Hypervisor", face)
    loop.run()
