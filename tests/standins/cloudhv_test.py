#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cloud Hypervisor's face by plain HTTP: what it refuses, its events, what it boots, how it ends."""
import json
import os
import socket
import subprocess
import sys
import zipfile

from standtest import DEADLINE, PROGRAMS, Api, Program, assert_clean, assert_gone, await_path, await_text, connect, debian, echo, guest, hello, main, vsock

MIB = 1 << 20


class Events:
    """The other end of the monitor: pretty-printed objects, wherever they are cut."""

    def __init__(self):
        self.socket, self.other = socket.socketpair()
        self.socket.settimeout(DEADLINE)
        self.text, self.seen = "", []

    def next(self):
        decoder = json.JSONDecoder()
        while True:
            try:
                event, end = decoder.raw_decode(self.text.lstrip())
                self.text = self.text.lstrip()[end:]
                self.seen.append((event["source"], event["event"]))
                assert set(event) == {"timestamp", "source", "event", "properties"}
                return self.seen[-1]
            except ValueError:
                data = self.socket.recv(4096)
                if not data:
                    raise EOFError from None
                self.text += data.decode()

    def until(self, *wanted):
        while self.next() != wanted:
            pass


def start(home, *args, **settings):
    """With a listening descriptor for its API and one for its events, as kiln starts it."""
    listener, events = socket.socket(socket.AF_UNIX), Events()
    path = home.dir / "ch.sock"
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen(8)
    program = Program(home, "cloud-hypervisor", "--api-socket", f"fd={listener.fileno()}", "--event-monitor",
                      f"fd={events.other.fileno()}", *args, settings=settings, pass_fds=[listener.fileno(), events.other.fileno()])
    listener.close()
    events.other.close()
    return program, Api(path), events


def put(api, name, *body, **more):
    return api.ok("PUT", f"/api/v1/{name}", *body, **more)


def refused(api, status, words, name, *body, method="PUT"):
    response = api.call(method, f"/api/v1/{name}", *body)
    assert response.status == status, f"{name}: {response!r}"
    chain = response.json()
    assert isinstance(chain, list) and all(isinstance(link, str) for link in chain), chain
    assert any(words in link for link in chain), f"{name}: {chain}"


def config(home, **more):
    return {"cpus": {"boot_vcpus": 1, "max_vcpus": 1}, "memory": {"size": 128 * MIB, "shared": True},
            "payload": {"kernel": guest()}, "serial": {"mode": "Tty"}, "console": {"mode": "Off"}, **more}


def info(api):
    return api.ok("GET", "/api/v1/vm.info")


def test_bodies_are_held_to_the_document(home):
    program, api, _ = start(home)
    bad, good = "Failed to deserialize JSON", config(home)
    refused(api, 400, bad, "vm.create", b"{")
    for words, body in (("unknown field `colour`", {**good, "colour": 1}),
                        ("missing field `payload`", {"cpus": good["cpus"]}),
                        ("missing field `max_vcpus`", {**good, "cpus": {"boot_vcpus": 1}}),
                        ("invalid value: integer `0`", {**good, "cpus": {"boot_vcpus": 0, "max_vcpus": 1}}),
                        ("invalid type: string", {**good, "memory": {"size": "1G"}}),
                        ("unknown variant `tty`", {**good, "serial": {"mode": "tty"}}),
                        ("invalid value: integer `2`", {**good, "vsock": {"cid": 2, "socket": "/x"}}),
                        ("unknown field `fds`", {**good, "net": [{"fds": [3]}]}),
                        ("missing field `tag`", {**good, "fs": [{"socket": "/x", "num_queues": 1, "queue_size": 1}]})):
        refused(api, 400, words, "vm.create", body)
        refused(api, 400, bad, "vm.create", body)
    refused(api, 400, "Bad Request", "vm.create")
    refused(api, 400, "Bad Request", "vm.boot", {})
    refused(api, 400, "Bad Request", "vm.boot", method="GET")
    refused(api, 404, "Not Found", "vm.fly")
    refused(api, 404, "Not Found", "vm.coredump", {"destination_url": "file:///x"})  # not built with guest_debug
    refused(api, 500, "Max CPUs lower", "vm.create", {**good, "cpus": {"boot_vcpus": 2, "max_vcpus": 1}})
    refused(api, 500, "shared memory", "vm.create", {**good, "memory": {"size": 128 * MIB}, "fs": [
        {"tag": "t", "socket": "/x", "num_queues": 1, "queue_size": 1024}]})
    refused(api, 409, "not unique", "vm.create", {**good, "disks": [{"id": "a", "path": "/x"}, {"id": "a", "path": "/y"}]})
    refused(api, 404, "VM is not created", "vm.info", method="GET")  # nothing of it was taken
    program.end()
    assert_clean(home)


