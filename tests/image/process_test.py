#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an image says of its process, in guests that really boot: by the command and by the library, which do the same."""
import json
import pathlib
import subprocess
import sys
import tarfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from imagetest import Home, Image, entry, main, need, tar_of

DIR, SYM = tarfile.DIRTYPE, tarfile.SYMTYPE
SCRIPT = "trap 'echo stopped by usr1; exit 7' USR1; trap 'exit 8' TERM; echo $A $PWD; touch /tmp/running; while :; do sleep 0.1; done"


def load(home, name, **config):
    need("busybox")
    tools = ("sh", "touch", "rm", "test", "ls", "sleep", "echo", "cat")
    layer = tar_of([*[entry(n, DIR) for n in ("bin", "etc", "dev", "proc", "run", "sys", "data")], entry("tmp", DIR, mode=0o1777),
                    entry("bin/busybox", data=pathlib.Path("/bin/busybox").read_bytes(), mode=0o755),
                    *[entry(f"bin/{tool}", SYM, linkname="busybox") for tool in tools],
                    entry("data/from-image", data=b"x"), entry("etc/passwd", data=b"root:x:0:0::/:/bin/sh\nwww:x:33:33::/:/bin/sh\n")])
    Image([layer], config=config).layout(home.dir / name, name)
    home.ok("image", "load", f"oci:{home.dir / name}", name)
    return name


def inspect(home, vm):
    return json.loads(home.ok("inspect", vm))[0]


def events(home, vm):
    return [(e["event"], e.get("exit")) for e in map(json.loads, home.ok("events", "--since", "1h", "--format", "json", vm).splitlines())]


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while True:
        got = what()
        if got:
            return got
        assert time.monotonic() < end, got
        time.sleep(0.1)


def run(home, *args):
    vm = home.ok("run", "-d", *args).strip()
    until(lambda: home.kiln("exec", vm, "test", "-e", "/tmp/running").returncode == 0)
    return vm


def test_the_stop_signal():
    with Home() as home:
        image = load(home, "signal", Entrypoint=["/bin/sh", "-c"], Cmd=[SCRIPT], StopSignal="SIGUSR1", Env=["A=env"], WorkingDir="/etc")
        vm = run(home, image)
        home.ok("stop", vm)
        assert home.ok("logs", vm) == "env /etc\nstopped by usr1\n"
        assert events(home, vm)[-1][1]["code"] == 7
        vm = run(home, "--stop-signal", "TERM", image)
        home.ok("stop", vm)
        assert events(home, vm)[-1][1]["code"] == 8
        home.refused("run", "--stop-signal", "SIGNONE", image, words=("--stop-signal", "signal of Linux"))


def test_the_library_does_what_the_command_does():
    """A configuration that only names the image: filled in at the first start, by its digest from then on."""
    with Home() as home:
        image = load(home, "library", Entrypoint=["/bin/sh", "-c"], Cmd=[SCRIPT], StopSignal="SIGUSR1", Env=["A=env", "B=image"], WorkingDir="/etc",
                     User="www", Labels={"l": "image"}, Healthcheck={"Test": ["CMD", "test", "-e", "/tmp/running"], "Interval": 500_000_000})
        by_command = inspect(home, home.ok("create", image).strip())["config"]
        vm = home.ok("create", "--set", f"root.image={image}").strip()
        assert inspect(home, vm)["config"]["root"] == {"image": image}
        home.ok("start", vm)
        assert inspect(home, vm)["config"] == by_command, (inspect(home, vm)["config"], by_command)
        assert by_command["root"]["image_applied"] and "@sha256:" in by_command["root"]["image"]
        until(lambda: home.kiln("exec", vm, "test", "-e", "/tmp/running").returncode == 0)
        home.ok("stop", vm)
        assert home.ok("logs", vm) == "env /etc\nstopped by usr1\n"
        # What the document says stays, and with image_applied the root is all that is taken.
        vm = home.ok("create", "--set", f"root.image={image}", "--set", "process.env.B=mine", "--set", "process.cwd=/tmp").strip()
        home.ok("start", vm)
        config = inspect(home, vm)["config"]
        assert config["process"]["env"] == {"A": "env", "B": "mine"} and config["process"]["cwd"] == "/tmp", config
        vm = home.ok("create", "--set", f"root.image={image}", "--set", "root.image_applied=true").strip()
        home.ok("start", vm)
        assert "process" not in inspect(home, vm)["config"]
        for vm in home.ok("ls", "-q").split():
            home.ok("rm", "-f", vm)


