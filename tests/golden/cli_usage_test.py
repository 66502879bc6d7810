#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cli_usage_test.py KILN: what the command line means, and what it says of one that means nothing."""
import json
import os
import subprocess
import sys
import tempfile

kiln = os.path.abspath(sys.argv[1])
home = tempfile.TemporaryDirectory(prefix="kiln-usage-")
os.makedirs(os.path.join(home.name, "root"))
env = dict(os.environ, KILN_HOME=home.name + "/home", KILN_RUNTIME_DIR=home.name + "/run", PASSED="on")
env.pop("KILN_IMAGE_CACHE", None)
env.pop("ABSENT", None)


def run(*args, vars=None, **kwargs):
    return subprocess.run([kiln, *args], capture_output=True, text=True, env=dict(env, **(vars or {})), cwd=home.name, check=False, **kwargs)


def refuses(args, *words):
    """Exit 125, nothing on stdout, two lines on stderr, or three: what and why, and what to do."""
    r = run(*args)
    assert r.returncode == 125 and r.stdout == "", (args, r)
    lines = r.stderr.splitlines()
    assert 2 <= len(lines) <= 3 and lines[0].startswith("kiln: ") and lines[1].startswith("      "), (args, r.stderr)
    for word in words:
        assert word in r.stderr, (args, word, r.stderr)
    assert json.loads(run("ls", "-a", "--format", "json").stdout) == [], args


def config_of(*args):
    """The configuration that `create` makes of these options; the VM is removed again."""
    made = run("create", *args)
    assert made.returncode == 0, (args, made.stderr)
    config = json.loads(run("inspect", made.stdout.strip()).stdout)[0]["config"]
    assert run("rm", made.stdout.strip()).returncode == 0
    return config


def test_unknown_words_are_named_with_a_likely_one():
    refuses([], "--help")
    refuses(["runn"], "runn", "kiln run")
    refuses(["--name", "x", "run"], "behind the command")
    refuses(["run", "--rotfs", "x"], "--rotfs", "--rootfs")
    refuses(["run", "--rotfs=x"], "--rotfs", "--rootfs")
    refuses(["run", "-Z"], "-Z", "kiln run --help")
    refuses(["stop"], "usage: kiln stop")
    refuses(["attach", "a", "b"], "\"b\"")
    refuses(["ls", "--format", "xml"], "xml", "table|json")
    refuses(["run", "--name"], "--name", "NAME")
    refuses(["run", "--rm=yes"], "--rm")
    refuses(["kill", "-s", "NONE", "x"], "NONE")
    refuses(["stop", "-t", "soon", "x"], "soon")
    refuses(["logs", "--tail", "-1", "x"], "-1")
    refuses(["logs", "--since", "once", "x"], "once")
    refuses(["completion", "csh"], "csh")
    refuses(["kernel", "push"], "push")
    refuses(["pause", "absent"], "absent")


def test_what_there_is_no_root_for_is_refused_with_what_works():
    refuses(["run", "--pull", "never", "debian:12", "--", "true"], "debian:12", "kiln pull")
    refuses(["run", "Debian", "true"], "Debian", "lower case")
    refuses(["run", "--", "true"], "true", "--rootfs")
    refuses(["run", "--rootfs", "root"], "command")
    for verb in ("console", "attach", "logs", "inspect", "events", "stats", "stop", "kill", "pause", "resume", "restart", "wait", "rm", "start"):
        r = run(verb, "absent")
        assert r.returncode == 125 and "kiln ls -a" in r.stderr, (verb, r)


def test_help_is_no_error_wherever_it_stands():
    for args in (["--help"], ["help"], ["help", "run"], ["run", "--help"], ["stop", "-h"], ["exec", "--help"]):
        r = run(*args)
        assert r.returncode == 0 and r.stdout.startswith("Usage: kiln") and r.stderr == "", (args, r)