def test_every_operation_of_the_document_is_there(home):
    program, api, _ = start(home, FEATURES="kvm,guest_debug")
    document = json.loads(zipfile.ZipFile(PROGRAMS / "cloud-hypervisor").read("cloud-hypervisor.json"))
    count = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path in ("/vmm.shutdown", "/vm.create"):
                continue
            response = api.call(method.upper(), f"/api/v1{path}", {} if "requestBody" in operation else None)
            assert response.status in (200, 204, 400, 404, 500), f"{path}: {response!r}"
            assert b"Not Found" not in response.body, f"{path}: {response!r}"
            count += 1
    assert count == 29, count
    put(api, "vmm.shutdown")
    assert program.wait() == 0
    program.end()


def test_a_life_and_its_events(home):
    program, api, events = start(home)
    refused(api, 404, "VM is not created", "vm.boot")
    ping = api.ok("GET", "/api/v1/vmm.ping")
    assert ping == {"build_version": "v53.0", "version": "53.0.0", "pid": program.process.pid, "features": ["kvm"]}
    put(api, "vm.create", config(home))
    refused(api, 500, "already created", "vm.create", config(home))
    refused(api, 500, "VM is not running", "vm.pause")
    assert info(api)["state"] == "Created"
    put(api, "vm.boot")
    assert info(api)["state"] == "Running"
    program.await_text("KILN_READY")
    put(api, "vm.pause")
    refused(api, 500, "Invalid transition", "vm.pause")
    assert info(api)["state"] == "Paused"
    put(api, "vm.resume")
    refused(api, 500, "Invalid transition", "vm.resume")
    program.type("hello\n")
    program.await_text("hello\n")
    put(api, "vm.reboot")
    program.await_text("KILN_READY", 2)
    events.until("vm", "rebooted")
    program.type("r\n")  # the guest's own reset: the machine is made anew, in this process
    events.until("vm", "rebooted")
    program.await_text("KILN_READY", 3)
    put(api, "vm.shutdown")
    assert info(api)["state"] == "Created"
    put(api, "vm.boot")
    put(api, "vm.delete")
    refused(api, 404, "VM is not created", "vm.info", method="GET")
    put(api, "vmm.shutdown")
    assert program.wait() == 0
    events.until("vmm", "shutdown")
    order = [event for source, event in events.seen if source == "vm"]
    assert order == ["booting", "booted", "pausing", "paused", "resuming", "resumed"] + 2 * [
        "rebooting", "booting", "booted", "rebooted"] + ["shutdown", "booting", "booted", "shutdown", "deleted"], order
    assert events.seen[0] == ("vmm", "starting")
    program.end()
    assert_clean(home)


def test_the_power_button_and_what_a_power_off_ends(home):
    program, api, events = start(home)
    put(api, "vm.create", config(home))
    put(api, "vm.boot")
    program.await_text("KILN_READY")
    put(api, "vm.power-button")
    assert program.wait() == 0
    events.until("vmm", "shutdown")
    assert events.seen[-3:] == [("vm", "shutdown"), ("vm", "deleted"), ("vmm", "shutdown")]
    program.end()
    assert_clean(home)


