"""Parsers of bytes from the wire: what they read, and that nothing an attacker writes makes them fail or hang."""

from __future__ import annotations

import random
import struct
from ipaddress import IPv4Address, ip_address

import pytest

from portlb_app.net import packets

ETHERNET = bytes.fromhex("020000000064020000000001") + b"\x08\x00"
OPTION = bytes.fromhex("fd08525041000006")


def frame(options: bytes = b"", flags: int = packets.CONFIRM | 0x012, data: bytes = b"", fragment: int = 0) -> bytes:
    padded = options + b"\x01" * (-len(options) % 4)
    tcp = struct.pack("!HHIIHHHH", 22, 40000, 7, 8, (5 + len(padded) // 4) << 12 | flags, 512, 0, 0) + padded + data
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, fragment, 64, 6, 0)
    return ETHERNET + head + IPv4Address("10.0.0.100").packed + IPv4Address("10.0.0.1").packed + tcp


def test_a_segment_is_read() -> None:
    """Addresses, ports, the 12 flag bits, the option, and where the data begins."""
    segment = packets.parse_tcp(frame(b"\x02\x04\x05\xb4" + OPTION, data=b"hello") + b"\0\0ethernet padding")
    assert segment is not None
    assert (str(segment.source), segment.sport, str(segment.destination), segment.dport) == (
        *("10.0.0.100", 22),
        *("10.0.0.1", 40000),
    )
    assert segment.flags == packets.CONFIRM | 0x012
    assert segment.announced == 6
    assert (segment.data, segment.size) == (b"hello", 5)


@pytest.mark.parametrize(
    "option",
    [
        b"",
        b"\xfd\x00\x52\x50\x41\x00\x00\x06",  # length 0: a careless parser stays here for ever
        b"\xfd\x01\x52\x50\x41\x00\x00\x06",
        b"\xfd\x0c\x52\x50\x41\x00\x00\x06",  # longer than the header
        b"\xfd\x06\x52\x50\x00\x00\x01\x01",  # type "none"
        b"\xfd\x08\x52\x51\x41\x00\x00\x06",  # another experiment
        b"\xfd\x08\x52\x50\x42\x00\x00\x06",  # another type
        b"\xfd\x08\x52\x50\x41\x00\x00\x00",  # port 0
        b"\x00\xfd\x08\x52\x50\x41\x00\x00",  # after the end of the list
        b"\x01\x01\x01\xfd",  # cut behind its kind
    ],
)
def test_what_is_no_announcement(option: bytes) -> None:
    """Malformed options, and well-formed ones of others, announce nothing."""
    segment = packets.parse_tcp(frame(option))
    assert segment is not None and segment.announced is None


@pytest.mark.parametrize("fragment", [0x2000, 0x0001])
def test_a_fragment_is_no_segment(fragment: int) -> None:
    """A fragment's header may be elsewhere."""
    assert packets.parse_tcp(frame(fragment=fragment)) is None


def test_every_cut_and_many_changes_are_survived() -> None:
    """A frame cut anywhere, or with random bytes, gives a segment within its bounds or None."""
    whole, dice = frame(b"\x02\x04\x05\xb4" + OPTION, data=b"hello"), random.Random(1)
    cases = [whole[:length] for length in range(len(whole))]
    for _ in range(5000):
        changed = bytearray(whole)
        for _ in range(dice.randint(1, 8)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        cases.append(bytes(changed))
    read = 0
    for case in cases:
        segment = packets.parse_tcp(case)
        if segment is not None:
            read += 1
            assert len(segment.options) <= 40 and len(segment.data) <= segment.size
            assert segment.announced is None or 0 < segment.announced < 65536
    assert 0 < read < len(cases), "both outcomes were there"


def test_a_capture_cut_anywhere_gives_its_whole_packets() -> None:
    """A pcap file that is still being written ends at the last whole packet."""
    one = struct.pack("=IIII", 0, 0, len(frame()), len(frame())) + frame()
    content = bytes(24) + one + one
    for length in range(len(content) + 1):
        got = len(list(packets.capture(content[:length])))
        assert got == max(0, length - 24) // len(one)
    assert list(packets.capture(bytes(24) + b"\xff" * 64)) == []


@pytest.mark.parametrize(("source", "destination"), [("10.0.0.100", "10.0.0.1"), ("fd00::100", "fd00::1")])
def test_a_bare_acknowledgement_is_read_as_what_it_is(source: str, destination: str) -> None:
    """B1: the frame that announcements are made of, in both families; cut anywhere it is no segment."""
    frame = packets.bare_ack(ip_address(source), ip_address(destination), 20, 40000)
    segment = packets.parse_tcp(frame)
    assert segment is not None
    assert (str(segment.source), str(segment.destination)) == (source, destination)
    assert (segment.sport, segment.dport, segment.flags, segment.size, segment.options) == (20, 40000, 0x010, 0, b"")
    assert all(packets.parse_tcp(frame[:length]) is None for length in range(len(frame)))
