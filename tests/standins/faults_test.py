#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Faults on demand, and the log of requests: each does what README.md says."""
import json
import sys
import time

from cloudhv_test import put
from cloudhv_test import start as start_cloudhv
from firecracker_test import start
from standtest import assert_clean, main


def raw(api, method="GET", path="/version", limit=1 << 20):
    """All that comes back, at most @limit bytes of it, until the end or half a second of nothing."""
    api.send(method, path)
    api.socket.settimeout(0.5)
    got = b""
    try:
        while len(got) < limit:
            data = api.socket.recv(65536)
            if not data:
                return got, True
            got += data
    except TimeoutError:
        pass
    return got, False


def with_fault(home, action):
    program, api = start(home, FAULT=f"1:{action}")
    got, ended = raw(api)
    program.end()
    return got, ended


def body(got):
    return got.partition(b"\r\n\r\n")[2]


def test_answers_that_do_not_come(home):
    assert with_fault(home, "silent") == (b"", False)
    assert with_fault(home, "close") == (b"", True)
    whole, ended = with_fault(home, "slow")
    assert not ended and json.loads(body(whole)) == {"firecracker_version": "1.17.0-dev"}
    assert with_fault(home, "half") == (whole[:len(whole) // 2], False)
    assert with_fault(home, "half-close") == (whole[:len(whole) // 2], True)
    assert_clean(home)


def test_refusals(home):
    for status in (400, 500):
        got, _ = with_fault(home, f"status={status}")
        assert got.startswith(f"HTTP/1.1 {status} ".encode()) and list(json.loads(body(got))) == ["fault_message"]


def test_rubbish(home):
    for action, piece in (("bad-json", b'{"fault_message": '), ("no-json", b"hello world"), ("binary", b"\0\xff\xfe"),
                          ("garbage", b"this is no HTTP"), ("negative-length", b"Content-Length: -1\r\n"),
                          ("no-number", b"Content-Length: many\r\n"), ("overflow-length", b"18446744073709551617"),
                          ("two-lengths", b"Content-Length: 43\r\n"), ("chunked", b"24\r\n{"), ("bad-chunked", b"zz\r\n"),
                          ("cut-chunked", b"ff\r\nrubbish"), ("no-length", b"\r\n\r\n{"), ("unasked", b"}HTTP/1.1 200 OK"),
                          ("continue", b"100 Continue"), ("deep-json", b"[" * 100000)):
        got, _ = with_fault(home, action)
        assert piece in got, f"{action}: {got[:400]!r}"
    got, _ = with_fault(home, "short-length")
    assert int(got.split(b"Content-Length: ")[1].split(b"\r")[0]) < len(body(got))
    got, ended = with_fault(home, "long-length")
    assert ended and int(got.split(b"Content-Length: ")[1].split(b"\r")[0]) > len(body(got))
    assert_clean(home)


def test_floods(home):
    for action in ("headers", "huge", "huge-chunked", "long-line"):
        got, ended = with_fault(home, action)
        assert len(got) >= 1 << 20 and not ended, action
        if action == "huge":
            assert b"Content-Length: 10737418240\r\n" in got
    assert_clean(home)


def test_death(home):
    for action, code in (("die", -9), ("die-after", -9), ("die-half", -9), ("exit=3", 3)):
        program, api = start(home, FAULT=f"PUT /boot-source:{action}")
        assert api.call("GET", "/version").status == 200  # it is not hit by the others
        api.send("PUT", "/boot-source", {"kernel_image_path": "/dev/null"})
        assert program.wait() == code
        program.end()
    program, _ = start(home, FAULT="ms=50:die")
    assert program.wait() == -9
    program.end()
    assert_clean(home)


def test_faults_can_be_changed_while_it_runs(home):
    file = home.dir / "faults"
    program, api = start(home, FAULT_FILE=file)
    assert api.call("GET", "/version").status == 200
    file.write_text("GET /version:status=500\n*:delay=200\n")
    assert api.call("GET", "/version").status == 500
    begin = time.monotonic()
    assert api.call("GET", "/").status == 200 and time.monotonic() - begin >= 0.2
    file.unlink()
    assert api.call("GET", "/version").status == 200
    program.end()
    assert_clean(home)


def test_the_log_has_every_request(home):
    log = home.dir / "log"
    program, api = start(home, LOG=log, FAULT="3:close")
    api.call("GET", "/version")
    api.call("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 64})
    api.send("PUT", "/mmds", b"no json")
    assert api.socket.recv(1) == b""
    program.end()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    requests = [(line["method"], line["path"], line["body"]) for line in lines if "request" in line]
    assert requests == [("GET", "/version", None), ("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 64}),
                        ("PUT", "/mmds", "no json")]
    assert [line["status"] for line in lines if "response" in line] == [200, 204]


def test_the_other_face_has_them_too(home):
    program, api, _ = start_cloudhv(home, FAULT="2:status=500;3:die")
    api.call("GET", "/api/v1/vmm.ping")
    response = api.call("GET", "/api/v1/vmm.ping")
    assert response.status == 500 and isinstance(response.json(), list)
    api.send("GET", "/api/v1/vmm.ping")
    assert program.wait() == -9
    program.end()


def test_events_can_be_lost_and_spoiled(home):
    program, api, events = start_cloudhv(home, EVENTS="shutdown:split;starting:drop")
    put(api, "vmm.shutdown")
    assert events.next() == ("vmm", "shutdown")  # in pieces, and the first was lost
    program.end()
    program, api, events = start_cloudhv(home, EVENTS="starting:garbage")
    data = events.socket.recv(4096)
    assert b"[}" in data
    program.end()
    assert_clean(home)


if __name__ == "__main__":
    main(sys.modules[__name__])