def test_a_snapshot_goes_on_in_a_new_process(home):
    program, api, events = start(home)
    put(api, "vm.create", config(home))
    put(api, "vm.boot")
    program.await_text("KILN_READY")
    folder = home.dir / "snapshot"
    folder.mkdir()
    where = {"destination_url": f"file://{folder}"}
    refused(api, 500, "while VM is running", "vm.snapshot", where)
    put(api, "vm.pause")
    put(api, "vm.snapshot", where)
    refused(api, 500, "File exists", "vm.snapshot", where)
    put(api, "vm.resume")
    program.type("on\n")
    program.await_text("on\n")
    program.end()
    program, api, events = start(home)
    refused(api, 500, "Invalid URL", "vm.restore", {"source_url": "http://x"})
    put(api, "vm.restore", {"source_url": f"file://{folder}"})
    assert info(api)["state"] == "Paused"
    events.until("vm", "restored")
    put(api, "vm.resume")
    program.type("anew\n")
    program.await_text("anew\n")
    assert "KILN_READY" not in program.text()
    program.end()
    assert_clean(home)


def test_consoles(home):
    program, api, _ = start(home)
    log = home.dir / "serial.log"
    put(api, "vm.create", config(home, serial={"mode": "File", "file": str(log)}))
    log.touch()
    put(api, "vm.boot")
    await_text(log, "KILN_READY")
    put(api, "vm.delete")
    path = home.dir / "serial"
    put(api, "vm.create", config(home, serial={"mode": "Socket", "socket": str(path)}))
    put(api, "vm.boot")
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(DEADLINE)
    peer.connect(str(path))
    peer.sendall(b"here\n")
    got = b""
    while b"here\n" not in got:
        got += peer.recv(100)
    put(api, "vm.delete")
    put(api, "vm.create", config(home, serial={"mode": "Pty"}))
    put(api, "vm.boot")
    assert info(api)["config"]["serial"]["file"].startswith("/dev/pts/")
    program.end()
    assert_clean(home)


def test_debian_s_kernel_and_hotplug(home):
    kernel, initrd = debian(home, "virtio_blk", "virtio_net", "virtio_balloon")
    program, api, _ = start(home)
    uds = home.dir / "v.sock"
    listener = hello(uds)
    for name, size in (("one", 3 * MIB), ("two", 5 * MIB)):
        with open(home.dir / name, "wb") as file:
            file.truncate(size)
    put(api, "vm.create", {
        "cpus": {"boot_vcpus": 1, "max_vcpus": 1}, "memory": {"size": 256 * MIB, "shared": True},
        "payload": {"kernel": kernel, "initramfs": initrd, "cmdline": "console=ttyS0 reboot=k panic=-1"},
        "serial": {"mode": "Tty"}, "console": {"mode": "Off"}, "rng": {"src": "/dev/urandom"}, "balloon": {"size": 0},
        "disks": [{"id": "one", "path": str(home.dir / "one"), "serial": "first"}], "vsock": {"cid": 7, "socket": str(uds)}})
    put(api, "vm.boot")
    first, _ = listener.accept()
    assert first.recv(5) == b"hello"
    assert echo(vsock(uds, 6000), b"by vsock") == b"by vsock"
    program.await_text("[vda] 6144 512-byte")
    added = put(api, "vm.add-disk", {"id": "two", "path": str(home.dir / "two")})
    assert added["id"] == "two" and added["bdf"].startswith("0000:"), added
    refused(api, 409, "not unique", "vm.add-disk", {"id": "two", "path": str(home.dir / "two")})
    refused(api, 500, "No such file", "vm.add-disk", {"id": "three", "path": "/nowhere"})
    program.await_text("[vdb] 10240 512-byte")  # the guest has found it
    put(api, "vm.resize-disk", {"id": "two", "desired_size": 6 * MIB})
    program.await_text("[vdb] new size: 12288")
    assert "two" in info(api)["device_tree"] and "two" in api.ok("GET", "/api/v1/vm.counters")
    put(api, "vm.remove-device", {"id": "two"})
    refused(api, 404, "not found", "vm.remove-device", {"id": "two"})
    put(api, "vm.resize", {"desired_balloon": 16 * MIB})
    assert info(api)["config"]["balloon"]["size"] == 16 * MIB
    put(api, "vm.delete")
    assert not uds.exists()  # this VMM takes its socket away
    program.end()
    assert_clean(home)


