#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Seeds as cloud-init reads them: what is asked for stands in them, and no value becomes anything else.

Documents are read by PyYAML, as cloud-init does, and judged by cloud-init's own schema and network
code, from Debian's package (unpacked below .cache, not installed).

usage: seed_test.py SEED-PRINT
"""
import glob
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import yaml
except ImportError:
    print("no Python module yaml")
    sys.exit(77)

program = sys.argv[1]
CACHE = pathlib.Path(os.environ.get("KILN_CACHE", pathlib.Path(__file__).resolve().parents[2] / ".cache")) / "cloud-init"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDbmWoWu8sveBFW49Wa0IwSdnd7qpd0YndQcpGNkw66Z somebody@example"
MAC = "02:01:23:45:67:89"


class Refused(Exception):
    pass


def documents(config, image=False):
    """{file: text} of a configuration's seed; raises Refused."""
    base = {"firmware": "bios", "disks": ["/disk"]}
    with tempfile.TemporaryDirectory() as directory:
        source = pathlib.Path(directory, "config.json")
        source.write_text(json.dumps({**base, **config}))
        out = pathlib.Path(directory, "out")
        out.mkdir()
        env = dict(os.environ)
        if not image:
            env.pop("KILN_IMAGE", None)
        done = subprocess.run([program, source, out], capture_output=True, text=True, env=env)
        if done.returncode == 1:
            raise Refused(done.stderr.strip())
        assert done.returncode == 0, done
        return {p.name: p.read_bytes() for p in out.iterdir()}


def parsed(files):
    return {name: yaml.safe_load(files[name].decode()) for name in ("meta-data", "user-data", "network-config") if name in files}


def cloud_init():
    """Where cloud-init's modules are, or None with the reason said."""
    if not glob.glob(str(CACHE / "x/usr/lib/python3/dist-packages/cloudinit")):
        CACHE.mkdir(parents=True, exist_ok=True)
        got = subprocess.run(["apt-get", "download", "-q", "cloud-init"], cwd=CACHE, capture_output=True, text=True)
        debs = glob.glob(str(CACHE / "*.deb"))
        if not debs:
            print("cloud-init cannot be had:", got.stderr.strip().splitlines()[-1:])
            return None
        subprocess.run(["dpkg-deb", "-x", debs[0], CACHE / "x"], check=True)
    return str(CACHE / "x/usr/lib/python3/dist-packages")


PYTHON = "/usr/bin/python3"  # the distribution's, which has its modules


def judged_by_cloud_init(files):
    modules = cloud_init()
    if not modules:
        return False
    env = dict(os.environ, PYTHONPATH=modules)
    with tempfile.NamedTemporaryFile() as user, tempfile.NamedTemporaryFile() as network:
        user.write(files["user-data"])
        user.flush()
        done = subprocess.run([PYTHON, "-m", "cloudinit.cmd.main", "schema", "-c", user.name], capture_output=True, text=True, env=env)
        if "No module named" in done.stderr:
            print(done.stderr.strip().splitlines()[-1])
            return False
        assert done.returncode == 0 and "Valid cloud-config" in done.stdout, done
        if "network-config" in files:
            network.write(files["network-config"])
            network.flush()
            text = ("import sys, yaml, json\nfrom cloudinit.net.network_state import parse_net_config_data\n"
                    "state = parse_net_config_data(yaml.safe_load(open(sys.argv[1])))\n"
                    "print(json.dumps([i for i in state.iter_interfaces()]))\n")
            done = subprocess.run([PYTHON, "-c", text, network.name], capture_output=True, text=True, env=env)
            assert done.returncode == 0, done
            return json.loads(done.stdout)
    return True


FULL = {
    "identity": {"hostname": "web-1.example.com"},
    "networks": [{}, {"mac": "52:54:00:12:34:56"}],
    "volumes": [{"name": "data", "path": "/data"}],
    "seed": {
        "users": [{"name": "ann", "ssh_keys": [KEY], "groups": ["adm", "docker"], "shell": "/bin/bash", "sudo": True}, "bob"][:1],
        "ssh_keys": [KEY],
        "packages": ["nginx", "vim=2:9.0.1378-2"],
        "commands": ["echo \"$GREETING\" > '/root/a b'", "multi\n\tline: - [x] {y} # z"],
        "env": {"GREETING": "it's \"quoted\" $HOME `id`\nnext \\ line", "EMPTY": ""},
        "mounts": [{"source": "LABEL=data", "path": "/srv/data", "fstype": "ext4", "options": "noatime,nofail"}, {"source": "share", "path": "/mnt", "fstype": "virtiofs"}],
        "interfaces": [{"name": "lan0", "addresses": ["192.0.2.7/24", "2001:db8::7/64"], "gateways": ["192.0.2.1", "2001:db8::1"],
                        "dns": ["192.0.2.53"], "search": ["example.com"]}],
    },
}