def test_options_fill_the_configuration():
    assert config_of() == {}
    c = config_of("--rootfs", "root", "--cpus", "2", "-m", "1g", "--hostname=h", "-l", "a=b", "-lc=d", "--name", "n",
                  "--stop-timeout", "3", "--accel", "tcg", "--set", "rng=false", "--set", "log.limit=1M",
                  "--", "sh", "-c", "x -y")
    assert c["root"] == {"directory": {"path": home.name + "/root"}}, c
    assert (c["cpus"], c["memory"], c["stop_timeout"]) == (2, 1 << 30, 3000), c
    assert c["labels"] == {"a": "b", "c": "d"} and c["identity"] == {"hostname": "h"}, c
    assert c["rng"] is False and c["log"] == {"limit": 1 << 20} and c["accel"] == "tcg", c
    assert c["process"] == {"args": ["sh", "-c", "x -y"]}, c


def test_tmpfs_takes_dockers_words():
    c = config_of("--rootfs", "root", "--tmpfs", "/tmp", "--tmpfs", "/run/x:rw,noexec,nosuid,size=64m,mode=0700",
                  "--tmpfs", "/opt:exec", "x")
    assert c["tmpfs"] == [{"path": "/tmp"}, {"path": "/run/x", "size": 64 << 20, "mode": "0700"},
                          {"path": "/opt", "exec": True}], c
    refuses(["run", "--rootfs", "root", "--tmpfs", "/tmp:uid=5", "x"], "uid=5", "size=")
    refuses(["run", "--rootfs", "root", "--tmpfs", "tmp", "x"], "tmpfs[0].path")
    refuses(["run", "--rootfs", "root", "--tmpfs", "/", "x"], "tmpfs[0].path")
    refuses(["run", "--rootfs", "root", "--tmpfs", "/tmp:mode=rwx", "x"], "tmpfs[0].mode")


def test_words_behind_the_command_are_the_commands():
    for words in (["ls", "-l", "--name", "x"], ["--", "ls", "-l", "--name", "x"]):
        c = config_of("-it", "--rootfs", "root", *words)
        assert c["process"] == {"args": ["ls", "-l", "--name", "x"], "tty": True, "stdin": True}, c
    c = config_of("--rootfs", "root", "echo", "--", "x")
    assert c["process"]["args"] == ["echo", "--", "x"], c
    c = config_of("--rootfs", "root", "--entrypoint", "/bin/sh", "--", "-c", "true")
    assert c["process"] == {"entrypoint": ["/bin/sh"], "args": ["-c", "true"]}, c


def test_environment_comes_from_options_files_and_this_process():
    with open(home.name + "/env", "w", encoding="utf-8") as f:
        f.write("# comment\n\nA=from file\nPASSED\r\n  B=x\n")
    c = config_of("-e", "A=1", "--env-file", "env", "-e", "ABSENT", "-eE=f=g", "-u", "user:1", "-w", "/var", "--rootfs", "root", "x")
    assert c["process"]["env"] == {"A": "from file", "PASSED": "on", "B": "x", "E": "f=g"}, c
    assert (c["process"]["user"], c["process"]["cwd"]) == ("user:1", "/var"), c
    refuses(["create", "--env-file", "absent"], "absent")


