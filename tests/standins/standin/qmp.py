# SPDX-License-Identifier: Apache-2.0
"""QEMU's machine protocol, blocking: a command is sent and its answer awaited; events are kept for the owner."""
import json
import select
import socket
import time


class QmpError(Exception):
    pass


class Qmp:
    def __init__(self, sock):
        self.socket = sock
        self.buffer = b""
        self.events = []
        self.closed = False

    def _read(self, deadline):
        """The next message; None at the end."""
        while b"\n" not in self.buffer:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and (left <= 0 or not select.select([self.socket], [], [], left)[0]):
                raise QmpError("QEMU does not answer")
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                self.closed = True
                return None
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def greet(self, timeout=60):
        if self._read(time.monotonic() + timeout) is None:
            raise QmpError("QEMU has ended")
        self.command("qmp_capabilities")

    def command(self, name, timeout=60, fd=None, **arguments):
        message = {"execute": name}
        if arguments:
            message["arguments"] = {key.replace("_", "-") if key != "node_name" else "node-name": value
                                    for key, value in arguments.items()}
        return self.execute(message, timeout, fd)

    def execute(self, message, timeout=60, fd=None):
        raw = json.dumps(message).encode() + b"\n"
        try:
            if fd is None:
                self.socket.sendall(raw)
            else:
                socket.send_fds(self.socket, [raw], [fd])
        except OSError:
            raise QmpError("QEMU has ended") from None
        deadline = time.monotonic() + timeout
        while True:
            answer = self._read(deadline)
            if answer is None:
                raise QmpError("QEMU has ended")
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise QmpError(answer["error"]["desc"])
            else:
                return answer["return"]

    def await_event(self, names, timeout=60):
        """Waits for one of these events, which is taken out."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event["event"] in names:
                    self.events.remove(event)
                    return event
            answer = self._read(deadline)
            if answer is None:
                raise QmpError("QEMU has ended")
            if "event" in answer:
                self.events.append(answer)

    def drain(self):
        """Takes in what is there without waiting; the events so far."""
        while not self.closed and (b"\n" in self.buffer or select.select([self.socket], [], [], 0)[0]):
            answer = self._read(None)
            if answer and "event" in answer:
                self.events.append(answer)
        events, self.events = self.events, []
        return events