def test_what_is_asked_for_stands_in_it():
    files = documents(FULL)
    got = parsed(files)
    assert files["user-data"].startswith(b"#cloud-config\n"), files["user-data"]
    assert got["meta-data"] == {"instance-id": "kiln-0123456789abcdef0123456789abcdef", "local-hostname": "web-1.example.com", "dsmode": "net"}
    user = got["user-data"]
    assert user["users"] == ["default", {"name": "ann", "lock_passwd": True, "ssh_authorized_keys": [KEY], "groups": ["adm", "docker"],
                                         "shell": "/bin/bash", "sudo": "ALL=(ALL) NOPASSWD:ALL"}], user["users"]
    assert user["ssh_authorized_keys"] == [KEY] and user["packages"] == FULL["seed"]["packages"] and user["package_update"] is True
    assert user["runcmd"] == [". /etc/profile.d/50-kiln-env.sh", *FULL["seed"]["commands"]]
    assert user["mounts"] == [["LABEL=data", "/srv/data", "ext4", "noatime,nofail", "0", "2"], ["share", "/mnt", "virtiofs", "defaults,nofail", "0", "0"],
                              ["/dev/disk/by-id/virtio-kiln-vol0", "/data", "ext4", "defaults,nofail,x-systemd.growfs", "0", "2"]]
    nets = got["network-config"]["ethernets"]
    assert nets["lan0"] == {"match": {"macaddress": MAC}, "set-name": "lan0", "dhcp4": False, "addresses": ["192.0.2.7/24", "2001:db8::7/64"],
                            "routes": [{"to": "0.0.0.0/0", "via": "192.0.2.1"}, {"to": "::/0", "via": "2001:db8::1"}],
                            "nameservers": {"addresses": ["192.0.2.53"], "search": ["example.com"]}}, nets
    assert nets["eth1"] == {"match": {"macaddress": "52:54:00:12:34:56"}, "set-name": "eth1", "dhcp4": True}
    state = judged_by_cloud_init(files)
    if isinstance(state, list):
        lan = next(i for i in state if i["name"] == "lan0")
        assert lan["mac_address"] == MAC and lan["subnets"][0]["address"].startswith("192.0.2.7"), lan


def test_nothing_asked_for_is_a_valid_seed():
    files = documents({})
    assert parsed(files)["user-data"] == {} and parsed(files)["meta-data"]["dsmode"] == "local"
    assert "network-config" not in files and files["vendor-data"].startswith(b"#cloud-boothook\n#!/bin/sh\n")
    judged_by_cloud_init(files)
    assert "vendor-data" not in documents({"seed": {"agent": False}})
    assert "vendor-data" not in documents({"vsock": {"enabled": False}, "readiness": {"kind": "none"}})


