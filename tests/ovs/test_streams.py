"""Event streams of a real controller: sent as they come, bounded in number, and dropped with their readers."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from tests.ovs.controller import ControllerProcess, wait_for

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
STREAMS = 16
APPLICATION = """
from ryu.app.wsgi import ControllerBase, Response, WSGIApplication, route
from ryu.base import app_manager
from ryu.lib import hub
from portlb_app.reconcile.happened import Happened

open_streams = []

def happen(number, size):
    controller = app_manager.lookup_service_brick("Controller")
    for _ in range(number):
        controller.streams.add(1.0, Happened("pool", "web:80", "ok", "degraded", "x" * size))
        hub.sleep(0)
    return controller.streams.ring.id(controller.streams.ring.last)

def events(size, number):
    open_streams.append(1)
    try:
        for _ in range(number):
            yield b"data: " + b"a" * size + b"\\n\\n"
        hub.Event().wait()
    finally:
        open_streams.pop()

class Pages(ControllerBase):
    @route("events", "/one")
    def one(self, req):
        return Response(content_type="text/event-stream", app_iter=events(1, 1))

    @route("events", "/more")
    def more(self, req):
        return Response(content_type="text/event-stream", app_iter=events(100_000, 1_000_000))

    @route("events", "/happen/{number}/{size}")
    def happen(self, req, number, size):
        return Response(body=happen(int(number), int(size)).encode())

    @route("events", "/open")
    def open(self, req):
        return Response(body=str(len(open_streams)).encode())

class Events(app_manager.RyuApp):
    _CONTEXTS = {"wsgi": WSGIApplication}

    def __init__(self, *arguments, **shared):
        super().__init__(*arguments, **shared)
        shared["wsgi"].register(Pages)
