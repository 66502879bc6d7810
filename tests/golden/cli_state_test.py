#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cli_state_test.py KILN FAKE-RUNNER: states that a VM must be in, and signals that come while what was asked for has not been answered.

The signal is blocked and pending before kiln is executed, and so is the first that its loop sees. A
runner that never answers, or is not found since its sockets are elsewhere, stands for any that is slow.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile

kiln, runner = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
home = tempfile.TemporaryDirectory(prefix="kiln-signals-")
env = dict(os.environ, KILN_HOME=home.name + "/home", KILN_RUNTIME_DIR=home.name + "/run", KILN_RUNNER=runner)
elsewhere = dict(env, KILN_RUNTIME_DIR=home.name + "/elsewhere")
FAKE = ("--backend", "fake")


def run(*args, pending=None, env=env):
    def before():
        if pending:
            signal.signal(pending, signal.SIG_DFL)  # or what began this has it ignored, as nohup does
            signal.pthread_sigmask(signal.SIG_BLOCK, [pending])
            os.kill(os.getpid(), pending)
    return subprocess.run([kiln, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False,
                          preexec_fn=before, timeout=60)


def nothing_is_left():
    assert json.loads(run("ls", "-a", "--format", "json").stdout) == []
    assert not os.listdir(home.name + "/home/vms") and not os.listdir(home.name + "/home/names")


def test_a_signal_before_the_stream_opens():
    assert run("run", "-d", "--name", "up", *FAKE).returncode == 0
    for verb in (["console", "up"], ["attach", "up"], ["exec", "up", "true"]):
        r = run(*verb, pending=signal.SIGTERM, env=elsewhere)
        assert r.returncode == -signal.SIGTERM and r.stderr == "", (verb, r)
    assert run("rm", "-f", "up").returncode == 0
    nothing_is_left()


def test_a_signal_while_a_run_starts_leaves_nothing():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        r = run("run", *FAKE, "-l", "mode=silent", "--", "true", pending=number)
        assert r.returncode == -number, r
        nothing_is_left()


def test_a_signal_before_the_id_is_told_removes_the_vm_and_says_so():
    for more in ((), ("--name", "x"), ("--rm",), ("--", "true")):
        r = run("run", "-d", *FAKE, "-l", "mode=silent", *more, pending=signal.SIGINT)
        assert r.returncode == -signal.SIGINT and r.stdout == "" and "removed" in r.stderr, (more, r)
        nothing_is_left()


def test_a_vm_is_reached_whatever_the_environment_says_of_runtime_directories():
    assert run("run", "-d", "--name", "up", *FAKE).returncode == 0
    for verb in (["pause", "up"], ["resume", "up"], ["stats", "up"], ["stop", "up"]):
        r = run(*verb, env=elsewhere)
        assert r.returncode == 0, (verb, r)
    assert run("start", "up", env=elsewhere).returncode == 0  # lives there from now on
    assert json.loads(run("inspect", "up").stdout)[0]["state"] == "ready"
    os.rename(home.name + "/elsewhere", home.name + "/gone")
    r = run("stop", "up")
    assert r.returncode == 125 and "elsewhere, which is gone" in r.stderr, r
    os.rename(home.name + "/gone", home.name + "/elsewhere")
    assert run("rm", "-f", "up").returncode == 0
    nothing_is_left()
    assert not [name for name in os.listdir(home.name + "/elsewhere") if len(name) == 32]


def test_what_is_wrong_with_a_vms_state_comes_with_what_to_do():
    assert run("run", "-d", "--name", "up", *FAKE).returncode == 0
    for verb, words in ((["start", "up"], ("\"up\" is running already", "attach")), (["start", "-a", "up"], ("\"up\" is running already",)),
                        (["rm", "up"], ("stop it first",)), (["create", "--name", "up"], ("taken",))):
        r = run(*verb)
        assert r.returncode == 125 and len(r.stderr.splitlines()) == 2, (verb, r)
        for word in words:
            assert word in r.stderr, (verb, r)
    assert run("stop", "up").returncode == 0
    for verb in (["exec", "up", "x"], ["attach", "up"], ["pause", "up"], ["stats", "up"], ["console", "up"], ["kill", "-s", "TERM", "up"]):
        r = run(*verb)
        assert r.returncode == 125 and "start it" in r.stderr, (verb, r)
    assert run("rm", "up").returncode == 0


failed = 0
for name, function in list(globals().items()):
    if name.startswith("test_"):
        try:
            function()
            print("ok   ", name)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failed += 1
            print("FAIL ", name, error)
home.cleanup()
sys.exit(1 if failed else 0)
