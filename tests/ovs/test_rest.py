"""The REST interface of a real controller: no client holds it, whatever it sends or does not take."""

from __future__ import annotations

import os
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.ovs.controller import ControllerProcess, wait_for

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
LARGE = FIG2 + "".join(f"# {number:0120}\n" for number in range(25_000))
"""3 MB: an answer that fits into no buffer of a socket."""
GET = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
PUT = b"PUT /v1/config HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\n"
HEAD_SECONDS, ANSWER_SECONDS = 4.0, 12.0
"""What an honest request may take beside connections that wait: less than these may, 5 and 15 s, so that it has not
waited for them. An idle machine takes a hundredth of a second; how much a busy one takes is not the controller's."""
MANY = 80
IDLE_DESCRIPTORS = 15
"""Open files of a controller without connections, at most."""


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    """A controller without switches, whose configuration is large."""
    path = tmp_path_factory.mktemp("rest") / "lb.yaml"
    path.write_text(LARGE)
    started = ControllerProcess(path)
    yield started
    assert "Traceback" not in started.log.read_text()
    assert started.close() == 0


@pytest.fixture
def crowd(controller: ControllerProcess) -> Iterator[ExitStack]:
    """Closes what is entered."""
    with ExitStack() as stack:
        yield stack


def connect(controller: ControllerProcess, crowd: ExitStack, count: int, sent: bytes) -> list[socket.socket]:
    """So many connections that have sent this."""
    connections = []
    for _ in range(count):
        connection = crowd.enter_context(socket.create_connection(("127.0.0.1", controller.rest_port), timeout=30))
        connection.sendall(sent)
        connections.append(connection)
    return connections


def honest(controller: ControllerProcess) -> float:
    """Seconds of an honest request."""
    start = time.monotonic()
    assert controller.request("GET", "/v1/status")[0] == 200
    return time.monotonic() - start


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"G",
        GET[:-2],
        PUT + b"Content-Length: 4000000\r\n\r\nswitches:",
        PUT + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        GET.replace(b"status", b"config"),
    ],
    ids=["silent", "one byte", "no end of the head", "a body that does not come", "half a chunk", "takes no answer"],
)
def test_whoever_waits_holds_up_nobody(controller: ControllerProcess, crowd: ExitStack, sent: bytes) -> None:
    """More connections than there are places, all waiting: the oldest gives way to an honest one, and to changes."""
    connections = connect(controller, crowd, MANY, sent)
    seconds = HEAD_SECONDS if sent in (b"", b"G", GET[:-2]) else ANSWER_SECONDS
    assert max(honest(controller) for _ in range(5)) < seconds
    for connection in connections[-20:]:
        connection.send(b"a")  # one byte each, now and then, is no progress
    assert honest(controller) < seconds
    assert controller.request("PUT", "/v1/config?wait=accepted", LARGE)[0] == 202


def test_a_head_has_a_deadline_as_a_whole(controller: ControllerProcess, crowd: ExitStack) -> None:
    """A byte each second does not make it longer."""
    (connection,) = connect(controller, crowd, 1, b"GET")
    start, connection_is_open = time.monotonic(), True
    connection.settimeout(1.0)
    while connection_is_open and time.monotonic() - start < 12:
        try:
            connection.sendall(b"a")
            connection_is_open = connection.recv(1000) != b""
        except TimeoutError:
            continue
        except OSError:
            break
    assert 4 < time.monotonic() - start < 12


def test_a_connection_is_for_one_request(controller: ControllerProcess, crowd: ExitStack) -> None:
    """So what follows a request is never taken for another one."""
    (connection,) = connect(controller, crowd, 1, GET + GET)
    answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close" in answer
    assert b"Cache-Control: no-store" in answer and b"X-Content-Type-Options: nosniff" in answer


SMUGGLED = FIG2.encode()
LENGTH = b"Content-Length: %d\r\n\r\n" % len(SMUGGLED)