def test_health():
    with Home() as home:
        check = {"Test": ["CMD-SHELL", "echo seen; test ! -e /tmp/ill"], "Interval": 300_000_000, "Timeout": 20_000_000_000, "Retries": 2}
        image = load(home, "health", Entrypoint=["/bin/sh", "-c"], Cmd=[SCRIPT], Healthcheck=check)
        status = lambda: (inspect(home, vm)["health"] or {}).get("status")
        vm = run(home, image)
        until(lambda: status() == "healthy")
        assert inspect(home, vm)["health"]["output"] == "seen\n"
        home.ok("exec", vm, "touch", "/tmp/ill")
        until(lambda: status() == "unhealthy")
        assert inspect(home, vm)["health"] == {"status": "unhealthy", "failures": 2, "code": 1, "output": "seen\n"}, inspect(home, vm)["health"]
        home.ok("exec", vm, "rm", "/tmp/ill")
        until(lambda: status() == "healthy")
        assert [e for e, _ in events(home, vm) if "health" in e] == ["healthy", "unhealthy", "healthy"], events(home, vm)
        home.ok("stop", vm)
        assert [e for e, _ in events(home, vm) if "health" in e] == ["healthy", "unhealthy", "healthy"], events(home, vm)
        assert inspect(home, vm)["health"] is None
        # One that hangs is killed, and is a failure; in the start period none counts.
        vm = run(home, "--health-cmd", "sleep 1000", "--health-timeout", "1s", "--health-interval", "200ms", "--health-retries", "1", image)
        until(lambda: status() == "unhealthy")
        assert "longer than health.timeout" in inspect(home, vm)["health"]["output"]
        home.ok("rm", "-f", vm)
        vm = run(home, "--health-cmd", "test -e /tmp/well", "--health-interval", "200ms", "--health-retries", "1", "--health-start-period", "1h", image)
        until(lambda: inspect(home, vm)["health"]["code"] == 1)
        assert status() == "starting"
        home.ok("exec", vm, "touch", "/tmp/well")
        until(lambda: status() == "healthy")
        home.ok("exec", vm, "rm", "/tmp/well")
        until(lambda: status() == "unhealthy")
        home.ok("rm", "-f", vm)
        assert "health" not in inspect(home, home.ok("create", "--no-healthcheck", image).strip())["config"]
        home.refused("create", "--rootfs", home.dir, "--health-cmd", "true", words=("health.command", "needs a process"))


def test_exposed_ports():
    """By docker's rules: ranges, any of its protocols, TCP where none is said; what the user publishes stays where he wants it."""
    with Home() as home:
        def ports(image, *options):
            config = inspect(home, home.ok("create", *options, image).strip())["config"]
            return sorted((p["guest_port"], p.get("protocol", "tcp"), p.get("host_port", 0)) for p in config.get("ports", []))
        image = load(home, "ports", ExposedPorts={"80/tcp": {}, "80": {}, "53/udp": {}, "53/TCP": {}, "8000-8002/udp": {}, "9000-9000": {}, "65535/": {}})
        assert ports(image) == []
        exposed = [(53, "tcp", 0), (53, "udp", 0), (80, "tcp", 0), (8000, "udp", 0), (8001, "udp", 0), (8002, "udp", 0), (9000, "tcp", 0), (65535, "tcp", 0)]
        assert ports(image, "-P") == exposed, ports(image, "-P")
        assert ports(image, "-P", "-p", "8080:80", "-p", "5353:53/udp") == sorted(
            {**{p[:2]: p for p in exposed}, (80, "tcp"): (80, "tcp", 8080), (53, "udp"): (53, "udp", 5353)}.values())
        home.refused("create", "--network", "none", "-P", image, words=("no network",))
        config = inspect(home, home.ok("create", "-P", load(home, "none")).strip())["config"]
        assert "networks" not in config, "nothing is exposed"
        for i, (text, *words) in enumerate((("132/sctp", "SCTP", "-p"), ("8000-7999", "no port"), ("0/tcp", "no port"), ("65536", "no port"), ("80/icmp", "no port"),
                                            ("-80", "no port"), ("80-", "no port"), ("123456", "no port"), ("http", "no port"), ("80 ", "no port"), ("", "no port"),
                                            ("80/tcp/udp", "no port"), ("1-65535", "ports"))):
            image = load(home, f"bad{i}", ExposedPorts={text: {}})
            home.refused("create", "-P", image, words=(f'it exposes "{text}"', *words))
            home.ok("create", image)


def test_volumes():
    with Home() as home:
        image = load(home, "volumes", Volumes={"/data": {}, "/other": {}})
        assert home.ok("run", image, "--", "/bin/sh", "-c", "touch /data/new && ls /data") == "from-image\nnew\n"
        # Where nothing of the root can be written to, they can: empty.
        assert home.ok("run", "--read-only", image, "--", "/bin/sh", "-c", "touch /data/new /other/new; touch /etc/x 2>/dev/null || ls /data /other") == \
            "/data:\nnew\n\n/other:\nnew\n"
        tmpfs = inspect(home, home.ok("create", "--read-only", "--tmpfs", "/data:size=1M", image).strip())["config"]["tmpfs"]
        assert [t["path"] for t in tmpfs] == ["/data", "/other"] and tmpfs[0]["size"] == 1 << 20, tmpfs


main(globals())
