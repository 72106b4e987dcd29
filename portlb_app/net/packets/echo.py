"""Answers to pings (RFC 792, RFC 4443)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from portlb_app.net.packets.addresses import Address
from portlb_app.net.packets.ip import ICMP, ICMP6, parse_frame


class EchoReply(NamedTuple):
    """An answer to a ping."""

    source: Address
    destination: Address
    identifier: int
    sequence: int


def parse_echo_reply(frame: bytes) -> EchoReply | None:
    """The answer to a ping in an Ethernet frame; None without one, or for a fragment."""
    ip = parse_frame(frame)
    if ip is None or ip.fragment or len(frame) < ip.start + 8 or ip.end < ip.start + 8:
        return None
    expected = (ICMP, 0) if ip.source.version == 4 else (ICMP6, 129)
    if (ip.protocol, frame[ip.start]) != expected:
        return None
    return EchoReply(ip.source, ip.destination, *struct.unpack_from("!HH", frame, ip.start + 4))
