#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Firecracker's face by plain HTTP: what it refuses, what it orders, what it boots, how it ends."""
import json
import os
import subprocess
import sys

from standtest import PROGRAMS, Program, assert_clean, assert_gone, await_path, await_text, connect, debian, echo, guest, hello, main, vsock


def start(home, *args, pass_fds=(), **settings):
    (home.dir / "fc.sock").unlink(missing_ok=True)
    program = Program(home, "firecracker", "--api-sock", home.dir / "fc.sock", *args, settings=settings, pass_fds=pass_fds)
    return program, connect(await_path(home.dir, "fc.sock"))


def refused(api, words, *request):
    response = api.call(*request)
    assert response.status == 400, f"{request}: {response!r}"
    body = response.json()
    assert list(body) == ["fault_message"] and words in body["fault_message"], f"{request}: {body}"


def boot(home, api, **more):
    api.ok("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 128})
    api.ok("PUT", "/boot-source", {"kernel_image_path": guest(), **more})
    api.ok("PUT", "/actions", {"action_type": "InstanceStart"})


def test_bodies_are_held_to_the_document(home):
    program, api = start(home)
    bad = "An error occurred when deserializing the json body of a request: "
    config = {"vcpu_count": 1, "mem_size_mib": 128}
    refused(api, bad + "unknown field `cpus`, expected one of `cpu_template`", "PUT", "/machine-config", {**config, "cpus": 1})
    refused(api, bad + "missing field `mem_size_mib`", "PUT", "/machine-config", {"vcpu_count": 1})
    refused(api, bad + 'invalid type: string "1", expected an integer', "PUT", "/machine-config", {**config, "vcpu_count": "1"})
    refused(api, bad + "invalid type: boolean `true`", "PUT", "/machine-config", {**config, "vcpu_count": True})
    refused(api, bad + "invalid value: integer `33`", "PUT", "/machine-config", {**config, "vcpu_count": 33})
    refused(api, bad + "invalid value: integer `-1`", "PUT", "/machine-config", {**config, "mem_size_mib": -1})
    refused(api, bad + "unknown variant `3M`, expected one of", "PUT", "/machine-config", {**config, "huge_pages": "3M"})
    refused(api, bad + "invalid value: integer `2`", "PUT", "/vsock", {"guest_cid": 2, "uds_path": "/x"})
    refused(api, bad + "missing field `refill_time`", "PUT", "/entropy", {"rate_limiter": {"ops": {"size": 1}}})
    refused(api, bad + "expected value at line 1", "PUT", "/machine-config", b"{vcpu_count")
    refused(api, bad + "duplicate field `vcpu_count`", "PUT", "/machine-config", b'{"vcpu_count":1,"vcpu_count":1,"mem_size_mib":1}')
    refused(api, "Empty PUT request.", "PUT", "/machine-config")
    refused(api, "Empty PATCH request.", "PATCH", "/machine-config", {})
    refused(api, "GET request cannot have a body.", "GET", "/version", {})
    refused(api, "Invalid request method and/or path: PUT machines.", "PUT", "/machines", {})
    refused(api, "Invalid request method and/or path: PATCH boot-source.", "PATCH", "/boot-source", {})
    refused(api, "The id from the path does not match", "PUT", "/drives/a", {"drive_id": "b", "is_root_device": False, "path_on_host": "/"})
    refused(api, "alphanumeric", "PUT", "/drives/a-b", {"drive_id": "a-b", "is_root_device": False, "path_on_host": "/"})
    refused(api, "No such file or directory (os error 2)", "PUT", "/boot-source", {"kernel_image_path": "/nowhere"})
    assert api.ok("GET", "/machine-config")["mem_size_mib"] == 128  # nothing of it was taken
    api.ok("PATCH", "/machine-config", {"mem_size_mib": 512})
    assert api.ok("GET", "/machine-config")["mem_size_mib"] == 512
    program.end()
    assert_clean(home)


def test_every_operation_of_the_document_is_there(home):
    """Asked with an empty object, each is refused for what it lacks, or done; none is unknown."""
    program, api = start(home)
    document = json.loads(__import__("zipfile").ZipFile(PROGRAMS / "firecracker").read("firecracker.json"))
    count = 0
    for path, methods in document["paths"].items():
        for method in methods:
            response = api.call(method.upper(), path.replace("{drive_id}", "x").replace("{iface_id}", "x").replace("{id}", "x"),
                                None if method == "get" else {})
            assert response.status != 404 and b"Invalid request method" not in response.body, f"{method} {path}: {response!r}"
            assert response.status in (200, 204) or list(response.json()) == ["fault_message"], response
            count += 1
    assert count == 38, count
    program.end()


def test_calls_have_an_order(home):
    program, api = start(home)
    before = "The requested operation is not supported before starting the microVM."
    after = "The requested operation is not supported after starting the microVM."
    refused(api, before, "PATCH", "/vm", {"state": "Paused"})
    refused(api, before, "PUT", "/actions", {"action_type": "SendCtrlAltDel"})
    refused(api, before, "PUT", "/snapshot/create", {"mem_file_path": "/m", "snapshot_path": "/s"})
    refused(api, before, "GET", "/balloon/statistics")
    refused(api, "without kernel configuration", "PUT", "/actions", {"action_type": "InstanceStart"})
    assert api.ok("GET", "/")["state"] == "Not started"
    boot(home, api)
    assert api.ok("GET", "/")["state"] == "Running"
    refused(api, after, "PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 128})
    refused(api, after, "PUT", "/boot-source", {"kernel_image_path": guest()})
    refused(api, after, "PUT", "/vsock", {"guest_cid": 3, "uds_path": "/x"})
    refused(api, after, "PUT", "/actions", {"action_type": "InstanceStart"})
    refused(api, after, "PUT", "/snapshot/load", {"snapshot_path": "/x"})
    refused(api, "unavailable while running", "PUT", "/snapshot/create", {"mem_file_path": "/m", "snapshot_path": "/s"})
    program.end()
    assert_clean(home)


def test_an_inherited_file_is_as_good_as_a_path(home):
    """Its QEMU opens what /proc/self is to it, not to QEMU."""
    fd = os.open(guest(), os.O_RDONLY)
    program, api = start(home, pass_fds=[fd])
    api.ok("PUT", "/boot-source", {"kernel_image_path": f"/proc/self/fd/{fd}"})
    os.close(fd)
    api.ok("PUT", "/actions", {"action_type": "InstanceStart"})
    program.await_text("KILN_READY")
    program.end()
    assert_clean(home)


def test_a_reset_ends_it_and_a_power_off_does_not(home):
    log = home.dir / "log"
    log.touch()
    program, api = start(home, LOG=log)
    boot(home, api)
    program.await_text("KILN_READY")
    program.type("off\n")  # an echo: only p and its kind are orders
    program.await_text("off\n")
    program.type("p\n")
    await_text(log, '"guest": "poweroff"')
    api.ok("PATCH", "/vm", {"state": "Paused"})
    assert api.ok("GET", "/")["state"] == "Paused"
    assert program.process.poll() is None
    program.end()
    program, api = start(home)
    boot(home, api)
    program.await_text("KILN_READY")
    program.type("r\n")
    assert program.wait() == 0
    assert "Firecracker exiting successfully. exit_code=0" in program.text()
    program.end()
    assert_clean(home)


def test_a_snapshot_goes_on_in_a_new_process(home):
    program, api = start(home)
    boot(home, api)
    program.await_text("KILN_READY")
    api.ok("PATCH", "/vm", {"state": "Paused"})
    files = {"mem_file_path": str(home.dir / "mem"), "snapshot_path": str(home.dir / "state")}
    api.ok("PUT", "/snapshot/create", files)
    api.ok("PUT", "/snapshot/create", {**files, "snapshot_type": "Full"})  # a second one
    api.ok("PATCH", "/vm", {"state": "Resumed"})
    program.type("still\n")
    program.await_text("still\n")
    program.end()
    program, api = start(home)
    refused(api, "is required", "PUT", "/snapshot/load", {"snapshot_path": files["snapshot_path"]})
    api.ok("PUT", "/snapshot/load", {"snapshot_path": files["snapshot_path"], "mem_backend": {
        "backend_type": "File", "backend_path": files["mem_file_path"]}})
    assert api.ok("GET", "/")["state"] == "Paused"
    api.ok("PATCH", "/vm", {"state": "Resumed"})
    program.type("again\n")
    program.await_text("again\n")
    assert "KILN_READY" not in program.text()
    program.end()
    program, api = start(home)
    api.ok("PUT", "/boot-source", {"kernel_image_path": guest()})
    refused(api, "not allowed after configuring boot-specific resources", "PUT", "/snapshot/load",
            {"snapshot_path": files["snapshot_path"], "mem_file_path": files["mem_file_path"]})
    program.end()
    program, api = start(home)
    refused(api, "Failed to restore from snapshot", "PUT", "/snapshot/load",
            {"snapshot_path": "/dev/null", "mem_file_path": files["mem_file_path"]})
    assert program.wait() == 1
    program.end()
    assert_clean(home)


def test_vsock_goes_on_after_a_snapshot(home):
    kernel, initrd = debian(home)
    program, api = start(home)
    uds = home.dir / "v.sock"
    listener = hello(uds)
    api.ok("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 192})
    api.ok("PUT", "/boot-source", {"kernel_image_path": kernel, "initrd_path": initrd, "boot_args": "console=ttyS0 reboot=k panic=-1"})
    api.ok("PUT", "/vsock", {"guest_cid": 3, "uds_path": str(uds)})
    api.ok("PUT", "/actions", {"action_type": "InstanceStart"})
    listener.accept()
    peer = vsock(uds, 6000)
    assert echo(peer, b"before") == b"before"
    api.ok("PATCH", "/vm", {"state": "Paused"})
    files = {"mem_file_path": str(home.dir / "mem"), "snapshot_path": str(home.dir / "state")}
    api.ok("PUT", "/snapshot/create", files)
    api.ok("PATCH", "/vm", {"state": "Resumed"})
    peer.sendall(b"still")  # where it came from, connections live on
    assert peer.recv(5) == b"still"
    program.end()
    program, api = start(home)
    other = home.dir / "w.sock"
    api.ok("PUT", "/snapshot/load", {**files, "resume_vm": True, "vsock_override": {"uds_path": str(other)}})
    assert echo(vsock(other, 6000), b"after") == b"after"
    program.end()
    assert_clean(home)


def debian_boots(home, *args):
    kernel, initrd = debian(home, "virtio_blk", "virtio_balloon")
    program, api = start(home, *args)
    uds = home.dir / "v.sock"
    listener = hello(uds)
    api.ok("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 256})
    api.ok("PUT", "/boot-source", {"kernel_image_path": kernel, "initrd_path": initrd,
                                   "boot_args": "console=ttyS0 reboot=k panic=-1"})
    for name, size in (("data", 3 << 20), ("root", 5 << 20)):
        with open(home.dir / name, "wb") as file:
            file.truncate(size)
        api.ok("PUT", f"/drives/{name}", {"drive_id": name, "is_root_device": name == "root", "path_on_host": str(home.dir / name)})
    api.ok("PUT", "/vsock", {"guest_cid": 3, "uds_path": str(uds)})
    api.ok("PUT", "/entropy", {})
    api.ok("PUT", "/balloon", {"amount_mib": 0, "deflate_on_oom": True, "stats_polling_interval_s": 1})
    api.ok("PUT", "/actions", {"action_type": "InstanceStart"})
    first, _ = listener.accept()
    assert first.recv(5) == b"hello"
    peer = vsock(uds, 6000)
    assert echo(peer, b"through the device") == b"through the device"
    program.await_text("[vda] 10240 512-byte")  # the root first, wherever it was in the order
    program.await_text("[vdb] 6144 512-byte")
    api.ok("PATCH", "/vm", {"state": "Paused"})
    api.ok("PATCH", "/vm", {"state": "Resumed"})
    assert api.ok("GET", "/balloon")["amount_mib"] == 0
    api.ok("PATCH", "/balloon", {"amount_mib": 32})
    assert api.ok("GET", "/balloon/statistics")["target_mib"] == 32
    api.ok("PUT", "/actions", {"action_type": "SendCtrlAltDel"})
    assert program.wait() == 0
    program.end()
    assert_clean(home)


def test_debian_s_kernel_boots_on_mmio(home):
    debian_boots(home)


def test_debian_s_kernel_boots_on_pci(home):
    debian_boots(home, "--enable-pci")


def test_a_configuration_file_starts_a_guest_without_the_api(home):
    config = home.dir / "config.json"
    config.write_text(json.dumps({"boot-source": {"kernel_image_path": guest()}, "drives": [],
                                  "machine-config": {"vcpu_count": 1, "mem_size_mib": 128}}))
    program = Program(home, "firecracker", "--no-api", "--config-file", config, "--id", "one")
    program.await_text("KILN_READY")
    program.type("r\n")
    assert program.wait() == 0
    program.end()
    config.write_text(json.dumps({"boot-source": {"kernel_image_path": guest(), "color": "red"}}))
    program = Program(home, "firecracker", "--no-api", "--config-file", config)
    assert program.wait() == 152
    assert "unknown field `color`" in program.text()
    program.end()
    assert_clean(home)


def test_arguments_and_versions(home):
    def run(*args, **settings):
        env = {**home.env, **{f"STANDIN_{key}": value for key, value in settings.items()}}
        return subprocess.run([PROGRAMS / "firecracker", *args], env=env, capture_output=True, text=True, check=False)

    assert run("--version").stdout == "Firecracker v1.17.0-dev\n\n"
    assert run("--version", VERSION="1.9.1").stdout == "Firecracker v1.9.1\n\n"
    assert run("--no-such").returncode == 153
    assert "cannot be used without" in run("--no-api").stderr
    assert run("--enable-pci", "--version", VERSION="1.12.0").returncode == 153
    program, api = start(home, VERSION="1.9.0")
    assert api.ok("GET", "/version") == {"firecracker_version": "1.9.0"}
    refused(api, "Invalid request method and/or path: PUT serial.", "PUT", "/serial", {})
    refused(api, "unknown field `free_page_hinting`", "PUT", "/balloon", {"amount_mib": 1, "deflate_on_oom": True,
                                                                         "free_page_hinting": True})
    program.end()
    program, api = start(home, ARCH="aarch64")
    refused(api, "SendCtrlAltDel", "PUT", "/actions", {"action_type": "SendCtrlAltDel"})
    program.end()


def test_mmds_logger_and_metrics(home):
    program, api = start(home)
    refused(api, "not initialized", "PATCH", "/mmds", {"a": 1})
    api.ok("PUT", "/mmds", {"a": {"b": 1, "c": 2}})
    api.ok("PATCH", "/mmds", {"a": {"b": None}, "d": "e"})
    assert api.ok("GET", "/mmds") == {"a": {"c": 2}, "d": "e"}
    refused(api, "does not correspond", "PUT", "/mmds/config", {"network_interfaces": ["eth0"]})
    api.ok("PUT", "/logger", {"log_path": str(home.dir / "log"), "level": "Off"})
    api.ok("PUT", "/metrics", {"metrics_path": str(home.dir / "metrics")})
    refused(api, "Reinitialization", "PUT", "/metrics", {"metrics_path": str(home.dir / "metrics")})
    boot(home, api)
    api.ok("PUT", "/actions", {"action_type": "FlushMetrics"})
    assert "utc_timestamp_ms" in json.loads((home.dir / "metrics").read_text())
    assert "InstanceStart" not in (home.dir / "log").read_text()  # bodies are not logged
    assert "/actions" in (home.dir / "log").read_text()
    program.end()
    assert_clean(home)


def test_a_tap_is_opened_when_it_is_named(home):
    program, api = start(home)
    net = {"iface_id": "eth0", "host_dev_name": "a-name-longer-than-a-tap-has"}
    refused(api, "Open tap device failed", "PUT", "/network-interfaces/eth0", net)
    if os.geteuid() == 0 and os.path.exists("/dev/net/tun"):
        api.ok("PUT", "/network-interfaces/eth0", {**net, "host_dev_name": "kstandin0", "guest_mac": "02:00:00:00:00:01"})
        refused(api, "already in use", "PUT", "/network-interfaces/eth1",
                {"iface_id": "eth1", "host_dev_name": "kstandin1", "guest_mac": "02:00:00:00:00:01"})
        boot(home, api)
        program.await_text("KILN_READY")
        assert os.path.exists("/sys/class/net/kstandin0")
    program.end()
    assert_gone("/sys/class/net/kstandin0")  # with QEMU, which goes with it
    assert_clean(home)


if __name__ == "__main__":
    main(sys.modules[__name__])