def test_roots_and_disks_are_recognized_by_looking():
    def file(name, *pieces):
        data = bytearray(4096)
        for offset, piece in pieces:
            data[offset:offset + len(piece)] = piece
        with open(f"{home.name}/{name}", "wb") as f:
            f.write(data)
        return name

    for name, pieces, kind in (("a", [(0, b"hsqs")], "squashfs"), ("b", [(257, b"ustar")], "tar"),
                               ("c", [(0, b"\x1f\x8b")], "tar"), ("d", [(1024 + 56, b"\x53\xef")], "disk"),
                               ("e", [(0, b"\x28\xb5\x2f\xfd")], "tar")):
        c = config_of("--rootfs", file(name, *pieces))
        assert c["root"] == {kind: {"path": f"{home.name}/{name}"}}, (name, c)
    refuses(["create", "--rootfs", file("none")], "none")
    refuses(["create", "--rootfs", "absent"], "absent")
    file("f:ro")
    c = config_of("--disk", "a", "--disk", "b:ro", "--disk", "f:ro")
    assert [(d["path"].split("/")[-1], d.get("readonly", False)) for d in c["disks"]] == [
        ("a", False), ("b", True), ("f:ro", False)], c
    refuses(["create", "--disk", "absent"], "absent")
    c = config_of("--rootfs", "d", "--read-only")
    assert c["root"]["overlay"] == {"kind": "none"} and c["root"]["readonly"] is True, c


def test_ports_bring_a_network_and_readiness_has_its_forms():
    c = config_of("-p", "8080:80")
    assert c["ports"] == [{"host_port": 8080, "guest_port": 80}] and len(c["networks"]) == 1, c
    refuses(["create", "-p", "x"], "--publish")
    c = config_of("--network", "user", "-p", "80", "--ready", "tcp:80")
    assert c["readiness"] == {"kind": "tcp", "port": 80} and len(c["networks"]) == 1, c
    c = config_of("--ready", "command:test -e /x")
    assert c["readiness"] == {"kind": "command", "command": ["/bin/sh", "-c", "test -e /x"]}, c
    for bad in ("tcp", "tcp:", "agent:1", "command:", "what"):
        refuses(["create", "--ready", bad])
    refuses(["create", "--set", "cpus"], "KEY=VALUE")
    refuses(["create", "--set", "cpuz=1"], "cpuz")


def test_networks_have_their_kinds():
    assert config_of("--network", "tap:tap7")["networks"] == [{"kind": "tap", "interface": "tap7"}]
    assert config_of("--network", "user", "--network", "tap:a")["networks"] == [{"kind": "user"}, {"kind": "tap", "interface": "a"}]
    assert "networks" not in config_of("--network", "user", "--network", "none")
    for bad, word in (("tap", "tap"), ("tap:", "interface"), ("tap:longer-than-16-bytes", "interface"), ("tap:a/b", "interface"), ("tap:..", "interface"), ("tap:a,b", "interface"),
                      ("host", "host"), ("", "network")):
        refuses(["create", "--network", bad], word)


def test_the_seed_by_options():
    for name in ("meta", "network", "user"):
        with open(f"{home.name}/{name}", "w", encoding="utf-8") as f:
            f.write("{}\n")
    c = config_of("--firmware", "bios", "--disk", "user", "--network", "user", "--address", "192.0.2.5/24", "--gateway", "192.0.2.1", "--dns", "192.0.2.1",
                  "--dns-search", "example.org", "--package", "jq", "--package", "curl", "--run-command", "true", "--seed-env", "A=b c",
                  "--add-user", "me", "--seed-mount", "LABEL=data:/data:ro,nofail", "--hostname", "h")
    seed = c["seed"]
    assert seed["interfaces"] == [{"addresses": ["192.0.2.5/24"], "gateways": ["192.0.2.1"], "dns": ["192.0.2.1"], "search": ["example.org"]}], seed
    assert seed["packages"] == ["jq", "curl"] and seed["commands"] == ["true"] and seed["env"] == {"A": "b c"}, seed
    assert [user["name"] for user in seed["users"]] == ["me"], seed
    assert seed["mounts"] == [{"source": "LABEL=data", "path": "/data", "options": "ro,nofail"}], seed
    c = config_of("--firmware", "bios", "--disk", "user", "--meta-data", "meta", "--network-config", "network", "--user-data", "user")
    assert {key: c["seed"][key]["path"] for key in ("meta_data", "network_config", "user_data")} == {
        "meta_data": home.name + "/meta", "network_config": home.name + "/network", "user_data": home.name + "/user"}, c
    for option in ("--meta-data", "--network-config", "--user-data"):
        refuses(["create", "--firmware", "bios", "--disk", "user", option, "absent"], option, "absent")
    for words in (["--package", "a b"], ["--package", "-x"], ["--dns-search", "a b"], ["--seed-mount", "x"], ["--seed-mount", "a b:/x"], ["--seed-env", "A"],
                  ["--gateway", "x"], ["--address", "192.0.2.5"], ["--add-user", "a:b"], ["--dns", "x"]):
        refuses(["create", "--firmware", "bios", "--disk", "user", "--network", "user", *words], words[0])