"""


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    """A controller with an application that sends events."""
    directory = tmp_path_factory.mktemp("streams")
    (directory / "lb.yaml").write_text(FIG2)
    (directory / "events_app.py").write_text(APPLICATION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(directory))
        started = ControllerProcess(directory / "lb.yaml", "--app", "events_app")
    yield started
    assert "Traceback" not in started.log.read_text()
    assert started.close() == 0


@pytest.fixture
def readers(controller: ControllerProcess) -> Iterator[ExitStack]:
    """Closes what is entered, and waits until the controller has noticed."""
    with ExitStack() as stack:
        yield stack
    wait_for("all streams have ended", lambda: controller.request("GET", "/open")[1] == "0")


def stream(controller: ControllerProcess, readers: ExitStack, path: str) -> tuple[socket.socket, bytes]:
    """A connection that has asked for a stream, and what came first."""
    connection = readers.enter_context(socket.create_connection(("127.0.0.1", controller.rest_port), timeout=20))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    taken = b""
    while b"\r\n\r\n" not in taken or taken.endswith(b"\r\n\r\n"):
        more = connection.recv(4096)
        if not more:
            break
        taken += more
    return connection, taken


def following(controller: ControllerProcess, readers: ExitStack, last: str = "") -> HTTPResponse:
    """The events of the controller, behind the one with this id, by a client with little room for them."""
    connection = HTTPConnection("127.0.0.1", controller.rest_port, timeout=20)
    connection.sock = readers.enter_context(socket.socket())
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sock.settimeout(20)
    connection.sock.connect(("127.0.0.1", controller.rest_port))
    named = {"Last-Event-ID": last} if last else {}
    connection.request("GET", "/v1/events", headers={"Accept": "text/event-stream", **named})
    response = connection.getresponse()
    readers.callback(response.close)
    assert response.status == 200
    return response


def events(response: HTTPResponse, most: int) -> list[dict[str, str]]:
    """So many events, or those until the end; without the comments."""
    found: list[dict[str, str]] = []
    event: dict[str, str] = {}
    while len(found) < most and (line := response.readline().decode()):
        name, _, value = line.strip().partition(": ")
        if line == "\n" and "event" in event:
            found.append(event)
        event = {} if line == "\n" else event | {name: value}
    return found


def test_a_reader_goes_on_where_it_was(controller: ControllerProcess, readers: ExitStack) -> None:
    """It gets what came behind the event that it names, once; one of another start is told that it missed some."""
    _, last = controller.request("GET", "/happen/5/10")
    boot, number = last.split("-")
    missed = [f"{boot}-{int(number) - left}" for left in (2, 1, 0)]
    response = following(controller, readers, f"{boot}-{int(number) - 3}")
    assert [each["id"] for each in events(response, 3)] == missed
    _, last = controller.request("GET", "/happen/1/10")
    (event,) = events(response, 1)
    assert (event["id"], event["event"], json.loads(event["data"])["id"]) == (last, "pool", last)
    for other in (f"0{boot}-1", f"{boot}-{int(number) + 99}", "nonsense"):
        (event,) = events(following(controller, readers, other), 1)
        assert (event["event"], event["id"]) == ("reset", last)
        assert json.loads(event["data"])["read"] == "/v1/status"


def test_a_reader_that_is_overtaken_is_told_and_goes_on_from_there(
    controller: ControllerProcess, readers: ExitStack
) -> None:
    """What it did not read in time ends by a reset and the end of the answer; with its id it misses nothing more."""
    response = following(controller, readers)
    assert response.readline() == b"retry: 2000\n"
    _, last = controller.request("GET", "/happen/1000/1000")
    *some, reset = events(response, 1001)
    assert (reset["event"], reset["id"]) == ("reset", last) and {each["event"] for each in some} == {"pool"}
    assert 0 < len(some) < 1000 and response.read() == b""
    again = following(controller, readers, reset["id"])
    _, last = controller.request("GET", "/happen/1/10")
    assert [each["id"] for each in events(again, 1)] == [last]


def test_an_event_is_sent_at_once(controller: ControllerProcess, readers: ExitStack) -> None:
    """Although it is small, and nothing follows; the connection is for nothing else."""
    _, taken = stream(controller, readers, "/one")
    head, _, body = taken.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\nConnection: close" in head
    assert re.fullmatch(rb"9\r\ndata: a\n\n\r\n", body)


def test_streams_are_bounded_and_rest_goes_on(controller: ControllerProcess, readers: ExitStack) -> None:
    """One more is told to come again; when one reader has gone, there is room at once."""
    connections = [stream(controller, readers, "/one")[0] for _ in range(STREAMS)]
    assert controller.request("GET", "/open") == (200, str(STREAMS))
    _, refused = stream(controller, readers, "/one")
    assert refused.startswith(b"HTTP/1.1 503 Service Unavailable\r\n") and b"\r\nRetry-After: 5\r\n" in refused
    assert controller.request("GET", "/v1/status")[0] == 200
    connections[3].close()
    wait_for("it is noticed", lambda: controller.request("GET", "/open")[1] == str(STREAMS - 1))
    _, taken = stream(controller, readers, "/one")
    assert taken.startswith(b"HTTP/1.1 200 OK\r\n")


def test_streams_do_not_give_way_to_other_clients(controller: ControllerProcess, readers: ExitStack) -> None:
    """More connections than there are places: those that wait for their clients go."""
    connection, _ = stream(controller, readers, "/one")
    for _ in range(80):
        readers.enter_context(socket.create_connection(("127.0.0.1", controller.rest_port), timeout=20))
    assert controller.request("GET", "/open") == (200, "1")
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.recv(1)


def test_a_reader_that_takes_nothing_is_dropped(controller: ControllerProcess, readers: ExitStack) -> None:
    """Within the time that a client has to take an answer; others are answered meanwhile."""
    _, taken = stream(controller, readers, "/more")
    assert taken.startswith(b"HTTP/1.1 200 OK\r\n")
    assert controller.request("GET", "/open") == (200, "1")
    wait_for("it is dropped", lambda: controller.request("GET", "/open")[1] == "0", 30)
