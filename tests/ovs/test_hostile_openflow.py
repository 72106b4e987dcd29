"""Peers that break OpenFlow, against a live controller: each loses its own connection, and no other notices."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portlb_app.pipeline import Reason, make_cookie
from tests.ovs import openflow_peer as of
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.openflow_peer import (
    BUNDLE_CONTROL,
    ECHO_REPLY,
    ECHO_REQUEST,
    ERROR,
    FLOW_DESC,
    GOOD_HELLO,
    GROUP_DESC,
    HELLO,
    MULTIPART_REQUEST,
    PACKET_IN,
    PACKET_OUT,
    PORT_DESC,
    PORT_STATUS,
    SOON,
    VERSION,
    Claims,
    Peer,
    element,
    message,
    multipart,
    port,
    port_status,
)

SAMPLES = 20
FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    path = tmp_path_factory.mktemp("hostile") / "lb.yaml"
    path.write_text(FIG2)
    controller = ControllerProcess(path)
    yield controller
    assert controller.close() == 0, "it must still end cleanly"


class Silent(threading.Thread):
    """A peer that never says a word; `seconds` is how long it was listened to in vain."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.seconds = 0.0
        self._socket = socket.create_connection(("127.0.0.1", port))
        self.start()

    def run(self) -> None:
        started = time.monotonic()
        with self._socket, contextlib.suppress(ConnectionError):
            while self._socket.recv(1 << 16):
                pass
        self.seconds = time.monotonic() - started


@pytest.fixture(scope="module", autouse=True)
def silent(controller: ControllerProcess) -> Silent:
    """It connects before all others, because its test takes so long."""
    return Silent(controller.openflow_port)


@pytest.fixture
def peer(controller: ControllerProcess) -> Iterator[Peer]:
    peer = Peer(controller.openflow_port)
    yield peer
    peer.close()


class Honest(Peer):
    """A switch that behaves: whatever it waits for, it answers echo requests."""

    def receive(self) -> tuple[int, int, bytes]:
        """The next message."""
        kind, xid, body = super().receive()
        if kind == ECHO_REQUEST:
            self.send(message(ECHO_REPLY, body, xid))
        return kind, xid, body


@pytest.fixture(scope="module")
def bystander(controller: ControllerProcess) -> Iterator[Honest]:
    """An honest switch that is not configured, connected as long as the tests last."""
    with contextlib.closing(Honest(controller.openflow_port)) as honest:
        honest.connect_as(0xABC)
        wait_for("it is known", lambda: "0xabc" in controller.status()["unknown_switches"])
        yield honest


@pytest.fixture
def honest(controller: ControllerProcess, bystander: Honest) -> Iterator[Honest]:
    """It is here to see what others cost it: nothing, its connection least of all."""
    assert bystander.answers()
    yield bystander
    assert bystander.answers()
    start = time.monotonic()
    assert "0xabc" in controller.status()["unknown_switches"]
    assert time.monotonic() - start < SOON


def last_reason(controller: ControllerProcess) -> str:
    last = controller.status()["refused_connections"]["last"]
    return str(last[-1]["reason"]) if last else ""


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (message(HELLO, element(1, 0)), "a hello element says it has 0 bytes of 4"),
        (message(HELLO, element(9, 0)), "a hello element says it has 0 bytes of 4"),
        (message(HELLO, element(1, 0, bytes(4))), "a hello element says it has 0 bytes of 8"),
        (message(HELLO, element(1, 9, bytes(4))), "a hello element says it has 9 bytes of 8"),
        (message(HELLO, element(1, 65535)), "a hello element says it has 65535 bytes of 4"),
        (message(HELLO, b"\0\1\0"), "a hello element is cut off"),
        (message(HELLO, element(2, 4, bytes(4)) * 17), "a hello has more than 16 elements"),
        (message(HELLO, element(1, 8, bytes(4))), "it speaks OpenFlow of no version"),
        (message(HELLO, version=4), "it speaks OpenFlow 1.0, 1.1, 1.2, 1.3, not 1.5"),
        (message(HELLO, version=0), "it speaks OpenFlow of no version, not 1.5"),
        (struct.pack("!BBHI", VERSION, HELLO, 0, 1), "a hello says it has 0 bytes"),
        (struct.pack("!BBHI", VERSION, HELLO, 7, 1), "a hello says it has 7 bytes"),
        (struct.pack("!BBHI", VERSION, HELLO, 0xFFFF, 1), "a hello says it has 65535 bytes"),
        (message(BUNDLE_CONTROL, struct.pack("!IHH", 1, 1, 3) + bytes(8)), "it begins with a message of type 33"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000, "OpenFlow version 0x47"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(1024), "OpenFlow version 0x16"),
        (message(ECHO_REQUEST, version=1), "a message of type 2 of OpenFlow version 0x01, not with a hello"),
        (message(99), "it begins with a message of type 99"),
        (GOOD_HELLO + message(ECHO_REQUEST, version=1), "a message of OpenFlow version 0x01"),
        (GOOD_HELLO + message(99), "a message of type 99, which OpenFlow 1.5 does not have"),
        (GOOD_HELLO + message(PACKET_OUT), "a message of type 13, which only a controller sends"),
        (GOOD_HELLO + struct.pack("!BBHI", VERSION, PACKET_OUT, 0xFFFF, 1), "a message of type 13, which only"),
        (GOOD_HELLO + GOOD_HELLO, "a second hello"),
        (GOOD_HELLO + message(ECHO_REQUEST) * 300, "more than 256 messages before the handshake is done"),
        (GOOD_HELLO + message(ERROR, struct.pack("!HH", 0, 0) + b"\xff"), r"with error 0/0: '\\xff'"),
        (GOOD_HELLO + message(ERROR, bytes(3)), "an error is cut off"),
    ],
    ids=lambda value: None,
)
def test_a_wrong_beginning_ends_its_own_connection(
    controller: ControllerProcess, honest: Peer, peer: Peer, hello: bytes, reason: str
) -> None:
    peer.send(hello)
    assert peer.is_closed()
    assert reason in last_reason(controller)


