#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command with Firecracker and Cloud Hypervisor: the real ones where they are on PATH and KVM works, else the
stand-ins, which boot the VM by emulation."""
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import kilntest
from kilntest import BUILD, main, need_qemu, shown, wait_gone

TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x2, 0x1000, 0x4000
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


def test_devices_come_and_go(home):
    need_qemu()
    disk = home.dir / "added.img"
    disk.write_bytes(b"from the host\n" + bytes((1 << 20) - 14))
    home.ok("run", "-d", "--name", "a", *options("cloud-hypervisor"), "--", "sleep", "10000")
    names = set(home.ok("exec", "a", "ls", "/sys/block").split())
    home.ok("update", "a", "--add-disk", f"data={disk}:ro")
    find = "while :; do for d in /sys/block/vd*; do if [ $(cat $d/size) = 2048 ]; then basename $d; exit; fi; done; usleep 10000; done"
    added = home.ok("exec", "a", "sh", "-c", find, timeout=60).strip()
    assert added and added not in names, (added, names)
    assert home.ok("exec", "a", "head", "-n1", f"/dev/{added}") == "from the host\n"
    counters = json.loads(home.ok("stats", "--format", "json", "a"))[0]["counters"]
    assert counters["data"]["read_bytes"] > 0, counters
    again = home.kiln("update", "a", "--add-disk", f"data={disk}")
    assert again.code == 125 and "not unique" in again.err, again
    home.ok("update", "a", "--remove", "data")
    home.ok("exec", "a", "sh", "-c", f"while [ -e /sys/block/{added} ]; do usleep 10000; done", timeout=60)
    for refused, word in ((["update", "a", "--add", "x=vsock:{}"], "vsock"), (["update", "a", "--add-net", "n=tap0"], "cut off"),
                          (["update", "a", "--add", "x=fs"], "KIND:JSON"), (["update", "a", "--remove", "root"], "root"),
                          (["update", "a", "--add-disk", "/x"], "ID="), (["reset", "a"], "on_reboot"),
                          (["dump", "a", home.dir / "core"], "guest_debug")):
        result = home.kiln(*refused)
        assert result.code == 125 and word in result.err, result
    assert home.vms()[0]["state"] == "ready", home.vms()
    home.ok("nmi", "a")
    home.ok("stop", "--power-button", "a")
    home.ok("rm", "-f", "a")
    for name in ("update a --remove x", "nmi a", "dump a /f"):
        if not home.vms():
            home.ok("run", "-d", "--name", "a", "--backend", "fake")
        result = home.kiln(*name.split())
        assert result.code == 125 and "fake" in result.err, result
    home.ok("rm", "-f", "a")
    home.assert_clean()
    shown("kiln update adds and removes a disk of a running Cloud Hypervisor, kiln stats has its counters, the rest is refused by name")


def test_interfaces_are_opened_by_kiln(home):
    need_qemu()
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        return
    with open("/dev/net/tun", "r+b", buffering=0) as tap:
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"kilntest7", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        fcntl.ioctl(tap, TUNSETPERSIST, 1)
    try:
        home.env["STANDIN_LOG"] = str(home.dir / "requests")
        networks = 'networks=[{"kind": "tap", "interface": "kilntest7", "mac": "02:00:00:00:00:07"}]'
        result = home.kiln("run", "--rm", *options("cloud-hypervisor"), "--set", networks, "--set", "cloud_hypervisor.open_taps=true",
                           "--", "cat", "/sys/class/net/eth0/address")
        assert (result.code, result.out) == (0, "02:00:00:00:00:07\n"), result
        if not shutil.which("cloud-hypervisor"):
            requests = [json.loads(line) for line in (home.dir / "requests").read_text().splitlines()]
            told = [(r["path"], r["fds"]) for r in requests if r.get("method") == "PUT"][:3]
            assert told == [("/api/v1/vm.create", 0), ("/api/v1/vm.add-net", 1), ("/api/v1/vm.boot", 0)], told
            body = [r["body"] for r in requests if r.get("path") == "/api/v1/vm.add-net"][0]
            assert json.loads(body) if isinstance(body, str) else body == {"id": "net0", "mac": "02:00:00:00:00:07"}, body
        refused = home.kiln("run", "--rm", *options("cloud-hypervisor"), "--set", networks.replace("kilntest7", "kilnabsent"), "--set",
                            "cloud_hypervisor.open_taps=true", "--", "true")
        assert refused.code == 125 and "kilnabsent" in refused.err, refused
    finally:
        subprocess.run(["ip", "link", "del", "kilntest7"], check=True)
    home.assert_clean()
    shown("a TAP interface that kiln opens reaches Cloud Hypervisor as a descriptor")


def test_an_old_version_numbers_its_disks_itself(home):
    need_qemu()
    if shutil.which("cloud-hypervisor"):
        return
    home.env["STANDIN_VERSION"] = "32.0.0"
    result = home.kiln("run", "--rm", *options("cloud-hypervisor"), "--overlay-size", "256M", "-v", "v:/data", "--",
                       "sh", "-c", "echo kept >/data/f; cat /data/f; touch /root/written")
    assert (result.code, result.out) == (0, "kept\n"), result
    home.assert_clean()


def test_a_command_line_of_cloud_hypervisors_becomes_a_configuration(home):
    theirs = home.dir / "start.sh"
    theirs.write_text("""# as it was
