# SPDX-License-Identifier: Apache-2.0
"""Faults on demand. STANDIN_FAULT, or the contents of the file STANDIN_FAULT_FILE, looked at with each request:

    WHEN:ACTION[=ARGUMENT][;...]

WHEN is the number of a request (from 1, over all connections), a path, "METHOD path", or "*"; or "ms=N", N milliseconds
after the program's start, for which the only actions are "die" and "exit". README.md has the actions.
"""
import os
import signal

from . import settings

BEFORE = ("silent", "close", "die", "status", "exit")  # the request is not carried out
HUGE = 10 * 1024**3


def die():
    os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)  # the first process of a PID namespace is not killed from within it


class Fault:
    def __init__(self, text):
        when, _, action = text.strip().rpartition(":")
        self.when = when.strip()
        self.name, _, self.argument = action.partition("=")

    def hits(self, number, method, path):
        return self.when in ("*", str(number), path, f"{method} {path}")


def _all():
    text = settings.get("FAULT", "")
    file = settings.get("FAULT_FILE")
    if file:
        try:
            with open(file, encoding="utf-8") as opened:
                text += ";" + opened.read()
        except OSError:
            pass
    return [Fault(one) for one in text.replace("\n", ";").split(";") if one.strip()]


def of_request(number, method, path):
    for fault in _all():
        if fault.hits(number, method, path):
            return fault
    return None


def arm_timers(loop):
    for fault in _all():
        if fault.when.startswith("ms="):
            action = die if fault.name == "die" else lambda code=fault.argument: os._exit(int(code or 1))
            loop.after(int(fault.when[3:]) / 1000, action)


def _repeat(piece, total):
    while total > 0:
        yield piece[:total]
        total -= len(piece)


def spoiled(fault, head, body):
    """What is sent in place of an answer (status line and headers in @head, without the end) and whether the
    connection is closed after it: an iterator of bytes, and a bool."""
    whole = head + b"Content-Length: %d\r\n\r\n" % len(body) + body if body else head + b"\r\n"
    pad = b" " * 65536

    def length(value, content, close):
        return [head + b"Content-Type: application/json\r\nContent-Length: " + value + b"\r\n\r\n" + content], close

    def half(close):
        return [whole[:len(whole) // 2]], close

    def slow():
        return [whole[i:i + 1] for i in range(len(whole))], False

    def huge():
        def pieces():
            yield head + b"Content-Length: %d\r\n\r\n[" % HUGE
            yield from _repeat(pad, HUGE - 1)
        return pieces(), True

    def chunks(pieces, close=False):
        return [head + b"Transfer-Encoding: chunked\r\n\r\n", *pieces], close

    def huge_chunked():
        def pieces():
            yield head + b"Transfer-Encoding: chunked\r\n\r\n"
            for piece in _repeat(pad, HUGE):
                yield b"%x\r\n" % len(piece) + piece + b"\r\n"
        return pieces(), True

    def headers():
        def pieces():
            yield head
            yield from _repeat(b"X-More: " + b"x" * 4000 + b"\r\n", HUGE)
        return pieces(), True

    answers = {
        "half": lambda: half(False),
        "half-close": lambda: half(True),
        "slow": slow,
        "bad-json": lambda: length(b"18", b'{"fault_message": ', False),
        "no-json": lambda: length(b"11", b"hello world", False),
        "binary": lambda: length(b"6", b"\0\xff\xfe\x80[\"", False),
        "deep-json": lambda: length(b"100000", b"[" * 100000, False),
        "garbage": lambda: ([b"\x16\x03\x01\0\xa5 this is no HTTP\r\n\r\n"], False),
        "headers": headers,
        "long-line": lambda: ([b"HTTP/1.1 200 ", *[b"x" * 65536] * 64], True),
        "short-length": lambda: length(b"%d" % max(len(body) // 2, 1), body or b"{}", False),
        "long-length": lambda: length(b"%d" % (len(body) + 1000), body, True),
        "negative-length": lambda: length(b"-1", body, False),
        "no-number": lambda: length(b"many", body, False),
        "overflow-length": lambda: length(b"18446744073709551617", body, False),
        "two-lengths": lambda: length(b"%d\r\nContent-Length: %d" % (len(body), len(body) + 7), body, False),
        "no-length": lambda: ([head + b"\r\n" + body], True),
        "huge": huge,
        "huge-chunked": huge_chunked,
        "chunked": lambda: chunks([b"%x\r\n" % len(body) + body + b"\r\n" if body else b"", b"0\r\n\r\n"]),
        "bad-chunked": lambda: chunks([b"zz\r\nrubbish\r\nffffffffffffffffff\r\n"]),
        "cut-chunked": lambda: chunks([b"ff\r\nrubbish"], True),
        "unasked": lambda: ([whole + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"], False),
        "continue": lambda: ([b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + whole], False),
    }
    return answers[fault.name]()
