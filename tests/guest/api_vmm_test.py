#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command with Firecracker and Cloud Hypervisor: the real ones where they are on PATH and KVM works, else the
stand-ins, which boot the VM by emulation."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import kilntest
from kilntest import BUILD, main, need_qemu, shown, wait_gone

VMMS = {"firecracker": "firecracker", "cloud-hypervisor": "cloud_hypervisor"}


def options(vmm):
    own = ["--backend", vmm, "--rootfs", kilntest.busybox_root()]
    if not shutil.which(vmm):
        own += ["--set", f"{VMMS[vmm]}.binary={BUILD}/tests/standins/{vmm}", "--set", f"{VMMS[vmm]}.preflight=false"]
    return own


def test_run_has_streams_and_exit_codes(home):
    need_qemu()
    for vmm in VMMS:
        result = home.kiln("run", "--rm", "-i", *options(vmm), "--", "sh", "-c", "cat; echo wrong >&2; exit 7", stdin="from here\n")
        assert (result.code, result.out, result.err) == (7, "from here\n", "wrong\n"), result
        result = home.kiln("run", "--rm", *options(vmm), "--", "/nonexistent")
        assert result.code == 127, result
    home.assert_clean()
    shown("kiln run on Firecracker and Cloud Hypervisor: streams and exit codes")


def test_a_detached_vm_lives_its_whole_life(home):
    need_qemu()
    for vmm in VMMS:
        home.ok("run", "-d", "--name", "a", *options(vmm), "--overlay-size", "256M", "-v", f"{vmm}:/data", "--",
                "sh", "-c", "echo started; exec sleep 10000")
        home.ok("exec", "a", "sh", "-c", f"echo {vmm} >/data/f && echo b >/root/g && sync")
        assert home.ok("exec", "a", "cat", "/root/g") == "b\n"
        home.ok("pause", "a")
        assert home.vms()[0]["state"] == "paused"
        home.ok("resume", "a")
        assert home.ok("exec", "a", "cat", "/data/f") == f"{vmm}\n"
        assert "started" in home.ok("logs", "a")
        begun = time.monotonic()
        home.ok("stop", "a")
        assert home.vms()[0]["state"] == "stopped", home.vms()
        assert time.monotonic() - begun < 9, "it was not stopped by its agent"
        home.ok("start", "a")
        assert home.ok("exec", "a", "cat", "/data/f") == f"{vmm}\n"
        home.ok("stop", "a")
        home.ok("rm", "a")
        assert home.ok("run", "--rm", *options(vmm), "-v", f"{vmm}:/data:ro", "--", "cat", "/data/f") == f"{vmm}\n"
    home.assert_clean()
    shown("the life of a VM on Firecracker and Cloud Hypervisor: exec, pause, stop, start, disks in their order")


def test_a_running_vm_is_changed(home):
    need_qemu()
    room = {"firecracker": 'firecracker.config={"memory-hotplug": {"total_size_mib": 512}}',
            "cloud-hypervisor": 'cloud_hypervisor.config={"cpus": {"max_vcpus": 2}}'}
    for vmm in VMMS:
        home.ok("run", "-d", "--name", "a", *options(vmm), "--set", "balloon=true", "--set", room[vmm], "--", "sleep", "10000")
        home.ok("update", "a", "--balloon", "64M")
        if vmm == "cloud-hypervisor":
            home.ok("update", "a", "--cpus", "2")
        else:
            home.ok("update", "a", "--memory", "640M")
        refused = home.kiln("update", "a", "--cpus", "3")
        assert refused.code == 125 and "cpus: " in refused.err, refused
        assert home.kiln("update", "a").code == 125
        home.ok("rm", "-f", "a")
    home.assert_clean()
    shown("kiln update on Firecracker and Cloud Hypervisor: balloon, processors, memory")


