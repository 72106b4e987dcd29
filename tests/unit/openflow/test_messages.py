"""The readers of what a switch says: any bytes give a value or `Malformed`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from portlb_app.openflow import messages
from portlb_app.openflow.messages import Malformed, Port, RawEntry
from tests.ovs.openflow_peer import GOOD_HELLO, features, message, multipart, packet_in, port, port_status

ERROR = message(1, struct.pack("!HH", 2, 9) + bytes(64))
FLOW = struct.pack("!H", 48) + bytes(46)
READERS: dict[str, tuple[Callable[[bytes], Any], bytes]] = {
    "hello": (messages.offered_versions, GOOD_HELLO),
    "features": (messages.features, features(0xABC)),
    "ports": (messages.port_descriptions, multipart(13, port(40) + port(48, bytes(8), 2))),
    "port status": (messages.port_status, port_status(port(40))),
    "error": (messages.answer, ERROR),
    "flows": (lambda data: list(messages.answer(data).body), multipart(1, FLOW + FLOW)),  # type: ignore[union-attr]
    "meters": (lambda data: list(messages.answer(data).body), multipart(9, bytes(5) + b"\x28" + bytes(34))),
    "packet-in": (messages.check_packet_in, packet_in(7, bytes(60))),
}


def mutated(data: bytes, dice: Random, number: int) -> Iterator[bytes]:
    """Damaged messages that are as long as their header says, which is what framing guarantees."""
    for _ in range(number):
        changed = bytearray(data[: dice.randrange(8, len(data) + 1)] if dice.random() < 0.5 else data)
        changed += dice.randbytes(dice.choice((0, 0, 1, 8, 200)))
        for _ in range(dice.randint(0, 4)):
            if len(changed) > 8:
                changed[dice.randrange(8, len(changed))] = dice.choice((0, 1, 8, 255, dice.randrange(256)))
        changed[2:4] = struct.pack("!H", len(changed))
        yield bytes(changed)


@pytest.mark.parametrize("name", READERS)
def test_any_bytes_are_a_value_or_malformed(name: str) -> None:
    read, good = READERS[name]
    read(good)
    malformed = 0
    for data in mutated(good, Random(1), 3000):
        if data[1] in messages.ANSWERS or name not in ("error", "flows", "meters"):
            try:
                read(data)
            except Malformed as reason:
                assert str(reason)
                malformed += 1
    assert malformed > 10


def test_what_is_read() -> None:
    assert messages.offered_versions(GOOD_HELLO) == {6}
    assert messages.offered_versions(message(0, version=4)) == {1, 2, 3, 4}
    assert messages.features(features(0xABC, auxiliary=3)) == (0xABC, 3)
    assert messages.port_descriptions(multipart(13, port(40) + port(48, bytes(8), 2, state=1), flags=1)) == (
        [Port(1, "p"), Port(2, "p", has_carrier=False)],
        True,
    )
    assert messages.answer(ERROR) == messages.ErrorMessage(1, 2, 9, 0, bytes(64))
    experimenter = message(1, struct.pack("!HHI", 0xFFFF, 5, 0x4F4E4600) + b"data", xid=9)
    assert messages.answer(experimenter) == messages.ErrorMessage(9, 0xFFFF, 5, 0x4F4E4600, b"data")
    reply = messages.answer(multipart(1, FLOW + FLOW, 5, flags=1))
    assert isinstance(reply, messages.Reply) and reply.flags == messages.MORE
    assert list(reply.body) == [RawEntry(FLOW)] * 2
    assert messages.echo_reply(message(2, b"ping", 7)) == message(3, b"ping", 7)


def test_types_that_no_switch_sends_are_refused_by_their_header() -> None:
    """Those of controllers, and those there are not; all others pass."""
    passed = set()
    for kind in range(256):
        try:
            messages.check_header(6, kind, 8)
            passed.add(kind)
        except Malformed:
            pass
    assert passed == {1, 2, 3, 4, 6, 8, 10, 11, 12, 19, 21, 25, 27, 30, 31, 32, 33, 35}


@pytest.mark.parametrize("size", [65_494, 65_502, 65_510, 65_535, 65_536, 65_542, 65_549])
def test_a_packet_in_whose_length_wrapped_is_malformed(size: int) -> None:
    """The part of it that its header admits to; below 8 bytes the header itself is refused."""
    whole = packet_in(7, bytes(size))
    (length,) = struct.unpack_from("!H", whole, 2)
    if length >= 8:
        with pytest.raises(Malformed, match="wraps the length"):
            messages.check_packet_in(whole[:length])
    else:
        with pytest.raises(Malformed):
            messages.check_header(6, 10, length)


def test_the_beginning_of_a_packet_is_a_packet() -> None:
    messages.check_packet_in(packet_in(7, bytes(60), total=9000))
    messages.check_packet_in(packet_in(7, bytes(65_477)))
