"""Frames for the kernel's datapath, and what arrived of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from tests.support import wire
from tests.support.wire import Address

VIP: dict[int, Address] = {4: IPv4Address("10.0.0.100"), 6: IPv6Address("fd00::100")}
CLIENT: dict[int, Address] = {4: IPv4Address("10.0.0.1"), 6: IPv6Address("fd00::1")}
FAR: dict[int, Address] = {4: IPv4Address("192.0.2.0"), 6: IPv6Address("2001:db8::")}
"""Clients beyond a router: this and the addresses after it."""
VIP_MAC, CLIENT_MAC = 0x020000000064, 0x020000000001
TCP, UDP, ICMP6 = 6, 17, 58
SYN, RST, ACK, REDIRECT = 0x002, 0x004, 0x010, 0x800
NETWORK = 1
Reports = dict[str, dict[str, Any]]


def segment(source: Address, sport: int, dport: int, flags: int) -> bytes:
    """A client's TCP segment without data, as a frame."""
    there = VIP[source.version]
    return wire.ethernet(
        source.version,
        wire.ip(source, there, TCP, wire.tcp_segment(source, there, sport, dport, b"", flags)),
        source=CLIENT_MAC,
    )


def hexed(frames: Iterable[tuple[int, bytes]]) -> list[tuple[int, str]]:
    """Frames as the plan has them."""
    return [(port, frame.hex()) for port, frame in frames]


@dataclass(frozen=True)
class Arrived:
    """A packet that left the switch, put together if it was in fragments."""

    port: int
    macs: tuple[int, int]
    """Source and destination."""
    source: Address
    destination: Address
    protocol: int
    body: bytes
    parts: int

    @property
    def sums_up(self) -> bool:
        """Whether the transport's checksum is right."""
        covered = wire.pseudo(self.source, self.destination, self.protocol, self.body) + self.body
        return wire.checksum(covered) == 0

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port."""
        source, destination = struct.unpack_from("!HH", self.body)
        return source, destination


def arrived(report: dict[str, Any]) -> list[Arrived]:
    """The IP packets of a report; AssertionError for a wrong header checksum and for fragments that make no whole."""
    assert "failed" not in report, report["failed"]
    whole: list[Arrived] = []
    pieces: dict[tuple[Any, ...], dict[int, tuple[bytes, bool]]] = {}
    for port, text in report["frames"]:
        frame = bytes.fromhex(text)
        macs = (int.from_bytes(frame[6:12], "big"), int.from_bytes(frame[:6], "big"))
        if frame[12:14] == b"\x08\x00":
            head, (size, identifier, word) = frame[14:34], struct.unpack_from("!2xHHH", frame, 14)
            assert head[0] == 0x45 and wire.checksum(head) == 0, "a wrong header checksum"
            source, destination = ip_address(head[12:16]), ip_address(head[16:20])
            protocol, body, offset, more = head[9], frame[34 : 14 + size], (word & 0x1FFF) * 8, bool(word & 0x2000)
        elif frame[12:14] == b"\x86\xdd":
            size, protocol = struct.unpack_from("!HB", frame, 18)
            source, destination = ip_address(frame[22:38]), ip_address(frame[38:54])
            body, offset, more, identifier = frame[54 : 54 + size], 0, False, 0
            if protocol == 44:
                protocol, offset, identifier = struct.unpack_from("!BxHI", body)
                body, offset, more = body[8:], offset & 0xFFF8, bool(offset & 1)
        else:
            continue
        if not more and not offset:
            whole.append(Arrived(port, macs, source, destination, protocol, body, 1))
            continue
        key = (port, macs, source, destination, protocol, identifier)
        pieces.setdefault(key, {})[offset] = (body, more)
    for key, parts in pieces.items():
        body = b""
        for offset in sorted(parts):
            assert offset == len(body), f"fragments of {key} do not meet"
            body += parts[offset][0]
        assert not parts[max(parts)][1], f"the last fragment of {key} is not there"
        whole.append(Arrived(*key[:5], body, len(parts)))
    return whole
