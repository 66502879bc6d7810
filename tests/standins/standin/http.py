# SPDX-License-Identifier: Apache-2.0
"""The HTTP server of both faces, as much of HTTP/1.1 as theirs has: a Unix socket, keep-alive, bodies by length,
descriptors beside them. Requests are handled one at a time, and written to a log (STANDIN_LOG, a JSON object a line)
before anything is done about them."""
import json
import os
import socket
import time

from . import faults, settings

MAX_HEADER = 16384
MAX_CONNECTIONS = 10
REASONS = {200: "", 204: "", 400: "", 404: "", 405: "", 409: "", 413: "", 429: "", 500: ""}


class Answer:
    def __init__(self, status, body=None, after=None):
        self.status = status
        self.body = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        self.after = after  # called when the answer has gone out


class Server:
    def __init__(self, loop, listener, name, face, max_body=51200):
        self.loop, self.listener, self.name, self.face, self.max_body = loop, listener, name, face, max_body
        self.connections = set()
        self.number = 0
        listener.setblocking(False)
        loop.watch(listener, self.accept)

    def accept(self):
        try:
            peer, _ = self.listener.accept()
        except BlockingIOError:
            return
        if len(self.connections) >= MAX_CONNECTIONS:
            peer.close()  # the real ones answer 503 first
            return
        self.connections.add(Connection(self, peer))

    def flush(self):
        """Before the end: what was answered goes out, if its reader takes it within a second."""
        for connection in list(self.connections):
            connection.socket.settimeout(1)
            try:
                for piece in connection.pending():
                    connection.socket.sendall(piece)
            except OSError:
                pass

    def log(self, record):
        path = settings.get("LOG")
        if path:
            with open(path, "ab") as file:  # one write, whole lines
                file.write(json.dumps({"program": self.name, "pid": os.getpid(), **record}).encode() + b"\n")


class Connection:
    def __init__(self, server, peer):
        self.server, self.socket = server, peer
        self.buffer = bytearray()
        self.fds = []
        self.out = None  # an iterator of pieces
        self.piece = b""
        self.close_after = False
        self.after = None
        peer.setblocking(False)
        server.loop.watch(peer, self.ready)

    def close(self):
        self.server.loop.forget(self.socket)
        self.server.connections.discard(self)
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def pending(self):
        if self.piece:
            yield self.piece
        yield from self.out or ()

    def ready(self):
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, 65536, 253)
            self.fds += fds
            if not data:
                self.close()
                return
            self.buffer += data
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self.pump()
        self.handle()

    def pump(self):
        """Sends what can be sent now."""
        while self.out is not None:
            if not self.piece:
                self.piece = next(self.out, None)
                if self.piece is None:
                    self.sent()
                    return
            try:
                self.piece = self.piece[self.socket.send(self.piece):]
            except BlockingIOError:
                self.server.loop.watch(self.socket, self.ready, write=True)
                return
            except OSError:
                self.close()
                return

    def sent(self):
        self.out, self.piece = None, b""
        after, self.after = self.after, None
        if self.close_after:
            self.close()
        else:
            self.server.loop.watch(self.socket, self.ready)
        if after:
            after()

    def send(self, pieces, close):
        self.out, self.close_after = iter(pieces), close
        self.pump()

    def request(self):
        """Takes a whole request out of the buffer: method, path, headers, body; None: not there yet."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self.buffer) > MAX_HEADER:
                raise ValueError("Request header too long.")
            return None
        line, *lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        method, path, version = line.split(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0"):
            raise ValueError("Unsupported HTTP version.")
        headers = {}
        for text in lines:
            name, colon, value = text.partition(":")
            if not colon:
                raise ValueError("Invalid header.")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        if length < 0 or length > self.server.max_body:
            raise ValueError(f"Request payload with size {length} is larger than the limit of "
                             f"{self.server.max_body} allowed by server.")
        if headers.get("transfer-encoding", "identity") != "identity":
            raise ValueError("Unsupported transfer encoding.")
        if len(self.buffer) < end + 4 + length:
            return None
        body = bytes(self.buffer[end + 4:end + 4 + length])
        del self.buffer[:end + 4 + length]
        return method, path, headers, body

    def handle(self):
        while self.out is None and self.socket.fileno() >= 0:
            try:
                request = self.request()
            except (ValueError, UnicodeError) as why:
                self.send([self.head(400) + self.tail(Answer(400, self.server.face.fault(str(why))).body)], True)
                return
            if request is None:
                return
            self.one(*request)

    def one(self, method, path, headers, body):
        server = self.server
        server.number += 1
        number = server.number
        fds, self.fds = self.fds, []
        server.log({"request": number, "method": method, "path": path, "body": _readable(body), "fds": len(fds),
                    "time": time.monotonic()})
        fault = faults.of_request(number, method, path)
        answer = None
        if fault and fault.name in faults.BEFORE:
            if fault.name == "die":
                faults.die()
            if fault.name == "exit":
                os._exit(int(fault.argument or 1))
            if fault.name == "close":
                self.close()
            if fault.name in ("close", "silent"):
                return
            answer = Answer(int(fault.argument), server.face.fault("A fault that was asked for."))
        if answer is None:
            answer = server.face.handle(method, path, body, fds)
        for fd in fds:
            os.close(fd)
        server.log({"response": number, "status": answer.status})
        self.answer(answer, fault, headers.get("connection", "").lower() == "close")

    def answer(self, answer, fault, close):
        head = self.head(answer.status)
        self.after = answer.after
        if fault and fault.name == "die-after":
            faults.die()
        if fault and fault.name == "die-half":
            self.socket.send((head + self.tail(answer.body))[:len(head) // 2])
            faults.die()
        if fault and fault.name == "delay":
            self.server.loop.after(int(fault.argument) / 1000,
                                   lambda: self.send([head + self.tail(answer.body)], close))
            return
        if fault and fault.name not in faults.BEFORE:
            self.send(*faults.spoiled(fault, head, answer.body))
            return
        self.send([head + self.tail(answer.body)], close)

    def head(self, status):
        return (f"HTTP/1.1 {status} {REASONS.get(status, '')}\r\nServer: {self.server.name} API\r\n"
                "Connection: keep-alive\r\n").encode()

    @staticmethod
    def tail(body):
        if not body:
            return b"\r\n"
        return b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _readable(body):
    """For the log: the JSON value, the text that is none, or null."""
    if not body:
        return None
    text = body.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