@pytest.mark.parametrize(
    "request_",
    [
        PUT + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + PUT + LENGTH + SMUGGLED,
        PUT + b"Content-Length: 3\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        PUT + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        PUT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + SMUGGLED,
        PUT + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + SMUGGLED,
        PUT + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        PUT + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (len(SMUGGLED) + 9) + SMUGGLED,
        PUT + b"Content-Length: %d\r\n\r\n" % (len(SMUGGLED) + 9) + SMUGGLED,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /\x1b]0;x\x07 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_a_client_that_errs_is_told_once_and_changes_nothing(
    controller: ControllerProcess, crowd: ExitStack, request_: bytes
) -> None:
    generation, log = controller.status()["generation"], controller.log.read_text()
    (connection,) = connect(controller, crowd, 1, request_)
    connection.shutdown(socket.SHUT_WR)
    answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer[:100]
    assert answer.count(b"\r\nContent-Length: ") == 1
    assert b'"type": "/docs/problems#bad-request"' in answer
    assert controller.status()["generation"] == generation
    assert controller.log.read_text() == log


def test_who_sends_too_much_still_reads_the_answer(controller: ControllerProcess) -> None:
    """The answer comes before the body has been sent, and the connection's end must not take it away."""
    assert controller.request("PUT", "/v1/config", b"#" * (6 << 20))[0] == 413
    assert controller.request("PUT", "/v1/nothing", b"#" * (3 << 20))[0] == 404
    assert controller.request("POST", "/v1/config", b"#" * (3 << 20))[0] == 405


def test_curls_way_of_sending_much(controller: ControllerProcess, crowd: ExitStack) -> None:
    """It waits for 100 Continue before it sends the body."""
    text = FIG2.encode()
    unwaited = PUT.replace(b"config", b"config?wait=accepted")
    head = unwaited + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(text)
    (connection,) = connect(controller, crowd, 1, head)
    assert connection.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(text)
    assert connection.recv(1 << 16).startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert controller.request("PUT", "/v1/config?wait=accepted", LARGE)[0] == 202


def test_an_old_client_is_sent_nothing_before_the_answer(controller: ControllerProcess, crowd: ExitStack) -> None:
    """HTTP/1.0 knows no 100 Continue: its expectation is ignored (RFC 9110, 10.1.1)."""
    text = FIG2.encode()
    head = PUT.replace(b"config HTTP/1.1", b"config?wait=accepted HTTP/1.0") + b"Expect: 100-continue\r\n"
    (connection,) = connect(controller, crowd, 1, head + b"Content-Length: %d\r\n\r\n" % len(text) + text)
    assert connection.recv(1 << 16).startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert controller.request("PUT", "/v1/config?wait=accepted", LARGE)[0] == 202


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (b"Content-Encoding: gzip", b"415 Unsupported Media Type"),
        (b"content-encoding: GZIP, identity", b"415 Unsupported Media Type"),
        (b"Content-Encoding: identity, identity", b"415 Unsupported Media Type"),
        (b"Content-Encoding:", b"415 Unsupported Media Type"),
        (b"Content-Encoding: identity\r\nContent-Encoding: gzip", b"415 Unsupported Media Type"),
        (b"Content-Encoding: Identity", b"202 Accepted"),
        (b"Content-Range: bytes 0-9/20", b"400 Bad Request"),
        (b"content-range: bytes */20", b"400 Bad Request"),
        (b"Content-Range:", b"400 Bad Request"),
    ],
)
@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"], ids=["sent", "asked before"])
def test_a_part_or_another_form_of_a_configuration_is_not_taken_for_it(
    controller: ControllerProcess, crowd: ExitStack, field: bytes, status: bytes, expect: bytes
) -> None:
    """Whether the body is there already, or the client asks before it sends it: then it is not asked to."""
    before = controller.status()["generation"]
    text = controller.request("GET", "/v1/config")[1].encode()
    head = PUT.replace(b"config", b"config?wait=accepted") + field + b"\r\n" + expect
    (connection,) = connect(controller, crowd, 1, head + b"Content-Length: %d\r\n\r\n" % len(text))
    if not expect:
        connection.sendall(text)
    answer = connection.recv(1 << 16)
    if status == b"202 Accepted" and expect:
        assert answer == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(text)
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n"), answer[:100]
    assert controller.status()["generation"] == before + (status == b"202 Accepted")