def test_options_are_named_not_keys():
    refuses(["run", "--cpus", "0"], "--cpus: must be at least 1, not 0")
    refuses(["run", "-m", "some"], "--memory: must be a size")
    refuses(["run", "--kernel", "/nonexist"], "--kernel: ", "/nonexist: No such file")
    refuses(["run", "--initrd", "/"], "--initrd: / is a directory")
    refuses(["run", "--rootfs", "/nonexist"], "--rootfs: ", "/nonexist")
    refuses(["run", "--hostname", "-"], "--hostname: must be a host name")
    refuses(["run", "-l", "x"], "--label: ")
    refuses(["run", "--stop-timeout", "x"], "--stop-timeout: ")
    refuses(["run", "-u", ":"], "--user: ")
    refuses(["run", "-w", "x"], "--workdir: ")
    refuses(["run", "--overlay-size", "x"], "--overlay-size: ")
    refuses(["create", "-m", "48M", "--rootfs", "root", "x"], "80 MiB", "more")
    refuses(["create", "-m", "900G"], "MiB is more than this host has", "MiB)")


def test_options_of_docker_are_refused_by_name():
    for words, says in ((["-iv", "/a"], "volumes without a name"), (["--mount", "x"], "--mount"), (["--restart", "always"], "--restart")):
        refuses(["run", *words, "--rootfs", "root", "x"], "not supported yet by this version: " + says)
    for words in (["-v", "data"], ["-v", ":/data"], ["-v", "data:"], ["-v", "data:data"], ["-v", "data:/"], ["-v", "a/b:/data"],
                  ["-v", "data:/x/../y"], ["-v", "data:/data:zz"], ["-v", "data:/a", "-v", "data:/b"]):
        refuses(["create", *words, "--rootfs", "root", "x"], "olume")
    refuses(["run", "--privileged"], "--privileged", "leave it out")
    refuses(["ls", "-f", "name=x"], "--filter")
    refuses(["inspect", "--format", "json", "x"], "one format")
    refuses(["ls", "--format"], "table|json")
    assert "\n" not in run("schema", "--help").stdout.splitlines()[0] and not run("schema", "--help").stdout.splitlines()[0].endswith(" ")


def test_keys_of_the_configuration_have_hints():
    for pair, words in (("serial=x", ("disks[].serial",)), ("ttl=1h", ("time_to_live",)), ("process.uid=1", ("process.user",)),
                        ("foo=1", ("\"foo\"", "kiln schema")), ("image=x", ("root.image",)), ("restart=x", ("restart",)),
                        ("console.serial=x", ("console.serial",)), ("cpus=x", ("whole number", "kiln-config"))):
        refuses(["create", "--set", pair], *words)


def test_the_overlay_can_be_a_disk():
    c = config_of("--rootfs", "root", "--overlay-size", "20G")
    assert c["root"]["overlay"] == {"kind": "disk", "size": 20 << 30}, c


def test_a_configuration_file_comes_first():
    with open(home.name + "/vm.json", "w", encoding="utf-8") as f:
        json.dump({"cpus": 3, "memory": "1G", "process": {"args": ["old"]}}, f)
    c = config_of("--cpus", "2", "--config", "vm.json", "--rootfs", "root", "new")
    assert (c["cpus"], c["memory"], c["process"]["args"]) == (2, 1 << 30, ["new"]), c
    refuses(["create", "--config", "absent"], "absent")


