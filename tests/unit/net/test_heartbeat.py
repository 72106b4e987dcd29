"""Heartbeats and their answers, and the datagrams they travel in."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlb_app.net import heartbeat
from portlb_app.net.heartbeat import (
    About,
    Answer,
    Can,
    Heartbeat,
    Order,
    Serving,
    State,
    parse_answer,
    parse_heartbeat,
)
from portlb_app.net.packets import Datagram, parse_datagram

SAID = Heartbeat(
    boot=0x0123456789ABCDEF,
    sequence=7,
    state=State.DRAIN,
    can=Can.MOVE,
    valid=60,
    open=300,
    openings=12.34,
    short=0.5,
    resets=1.0,
    overflow=0.01,
    cpu=250,
    io=1000,
    moved=5,
    left=295,
    name="db-1",
    by_port={80: 100, 7: 200},
)
TOLD = replace(SAID, about=About(1_764_000_000.125, Serving(1, 2, 0xFFFFFFFF), "0.1.0"))
DATAGRAMS = [
    Datagram(0x020000000064, heartbeat.MAC, ip_address(source), heartbeat.ADDRESSES[version], 40000, 20560, b"odd")
    for version, source in ((4, "10.0.0.100"), (6, "fd00::100"))
]


def test_a_heartbeat_is_read_as_it_was_written() -> None:
    """All of it, and the least there may be."""
    assert parse_heartbeat(SAID.pack()) == SAID
    assert parse_heartbeat(TOLD.pack()) == TOLD
    assert parse_heartbeat(Heartbeat(1, 2).pack()) == Heartbeat(1, 2)


def test_what_does_not_fit_is_cut() -> None:
    """The ports with the fewest connections, a name that is too long, and numbers at their largest."""
    many = {port: port % 1000 for port in range(1, 60001)}
    said = replace(SAID, by_port=many, name="n" * 64, open=1 << 40, openings=1e12, short=-1.0, valid=10**6)
    read = parse_heartbeat(said.pack())
    assert read is not None and len(said.pack()) < 1000
    assert read.name == "" and read.open == 0xFFFFFFFF and read.openings == 0xFFFFFFFF / 100 and read.short == 0
    assert read.valid == heartbeat.LONGEST
    assert len(read.by_port) == heartbeat.PORTS and min(read.by_port.values()) >= 997


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_not(data: bytes) -> None:
    """Nothing an attacker sends is an error; and all that is read can be said."""
    head, told = SAID.pack(), TOLD.pack()
    for each in (data, head[:6] + data, head[: len(data) % len(head)] + data, told[: len(data) % len(told)] + data):
        read = parse_heartbeat(each)
        assert read is None or parse_heartbeat(read.pack()) == read
        answer = parse_answer(each)
        assert answer is None or parse_answer(answer.pack()) == answer


def test_every_cut_is_refused() -> None:
    """A message is exactly as long as it says."""
    answer = Answer(1, 2, Order.MOVE).pack()
    for whole in (SAID.pack(), TOLD.pack()):
        for size in range(len(whole)):
            assert parse_heartbeat(whole[:size]) is None
        assert parse_heartbeat(whole + b"\0") is None
    assert all(parse_answer(answer[:size]) is None for size in range(len(answer)))
    assert parse_answer(answer + b"\0") is None


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, b"X"), (4, b"\2"), (5, b"\3"), (7, b"\3"), (24, b"\1\x2d"), (26, b"\3\xe9"), (30, b"\0\1"), (61, b"\1")],
    ids=["magic", "version", "state", "ports", "valid", "pressure", "reserved", "end"],
)
def test_a_contradiction_is_refused(at: int, value: bytes) -> None:
    """Each field that has a rule."""
    whole = SAID.pack()
    assert parse_heartbeat(whole[:at] + value + whole[at + len(value) :]) is None


def test_a_name_is_text() -> None:
    """It is shown to users: no control characters, no other bytes; no port twice, no port 0."""
    for name in (b"\xff", b"a\nb", b"\x1b[2J"):
        bad = Heartbeat(1, 2, name="x" * len(name)).pack()
        assert parse_heartbeat(bad[: -len(name)] + name) is None
    one = Heartbeat(1, 2, by_port={5: 1, 6: 1}).pack()
    for port in (b"\0\5", b"\0\0"):
        assert parse_heartbeat(one[:-6] + port + one[-4:]) is None


def test_unknown_abilities_and_orders_are_left_out() -> None:
    """A later version may know more."""
    said = bytearray(Heartbeat(1, 2, can=Can.MOVE).pack())
    said[6] = 0xFF
    read = parse_heartbeat(bytes(said))
    assert read is not None and read.can is Can.MOVE
    answer = bytearray(Answer(1, 2).pack())
    answer[5] = 0xFF
    assert parse_answer(bytes(answer)) == Answer(1, 2, Order.MOVE | Order.RESET | Order.TELL)


@pytest.mark.parametrize("datagram", DATAGRAMS, ids=["IPv4", "IPv6"])
def test_a_datagram_is_read_as_it_was_written(datagram: Datagram) -> None:
    """With padding behind it, too; not with any bit changed, and not cut."""
    frame = datagram.pack()
    assert parse_datagram(frame) == parse_datagram(frame + bytes(20)) == datagram
    at_udp = len(frame) - 8 - len(datagram.data)
    for at in range(at_udp, len(frame)):
        assert parse_datagram(frame[:at] + bytes([frame[at] ^ 0x40]) + frame[at + 1 :]) != datagram
    for size in range(len(frame)):
        assert parse_datagram(frame[:size]) is None


def test_a_checksum_may_be_left_out_over_ipv4_only() -> None:
    """RFC 768; RFC 8200, 8.1."""
    for datagram in DATAGRAMS:
        frame = datagram.pack()
        at = len(frame) - len(datagram.data) - 2
        bare = frame[:at] + b"\0\0" + frame[at + 2 :]
        assert (parse_datagram(bare) == datagram) is (datagram.source.version == 4)


def test_what_an_agent_tells_of_itself_is_bounded() -> None:
    """A version that is too long is cut, a time is one that can be reckoned with; the message fits into a frame."""
    about = About(-5.0, Serving(0, 0, 0), "9" * 40)
    ports = {port: 1 for port in range(1, heartbeat.PORTS + 1)}
    said = replace(SAID, about=about, name="n" * heartbeat.NAME, by_port=ports)
    read = parse_heartbeat(said.pack())
    assert read is not None and read.about == About(0.0, Serving(0, 0, 0), "9" * heartbeat.SOFTWARE)
    assert len(said.pack()) < 1000
    late = parse_heartbeat(replace(SAID, about=replace(about, unix=1e30)).pack())
    assert late is not None and late.about is not None and late.about.unix < 1e12


@pytest.mark.parametrize(("at", "value"), [(64, b"\xff"), (84, b"\x20"), (93, b"\n"), (93, b"\xff")])
def test_what_contradicts_itself_about_an_agent_is_refused(at: int, value: bytes) -> None:
    """A time beyond all, a version that is too long, or is no text."""
    data = bytearray(TOLD.pack())
    data[at : at + len(value)] = value
    assert parse_heartbeat(bytes(data)) is None


def test_sums_tell_servers_apart_and_not_the_order_of_what_they_have() -> None:
    vips = [ip_address("10.0.0.100"), ip_address("fd00::100")]
    one = Serving.of(vips, [(8001, 80), (8002, 443)], [(80, 8001)])
    assert one == Serving.of(reversed(vips), [(8002, 443), (8001, 80)], [(80, 8001)])
    others = [Serving.of(vips[:1], [(8001, 80), (8002, 443)], [(80, 8001)])]
    others += [Serving.of(vips, [(8001, 80)], [(80, 8001)]), Serving.of(vips, [(8001, 80), (8002, 443)], [])]
    assert [[a == b for a, b in zip(one, other, strict=True)].count(False) for other in others] == [1, 1, 1]
