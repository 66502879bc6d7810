# SPDX-License-Identifier: Apache-2.0
"""Firecracker's face: its command line, its API as the OpenAPI document has it, its order of calls and its ways to
end. What happens to the guest is engine.py's."""
import json
import os
import re
import signal
import socket
import sys
import time

from . import engine, faults, http, schema, settings
from .loop import Loop

DOCUMENT_VERSION = "1.17.0-dev"
ARM = settings.get("ARCH", os.uname().machine) == "aarch64"

# What a version does not have yet: path prefixes, top fields by schema, options. By its change log.
PATHS_SINCE = {"/cpu-config": (1, 4), "/entropy": (1, 4), "/serial": (1, 14), "/pmem/": (1, 14), "/hotplug/memory": (1, 14),
               "/balloon/hinting/": (1, 14)}
FIELDS_SINCE = {("Balloon", "free_page_hinting"): (1, 14), ("Balloon", "free_page_reporting"): (1, 14),
                ("MachineConfiguration", "huge_pages"): (1, 7), ("SnapshotLoadParams", "network_overrides"): (1, 12),
                ("SnapshotLoadParams", "track_dirty_pages"): (1, 13), ("SnapshotLoadParams", "vsock_override"): (1, 16),
                ("SnapshotLoadParams", "clock_realtime"): (1, 16), ("SnapshotLoadParams", "huge_pages"): (1, 17),
                ("MmdsConfig", "imds_compat"): (1, 13), ("Metrics", "emit_id"): (1, 16), ("Metrics", "properties"): (1, 16),
                ("NetworkInterface", "mtu"): (1, 16), ("Pmem", "rate_limiter"): (1, 16), ("SerialDevice", "rate_limiter"): (1, 16)}

# Operations and when they may be called; those that are not here: always.
PRE_BOOT = {("PUT", "/balloon"), ("PUT", "/boot-source"), ("PUT", "/cpu-config"), ("PUT", "/drives/{drive_id}"),
            ("PUT", "/pmem/{id}"), ("PUT", "/logger"), ("PUT", "/machine-config"), ("PATCH", "/machine-config"),
            ("PUT", "/metrics"), ("PUT", "/mmds/config"), ("PUT", "/entropy"), ("PUT", "/serial"), ("PUT", "/hotplug/memory"),
            ("PUT", "/network-interfaces/{iface_id}"), ("PUT", "/snapshot/load"), ("PUT", "/vsock")}
POST_BOOT = {("PATCH", "/balloon"), ("GET", "/balloon/statistics"), ("PATCH", "/balloon/statistics"),
             ("PATCH", "/balloon/hinting/start"), ("GET", "/balloon/hinting/status"), ("PATCH", "/balloon/hinting/stop"),
             ("PATCH", "/drives/{drive_id}"), ("PATCH", "/pmem/{id}"), ("PATCH", "/hotplug/memory"), ("GET", "/hotplug/memory"),
             ("PATCH", "/network-interfaces/{iface_id}"), ("PUT", "/snapshot/create"), ("PATCH", "/vm")}
# After these a snapshot cannot be loaded any more.
BOOT_PATH = {"/balloon", "/boot-source", "/drives/{drive_id}", "/pmem/{id}", "/machine-config", "/mmds/config", "/entropy",
             "/hotplug/memory", "/network-interfaces/{iface_id}", "/vsock"}
# Sections of a configuration file and where they go; each optional but the first two.
SECTIONS = {"boot-source": "/boot-source", "machine-config": "/machine-config", "cpu-config": "/cpu-config",
            "logger": "/logger", "metrics": "/metrics", "drives": "/drives/{}", "pmem": "/pmem/{}",
            "network-interfaces": "/network-interfaces/{}", "balloon": "/balloon", "vsock": "/vsock",
            "mmds-config": "/mmds/config", "entropy": "/entropy", "serial": "/serial", "memory-hotplug": "/hotplug/memory"}
IDS = {"drives": "drive_id", "pmem": "id", "network-interfaces": "iface_id"}
DEFAULT_CMDLINE = "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce"


class Fault(Exception):
    """What a 400 says."""


def os_error(why):
    return f"{os.strerror(why.errno)} (os error {why.errno})"