def test_lists_of_nothing():
    assert run("ls", "-q").stdout == "" and json.loads(run("ls", "-a", "--format", "json").stdout) == []
    assert run("ls").stdout.split() == ["ID", "NAME", "STATE", "BACKEND", "ACCEL", "CREATED", "EXIT"]
    assert json.loads(run("stats", "--format", "json").stdout) == []
    r = run("inspect", "absent")
    assert r.returncode == 125 and json.loads(r.stdout) == [] and "absent" in r.stderr, r
    assert run("rm", "-f", "absent").returncode == 0


def test_directories_of_the_environment_are_absolute_and_those_of_others_are_not_made():
    for variables, words in (({"KILN_HOME": "home"}, ("KILN_HOME", "home")), ({"KILN_RUNTIME_DIR": "r"}, ("KILN_RUNTIME_DIR",)),
                             ({"KILN_RUNTIME_DIR": "", "XDG_RUNTIME_DIR": home.name + "/login"}, ("XDG_RUNTIME_DIR",))):
        r = run("ls", "-a", vars=variables)
        assert r.returncode == 125 and len(r.stderr.splitlines()) == 2, r
        for word in words:
            assert word in r.stderr, r
    assert not os.path.exists(home.name + "/login")
    for name in ("KILN_HOME", "KILN_RUNTIME_DIR"):
        r = run("create", vars={name: "/proc/absent"})
        assert r.returncode == 125 and f"set {name}" in r.stderr, r


def test_closed_descriptors_stay_closed():
    for fd, code in ((0, 0), (1, 125), (2, 0)):
        r = run("ls", preexec_fn=lambda fd=fd: os.close(fd)) if fd != 1 else subprocess.run(
            [kiln, "ls"], env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1), check=False)
        assert r.returncode == code, (fd, r)


def test_a_full_disk_is_told():
    with open("/dev/full", "w", encoding="utf-8") as full:
        r = subprocess.run([kiln, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert r.returncode == 125 and "No space left" in r.stderr, r


def test_the_age_of_the_default_kernel_is_told():
    """Where the distribution was last asked long ago, the report says what renews it."""
    assert json.loads(run("kernel", "--format", "json", "ls").stdout) == []
    arch = json.loads(run("version", "--format", "json").stdout)["arch"]
    images = os.path.join(home.name, "home", "images")
    os.makedirs(os.path.join(images, "index"))
    os.chmod(images, 0o700)
    os.makedirs(os.path.join(images, "objects", "k"))
    os.symlink(f"6.1.0-test,{arch},elf,1,0", os.path.join(images, "objects", "k", "about"))
    record = os.path.join(images, "index", f"kernel-{arch}-1-distro")
    os.symlink("../objects/k", record)
    asked = run("doctor")
    assert "fetched now" in asked.stdout and "kernel pull" not in asked.stdout, asked.stdout
    os.utime(record, (1700000000, 1700000000), follow_symlinks=False)
    asked = run("doctor")
    assert "days ago" in asked.stdout and "kiln kernel pull" in asked.stdout, asked.stdout
    found = json.loads(run("kernel", "--format", "json", "ls").stdout)
    assert [k["release"] for k in found] == ["6.1.0-test"] and found[0]["fetched"].startswith("2023-11-14T"), found
    os.unlink(record)


def test_version_and_schema():
    assert run("version").stdout == run("--version").stdout
    assert json.loads(run("version", "--format", "json").stdout)["version"] in run("version").stdout
    assert json.loads(run("schema").stdout)["$schema"]


failed = 0
for name, function in list(globals().items()):
    if name.startswith("test_"):
        try:
            function()
            print("ok   ", name)
        except AssertionError as error:
            failed += 1
            print("FAIL ", name, error)
home.cleanup()
sys.exit(1 if failed else 0)