ZERO_PROPERTY = struct.pack("!HH", 99, 0) + bytes(4)
OXM_IN_PORT = struct.pack("!II", 0x80000004, 1)


@pytest.mark.parametrize(
    "hostile",
    [
        multipart(PORT_DESC, port(48, ZERO_PROPERTY)),
        multipart(PORT_DESC, port(48, bytes(8))),
        multipart(PORT_DESC, port(0, b"")),
        multipart(GROUP_DESC, struct.pack("!HBxIH6x", 0, 1, 1, 0)),
        multipart(FLOW_DESC, bytes(56)),
        multipart(2, bytes(64)),
        multipart(6, bytes(64)),
        multipart(9, bytes(64)),
        multipart(10, bytes(64)),
        multipart(12, bytes(128)),
        multipart(14, bytes(64)),
        multipart(15, bytes(64)),
        multipart(16, bytes(64)),
        multipart(17, bytes(64)),
        multipart(18, bytes(64)),
        multipart(19, bytes(64)),
        multipart(99, bytes(64)),
        message(BUNDLE_CONTROL, struct.pack("!IHH", 1, 1, 3) + ZERO_PROPERTY),
        port_status(port(48, ZERO_PROPERTY)),
        message(PACKET_IN, struct.pack("!IHBBQ", 0, 0, 0, 0, 0) + struct.pack("!HH", 1, 65535) + OXM_IN_PORT),
        message(PACKET_IN, b""),
        message(11, bytes(40)),
        message(26, bytes(40)),
        message(28, bytes(40)),
        message(32, bytes(40)),
        message(35, bytes(40)),
    ],
    ids=lambda hostile: f"type{hostile[1]}-{hostile[8:].hex()[:8]}",
)
def test_a_length_of_zero_after_the_handshake_costs_at_most_its_own_connection(
    honest: Peer, peer: Peer, hostile: bytes
) -> None:
    """Some of these loop for ever in Ryu's parsers, some raise, some are read: nobody else may notice which."""
    peer.connect_as(0xBAD)
    peer.send(hostile)
    started = time.monotonic()
    assert honest.answers()
    assert time.monotonic() - started < SOON


def test_a_message_that_keeps_a_parser_busy_is_skipped(honest: Peer, peer: Peer) -> None:
    """24 bytes that end Ryu's parser never: no parser sees them, because nothing was asked that they answer."""
    peer.connect_as(0xBAD)
    peer.send(message(BUNDLE_CONTROL, struct.pack("!IHH", 1, 1, 3) + ZERO_PROPERTY) * 1000)
    assert peer.answers() and honest.answers()


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        (port_status(port(0, b"")), "a port's description says it has 0 bytes"),
        (port_status(port(39, b"")), "a port's description says it has 39 bytes"),
        (port_status(port(41, b"")), "a port's description says it has 41 bytes"),
        (port_status(port(40, b"")[:-1]), "a port's description is cut off"),
        (message(PORT_STATUS), "a port's description is cut off"),
    ],
    ids=lambda value: None,
)
def test_news_of_a_port_that_contradict_themselves_end_the_connection(
    controller: ControllerProcess, honest: Peer, peer: Peer, hostile: bytes, reason: str
) -> None:
    peer.connect_as(0xBAD)
    peer.send(hostile)
    assert peer.is_closed()
    assert reason in last_reason(controller)


def test_odd_news_of_ports_are_taken(honest: Peer, peer: Peer) -> None:
    """Of ports that come, change and go, known or not, with properties of any kind, and a reason nobody knows."""
    peer.connect_as(0xBAD)
    for reason in (0, 1, 2, 1, 1, 3, 255):
        for number in (0, 1, 0xFFFFFFFE):
            peer.send(port_status(port(48, ZERO_PROPERTY, number), reason))
    assert peer.answers()


def test_a_switch_that_is_not_configured_may_have_few_ports(
    controller: ControllerProcess, honest: Peer, peer: Peer
) -> None:
    peer.connect_as(0xBAD)
    peer.send(*(port_status(port(40, b"", number)) for number in range(1 << 10)))
    assert peer.answers()
    one_more = port(40, b"", 1 << 10)
    peer.send(port_status(port(40, b"", 0), 1), port_status(one_more))
    assert peer.answers(), "one goes, one comes"
    peer.send(port_status(port(40, b"", 0)))
    assert peer.is_closed()
    assert last_reason(controller) == "it says it has more than 1024 ports, and is not in the configuration"