def test_a_body_of_tiny_chunks_holds_up_nobody(controller: ControllerProcess, crowd: ExitStack) -> None:
    """A client that sends all the time is never waited for: it goes on until others have had their turns."""
    chunks, at_most = b"1\r\n#\r\n" * 100_000, 39  # a body may have 4 MiB
    (connection,) = connect(controller, crowd, 1, PUT + b"Transfer-Encoding: chunked\r\n\r\n")
    is_sent, are_answered, in_time = threading.Event(), threading.Event(), list[bool]()

    def send() -> None:
        for _ in range(at_most):
            connection.sendall(chunks)
            is_sent.set()
            if are_answered.is_set():
                in_time.append(True)
                break
        connection.sendall(b"0\r\n\r\n")

    sender = threading.Thread(target=send)
    sender.start()
    assert is_sent.wait(30)
    for _ in range(6):
        honest(controller)
    are_answered.set()
    sender.join()
    assert connection.recv(1 << 16).startswith(b"HTTP/1.1 422 ")
    assert in_time, "others are answered only when the whole body has been read"


def test_too_many_open_files_end_nothing(controller: ControllerProcess, crowd: ExitStack) -> None:
    """accept() fails, which is said once, and succeeds when there are descriptors again."""
    pid = controller.process.pid
    known = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def descriptors() -> list[int]:
        return sorted(map(int, os.listdir(f"/proc/{pid}/fd")))

    wait_for("earlier clients are gone", lambda: len(descriptors()) <= IDLE_DESCRIPTORS)
    few = [number for number in range(512) if number not in descriptors()][3]  # room for three more
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, known[1]))
    try:
        for _ in range(8):
            connect(controller, crowd, 1, b"")
        wait_for("accept() fails", lambda: "Too many open files" in controller.log.read_text())
        assert honest(controller) < 10, "when the silent ones are closed there is room"
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, known)
    assert honest(controller) < ANSWER_SECONDS
    assert controller.log.read_text().count("Too many open files") == 1
    assert controller.process.poll() is None


def test_memory_does_not_follow_who_takes_no_answer(controller: ControllerProcess, crowd: ExitStack) -> None:
    """64 clients that read nothing of 3 MB share one copy of it."""

    def resident() -> int:
        return int(Path(f"/proc/{controller.process.pid}/statm").read_text().split()[1]) * 4096 >> 20

    assert controller.request("GET", "/v1/config")[0] == 200
    before = resident()
    connect(controller, crowd, 60, GET.replace(b"status", b"config"))
    assert honest(controller) < ANSWER_SECONDS
    assert resident() - before < 60


@pytest.mark.parametrize(
    ("host", "address", "name"),
    [
        ("127.0.0.2", "127.0.0.2", "127.0.0.2"),
        ("::1", "::1", "[::1]"),
        ("[::1]", "::1", "[::1]"),
        ("localhost", "127.0.0.1", "localhost"),
    ],
)
def test_it_answers_where_it_listens(tmp_path: Path, host: str, address: str, name: str) -> None:
    """The Host header that clients send there by themselves is the right one; and the log tells the time."""
    path = tmp_path / "lb.yaml"
    path.write_text(FIG2)
    controller = ControllerProcess(path, "--wsapi-host", host)
    try:
        with socket.create_connection((address, controller.rest_port), timeout=5) as connection:
            connection.sendall(GET.replace(b"localhost", f"{name}:{controller.rest_port}".encode()))
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        assert controller.close() == 0
    ready, *lines = controller.log.read_text().splitlines()
    assert ready.startswith("ready: ")
    assert lines and all(re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d,\d\d\d [A-Z]+ portlb", line) for line in lines)