def test_descriptors_come_with_a_network(home):
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        return
    import fcntl
    import struct
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"kstandin2", 0x2 | 0x1000 | 0x4000))
    program, api, _ = start(home)
    put(api, "vm.create", config(home))
    put(api, "vm.add-net", {"id": "net0", "mac": "02:00:00:00:00:02"}, fds=[tap])  # cold: 204
    os.close(tap)
    assert os.path.exists("/sys/class/net/kstandin2")  # held by the VMM now
    put(api, "vm.boot")
    program.await_text("KILN_READY")
    put(api, "vm.delete")
    assert_gone("/sys/class/net/kstandin2")
    program.end()
    assert_clean(home)


def test_processors_and_memory_are_added(home):
    kernel, initrd = debian(home, "virtio_blk")
    program, api, _ = start(home)
    put(api, "vm.create", {
        "cpus": {"boot_vcpus": 1, "max_vcpus": 2}, "memory": {"size": 256 * MIB, "hotplug_size": 256 * MIB},
        "payload": {"kernel": kernel, "initramfs": initrd, "cmdline": "console=ttyS0 reboot=k panic=-1"},
        "serial": {"mode": "Tty"}, "console": {"mode": "Off"}})
    put(api, "vm.boot")
    program.await_text("Run /init")
    refused(api, 500, "exceeds maximum", "vm.resize", {"desired_vcpus": 3})
    put(api, "vm.resize", {"desired_vcpus": 2})
    program.await_text("CPU1 has been hot-added")
    put(api, "vm.resize", {"desired_vcpus": 1})  # asked of the guest, which may take its time
    assert info(api)["config"]["cpus"]["boot_vcpus"] == 1
    put(api, "vm.resize", {"desired_ram": 384 * MIB})
    assert info(api)["config"]["memory"]["hotplugged_size"] == 128 * MIB
    program.end()
    assert_clean(home)


def test_arguments_and_versions(home):
    def run(*args, **settings):
        env = {**home.env, **{f"STANDIN_{key}": value for key, value in settings.items()}}
        return subprocess.run([PROGRAMS / "cloud-hypervisor", *args], env=env, capture_output=True, text=True, check=False)

    assert run("--version").stdout == "cloud-hypervisor v53.0\n"
    assert run("--version", VERSION="38.0.0").stdout == "cloud-hypervisor v38.0\n"
    assert run("--memory", "size=1G").returncode == 2
    program, api, _ = start(home, VERSION="38.0.0")  # a refusal is a text there, and never a 404
    response = api.call("PUT", "/api/v1/vm.boot")
    assert response.status == 500 and response.body == b"Error from API: The VM could not boot: VM is not created", response
    assert api.call("PUT", "/api/v1/vm.nmi").status == 404
    assert b"unknown field `landlock_enable`" in api.call("PUT", "/api/v1/vm.create", config(home, landlock_enable=True)).body
    program.end()
    program = Program(home, "cloud-hypervisor", f"--api-socket=path={home.dir}/by-path")
    api = connect(await_path(home.dir, "by-path"))
    put(api, "vmm.shutdown")
    assert program.wait() == 0 and not (home.dir / "by-path").exists()
    program.end()
    assert_clean(home)


if __name__ == "__main__":
    main(sys.modules[__name__])