def test_a_configured_switch_may_have_all_ports_there_are(
    controller: ControllerProcess, honest: Peer, switch: Claims
) -> None:
    switch.send(*(port_status(port(40, b"", number)) for number in range(1 << 16)))
    assert switch.answers()
    switch.send(port_status(port(40, b"", 1 << 16)))
    assert switch.is_closed()
    assert last_reason(controller) == "it says it has more than 65536 ports"


def test_silent_and_half_messages_take_nothing_from_others(controller: ControllerProcess, honest: Peer) -> None:
    with contextlib.ExitStack() as peers:
        for size in range(20):
            peer = Peer(controller.openflow_port)
            peers.callback(peer.close)
            peer.send(GOOD_HELLO[: size % len(GOOD_HELLO)])
        assert honest.answers()


def packet_in(reason: Reason, frame: bytes) -> bytes:
    """A packet a switch hands up, from port 1."""
    return of.packet_in(make_cookie(reason, 0), frame)


FLOODS = {
    "questions": message(ECHO_REQUEST),
    "answers": message(ECHO_REPLY),
    "fragments": packet_in(Reason.FRAGMENT, bytes(60)),
    "SYNs": packet_in(Reason.SIGNAL, bytes(60)),
    "packets nobody asked for": packet_in(Reason.SERVICE, bytes(60)),
    "cut packets": message(PACKET_IN, bytes(3)),
    "news of a port": port_status(port(40, b"")) + port_status(port(40, b""), 1),
}


class Flood(threading.Thread):
    """Sends the same bytes again and again, as fast as they are taken, until it is closed."""

    def __init__(self, peer: Peer, data: bytes) -> None:
        super().__init__(daemon=True)
        self._peer, self._data, self._is_over = peer, data * 8000, False
        peer.socket.settimeout(0.1)
        self.start()

    def run(self) -> None:
        while not self._is_over:
            with contextlib.suppress(TimeoutError):
                self._peer.send(self._data)

    def close(self) -> None:
        """End the connection at once: what waits to be read is worth nothing any more."""
        self._is_over = True
        self.join()
        self._peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._peer.close()


@pytest.mark.parametrize("dpid", [0xF100D, 1], ids=["unknown", "configured"])
@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_leaves_room_for_others(
    controller: ControllerProcess, honest: Peer, peer: Peer, dpid: int, what: str
) -> None:
    """Another switch, and a user, are answered all the time."""
    peer.connect_as(dpid)
    taken: list[float] = []
    with contextlib.closing(Flood(peer, FLOODS[what])):
        until = time.monotonic() + 1
        while time.monotonic() < until or len(taken) < SAMPLES:
            started = time.monotonic()
            assert honest.answers()
            controller.status()
            taken.append(time.monotonic() - started)
    assert max(taken) < SOON, sorted(taken)
    controller.wait_for_state("s1", "absent")


@pytest.fixture
def switch(controller: ControllerProcess) -> Iterator[Claims]:
    switch = Claims(controller.openflow_port)
    switch.connect_as(1)
    yield switch
    switch.close()
    controller.wait_for_state("s1", "absent")


def test_descriptions_that_contradict_themselves_end_the_connection(
    controller: ControllerProcess, honest: Peer, switch: Claims
) -> None:
    bucket = struct.pack("!HHI", 0, 0, 0)
    for body in (b"", struct.pack("!HBxIH6x", 24, 1, 5 << 28, 8) + bucket):
        xid, request = switch.until(MULTIPART_REQUEST)
        switch.send(multipart(int.from_bytes(request[:2], "big"), body, xid))
    assert switch.is_closed()
    assert "a bucket says it has 0 bytes of 8" in last_reason(controller)


def test_a_switch_that_knows_no_bundles_is_an_error_that_says_so(
    controller: ControllerProcess, switch: Claims
) -> None:
    switch.answer_read()
    xid, body = switch.until_bundle()
    switch.send(message(ERROR, struct.pack("!HH", 1, 1) + message(BUNDLE_CONTROL, body, xid), xid))
    errors = controller.wait_for_state("s1", "error")["errors"]
    assert errors == [
        "cannot open a bundle: OFPET_BAD_REQUEST(1) OFPBRC_BAD_TYPE(1): "
        "the switch does not know bundles: it must speak OpenFlow 1.5"
    ]


def test_answers_nobody_asked_for_are_ignored(controller: ControllerProcess, switch: Claims) -> None:
    switch.send(multipart(GROUP_DESC, b"", 12345) * 3000, message(BUNDLE_CONTROL, bytes(8), 54321) * 3000)
    switch.answer_read()
    switch.until_bundle()
    assert controller.switch("s1")["state"] == "applying"


def test_a_peer_that_never_said_hello_was_closed_at_the_deadline(silent: Silent) -> None:
    silent.join(15)
    assert 9 < silent.seconds < 20