cloud-hypervisor -v --api-socket /tmp/ch.sock --kernel /k/vmlinux --cmdline "console=ttyS0 root=/dev/vda rw mitigations=off" \\
  --cpus boot=2,max=4,topology=1:2:1:1 --memory size=1G,hotplug_size=2G,shared=on \\
  --disk path=/d/root path=/d/data,readonly=on,direct=on,bw_size=1000,bw_refill_time=100,serial=mine \\
  --net 'tap=tap0,mac=02:00:00:00:00:01,num_queues=4' --vsock cid=7,socket=/tmp/v.sock --serial tty --console=off \\
  --balloon size=64M,free_page_reporting=on --watchdog --fs tag=work,socket=/s/fs,num_queues=1,queue_size=512 \\
  --platform oem_strings=[a,b]
""")
    home.ok("create", "--name", "a", "--from-cloud-hypervisor", theirs)
    config = json.loads(home.ok("inspect", "a"))[0]["config"]
    rest = json.loads(config["cloud_hypervisor"]["config"])
    assert config["backend"] == "cloud-hypervisor" and config["cpus"] == 2 and config["cmdline"] == "mitigations=off", config
    assert config["kernel"]["path"] == "/k/vmlinux" and config["root"]["disk"]["path"] == "/d/root", config
    assert config["disks"] == [{"path": "/d/data", "readonly": True, "cache": "none", "serial": "mine"}], config["disks"]
    assert config["networks"][0]["interface"] == "tap0" and config["networks"][0]["mac"] == "02:00:00:00:00:01", config
    assert config["vsock"]["cid"] == 7 and config["balloon"], config
    assert rest == {
        "cpus": {"max_vcpus": 4, "topology": {"threads_per_core": 1, "cores_per_die": 2, "dies_per_package": 1, "packages": 1}},
        "memory": {"hotplug_size": 2 << 30, "shared": True}, "balloon": {"size": 64 << 20, "free_page_reporting": True},
        "disks": [{"id": "disk0", "rate_limiter_config": {"bandwidth": {"size": 1000, "refill_time": 100}}}],
        "net": [{"id": "net0", "num_queues": 4}], "watchdog": True, "platform": {"oem_strings": ["a", "b"]},
        "fs": [{"tag": "work", "socket": "/s/fs", "num_queues": 1, "queue_size": 512}]}, rest
    home.ok("rm", "a")
    for line, word in (("--kernel /k --numa guest_numa_id=0", "--numa"), ("--kernel /k --serial file=/x", "--serial"),
                       ("--kernel /k --disk path=/d --cmdline root=/dev/vda1", "/dev/vda1"), ("--kernel '/k", "quote"),
                       ("--kernel /k --net mac=02:00:00:00:00:01", "TAP"), ("--kernel /k --cpus boot", "KEY=VALUE"),
                       ("--kernel /k --cpus boot=1,affinity=[0@[1]]", "affinity"), ("stray --kernel /k", "stray")):
        theirs.write_text(f"cloud-hypervisor {line}\n")
        refused = home.kiln("create", "--from-cloud-hypervisor", theirs)
        assert refused.code == 125 and word in refused.err, refused
    home.assert_clean()


def test_a_start_sleeps_never_and_connects_once(home):
    """Only a connect to Firecracker's API that was refused is tried again: its socket is there before it listens."""
    need_qemu()
    if not shutil.which("strace"):
        raise kilntest.Skip("strace is not installed")
    for vmm in VMMS:
        trace = home.dir / f"trace-{vmm}"
        trace.mkdir()
        subprocess.run(["strace", "-ff", "-o", trace / "t", "-e", "trace=execve,connect,nanosleep,clock_nanosleep,select,pselect6,pause",
                        kilntest.KILN, "run", *map(str, options(vmm)), "--", "true"],
                       env={**home.env, "ASAN_OPTIONS": "detect_leaks=0"}, stdin=subprocess.DEVNULL, check=True, timeout=kilntest.DEADLINE)
        ours = [text for text in (file.read_text() for file in trace.iterdir()) if f"execve(\"{kilntest.KILN}" in text]
        assert sum("kiln-runner" in text for text in ours) == 1, "the runner was not traced"
        calls = [line for text in ours for line in text.splitlines()]
        assert not [line for line in calls if "sleep" in line.split("(")[0] or line.startswith(("select", "pselect6", "pause"))], calls
        connects = {name: [line.rsplit(" = ", 1)[1] for line in calls if line.startswith("connect(") and name in line]
                    for name in ("api.sock", "vsock.sock")}
        assert connects["api.sock"][-1] == "0" and connects["vsock.sock"] == ["0"], connects
        assert all(vmm == "firecracker" and "ECONNREFUSED" in result for result in connects["api.sock"][:-1]), connects
        shown(f"a start on {vmm}: no sleep, {len(connects['api.sock'])} connect to its API, 1 to its vsock")
    home.assert_clean()


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
