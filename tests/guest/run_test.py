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
import hashlib
import shutil
import termios
import threading
import time

import kilntest
from kilntest import busybox_root, chunks, need_qemu, shown


def test_streams_and_exit_code_are_the_commands(home):
    need_qemu()
    r = home.kiln("run", "--rm", "--rootfs", busybox_root(), "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert r.code == 7, r
    assert r.out == "out\n", r
    assert r.err == "err\n", r
    home.assert_clean()


def test_emulation_is_said_once_and_not_where_it_was_asked_for(home):
    need_qemu()
    home.ok("run", "-d", "--name", "x", "--rootfs", busybox_root(), "--", "sleep", "100")
    reason = json.loads(home.ok("inspect", "x"))[0]["accel_reason"]
    home.ok("rm", "-f", "x")
    for words, said in ((["--progress", "none"], False), (["--accel", "tcg"], False), ([], True), ([], False),
                        (["--progress", "plain"], False)):
        if said:
            home.emulation_told.unlink()
        r = home.kiln("run", *words, "--rootfs", busybox_root(), "--", "true")
        assert r.code == 0 and ("emulating" in r.err) == bool(said and reason), (words, r)
        assert not said or not reason or reason in r.err, (words, r)
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


def test_a_root_may_be_a_range_of_a_file(home):
    need_qemu()
    tar = home.dir / "root.tar"
    subprocess.run(["tar", "-C", busybox_root(), "-cf", tar, "."], check=True)
    whole = home.dir / "whole"
    whole.write_bytes(b"before" * 1000 + tar.read_bytes() + b"behind" * 1000)
    config = home.dir / "config.json"
    source = {"path": str(whole), "offset": 6000, "length": tar.stat().st_size}
    config.write_text(json.dumps({"root": {"tar": source}, "process": {"args": ["echo", "inside"]}}))
    assert home.ok("run", "--config", config) == "inside\n"
    source["length"] += 100000
    config.write_text(json.dumps({"root": {"tar": source}, "process": {"args": ["true"]}}))
    r = home.kiln("run", "--config", config)
    assert r.code == 125 and "outside the file" in r.err, r
    home.assert_clean()


def test_process_options_reach_the_process(home):
    need_qemu()
    r = home.kiln("run", "--rootfs", busybox_root(), "-e", "A=b c", "-w", "/var", "-u", "user", "--name", "opts",
                  "--rm", "--", "sh", "-c", 'echo "$A"; pwd; id -u; id -g; hostname')
    assert r.out.splitlines() == ["b c", "/var", "1000", "1000", "opts"], r
    home.assert_clean()


def test_tmpfs_is_mounted_as_asked(home):
    need_qemu()
    r = home.kiln("run", "--read-only", "--rootfs", busybox_root(), "--tmpfs", "/scratch", "--tmpfs",
                  "/opt/tools:size=8m,mode=0711,exec", "--", "sh", "-c",
                  "cp /bin/busybox /scratch/b; cp /bin/busybox /opt/tools/true; /scratch/b true 2>/dev/null; echo $?; "
                  "/opt/tools/true; echo $?; stat -c %a /scratch /opt/tools; "
                  "grep -e /scratch -e /opt/tools /proc/mounts; touch /x 2>/dev/null || echo ro")
    lines = r.out.splitlines()
    assert lines[:4] == ["126", "0", "1777", "711"] and lines[-1] == "ro", r
    assert "nosuid,nodev,noexec" in lines[4] and "noexec" not in lines[5] and "size=8192k" in lines[5], r
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
        assert child.wait(kilntest.DEADLINE) == 0
    shown(f"{mib} MiB out of `kiln run`, whole")


def feed(stream, mib, digest):
    for chunk in chunks(mib):
        digest.update(chunk)
        stream.write(chunk)
    stream.close()


def test_a_large_input_arrives_whole(home):
    need_qemu()
    mib = 1024 if kilntest.SOAK else 16
    sent = hashlib.sha256()
    with home.popen("run", "-i", "--rootfs", busybox_root(), "--", "sha256sum", stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE) as child:
        feed(child.stdin, mib, sent)
        assert child.stdout.read().split()[0].decode() == sent.hexdigest()
        assert child.wait(kilntest.DEADLINE) == 0
    home.assert_clean()
    shown(f"{mib} MiB into `kiln run -i`: the guest's checksum is the sender's")


def test_a_large_stream_passes_both_ways_at_once(home):
    need_qemu()
    mib = 1024 if kilntest.SOAK else 16
    home.ok("run", "-d", "--name", "echo", "--rootfs", busybox_root(), "--", "sleep", "100000")
    sent, back = hashlib.sha256(), hashlib.sha256()
    with home.popen("exec", "-i", "echo", "--", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        feeder = threading.Thread(target=feed, args=(child.stdin, mib, sent))
        feeder.start()
        while chunk := child.stdout.read(1 << 20):
            back.update(chunk)
        feeder.join()
        assert child.wait(kilntest.DEADLINE) == 0
    assert back.digest() == sent.digest()
    home.ok("rm", "-f", "echo")
    home.assert_clean()
    shown(f"{mib} MiB through `kiln exec -i`, there and back: the same checksum")


def read_until(fd, *wanted, timeout=kilntest.DEADLINE):
    """Reads until all of wanted has been seen; they may well come in one piece."""
    seen = b""
    end = time.monotonic() + timeout
    while not all(part in seen for part in wanted):
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
    read_until(master, b"33 101", b"/dev/pts/")
    set_size(master, 40, 120)
    os.write(master, b"stty size\n")
    read_until(master, b"40 120")
    os.write(master, b"exit 3\n")
    try:
        while os.read(master, 4096):
            pass
    except OSError:
        pass
    assert child.wait(kilntest.DEADLINE) == 3
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
        assert child.wait(kilntest.DEADLINE) == 9
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
    end = time.monotonic() + kilntest.DEADLINE
    said = b""
    while not said and time.monotonic() < end:
        with socket.create_connection(("127.0.0.1", port), kilntest.DEADLINE) as s:
            s.settimeout(kilntest.DEADLINE)
            try:
                said = s.recv(100)
            except ConnectionResetError:
                said = b""
        if not said:
            select.select([], [], [], 0.2)
    assert said == b"from the guest\n", said
    home.ok("rm", "-f", "net")
    home.assert_clean()


def test_a_guest_of_another_architecture(home):
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[os.uname().machine]
    compiler = f"{other}-linux-gnu-gcc"
    for program in (f"qemu-system-{other}", compiler, "apt-get"):
        if not shutil.which(program):
            raise kilntest.Skip(f"{program} is not installed")
    if not (kilntest.BUILD / "guest" / f"kiln-guest-{other}").exists():
        raise kilntest.Skip(f"kiln-guest for {other} is not built: that needs the Python package ziglang")
    source = home.dir / "hello.c"
    source.write_text("#include <stdio.h>\n#include <sys/utsname.h>\n"
                      'int main(void) { struct utsname u; uname(&u); printf("hello from %s\\n", u.machine); return 3; }\n')
    root = home.dir / "root"
    root.mkdir()
    subprocess.run([compiler, "-static", "-o", str(root / "hello"), str(source)], check=True)
    r = home.kiln("run", "--platform", f"linux/{other}", "--rootfs", root, "--", "/hello")
    assert (r.code, r.out) == (3, f"hello from {other}\n"), r
    shown(f"on {os.uname().machine} a guest of {other} boots and runs a program")
    home.assert_clean()


if __name__ == "__main__":
    kilntest.main(sys.modules[__name__])
