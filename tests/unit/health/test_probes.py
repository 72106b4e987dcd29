"""Checks as packets: what servers' answers mean, loss on the path, and answers that no server should give."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlb_app.config import Check, CheckKind
from portlb_app.health import http
from portlb_app.health.datagrams import DatagramProbe
from portlb_app.health.probe import TRIES, Result, Target, Verdict
from portlb_app.health.tcp import TcpProbe, refuse
from portlb_app.net.packets import (
    Datagram,
    Ends,
    checksum,
    make_segment,
    parse_datagram,
    parse_quote,
    parse_tcp,
)
from portlb_app.pipeline import ACK, FIN, RST, SYN
from tests.unit.health.servers import BACK, CHECKER, PORT, TARGET, VIP, Server, World

HTTP = Check(CheckKind.HTTP, path="/healthz")
TCP = Check(CheckKind.TCP)


def result(check: Check, server: Server, loss: float = 0.0, seed: int = 0) -> tuple[Result, World]:
    """One check of a server."""
    world = World(server, loss, seed)
    return world.check(TcpProbe(check, TARGET, world.draw, lambda _: False)), world


def passed(reason: str) -> Result:
    """A result."""
    return Result(Verdict.PASSED, reason)


def failed(reason: str) -> Result:
    """A result."""
    return Result(Verdict.FAILED, reason)


# ---- what servers do -------------------------------------------------------------------------------------------------


def test_a_server_that_listens_is_connected() -> None:
    """Three packets: SYN, SYN/ACK, reset; the program sees no connection."""
    found, world = result(TCP, Server())
    world.rest()
    assert found == passed("connected")
    assert (world.sent, world.server.connections, world.server.resets) == (2, {}, 1)


def test_a_closed_port_is_refused_at_once() -> None:
    """No waiting for the timeout."""
    found, world = result(TCP, Server(listens=False))
    assert found == failed("refused") and world.now < 0.01


def test_a_silent_host_is_found_by_the_timeout() -> None:
    """After ten SYNs, each from another port."""
    found, world = result(replace(TCP, timeout=0.5), Server(is_silent=True))
    assert found == failed("no answer within 0.5 s")
    assert (world.now, world.sent) == (pytest.approx(0.5), TRIES)


def test_an_answer_by_http() -> None:
    """The request is one segment; what is left is reset."""
    found, world = result(HTTP, Server())
    world.rest()
    assert found == passed("http 200")
    assert world.server.requests == [
        b"GET /healthz HTTP/1.1\r\nHost: 10.0.0.100\r\nUser-Agent: portlb\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    ]
    assert world.server.connections == {}


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        (b"HTTP/1.0 204 No Content\r\n\r\n", passed("http 204")),
        (b"HTTP/1.1 399\r\n\r\n", passed("http 399")),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", failed("http 503")),
        (b"HTTP/1.1 404 \x1b[31mred\x07\r\n\r\n", failed("http 404")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", passed("http 200")),
        (b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 500 No\r\n\r\n", failed("http 500")),
        (b"HTTP/1.1 100 Continue\r\n\r\n", failed("closed without an answer")),
        (b"HTTP/1.1 100 Continue\r\n", failed("no HTTP answer")),
        (b"", failed("closed without an answer")),
        (b"HTTP/1.1", failed("no HTTP answer")),
        (b"HTTP/1.1 200 OK", failed("no HTTP answer")),
        (b"HTTP/1.1 999 OK\r\n\r\n", failed("no HTTP answer")),
        (b"HTTP/2 200\r\n\r\n", failed("no HTTP answer")),
        (b"SSH-2.0-OpenSSH_9.2\r\n", failed("no HTTP answer")),
        (b"\x15\x03\x01\x00\x02\x02\x0a", failed("no HTTP answer")),
        (b"HTTP/1.1 " + b"2" * 5000 + b"\r\n\r\n", failed("no HTTP answer")),
        (b"HTTP/1.1 200 " + b"x" * 30000 + b"\r\n\r\n", failed("no HTTP answer")),
    ],
)
def test_what_answers_mean(answer: bytes, means: Result) -> None:
    """Nothing of an answer is repeated but the three digits of its status."""
    assert result(HTTP, Server(answer))[0] == means


def test_the_text_that_is_expected() -> None:
    """Behind the head, also where a segment ends within it; in the first 16 KiB."""
    check = replace(HTTP, body=b"all is well")
    head = b"HTTP/1.1 200 OK\r\nX: all is well\r\n\r\n"
    assert result(check, Server(head + b"a" * 1180 + b"all is well"))[0] == passed("http 200")
    missing = failed("http 200, without the expected text")
    assert result(check, Server(head + b"all is wrong"))[0] == missing
    assert result(check, Server(head))[0] == missing
    assert result(check, Server(head + b"a" * http.LONGEST + b"all is well"))[0] == missing
    assert result(replace(check, status=((201, 201),)), Server(head + b"all is well"))[0] == failed("http 200")


def test_a_program_that_hangs() -> None:
    """Connections open, and no request is answered: at most three of them, and the reason says which."""
    found, world = result(HTTP, Server(answer=None))
    assert found == failed("no answer within 1 s to the request")
    assert 1 < len(world.server.requests) <= 3
    world.rest()
    assert world.server.connections == {}


def test_a_slow_program_is_asked_once_or_twice_more() -> None:
    """A repetition is for packets that are lost."""
    found, world = result(HTTP, Server(thinks=0.15))
    assert found == passed("http 200") and len(world.server.requests) == 1
    found, world = result(HTTP, Server(thinks=0.9))
    assert found == passed("http 200") and len(world.server.requests) <= 3


def test_a_host_in_the_request() -> None:
    """The VIP's address, in brackets if it is IPv6's, or what is configured."""
    assert b"\r\nHost: [fd00::100]\r\n" in http.request(HTTP, "fd00::100")
    assert b"\r\nHost: example.net\r\n" in http.request(replace(HTTP, host="example.net"), "fd00::100")
    assert http.request(replace(HTTP, method="HEAD", path="/x?y"), "10.0.0.1").startswith(b"HEAD /x?y HTTP/1.1\r\n")


# ---- loss ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "most"), [(CheckKind.TCP, 0.004), (CheckKind.HTTP, 0.02)])
def test_checks_survive_loss(kind: CheckKind, most: float) -> None:
    """30 % of all packets lost, each way. Of 20,000: tcp failed 0.12 %, http 0.75 %.

    So three in a row, which make a server go down, come once in 37 years, and in 55 days.
    """
    checks = 3000
    found = [result(Check(kind), Server(), 0.3, seed)[0] for seed in range(checks)]
    assert sum(each.verdict is not Verdict.PASSED for each in found) / checks <= most


def test_parts_in_any_order() -> None:
    """A part that comes too early is asked for again, a part that comes twice counts once."""
    probe = TcpProbe(replace(HTTP, body=b"end"), TARGET, World(Server()).draw, lambda _: False)
    (syn,) = map(parse_tcp, probe.begin(0.0))
    assert syn is not None
    mine = syn.seq + 1

    def segment(number: int, flags: int, data: bytes = b"") -> list[bytes]:
        return probe.take(make_segment(BACK, (PORT, syn.sport), number, mine, flags, 1000, data), 0.1)

    (asked,) = segment(0xFFFFFFFA, SYN | ACK)
    request = parse_tcp(asked)
    assert request is not None and request.data.startswith(b"GET")
    assert request.ack == 0xFFFFFFFB
    (early,) = segment(8, ACK, b"end")
    assert (segment_of := parse_tcp(early)) is not None and segment_of.ack == 0xFFFFFFFB
    segment(0xFFFFFFFB, ACK, b"HTTP/1.1 ")
    segment(0xFFFFFFFB, ACK, b"HTTP/1.1 200 OK\r\n")
    assert probe.result is None
    (reset,) = segment(12, ACK, b"\r\nend")
    assert probe.result == passed("http 200")
    last = parse_tcp(reset)
    assert last is not None and last.flags & RST and (last.seq, last.ack) == (mine + request.size, 17)


# ---- who may answer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "port", "flags", "acknowledged"),
    [
        ("10.0.0.101", PORT, SYN | ACK, 1),
        ("10.0.0.100", PORT + 1, SYN | ACK, 1),
        ("10.0.0.100", PORT, SYN | ACK, 2),
        ("10.0.0.100", PORT, SYN, 1),
        ("10.0.0.100", PORT, ACK, 1),
        ("10.0.0.100", PORT, RST, 1),
        ("10.0.0.100", PORT, RST | ACK, 0),
    ],
)
def test_numbers_must_be_exact(source: str, port: int, flags: int, acknowledged: int) -> None:
    """What is no answer to this SYN is none."""
    probe = TcpProbe(TCP, TARGET, World(Server()).draw, lambda _: False)
    (syn,) = map(parse_tcp, probe.begin(0.0))
    assert syn is not None
    ends = BACK._replace(source=ip_address(source))
    frame = make_segment(ends, (port, syn.sport), 7, syn.seq + acknowledged, flags, 1000)
    assert probe.take(frame, 0.1) == [] and probe.result is None


def error(frame: bytes, kind: int = 3, code: int = 3) -> bytes:
    """The ICMP error about a frame, from the VIP."""
    body = frame[14:42]
    message = bytes((kind, code)) + bytes(6) + body
    message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    head = b"\x45\0" + (20 + len(message)).to_bytes(2, "big") + b"\0\0\0\0\x40\x01\0\0" + VIP.packed + CHECKER.packed
    return frame[6:12] + frame[:6] + b"\x08\0" + head + message


def test_icmp_errors_refuse() -> None:
    """Of the server or a router before it, about this connection or datagram only."""
    world = World(Server())
    probe = TcpProbe(TCP, TARGET, world.draw, lambda _: False)
    other = TcpProbe(TCP, TARGET, world.draw, lambda _: False)
    (syn,), (foreign,) = probe.begin(0.0), other.begin(0.0)
    assert parse_quote(error(syn)) is not None
    probe.take(error(foreign), 0.1)
    assert probe.result is None
    probe.take(error(syn), 0.1)
    assert probe.result == failed("refused by an ICMP error")


def test_a_segment_of_nobody_is_reset() -> None:
    """So that a host does not keep half of a connection."""
    back = Ends(BACK.destination_mac, BACK.source_mac, CHECKER, VIP)

    def reset(flags: int, data: bytes = b"") -> tuple[int, int, int] | None:
        segment = parse_tcp(make_segment(BACK, (PORT, 40000), 7, 9, flags, 1000, data))
        assert segment is not None
        frame = refuse(back, segment)
        answer = None if frame is None else parse_tcp(frame)
        return None if answer is None else (answer.flags, answer.seq, answer.ack)

    assert reset(SYN | ACK) == (RST, 9, 0)
    assert reset(SYN) == (RST | ACK, 0, 8)
    assert reset(FIN, b"ab") == (RST | ACK, 0, 10)
    assert reset(RST) is None


# ---- datagrams and pings ---------------------------------------------------------------------------------------------


def ask(check: Check, target: Target = TARGET) -> tuple[DatagramProbe, bytes]:
    """A probe that has begun, and its first packet."""
    probe = DatagramProbe(check, target, World(Server()).draw, lambda _: False)
    (frame,) = probe.begin(0.0)
    return probe, frame


def silent(probe: DatagramProbe) -> tuple[int, Result | None]:
    """What it does if nothing comes: the number of packets, and the result."""
    sent, now = 0, 0.0
    while probe.result is None:
        now = probe.due
        sent += len(probe.wake(now))
    return sent, probe.result


def answer_to(frame: bytes, data: bytes) -> bytes:
    """The answer to a datagram."""
    asked = parse_datagram(frame)
    assert asked is not None
    back = (asked.destination_mac, asked.source_mac, asked.destination, asked.source, asked.dport, asked.sport)
    return Datagram(*back, data).pack()


UDP = Check(CheckKind.UDP, send=b"ping")


def test_a_datagram_is_answered() -> None:
    """By anything, or as expected; another answer is a bad one."""
    for check, data, means in (
        (UDP, b"", passed("answers")),
        (UDP, b"anything", passed("answers")),
        (replace(UDP, expect=b"po"), b"pong", passed("answers")),
        (replace(UDP, expect=b"po"), b"", failed("another answer than expected")),
        (replace(UDP, expect=b"po"), b"xpong", failed("another answer than expected")),
    ):
        probe, frame = ask(check)
        asked = parse_datagram(frame)
        assert asked is not None and (asked.data, asked.dport) == (b"ping", PORT)
        probe.take(answer_to(frame, data), 0.1)
        assert probe.result == means


def test_silence_says_nothing_unless_an_answer_is_expected() -> None:
    """OVN takes it for good; here it changes nothing."""
    assert silent(ask(UDP)[0]) == (0, Result(Verdict.NOTHING, "no answer is expected"))
    assert silent(ask(replace(UDP, expect=b"x"))[0]) == (TRIES - 1, failed("no answer within 1 s"))
    probe, frame = ask(UDP)
    probe.take(error(frame), 0.1)
    assert probe.result == failed("refused by an ICMP error")


@pytest.mark.parametrize("version", [4, 6])
def test_a_ping_is_answered(version: int) -> None:
    """Its checksum is right; the answer must have its identifier and a number that was sent."""
    ends = TARGET.ends
    if version == 6:
        ends = ends._replace(source=ip_address("100::8"), destination=ip_address("fd00::100"))
    target = Target(ends, 0, frozenset({ends.destination}))
    probe, frame = ask(Check(CheckKind.PING), target)
    at = 14 + (20 if version == 4 else 40)
    pseudo = b"" if version == 4 else frame[22:54] + (len(frame) - at).to_bytes(4, "big") + b"\0\0\0\x3a"
    assert checksum(pseudo + frame[at:]) == 0

    def reply(identifier: int, sequence: int) -> bytes:
        addresses = frame[30:34] + frame[26:30] if version == 4 else frame[38:54] + frame[22:38]
        kind = b"\0" if version == 4 else b"\x81"
        return frame[: at - len(addresses)] + addresses + kind + frame[at + 1 : at + 4] + (
            identifier.to_bytes(2, "big") + sequence.to_bytes(2, "big")
        )

    (identifier,) = probe.ports
    for wrong in (reply(identifier ^ 1, 1), reply(identifier, 2), reply(identifier, 0), frame):
        probe.take(wrong, 0.1)
        assert probe.result is None
    probe.take(reply(identifier, 1), 0.1)
    assert probe.result == passed("answers pings")
    assert silent(ask(Check(CheckKind.PING), target)[0]) == (TRIES - 1, failed("no answer within 1 s"))


# ---- hostile answers -------------------------------------------------------------------------------------------------

KINDS = st.sampled_from((TCP, HTTP, UDP, replace(UDP, expect=b"x"), Check(CheckKind.PING)))


def begun(check: Check) -> tuple[Any, list[bytes]]:
    """A probe of any kind."""
    kind = TcpProbe if check.kind in (CheckKind.TCP, CheckKind.HTTP) else DatagramProbe
    probe = kind(check, TARGET, World(Server()).draw, lambda _: False)
    return probe, probe.begin(0.0)


@given(KINDS, st.lists(st.binary(max_size=200), max_size=5))
def test_noise_says_nothing(check: Check, frames: list[bytes]) -> None:
    """Bytes that are no answer end no check, and break none."""
    probe, _ = begun(check)
    for frame in frames:
        assert probe.take(frame, 0.1) == []
    assert probe.result is None


@given(KINDS, st.data())
def test_answers_that_are_damaged(check: Check, data: st.DataObject) -> None:
    """Whatever bytes of what was sent, or of an answer to it, change: there is a result, or none, and no error."""
    probe, sent = begun(check)
    for _ in range(3):
        frame = bytearray(sent[0])
        frame[26:30], frame[30:34] = frame[30:34], frame[26:30]
        frame[34:36], frame[36:38] = frame[36:38], frame[34:36]
        for _ in range(data.draw(st.integers(0, 4))):
            frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
        sent = probe.take(bytes(frame[: data.draw(st.integers(0, len(frame)))]), 0.1) or sent
        assert len(sent) <= TRIES


PARTS = st.tuples(st.integers(-3, 40), st.sampled_from((ACK, ACK | FIN, RST, SYN | ACK)), st.binary(max_size=60))


@given(st.lists(PARTS))
def test_any_stream_of_a_server(parts: list[tuple[int, int, bytes]]) -> None:
    """Any segments of the connection, in any order: bounded memory, short reasons of ours, and always an end."""
    probe = TcpProbe(HTTP, TARGET, World(Server()).draw, lambda _: False)
    (syn,) = map(parse_tcp, probe.begin(0.0))
    assert syn is not None
    probe.take(make_segment(BACK, (PORT, syn.sport), 99, syn.seq + 1, SYN | ACK, 1000), 0.1)
    for offset, flags, payload in parts:
        probe.take(make_segment(BACK, (PORT, syn.sport), 100 + offset, syn.seq + 1, flags, 1000, payload), 0.1)
    probe.wake(2.0)
    assert probe.result is not None and len(probe.result.reason) < 60 and probe.result.reason.isprintable()


@given(st.binary(max_size=300), st.booleans(), st.sampled_from((b"", b"x")))
def test_any_answer_by_http(data: bytes, is_whole: bool, body: bytes) -> None:
    """The same of the parser alone; a whole answer always has a result."""
    for head in (b"", b"HTTP/1.", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 x\r\n\r\n"):
        found = http.judge(replace(HTTP, body=body), head + data, is_whole)
        assert found is not None or not is_whole
        assert found is None or (len(found.reason) < 60 and found.reason.isprintable())