def test_the_vsock_socket_is_the_vmms_own(home):
    need_qemu()
    for vmm in VMMS:
        home.ok("run", "-d", "--name", "a", *options(vmm), "--", "sleep", "10000")
        identity = json.loads(home.ok("inspect", "a"))[0]["id"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(20)
            client.connect(str(home.runtime / identity / "vsock.sock"))
            client.sendall(b"CONNECT 4242\n")  # nobody listens there
            assert client.recv(100) == b""
        home.ok("rm", "-f", "a")
    home.assert_clean()


def test_a_runner_that_is_killed_leaves_nothing(home):
    need_qemu()
    for vmm in VMMS:
        home.ok("run", "-d", "--name", "a", *options(vmm), "--", "sleep", "10000")
        told = json.loads(home.ok("inspect", "a"))[0]
        os.kill(told["pid"], signal.SIGKILL)
        assert wait_gone(told["vmm_pid"], 20), "the VMM outlives its runner"
        assert home.vms()[0]["state"] == "failed", home.vms()
        home.ok("rm", "a")
        home.ok("run", "-d", "--name", "a", *options(vmm), "--", "sleep", "10000")
        told = json.loads(home.ok("inspect", "a"))[0]
        os.kill(told["vmm_pid"], signal.SIGKILL)
        home.kiln("wait", "a")
        told = json.loads(home.ok("inspect", "a"))[0]
        assert told["state"] == "failed" and "killed by signal 9" in told["failure"]["message"], told["failure"]
        home.ok("rm", "a")
    home.assert_clean()
    shown("a killed runner takes its VMM along; a killed VMM is a failure with its reason")


def test_a_configuration_of_firecrackers_becomes_one_of_kilns(home):
    theirs = home.dir / "vm.json"
    theirs.write_text(json.dumps({
        "boot-source": {"kernel_image_path": "/k/vmlinux", "boot_args": "console=ttyS0 reboot=k panic=1 pci=off mitigations=off root=/dev/vda"},
        "machine-config": {"vcpu_count": 2, "mem_size_mib": 1024, "huge_pages": "2M"},
        "drives": [{"drive_id": "rootfs", "path_on_host": "/d/root", "is_root_device": True, "is_read_only": False,
                    "rate_limiter": {"ops": {"size": 10, "refill_time": 100}}},
                   {"drive_id": "data", "path_on_host": "/d/data", "is_root_device": False, "is_read_only": True,
                    "cache_type": "Writeback"}],
        "network-interfaces": [{"iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": "02:00:00:00:00:01", "mtu": 1400}],
        "vsock": {"guest_cid": 7, "uds_path": "/tmp/v.sock"}, "entropy": {}}))
    home.ok("create", "--name", "a", "--from-firecracker", theirs)
    config = json.loads(home.ok("inspect", "a"))[0]["config"]
    rest = json.loads(config["firecracker"]["config"])
    assert config["backend"] == "firecracker" and config["cpus"] == 2 and config["cmdline"] == "mitigations=off", config
    assert config["kernel"]["path"] == "/k/vmlinux" and config["root"]["disk"]["path"] == "/d/root", config
    assert config["disks"][0]["path"] == "/d/data" and config["disks"][0]["readonly"], config
    assert config["networks"][0]["interface"] == "tap0" and config["vsock"]["cid"] == 7, config
    assert rest["machine-config"] == {"huge_pages": "2M"}, rest
    assert rest["drives"][0] == {"drive_id": "root", "rate_limiter": {"ops": {"size": 10, "refill_time": 100}}}, rest
    assert rest["network-interfaces"] == [{"iface_id": "net0", "mtu": 1400}], rest
    home.ok("rm", "a")
    home.assert_clean()


def start_restored(home, name, standin):
    """Starts it. A stand-in's guest may sleep on after a restore until somebody calls (tests/standins/README.md)."""
    with home.popen("start", name) as start:
        while standin and start.poll() is None:
            for path in home.runtime.glob("*/vsock.sock"):
                with socket.socket(socket.AF_UNIX) as call:
                    call.settimeout(1)
                    try:
                        call.connect(str(path))
                        call.sendall(b"CONNECT 1024\n")
                        call.recv(100)
                    except OSError:
                        pass
            try:
                start.wait(1)
            except subprocess.TimeoutExpired:
                pass
    assert start.returncode == 0, home.ok("inspect", name)


def test_a_vm_goes_on_from_its_snapshot(home):
    need_qemu()
    for vmm in VMMS:
        home.ok("run", "-d", "--name", "a", *options(vmm), "--", "sleep", "10000")
        home.ok("exec", "a", "sh", "-c", f"echo {vmm} >/root/kept")
        home.ok("snapshot", "a", home.dir / f"of-{vmm}")
        assert home.vms()[0]["state"] == "ready", "it goes on"
        home.ok("rm", "-f", "a")
        home.ok("create", "--name", "b", *options(vmm), "--set", f"snapshot={home.dir}/of-{vmm}")
        start_restored(home, "b", not shutil.which(vmm))
        assert home.ok("exec", "b", "cat", "/root/kept") == f"{vmm}\n"
        home.ok("rm", "-f", "b")
    home.assert_clean()
    shown("a VM goes on from its snapshot on Firecracker and Cloud Hypervisor")


def test_what_they_cannot_do_is_refused_by_name(home):
    need_qemu()
    for vmm in VMMS:
        refused = home.kiln("run", "--rm", *options(vmm), "-p", "8080:80", "--", "true")
        assert refused.code == 125 and vmm in refused.err, refused
        refused = home.kiln("run", "--rm", *options(vmm), "--set", f'{VMMS[vmm]}.config={{"nonesuch": 1}}', "--", "true")
        assert refused.code == 125 and "nonesuch" in refused.err, refused
    home.assert_clean()


if __name__ == "__main__":
    main(sys.modules[__name__])