class Firecracker:
    def __init__(self, options, loop):
        self.options, self.loop = options, loop
        self.version, self.numbers = settings.version(DOCUMENT_VERSION)
        self.document = schema.Document("firecracker.json")
        self.state = "Not started"
        self.machine = None
        self.vsock = None
        self.taps = {}
        self.boot_path = False
        self.off = False  # there is nothing to stop or to continue any more
        self.server = None
        self.mmds = None
        self.balloon_stats_s = 0
        self.hinting = 0
        self.hotplug_request = 0
        self.metrics_path = options.get("metrics-path")
        self.metrics_extra = {}
        self.log_path = options.get("log-path")
        self.config = {"machine-config": {"vcpu_count": 1, "mem_size_mib": 128, "smt": False, "track_dirty_pages": False,
                                          "huge_pages": "None"},
                       "drives": {}, "network-interfaces": {}, "pmem": {}}
        self.start = time.monotonic()

    # --- requests ----------------------------------------------------------------------

    def fault(self, text):
        return {"fault_message": text}

    def handle(self, method, path, body, fds):
        try:
            result = self.dispatch(method, path, body)
        except (Fault, engine.qmp.QmpError) as why:
            self.log(f"Received Error. Status code: 400 Bad Request. Message: {why}")
            return http.Answer(400, self.fault(str(why)))
        if result is None:
            return http.Answer(204)
        return result if isinstance(result, http.Answer) else http.Answer(200, result)

    def dispatch(self, method, path, body):
        entry, ids, template = self.document.find(path)
        operation = entry and entry.get(method.lower())
        if not operation or any(path.startswith(p) and self.numbers < v for p, v in PATHS_SINCE.items()):
            raise Fault(f"Invalid request method and/or path: {method} {path.strip('/').split('/')[0]}.")
        self.log(f'The API server received a {method.title()} request on "{path}".')
        value = self.parse(method, operation, body)
        for name in ids:
            if not re.fullmatch(r"[A-Za-z0-9_]+", name):
                raise Fault("The ID cannot be empty." if not name else
                            "API Resource IDs can only contain alphanumeric characters and underscores.")
        self.in_order(method, template, value)
        if template in BOOT_PATH and method != "GET":
            self.boot_path = True
        name = f"{method.lower()}_{re.sub('[^a-z]+', '_', re.sub('{.*}', '', template)).strip('_') or 'root'}"
        return getattr(self, name)(*ids, *([] if value is None else [value]))

    def parse(self, method, operation, body):
        wanted, required = self.document.body(operation)
        if wanted is None:
            if body and method == "GET":
                raise Fault("GET request cannot have a body.")
            return None
        if not body:
            if wanted["$ref"].endswith("BalloonStartCmd") and not required:
                return {}
            raise Fault(f"Empty {method} request.")
        name = wanted["$ref"].rsplit("/", 1)[1]
        hidden = {field for (where, field), since in FIELDS_SINCE.items() if where == name and self.numbers < since}
        try:
            value = schema.parse(body)
            self.document.check(wanted, value, partial=method == "PATCH" and name == "MachineConfiguration", hidden=hidden)
        except schema.Bad as why:
            raise Fault(f"An error occurred when deserializing the json body of a request: {why} at line 1 column {len(body)}.") \
                from None
        return value

    def in_order(self, method, template, value):
        started = self.state != "Not started"
        key = (method, template)
        action = value.get("action_type") if template == "/actions" else None
        if action == "SendCtrlAltDel" and ARM:
            raise Fault("SendCtrlAltDel does not supported on aarch64.")
        if started and (key in PRE_BOOT or action == "InstanceStart"):
            raise Fault("The requested operation is not supported after starting the microVM.")
        if not started and (key in POST_BOOT or action in ("FlushMetrics", "SendCtrlAltDel")):
            raise Fault("The requested operation is not supported before starting the microVM.")

    # --- about itself ----------------------------------------------------------------------

    def get_root(self):
        return {"id": self.options["id"], "state": self.state, "vmm_version": self.version, "app_name": "Firecracker"}

    def get_version(self):
        return {"firecracker_version": self.version}

    def get_vm_config(self):
        config = {key: value for key, value in self.config.items() if value != {}}
        for key in ("drives", "network-interfaces", "pmem"):
            config[key] = list(self.config[key].values())
        return config

    def log(self, text):
        line = f"{time.strftime('%Y-%m-%dT%H:%M:%S')}.000000000 [{self.options['id']}:main] {text}\n"
        if self.log_path:
            with open(self.log_path, "a", encoding="utf-8") as file:
                file.write(line)
        else:
            os.write(1, line.encode())

    def put_logger(self, value):
        path = value.get("log_path")
        if path is not None:
            try:
                with open(path, "a", encoding="utf-8"):
                    self.log_path = path
            except OSError as why:
                raise Fault(f"Logger error: Failed to open target file: {os_error(why)}") from None
        self.config["logger"] = value

    def put_metrics(self, value):
        if self.metrics_path:
            raise Fault("Metrics error: Cannot initialize the metrics system due to bad user input: Reinitialization of "
                        "metrics not allowed.")
        try:
            with open(value["metrics_path"], "a", encoding="utf-8"):
                self.metrics_path = value["metrics_path"]
        except OSError as why:
            raise Fault(f"Metrics error: Cannot initialize the metrics system due to bad user input: {os_error(why)}") from None
        self.config["metrics"] = value
        self.metrics_extra = {**({"id": self.options["id"]} if value.get("emit_id") else {}),
                              **({"properties": value["properties"]} if "properties" in value else {})}

    def flush_metrics(self):
        if not self.metrics_path:
            return
        elapsed = int((time.monotonic() - self.start) * 1e6)
        record = {"utc_timestamp_ms": int(time.time() * 1000), "api_server": {"process_startup_time_us": elapsed},
                  "block": {}, "net": {}, "vcpu": {}, "vsock": {}, "vmm": {"panic_count": 0}, **self.metrics_extra}
        with open(self.metrics_path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    # --- configuration -----------------------------------------------------------------------

    def get_machine_config(self):
        return self.config["machine-config"]

    def machine_config(self, new):
        if not 1 <= new["vcpu_count"] <= 32 or (new["smt"] and new["vcpu_count"] % 2 and new["vcpu_count"] != 1):
            raise Fault("Machine config error: The vCPU number is invalid! The vCPU number can only be 1 or an even number "
                        "when SMT is enabled.")
        if new["smt"] and ARM:
            raise Fault("Machine config error: Enabling simultaneous multithreading is not supported on aarch64.")
        if new["mem_size_mib"] < 1 or (new["huge_pages"] == "2M" and new["mem_size_mib"] % 2):
            raise Fault("Machine config error: The memory size (MiB) is either 0, or not a multiple of the configured page size.")
        self.config["machine-config"] = new

    def put_machine_config(self, value):
        self.machine_config({"smt": False, "track_dirty_pages": False, "huge_pages": "None", **value})

    def patch_machine_config(self, value):
        if not value:
            raise Fault("Empty PATCH request.")
        self.machine_config({**self.config["machine-config"], **value})

    def put_boot_source(self, value):
        for key, what in (("kernel_image_path", "kernel"), ("initrd_path", "initrd")):
            if key in value:
                try:
                    os.close(os.open(value[key], os.O_RDONLY | os.O_CLOEXEC))
                except OSError as why:
                    raise Fault(f"Boot source error: The {what} file cannot be opened: {os_error(why)}") from None
        self.config["boot-source"] = value

    def put_cpu_config(self, value):
        self.config["cpu-config"] = value

    def put_drives(self, name, value):
        if value["drive_id"] != name:
            raise Fault("The id from the path does not match the id from the body!")
        if ("path_on_host" in value) == ("socket" in value):
            raise Fault("Drive config error: Invalid block device configuration: exactly one of path_on_host and socket")
        others = [d for d in self.config["drives"].values() if d["drive_id"] != name]
        if value["is_root_device"] and any(d["is_root_device"] for d in others):
            raise Fault("Drive config error: A root block device already exists!")
        if "socket" in value:
            raise Fault("Drive config error: vhost-user drives are not in this stand-in")
        self.check_file(value["path_on_host"], value.get("is_read_only", False), "Drive config error: Unable to create the "
                        "virtio block device: Virtio backend error: Error manipulating the backing file: ")
        self.config["drives"][name] = value

    @staticmethod
    def check_file(path, readonly, prefix):
        try:
            fd = os.open(path, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
        except OSError as why:
            raise Fault(f"{prefix}{os_error(why)} {path}") from None
        os.close(fd)

    def put_pmem(self, name, value):
        if value["id"] != name:
            raise Fault("The id from the path does not match the id from the body!")
        self.check_file(value["path_on_host"], value.get("read_only", False), "Pmem device error: Error opening backing file: ")
        self.config["pmem"][name] = value

    def put_network_interfaces(self, name, value):
        if value["iface_id"] != name:
            raise Fault("The id from the path does not match the id from the body!")
        if "guest_mac" in value and not re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", value["guest_mac"]):
            raise Fault("An error occurred when deserializing the json body of a request: invalid value: string "
                        f'"{value["guest_mac"]}", expected a MAC address.')
        for other in self.config["network-interfaces"].values():
            if other["iface_id"] != name and other.get("guest_mac", "").lower() == value.get("guest_mac", "-").lower():
                raise Fault(f"Network config error: The MAC address is already in use: {value['guest_mac']}")
        if name in self.taps:
            os.close(self.taps.pop(name))
        try:
            self.taps[name] = engine.open_tap(value["host_dev_name"])
        except OSError as why:
            raise Fault("Network config error: Could not create the network device: Open tap device failed: Error while "
                        f"creating ifreq structure: {os_error(why)}. Invalid TUN/TAP Backend provided by "
                        f"{value['host_dev_name']}. Check our documentation on setting up the network devices.") from None
        self.config["network-interfaces"][name] = value

    def put_vsock(self, value):
        if self.vsock:
            self.vsock.end(remove=True)
            self.vsock = None
        self.make_vsock(value)
        self.config["vsock"] = {key: value[key] for key in ("guest_cid", "uds_path")}

    def make_vsock(self, value, restored=False):
        try:
            self.vsock = engine.Vsock(value["guest_cid"], value["uds_path"], restored)
        except engine.EngineError as why:
            raise Fault(f"Vsock config error: Cannot create backend for vsock device: Error binding to the host-side Unix "
                        f"socket: {why}") from None

    def put_entropy(self, value):
        self.config["entropy"] = value

    def put_serial(self, value):
        self.config["serial"] = value

    def put_hotplug_memory(self, value):
        full = {"slot_size_mib": 128, "block_size_mib": 2, **value}
        if full.get("total_size_mib", 0) < full["slot_size_mib"] or full["total_size_mib"] % full["slot_size_mib"]:
            raise Fault("Memory hotplug config error: Total size must be a multiple of the slot size")
        self.config["memory-hotplug"] = full

    # --- MMDS -----------------------------------------------------------------------------------

    def put_mmds_config(self, value):
        if not value["network_interfaces"] or any(n not in self.config["network-interfaces"] for n in value["network_interfaces"]):
            raise Fault("MMDS config error: The list of network interface IDs provided contains at least one ID that does not "
                        "correspond to any existing network interface.")
        self.config["mmds-config"] = value

    def get_mmds(self):
        return http.Answer(200, self.mmds if self.mmds is not None else {})

    def put_mmds(self, value):
        self.store_mmds(value)

    def patch_mmds(self, value):
        if self.mmds is None:
            raise Fault("MMDS error: The MMDS data store is not initialized.")

        def merge(old, new):  # RFC 7396
            if not isinstance(new, dict):
                return new
            result = dict(old) if isinstance(old, dict) else {}
            for key, item in new.items():
                if item is None:
                    result.pop(key, None)
                else:
                    result[key] = merge(result.get(key), item)
            return result
        self.store_mmds(merge(self.mmds, value))

    def store_mmds(self, value):
        limit = int(self.options.get("mmds-size-limit", self.options["http-api-max-payload-size"]))
        if len(json.dumps(value, separators=(",", ":"))) > limit:
            raise Fault("MMDS limit exceeded error: The MMDS patch request doesn't fit.")
        self.mmds = value

    # --- balloon ----------------------------------------------------------------------------------

    def balloon(self):
        if "balloon" not in self.config:
            raise Fault("Balloon config error: Device not found." if self.state == "Not started"
                        else "Balloon error: Device not found.")
        return self.config["balloon"]

    def get_balloon(self):
        return self.balloon()

    def put_balloon(self, value):
        if value["amount_mib"] > self.config["machine-config"]["mem_size_mib"]:
            raise Fault("Balloon config error: Amount of pages requested is too large.")
        self.config["balloon"] = {"stats_polling_interval_s": 0, "free_page_hinting": False, "free_page_reporting": False, **value}
        self.balloon_stats_s = value.get("stats_polling_interval_s", 0)

    def patch_balloon(self, value):
        balloon = self.balloon()
        if value["amount_mib"] > self.config["machine-config"]["mem_size_mib"]:
            raise Fault("Balloon update error: Amount of pages requested is too large.")
        balloon["amount_mib"] = value["amount_mib"]
        self.inflate()

    def inflate(self):
        memory = self.config["machine-config"]["mem_size_mib"]
        self.machine.qmp.command("balloon", value=(memory - self.config["balloon"]["amount_mib"]) * 2**20)

    def get_balloon_statistics(self):
        self.balloon()
        if not self.balloon_stats_s:
            raise Fault("Balloon error: Statistics are not enabled.")
        actual = self.config["machine-config"]["mem_size_mib"] - self.machine.qmp.command("query-balloon")["actual"] // 2**20
        target = self.config["balloon"]["amount_mib"]
        stats = {"target_pages": target * 256, "actual_pages": actual * 256, "target_mib": target, "actual_mib": actual}
        told = self.machine.qmp.command("qom-get", path="/machine/peripheral/balloon", property="guest-stats")["stats"]
        for ours, qemus in (("swap_in", "stat-swap-in"), ("swap_out", "stat-swap-out"), ("major_faults", "stat-major-faults"),
                            ("minor_faults", "stat-minor-faults"), ("free_memory", "stat-free-memory"),
                            ("total_memory", "stat-total-memory"), ("available_memory", "stat-available-memory"),
                            ("disk_caches", "stat-disk-caches"), ("hugetlb_allocations", "stat-htlb-pgalloc"),
                            ("hugetlb_failures", "stat-htlb-pgfail")):
            if 0 <= told.get(qemus, -1) < 2**64 - 1:
                stats[ours] = told[qemus]
        return stats

    def patch_balloon_statistics(self, value):
        self.balloon()
        if bool(value["stats_polling_interval_s"]) != bool(self.balloon_stats_s):
            raise Fault("Balloon update error: Cannot enable or disable the statistics after boot.")
        self.balloon_stats_s = value["stats_polling_interval_s"]
        self.config["balloon"]["stats_polling_interval_s"] = self.balloon_stats_s
        self.poll_stats()

    def poll_stats(self):
        self.machine.qmp.command("qom-set", path="/machine/peripheral/balloon", property="guest-stats-polling-interval",
                                 value=self.balloon_stats_s)

    def hinting_on(self):
        if not self.balloon().get("free_page_hinting"):
            raise Fault("Balloon update error: Free page hinting is not enabled.")

    def patch_balloon_hinting_start(self, value):
        self.hinting_on()
        self.hinting = 1 if value.get("acknowledge_on_stop", True) else 2

    def get_balloon_hinting_status(self):
        self.hinting_on()
        return {"host_cmd": self.hinting, "guest_cmd": self.hinting}

    def patch_balloon_hinting_stop(self):
        self.hinting_on()
        self.hinting = 0

    # --- run-time changes ----------------------------------------------------------------------------

    def known(self, section, name, value, what):
        if value[IDS[section]] != name:
            raise Fault("The id from the path does not match the id from the body!")
        if name not in self.config[section]:
            raise Fault(f"{what}: Invalid device ID: {name}")
        return self.config[section][name]

    def patch_drives(self, name, value):
        drive = self.known("drives", name, value, "Drive config error")
        if "path_on_host" in value:
            self.check_file(value["path_on_host"], drive.get("is_read_only", False), "Drive config error: Unable to patch the "
                            "block device: Virtio backend error: Error manipulating the backing file: ")
            node = self.machine.disk_node({"id": name, "path": value["path_on_host"], "readonly": drive.get("is_read_only", False)})
            self.machine.qmp.command("blockdev-reopen", options=[node])
            length = os.stat(value["path_on_host"]).st_size
            self.machine.qmp.command("block_resize", node_name=f"node-{name}", size=length)
        drive.update(value)

    def patch_pmem(self, name, value):
        self.known("pmem", name, value, "Pmem device error").update(value)

    def patch_network_interfaces(self, name, value):
        self.known("network-interfaces", name, value, "Network config error").update(value)

    def get_hotplug_memory(self):
        if "memory-hotplug" not in self.config:
            raise Fault("Internal VMM error: Memory hotplug device not found")
        return {**self.config["memory-hotplug"], "plugged_size_mib": self.hotplug_request,
                "requested_size_mib": self.hotplug_request}

    def patch_hotplug_memory(self, value):
        config = self.get_hotplug_memory()
        wanted = value.get("requested_size_mib", 0)
        if wanted > config["total_size_mib"] or wanted % config["block_size_mib"]:
            raise Fault("Memory hotplug update error: Requested size is out of range or not a multiple of the block size")
        self.hotplug_request = wanted

    def patch_vm(self, value):
        if value["state"] == "Paused":
            if not self.off:
                self.machine.pause()
            self.state = "Paused"
        else:
            if not self.off:
                self.machine.resume()
            self.state = "Running"

    def put_actions(self, value):
        action = value["action_type"]
        if action == "InstanceStart":
            self.instance_start()
        elif action == "FlushMetrics":
            self.flush_metrics()
        else:
            self.machine.qmp.command("send-key", keys=[{"type": "qcode", "data": key} for key in ("ctrl", "alt", "delete")])

    # --- the guest ----------------------------------------------------------------------------------------

    def cmdline(self):
        line = self.config["boot-source"].get("boot_args", DEFAULT_CMDLINE)
        if not self.options.get("enable-pci"):
            line += " pci=off"
        for drive in self.config["drives"].values():
            if drive["is_root_device"]:
                where = f"PARTUUID={drive['partuuid']}" if "partuuid" in drive else "/dev/vda"
                line += f" root={where} {'ro' if drive.get('is_read_only') else 'rw'}"
        return line

    def engine_disks(self):
        drives = sorted(self.config["drives"].values(), key=lambda d: not d["is_root_device"])
        disks = []
        for drive in drives:
            told = os.stat(drive["path_on_host"])
            disks.append({"id": drive["drive_id"], "path": drive["path_on_host"], "readonly": drive.get("is_read_only", False),
                          "unsafe": drive.get("cache_type", "Unsafe") == "Unsafe",
                          "serial": f"{told.st_dev}{told.st_rdev}{told.st_ino}"})
        return disks

    def engine_spec(self):
        config = self.config
        boot = config.get("boot-source", {})
        serial = config.get("serial", {}).get("serial_out_path")
        spec = {"kernel": boot.get("kernel_image_path"), "initrd": boot.get("initrd_path"), "cmdline": self.cmdline() if boot else "",
                "cpus": config["machine-config"]["vcpu_count"], "memory": config["machine-config"]["mem_size_mib"] * 2**20,
                "pci": bool(self.options.get("enable-pci")), "serial": ["file", serial] if serial else ["stdio"], "at_end": "pause",
                "disks": self.engine_disks(), "vsock": self.vsock,
                "nets": [{"id": n["iface_id"], "fd": self.taps[n["iface_id"]], "mac": n.get("guest_mac"), "mtu": n.get("mtu")}
                         for n in config["network-interfaces"].values()]}
        if "balloon" in config:
            spec["balloon"] = {"deflate": config["balloon"]["deflate_on_oom"], "reporting": config["balloon"]["free_page_reporting"]}
        if "entropy" in config:
            spec["rng"] = "/dev/urandom"
        return spec

    def check_kernel(self):
        path = self.config["boot-source"]["kernel_image_path"]
        with open(path, "rb") as file:
            magic = file.read(4)
        if magic != b"\x7fELF" and not ARM:
            raise Fault("Start microvm error: Cannot load kernel due to invalid memory configuration or invalid kernel image: "
                        "Kernel Loader: failed to load ELF kernel image")

    def instance_start(self):
        if "boot-source" not in self.config:
            raise Fault("Start microvm error: Cannot start microvm without kernel configuration.")
        self.check_kernel()
        self.begin(self.engine_spec(), lambda machine: machine.start(), "Start microvm error: ")
        if "balloon" in self.config and self.config["balloon"]["amount_mib"]:
            self.inflate()
        self.state = "Running"

    def begin(self, spec, start, prefix):
        self.machine = engine.Machine(spec)
        try:
            start(self.machine)
        except (engine.EngineError, engine.qmp.QmpError, OSError) as why:
            self.machine.kill()
            self.machine = None
            raise Fault(f"{prefix}{why}") from None
        if self.balloon_stats_s:
            self.poll_stats()
        self.loop.watch(self.machine.qmp.socket, self.on_qmp)

    def on_qmp(self):
        machine = self.machine
        why = machine.end_of(machine.qmp.drain())
        if why in ("reset", "panic"):
            self.log("Vmm is stopping.")
            machine.kill()
            self.finish(0)
        elif machine.qmp.closed:
            self.log(f"The guest ended unexpectedly ({machine.child.wait()}).")
            self.finish(148)
        elif why == "poweroff" and not self.off:
            # It has only stopped its processors: machine and VMM stay.
            self.off = True
            self.tell({"guest": why})

    def finish(self, code):
        self.flush_metrics()
        if self.server:
            self.server.flush()
        self.log(f"Firecracker exiting {'successfully' if code == 0 else 'with error'}. exit_code={code}")
        sys.stdout.flush()
        os._exit(code)

    def tell(self, record):
        if self.server:
            self.server.log(record)

    # --- snapshots -------------------------------------------------------------------------------------------

    def put_snapshot_create(self, value):
        if self.state != "Paused":
            raise Fault("Create snapshot error: Cannot save the microVM state: Operation not allowed: save/restore unavailable "
                        "while running")
        if value.get("snapshot_type") == "Diff" and not self.config["machine-config"]["track_dirty_pages"] and self.numbers < (1, 13):
            raise Fault("Create snapshot error: Diff snapshots are not allowed on uVMs with dirty page tracking disabled.")
        diff = value.get("snapshot_type") == "Diff"
        try:
            whole = not diff or os.path.exists(value["mem_file_path"])  # the pages of a diff go over what is there
            self.machine.save(value["mem_file_path"])
            if not whole:
                with open(value["mem_file_path"], "r+b") as file:
                    file.write(bytes(4096))  # what had not changed is a hole
            with open(value["snapshot_path"], "w", encoding="utf-8") as file:
                json.dump({"standin": 1, "version": self.version, "config": self.config, "pci": bool(self.options.get("enable-pci"))},
                          file)
        except (OSError, engine.EngineError, engine.qmp.QmpError) as why:
            raise Fault(f"Create snapshot error: {why}") from None

    def put_snapshot_load(self, value):
        if self.boot_path:
            raise Fault("Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.")
        backend = value.get("mem_backend", {})
        if ("mem_file_path" in value) == bool(backend):
            raise Fault("An error occurred when deserializing the json body of a request: missing field: either `mem_backend` or "
                        "`mem_file_path` is required.")
        if backend.get("backend_type") == "Uffd":
            raise Fault("Load snapshot error: userfaultfd is not in this stand-in")
        memory = value.get("mem_file_path", backend.get("backend_path"))
        try:
            self.load_state(value)
            spec = {**self.engine_spec(), "incoming": True}
            self.begin(spec, lambda machine: (machine.start(run=False), machine.load(memory)), "")
            self.state = "Paused"
            if value.get("resume_vm"):
                self.patch_vm({"state": "Resumed"})
        except (OSError, ValueError, KeyError, Fault) as why:
            # The real one is beyond recovery then, and ends.
            answer = http.Answer(400, self.fault(f"Load snapshot error: Failed to restore from snapshot: {why}"))
            answer.after = lambda: self.finish(1)
            return answer
        return None

    def load_state(self, value):
        with open(value["snapshot_path"], encoding="utf-8") as file:
            state = json.load(file)
        self.config = state["config"]
        self.options["enable-pci"] = state["pci"]
        if "vsock" in self.config:
            self.config["vsock"].update(value.get("vsock_override", {}))
            self.make_vsock(self.config["vsock"], restored=True)
        for override in value.get("network_overrides", []):
            self.config["network-interfaces"][override["iface_id"]]["host_dev_name"] = override["host_dev_name"]
        for net in self.config["network-interfaces"].values():
            self.taps[net["iface_id"]] = engine.open_tap(net["host_dev_name"])
        self.balloon_stats_s = self.config.get("balloon", {}).get("stats_polling_interval_s", 0)

    # --- without the API, or before it -------------------------------------------------------------------------

    def load_config(self, path):
        """A configuration file: the same bodies, through the same checks; the guest starts. Fault if one is refused."""
        with open(path, "rb") as file:
            try:
                config = schema.parse(file.read())
            except schema.Bad as why:
                raise Fault(f"Configuration file: {why}") from None
        for key in config:
            if key not in SECTIONS:
                raise Fault(f"Configuration file: unknown field `{key}`")
        for key, path_of in SECTIONS.items():
            if key not in config or config[key] is None:
                continue
            many = config[key] if key in IDS else [config[key]]
            for value in many:
                self.dispatch("PUT", path_of.format(value.get(IDS.get(key, ""), "")), json.dumps(value).encode())
        self.instance_start()


OPTIONS = {"api-sock": True, "id": True, "seccomp-filter": True, "no-seccomp": False, "start-time-us": True,
           "start-time-cpu-us": True, "parent-cpu-time-us": True, "config-file": True, "metadata": True, "no-api": False,
           "log-path": True, "level": True, "module": True, "show-level": False, "show-log-origin": False, "metrics-path": True,
           "boot-timer": False, "version": False, "snapshot-version": False, "describe-snapshot": True,
           "http-api-max-payload-size": True, "mmds-size-limit": True, "enable-pci": False, "help": False}


def refuse_arguments(text):
    print(f"Error: ParseArguments({text}) \n\nFor more information try --help.", file=sys.stderr)
    sys.exit(153)  # FcExitCode::ArgParsing


def parse_arguments(argv, numbers):
    options = {}
    rest = iter(argv)
    for argument in rest:
        if argument == "--":
            break
        name = argument[2:]
        if not argument.startswith("--") or name not in OPTIONS or (name == "enable-pci" and numbers < (1, 13)):
            refuse_arguments(f"Found argument '{argument}' which wasn't expected, or isn't valid in this context.")
        if name in options:
            refuse_arguments(f"The argument '{name}' was provided more than once.")
        options[name] = next(rest, None) if OPTIONS[name] else True
        if options[name] is None:
            refuse_arguments(f"The argument '{name}' requires a value, but none was supplied.")
    if "no-api" in options and "config-file" not in options:
        refuse_arguments("Argument 'no-api' cannot be used without argument 'config-file'.")
    if "no-seccomp" in options and "seccomp-filter" in options:
        refuse_arguments("Argument 'no-seccomp' cannot be used together with argument 'seccomp-filter'.")
    options.setdefault("id", "anonymous-instance")
    options.setdefault("api-sock", "/run/firecracker.socket")
    options.setdefault("http-api-max-payload-size", "51200")
    return options


def listen(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
    except OSError as why:
        print(f"Error: RunWithApi(FailedToBindSocket): Failed to open the API socket at: {path}. Check that it is not already "
              f"used. {os_error(why)}", file=sys.stderr)
        sys.exit(1)
    listener.listen(128)
    return listener


def run(options):
    loop = Loop()
    face = Firecracker(options, loop)
    face.log(f"Running Firecracker v{face.version}")
    faults.arm_timers(loop)
    if "metadata" in options:
        with open(options["metadata"], encoding="utf-8") as file:
            face.mmds = json.load(file)
    if "no-api" not in options:
        face.server = http.Server(loop, listen(options["api-sock"]), "Firecracker", face,
                                  int(options["http-api-max-payload-size"]))
        face.log("Listening on API socket (\"%s\")." % options["api-sock"])
    if "config-file" in options:
        try:
            face.load_config(options["config-file"])
        except (Fault, OSError) as why:
            print(f"Error: RunWithoutApiError(BuildMicroVMFromJson({why}))", file=sys.stderr)
            sys.exit(152)  # FcExitCode::BadConfiguration
    loop.run()


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    version, numbers = settings.version(DOCUMENT_VERSION)
    options = parse_arguments(sys.argv[1:], numbers)
    if "version" in options:
        print(f"Firecracker v{version}\n")
        return
    if "snapshot-version" in options:
        print("v1.0.0")
        return
    if "help" in options:
        print(f"Firecracker v{version}\n\noptions: " + " ".join(f"--{name}" for name in OPTIONS))
        return
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", options["id"]):
        print("Error: Invalid instance ID", file=sys.stderr)
        sys.exit(1)
    run(options)