def test_the_shell_reads_the_environment_as_it_was_given():
    content = parsed(documents(FULL))["user-data"]["write_files"][0]["content"]
    names = FULL["seed"]["env"]
    done = subprocess.run(["sh", "-c", content + "".join(f'printf "%s\\0" "${n}"\n' for n in names)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\0")[:-1] == list(names.values()), done.stdout


def test_the_agents_script_is_a_shells():
    script = documents({})["vendor-data"].split(b"\n", 1)[1]
    for shell in ("sh", "bash"):
        subprocess.run([shell, "-n"], input=script, check=True)


def test_files_are_taken_as_they_are():
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"#!/bin/sh\necho \xff\x00 raw\n")
        file.flush()
        files = documents({"seed": {"user_data": file.name, "meta_data": {"path": file.name, "offset": 2, "length": 4}}})
        assert files["user-data"] == b"#!/bin/sh\necho \xff\x00 raw\n" and files["meta-data"] == b"/bin"
    for seed in ({"user_data": "/x", "packages": ["a"]}, {"user_data": "/nothing/there"}):
        try:
            documents({"seed": seed})
        except Refused as why:
            assert "seed." in str(why), why
        else:
            raise AssertionError(seed)


def test_the_disk_is_an_iso_9660_with_the_label():
    if not os.environ.get("KILN_IMAGE"):
        return
    files = documents(FULL, image=True)
    iso = files.pop("seed.iso")
    assert iso[16 * 2048 + 1:16 * 2048 + 6] == b"CD001" and iso[16 * 2048 + 40:16 * 2048 + 72] == b"cidata".ljust(32)
    for name in files:
        assert files[name] in iso, name
        assert name.encode() in iso, f"Rock Ridge has no {name}"
    assert b"\0k\0i\0l\0n\0-\0g\0u\0e\0s\0t" in iso, "Joliet"
    if blkid := next((p for p in ("/usr/sbin/blkid", "/sbin/blkid") if os.path.exists(p)), None):
        with tempfile.NamedTemporaryFile() as file:
            file.write(iso)
            file.flush()
            told = subprocess.run([blkid, "-p", file.name], capture_output=True, text=True, check=True).stdout
            assert 'LABEL="cidata"' in told and 'TYPE="iso9660"' in told, told


# Where a value goes in a configuration, and where it is found again.
PLACES = {
    "hostname": (lambda v: {"identity": {"hostname": v}}, lambda d: d["meta-data"]["local-hostname"]),
    "user": (lambda v: {"seed": {"users": [{"name": v}]}}, lambda d: d["user-data"]["users"][1]["name"]),
    "group": (lambda v: {"seed": {"users": [{"name": "a", "groups": [v]}]}}, lambda d: d["user-data"]["users"][1]["groups"][0]),
    "shell": (lambda v: {"seed": {"users": [{"name": "a", "shell": v}]}}, lambda d: d["user-data"]["users"][1]["shell"]),
    "key": (lambda v: {"seed": {"ssh_keys": [v]}}, lambda d: d["user-data"]["ssh_authorized_keys"][0]),
    "package": (lambda v: {"seed": {"packages": [v]}}, lambda d: d["user-data"]["packages"][0]),
    "command": (lambda v: {"seed": {"commands": [v]}}, lambda d: d["user-data"]["runcmd"][0]),
    "env name": (lambda v: {"seed": {"env": {v: "x"}}}, lambda d: d["user-data"]["write_files"][0]["content"][7:-5]),
    "env value": (lambda v: {"seed": {"env": {"A": v}}}, lambda d: by_shell(d["user-data"]["write_files"][0]["content"])),
    "source": (lambda v: {"seed": {"mounts": [{"source": v, "path": "/m"}]}}, lambda d: d["user-data"]["mounts"][0][0]),
    "mount point": (lambda v: {"seed": {"mounts": [{"source": "a", "path": v}]}}, lambda d: d["user-data"]["mounts"][0][1]),
    "type": (lambda v: {"seed": {"mounts": [{"source": "a", "path": "/m", "fstype": v}]}}, lambda d: d["user-data"]["mounts"][0][2]),
    "options": (lambda v: {"seed": {"mounts": [{"source": "a", "path": "/m", "options": v}]}}, lambda d: d["user-data"]["mounts"][0][3]),
    "interface": (lambda v: {"networks": [{}], "seed": {"interfaces": [{"name": v}]}}, lambda d: next(iter(d["network-config"]["ethernets"]))),
    "address": (lambda v: {"networks": [{}], "seed": {"interfaces": [{"addresses": [v]}]}}, lambda d: d["network-config"]["ethernets"]["eth0"]["addresses"][0]),
    "gateway": (lambda v: {"networks": [{}], "seed": {"interfaces": [{"gateways": [v]}]}}, lambda d: d["network-config"]["ethernets"]["eth0"]["routes"][0]["via"]),
    "dns": (lambda v: {"networks": [{}], "seed": {"interfaces": [{"dns": [v]}]}}, lambda d: d["network-config"]["ethernets"]["eth0"]["nameservers"]["addresses"][0]),
    "domain": (lambda v: {"networks": [{}], "seed": {"interfaces": [{"search": [v]}]}}, lambda d: d["network-config"]["ethernets"]["eth0"]["nameservers"]["search"][0]),
    "mac": (lambda v: {"networks": [{"mac": v}], "seed": {"use": "always"}}, lambda d: d["network-config"]["ethernets"]["eth0"]["match"]["macaddress"]),
    "volume": (lambda v: {"volumes": [{"name": v, "path": "/m"}]}, lambda d: v_of(d)),
    "volume path": (lambda v: {"volumes": [{"name": "a", "path": v}]}, lambda d: d["user-data"]["mounts"][0][1]),
}
GOOD = {"hostname": "a", "user": "a", "group": "a", "shell": "/bin/sh", "key": KEY, "package": "a", "command": "a", "env name": "a",
        "env value": "a", "source": "a", "mount point": "/m", "type": "a", "options": "a", "interface": "a", "address": "192.0.2.7/24",
        "gateway": "192.0.2.1", "dns": "192.0.2.1", "domain": "a", "mac": MAC, "volume": "a", "volume path": "/m"}

# What breaks out of something, somewhere.
HOSTILE = [
    "a\nruncmd: [reboot]", "a: b", "- a", "{a: b}", "[a, b]", "!!python/object/apply:os.system ['id']", "&a *a", "*a", "a # b", "'a'", '"a"',
    'a"\n"b', "a'b", "$(reboot)", "`reboot`", "${IFS}reboot", "a;reboot", "a|reboot", "a&reboot", "a>b", "a\\", "a\\nb", "a\tb", "a b", " a", "a ",
    "a\rb", "a\u0085b", "a\u2028b", "a\u2029b", "a\ufeffb", "a\uffffb", "a\x7fb", "a\x1bb", "a\u009bb", "\U0001f600", "~", "null", "true", "0x10",
    "---", "...", "%YAML 1.1", "../a", "/../a", "/a/../../b", "-rf", "--help", "a,b", "a=b", "=", "a%b", "{{ v1 }}", "## template: jinja", "@a", "\u00e9",
    "a" * 300, "/m x", "/m\\040x", "192.0.2.7/33", "192.0.2.7", "::1%eth0", "2001:db8::/129", "1.2.3.4/24\n", "ff:ff:ff:ff:ff:ff",
    'command="reboot" ' + KEY, KEY + "\n" + KEY, "ssh-ed25519 AAAA", KEY.replace("ssh-ed25519", "ssh-dss"), KEY + "\u2028x", "default", "root",
]


def by_shell(content):
    done = subprocess.run(["sh", "-c", content + 'printf %s "$A"'], capture_output=True, check=True)
    return done.stdout.decode()


def v_of(found):
    return found["user-data"]["mounts"][0][0]


def shape(value):
    """The structure without the texts in it."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in sorted(value.items())}
    if isinstance(value, list):
        return [shape(v) for v in value]
    return type(value).__name__


def test_hostile_values_are_refused_or_survive():
    refused = survived = 0
    schema = 0
    for place, (make, find) in PLACES.items():
        benign = parsed(documents(make(GOOD[place])))
        if place != "volume":
            assert find(benign) == GOOD[place], (place, find(benign))
        for value in HOSTILE:
            try:
                files = documents(make(value))
            except Refused as why:
                refused += 1
                assert str(why), (place, value)
                assert all(" " <= c for c in str(why)), f"a terminal's control characters in {why!r}"
                continue
            survived += 1
            got = parsed(files)
            if place not in ("volume", "interface"):
                assert find(got) == value, f"{place}: {value!r} became {find(got)!r}"
            if place != "interface":
                assert shape(got) == shape(benign), f"{place}: {value!r} made {got}"
            # One of each is enough for a program that takes a second.
            if place in ("command", "env value") and schema < 3:
                schema += 1
                judged_by_cloud_init(files)
    assert refused > 40 and survived > 40, (refused, survived)
    print(f"shown: {len(HOSTILE)} hostile values in each of {len(PLACES)} places of a seed: {refused} refused, {survived} unchanged")


failures = 0
for name, function in list(globals().items()):
    if name.startswith("test_"):
        try:
            function()
            print("ok   ", name)
        except Exception as why:  # pylint: disable=broad-except
            failures += 1
            print("FAIL ", name, type(why).__name__, why)
sys.exit(1 if failures else 0)
