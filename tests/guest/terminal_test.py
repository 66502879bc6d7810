#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command's own standard input and output, whatever they are, and its terminal, however it ends."""
import fcntl
import json
import os
import pty
import resource
import signal
import socket
import subprocess
import sys
import termios

import kilntest
from kilntest import busybox_root, need_qemu
from run_test import read_until


def start(home, *options, command=("sleep", "1000")):
    need_qemu()
    home.ok("run", "-d", "--name", "vm", *options, "--rootfs", busybox_root(), "--", *command)


def on_terminal(home, *args):
    """A command with a terminal of its own: the process and the terminal's other end."""
    master, slave = pty.openpty()
    child = home.popen(*args, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                       preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    return child, master, slave


def is_raw(slave):
    return not termios.tcgetattr(slave)[3] & termios.ICANON


def finish(child, master, slave):
    code = child.wait(kilntest.DEADLINE)
    assert not is_raw(slave), "the terminal was left raw"
    os.close(master)
    os.close(slave)
    return code


def test_the_terminal_is_put_back_however_it_ends(home):
    start(home)
    # by the end of the process
    child, master, slave = on_terminal(home, "exec", "-it", "vm", "--", "sh")
    os.write(master, b"echo a''b; exit 3\n")
    read_until(master, b"ab")
    assert finish(child, master, slave) == 3
    # by the detach keys; the process goes on
    child, master, slave = on_terminal(home, "exec", "-it", "vm", "--", "sh", "-c", "echo u''p; exec sleep 777")
    read_until(master, b"up")
    assert is_raw(slave)
    os.write(master, b"\x10\x11")
    assert finish(child, master, slave) == 0
    assert "sleep 777" in home.ok("exec", "vm", "--", "ps")
    # by others, of which one comes twice
    child, master, slave = on_terminal(home, "exec", "-it", "--detach-keys", "ctrl-a,ctrl-a,b", "vm", "--", "cat", "-v")
    os.write(master, b"a\x10\x10\x01c\n")
    read_until(master, b"a^P^P^Ac")
    os.write(master, b"\x01\x01\x01b")
    assert finish(child, master, slave) == 0
    r = home.kiln("exec", "-it", "--detach-keys", "ctrl-P", "vm", "--", "true")
    assert r.code == 125 and "--detach-keys" in r.err and "ctrl-z" in r.err, r
    # by a signal
    for number in (signal.SIGTERM, signal.SIGHUP):
        child, master, slave = on_terminal(home, "exec", "-it", "vm", "--", "sh", "-c", "echo u''p; exec sleep 778")
        read_until(master, b"up")
        child.send_signal(number)
        assert finish(child, master, slave) == -number
    # by the end of the VM
    child, master, slave = on_terminal(home, "exec", "-it", "vm", "--", "sh", "-c", "echo u''p; exec sleep 779")
    read_until(master, b"up")
    home.ok("kill", "vm")
    assert finish(child, master, slave) in (125, 137)
    home.ok("rm", "vm")
    home.assert_clean()


def test_keys_reach_the_process_as_bytes(home):
    start(home)
    child, master, slave = on_terminal(home, "exec", "-it", "vm", "--", "sh", "-c",
                                       "stty raw -echo; echo u''p; dd bs=1 count=5 2>/dev/null | od -An -tx1")
    read_until(master, b"up")
    os.write(master, b"\x03\x10x\x1a\x04")
    read_until(master, b"03 10 78 1a 04")
    assert finish(child, master, slave) == 0
    home.ok("rm", "-f", "vm")


def test_the_console_goes_both_ways_and_is_left_by_keys(home):
    start(home)
    child, master, slave = on_terminal(home, "console", "vm")
    read_until(master, b"ctrl-q")
    home.ok("exec", "vm", "--", "sh", "-c", "echo from the guest > /dev/console")
    read_until(master, b"from the guest")
    reader = home.popen("exec", "vm", "--", "sh", "-c", "exec < /dev/ttyS0; echo up; head -n 1", stdout=subprocess.PIPE)
    assert reader.stdout.readline() == b"up\n"
    os.write(master, b"from here\r")
    assert reader.communicate(timeout=kilntest.DEADLINE)[0] == b"from here\n"
    os.write(master, b"\x10\x11")
    assert finish(child, master, slave) == 0
    # without a terminal it ends with the VM
    child = home.popen("console", "vm", stdout=subprocess.PIPE)
    writer = home.popen("exec", "vm", "--", "sh", "-c", "while echo once more > /dev/console; do sleep 0.2; done", stderr=-3)
    assert b"once more" in child.stdout.readline()
    home.ok("rm", "-f", "vm")
    child.communicate(timeout=kilntest.DEADLINE)
    writer.wait(kilntest.DEADLINE)
    assert child.returncode == 0, child.returncode


def test_ctrl_c_while_it_boots_ends_it_and_leaves_nothing(home):
    need_qemu()
    home.ok("run", "--rootfs", busybox_root(), "--", "true")
    child, master, slave = on_terminal(home, "run", "-it", "--name", "boot", "--rm", "--rootfs", busybox_root(), "--", "sh")
    events = home.popen("events", "-f", "--format", "json", stdout=subprocess.PIPE)
    for line in events.stdout:
        if json.loads(line)["event"] == "running":
            break
    os.write(master, b"\x03")
    assert finish(child, master, slave) == -signal.SIGINT
    events.kill()
    events.communicate()
    home.assert_clean()


def test_a_closed_pipe_ends_it_as_it_ends_others(home):
    start(home)
    shell = f"{kilntest.KILN} exec vm -- sh -c 'while echo y; do :; done' | head -n 1; echo ${{PIPESTATUS[0]}}"
    out = subprocess.run(["bash", "-c", shell], env=home.env, stdin=subprocess.DEVNULL, capture_output=True,
                         text=True, timeout=kilntest.DEADLINE, check=True)
    assert out.stdout == "y\n141\n" and out.stderr == "", out
    home.ok("rm", "-f", "vm")
    shell = f"{kilntest.KILN} run --rootfs {busybox_root()} -- sh -c 'while echo y; do :; done' | head -n 1; echo ${{PIPESTATUS[0]}}"
    out = subprocess.run(["bash", "-c", shell], env=home.env, stdin=subprocess.DEVNULL, capture_output=True,
                         text=True, timeout=kilntest.DEADLINE, check=True)
    assert out.stdout == "y\n141\n" and out.stderr == "", out
    home.assert_clean()


def test_output_that_cannot_be_written_ends_it(home):
    need_qemu()
    with open("/dev/full", "wb") as full:
        child = home.popen("run", "--rootfs", busybox_root(), "--", "sh", "-c", "echo x; sleep 1000",
                           stdout=full, stderr=subprocess.PIPE)
        _, err = child.communicate(timeout=kilntest.DEADLINE)
    assert child.returncode == 125 and b"No space left" in err, (child.returncode, err)
    home.assert_clean()


def test_input_may_be_a_file_a_pipe_a_socket_or_nothing(home):
    start(home)
    big = home.dir / "big"
    big.write_bytes(os.urandom(3 << 20))
    count = ["exec", "-i", "vm", "--", "wc", "-c"]

    def wc(**kwargs):
        with home.popen(*count, stdout=subprocess.PIPE, **kwargs) as child:
            out, _ = child.communicate(timeout=kilntest.DEADLINE)
            assert child.returncode == 0, child.returncode
            return int(out)

    with open(big, "rb") as f:
        assert wc(stdin=f) == 3 << 20
    with subprocess.Popen(["cat", str(big)], stdout=subprocess.PIPE) as cat:
        assert wc(stdin=cat.stdout) == 3 << 20
    assert wc(stdin=subprocess.DEVNULL) == 0
    assert wc(stdin=None, preexec_fn=lambda: os.close(0)) == 0
    ours, theirs = socket.socketpair()
    ours.sendall(b"x" * 1000)
    ours.shutdown(1)
    with theirs:
        assert wc(stdin=theirs) == 1000
    out = home.dir / "out"
    with open(big, "rb") as f, open(out, "wb") as to:
        assert home.popen("exec", "-i", "vm", "--", "cat", stdin=f, stdout=to).wait(kilntest.DEADLINE) == 0
    assert out.read_bytes() == big.read_bytes()
    home.ok("rm", "-f", "vm")


def test_descriptors_that_others_share_stay_blocking(home):
    start(home)
    given, output = os.pipe(), os.pipe()
    os.write(given[1], b"x")
    os.close(given[1])
    home.popen("exec", "-i", "vm", "--", "cat", stdin=given[0], stdout=output[1]).wait(kilntest.DEADLINE)
    for fd in (given[0], *output):
        assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
    assert os.read(output[0], 10) == b"x"
    home.ok("rm", "-f", "vm")


def test_a_slow_reader_holds_the_guest_back(home):
    start(home)
    mib = 256 if kilntest.SOAK else 24
    with home.popen("exec", "vm", "--", "sh", "-c", f"dd if=/dev/zero bs=1M count={mib} 2>/dev/null",
                    stdout=subprocess.PIPE) as child:
        assert child.stdout.read(1)
        child.stdout.flush()
        # What is under way is bounded: the command has not taken all that is written to it into memory.
        with open(f"/proc/{child.pid}/status", encoding="ascii") as f:
            peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
        assert peak < 16 * 1024, peak
        total = 1
        while chunk := child.stdout.read(1 << 16):
            total += len(chunk)
        assert total == mib << 20, total
        assert child.wait(kilntest.DEADLINE) == 0
    home.ok("rm", "-f", "vm")


def test_waiting_costs_nothing(home):
    start(home)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    home.ok("exec", "vm", "--", "sleep", "3")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 0.1, used
    home.ok("rm", "-f", "vm")


def test_detached_run_tells_of_a_command_that_is_not_there(home):
    need_qemu()
    r = home.kiln("run", "-d", "--name", "vm", "--rootfs", busybox_root(), "--", "no-such-command")
    assert r.code == 127 and r.out == "" and "no-such-command" in r.err, r
    assert home.ok("wait", "vm") == "127\n"
    home.ok("rm", "vm")
    home.assert_clean()


def test_a_run_that_is_left_goes_on(home):
    need_qemu()
    child, master, slave = on_terminal(home, "run", "-it", "--rootfs", busybox_root(), "--", "sh", "-c",
                                       "echo u''p; read x; echo got $x; exit 5")
    read_until(master, b"up")
    os.write(master, b"\x10\x11")
    read_until(master, b"left running: ")
    assert finish(child, master, slave) == 0
    vm, = home.vms()
    assert vm["state"] == "ready", vm
    child, master, slave = on_terminal(home, "attach", vm["id"])
    os.write(master, b"words\n")
    read_until(master, b"got words")
    assert finish(child, master, slave) == 5
    home.kiln("wait", vm["id"])
    assert home.vms() == []  # it has no name
    home.assert_clean()


def test_detached_run_may_end_at_once(home):
    need_qemu()
    vm = home.ok("run", "-d", "--rootfs", busybox_root(), "--", "sh", "-c", "exit 3").strip()
    assert home.ok("wait", vm) == "3\n"
    home.ok("rm", vm)
    assert len(home.ok("run", "-d", "--rm", "--rootfs", busybox_root(), "--", "true").strip()) == 32
    for row in home.vms():
        home.kiln("wait", row["id"])
    assert home.vms() == []  # the first command after its end has removed it
    home.assert_clean()


def test_logs_by_time_and_tail(home):
    start(home, command=("sh", "-c", "echo one; printf thr; echo ee; printf end"))
    home.ok("wait", "vm")
    assert home.ok("logs", "vm") == "one\nthree\nend"
    for tail, wanted in (("0", ""), ("1", "end"), ("2", "three\nend"), ("9", "one\nthree\nend"), ("all", "one\nthree\nend")):
        assert home.ok("logs", "--tail", tail, "vm") == wanted, tail
    stamped = home.ok("logs", "-t", "vm").splitlines()
    assert [line.split("Z ")[1] for line in stamped] == ["one", "three", "end"], stamped
    assert home.ok("logs", "--since", stamped[0].split(" ")[0], "vm") == "one\nthree\nend"
    assert home.ok("logs", "--since", "1h", "vm") == "one\nthree\nend"
    assert home.ok("logs", "--since", "2200-01-01T00:00:00Z", "vm") == ""
    assert "ready" in home.ok("logs", "--runner", "vm")
    home.ok("rm", "vm")


def test_logs_keep_the_streams_apart(home):
    start(home, command=("sh", "-c", "echo out; echo err >&2"))
    home.ok("wait", "vm")
    r = home.kiln("logs", "vm")
    assert (r.code, r.out, r.err) == (0, "out\n", "err\n"), r
    home.ok("rm", "vm")


def test_a_trace_has_the_stages_and_what_they_cost(home):
    need_qemu()
    trace = home.dir / "trace.json"
    home.ok("run", "--trace", trace, "--rootfs", busybox_root(), "--", "true")
    document = json.loads(trace.read_text())
    names = [e["name"] for e in document["traceEvents"] if e["ph"] == "X"]
    for name in ("start", "VMM starts", "boot to the agent's hello", "until the VM has ended"):
        assert name in names, names
    assert all(e["ts"] >= 0 and e["dur"] >= 0 for e in document["traceEvents"] if e["ph"] == "X")
    other = document["otherData"]
    assert 0 < other["kiln_cpu_ns"] < other["vmm_cpu_ns"], other
    subprocess.run([sys.executable, str(kilntest.SOURCE / "tools" / "trace-table.py"), str(trace)], check=True,
                   stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    kilntest.main(sys.modules[__name__])
