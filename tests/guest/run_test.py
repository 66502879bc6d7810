#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`kiln run` in the foreground: streams, exit codes, signals, input, terminals."""
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import fcntl
import termios
import time

import kilntest
from kilntest import busybox_root, need_qemu


def test_streams_and_exit_code_are_the_commands(home):
    need_qemu()
    r = home.kiln("run", "--rm", "--rootfs", busybox_root(), "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert r.code == 7, r
    assert r.out == "out\n", r
    assert r.err == "err\n" or r.err.endswith("err\n"), r
    home.assert_clean()


def test_emulation_is_said_once_and_not_where_it_was_asked_for(home):
    need_qemu()
    home.ok("run", "-d", "--name", "x", "--rootfs", busybox_root(), "--", "sleep", "100")
    reason = json.loads(home.ok("inspect", "x"))[0]["accel_reason"]
    home.ok("rm", "-f", "x")
    for words, count in ((["-d", "--rm"], 1), ([], 1), (["--progress", "plain"], 1), (["--progress", "none"], 0), (["--accel", "tcg"], 0)):
        r = home.kiln("run", *words, "--rootfs", busybox_root(), "--", "true")
        assert r.code == 0 and r.err.count("emulating") == (count if reason else 0), (words, r)
        assert not count or not reason or reason in r.err, (words, r)
    home.assert_clean()


def test_death_by_signal_is_128_plus_its_number(home):
    need_qemu()
    r = home.kiln("run", "--rootfs", busybox_root(), "--", "sh", "-c", "kill -9 $$")
    assert r.code == 137, r
    home.assert_clean()


def test_missing_command_is_127_and_unexecutable_126(home):
    need_qemu()
    r = home.kiln("run", "--rootfs", busybox_root(), "--", "no-such-command")
    assert r.code == 127 and "no-such-command" in r.err, r
    r = home.kiln("run", "--rootfs", busybox_root(), "--", "/etc/passwd")
    assert r.code == 126, r
    home.assert_clean()


def test_stdin_and_its_end_pass_with_i(home):
    need_qemu()
    text = "".join(f"line {n}\n" for n in range(2000))
    r = home.kiln("run", "-i", "--rootfs", busybox_root(), "--", "wc", "-l", stdin=text)
    assert r.code == 0 and r.out.strip() == "2000", r


def test_without_i_stdin_is_empty_and_without_t_there_is_no_terminal(home):
    need_qemu()
    r = home.kiln("run", "--rootfs", busybox_root(), "--", "sh", "-c",
                  "wc -c; for f in 0 1 2; do test -t $f && echo tty $f; done; true", stdin="unseen")
    assert r.code == 0 and r.out.strip() == "0", r


def test_process_options_reach_the_process(home):
    need_qemu()
    r = home.kiln("run", "--rootfs", busybox_root(), "-e", "A=b c", "-w", "/var", "-u", "user", "--name", "opts",
                  "--rm", "--", "sh", "-c", 'echo "$A"; pwd; id -u; id -g; hostname')
    assert r.out.splitlines() == ["b c", "/var", "1000", "1000", "opts"], r
    home.assert_clean()


def test_large_output_arrives_whole(home):
    need_qemu()
    mib = 1024 if kilntest.SOAK else 24
    with home.popen("run", "--rootfs", busybox_root(), "--", "sh", "-c",
                    f"dd if=/dev/zero bs=1M count={mib} 2>/dev/null; echo end >&2",
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        total = 0
        while chunk := child.stdout.read(1 << 20):
            assert not chunk.strip(b"\0")
            total += len(chunk)
        assert total == mib << 20, total
        assert child.wait(60) == 0


def read_until(fd, wanted, timeout=60):
    seen = b""
    end = time.monotonic() + timeout
    while wanted not in seen:
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            raise AssertionError(f"no {wanted!r} in {seen!r}")
        try:
            seen += os.read(fd, 4096)
        except OSError as error:
            raise AssertionError(f"closed before {wanted!r}: {seen!r}") from error
    return seen


def set_size(fd, rows, cols):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def test_terminal_follows_the_window(home):
    need_qemu()
    master, slave = pty.openpty()
    set_size(master, 33, 101)
    child = home.popen("run", "-it", "--rootfs", busybox_root(), "--", "sh", stdin=slave, stdout=slave,
                       stderr=slave, start_new_session=True,
                       preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(slave)
    os.write(master, b"stty size; tty\n")
    read_until(master, b"33 101")
    read_until(master, b"/dev/pts/")
    set_size(master, 40, 120)
    os.write(master, b"stty size\n")
    read_until(master, b"40 120")
    os.write(master, b"exit 3\n")
    try:
        while os.read(master, 4096):
            pass
    except OSError:
        pass
    assert child.wait(60) == 3
    os.close(master)
    home.assert_clean()


def test_signals_are_passed_on(home):
    need_qemu()
    with home.popen("run", "--rootfs", busybox_root(), "--", "sh", "-c",
                    "trap 'echo got; exit 9' TERM; echo up; while :; do sleep 1; done",
                    stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"up\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == b"got\n"
        assert child.wait(60) == 9
    home.assert_clean()


def test_the_third_signal_ends_what_heeds_none(home):
    need_qemu()
    with home.popen("run", "-i", "--rootfs", busybox_root(), "--", "sh", "-c",
                    "trap 'echo heard' INT TERM; echo up; while :; do read x; done", stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"up\n"
        for number in (signal.SIGINT, signal.SIGTERM):
            child.send_signal(number)
            child.stdin.write(b"\n")
            child.stdin.flush()
            assert child.stdout.readline() == b"heard\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == -signal.SIGINT
        assert b"3 signals" in child.stderr.read()
    home.assert_clean()


def test_a_signal_before_the_process_runs_ends_it_at_once(home):
    """Sooner than a runner would give up a client that does not read its process's output."""
    need_qemu()
    for words in (["run"], ["run", "-d"]):
        with home.popen("events", "-f", stdout=subprocess.PIPE, text=True) as events, \
                home.popen(*words, "--rootfs", busybox_root(), "--", "sleep", "100") as child:
            assert any(" running" in line for line in events.stdout)
            begin = time.monotonic()
            child.send_signal(signal.SIGINT)
            code = child.wait(60)
            assert code == -signal.SIGINT, code
            assert time.monotonic() - begin < 4
            events.kill()
        home.assert_clean()


def test_a_published_port_reaches_the_guest(home):
    need_qemu()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.ok("run", "-d", "--name", "net", "--network", "user", "-p", f"{port}:80", "--ready", "tcp:80",
            "--rootfs", busybox_root(), "--", "sh", "-c", "while :; do echo from the guest | nc -l -p 80; done")
    # nc serves one connection at a time: between two of them a connection ends without a word.
    end = time.monotonic() + 60
    said = b""
    while not said and time.monotonic() < end:
        with socket.create_connection(("127.0.0.1", port), 60) as s:
            s.settimeout(60)
            try:
                said = s.recv(100)
            except ConnectionResetError:
                said = b""
        if not said:
            select.select([], [], [], 0.2)
    assert said == b"from the guest\n", said
    home.ok("rm", "-f", "net")
    home.assert_clean()


if __name__ == "__main__":
    kilntest.main(sys.modules[__name__])
