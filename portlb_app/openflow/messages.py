"""Bounds-checked parsers of a switch's messages. Pure.

Every length is checked before it is used, and every byte is read a fixed number of times: the longest message (64 kB of
port descriptions) takes about 2 ms. Only expected messages have a parser; all others are skipped by their length. Ryu's
parsers trust lengths, and some never end (CVE-2024-28732), so they are not used.

Numbers of sections are those of the OpenFlow switch specification 1.5.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

VERSION = 6
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, FEATURES_REPLY = 0, 1, 2, 3, 6
PACKET_IN, PORT_STATUS, MULTIPART_REPLY, BARRIER_REPLY, BUNDLE_CONTROL = 10, 12, 19, 21, 33
ANSWERS = frozenset({ERROR, MULTIPART_REPLY, BARRIER_REPLY, BUNDLE_CONTROL})
"""Types of answers to requests. An answer that is awaited is parsed, all others are skipped."""
FROM_SWITCH = ANSWERS | {HELLO, ECHO_REQUEST, ECHO_REPLY, 4, FEATURES_REPLY, 8, PACKET_IN, 11, PORT_STATUS} | {25, 27}
FROM_SWITCH |= {30, 31, 32, 35}
"""Types of messages that a switch may send (7.1.1): also experimenter, configuration, flow removed, role and
asynchronous configuration replies, role, table, request-forward and controller status."""
TYPES = 36
LONGEST = (1 << 16) - 1
"""Bytes of the longest message."""
FLOW_DESC, TABLE_STATS, PORT_STATS, GROUP_STATS, GROUP_DESC, METER_STATS, METER_DESC = 1, 3, 4, 6, 7, 9, 10
METER_FEATURES, PORT_DESC = 11, 13
MORE = 1
HELLO_FAILED, EXPERIMENTER = 0, 0xFFFF
HELLO_BYTES = 1024
HELLO_ELEMENTS = 16
ETHERNET_BYTES = 22
"""The shortest frame a port accepts: two VLAN tags and no payload. The rest of a frame whose length has wrapped is
shorter, because ports have an MTU of at most 65,535."""

HEADER = struct.Struct("!BBHI")
"""struct ofp_header (7.1.1): version, type, length, xid."""
_WRAPPED = (
    "a packet-in contradicts itself: a packet of more than 65,477 bytes was handed up, which wraps the length of its"
    " message; give the switch's ports an MTU below 65,000, and turn off GRO above it"
)


class Malformed(Exception):
    """Bytes from a switch that are inconsistent; str() says where."""


# ---- headers ---------------------------------------------------------------------------------------------------------


def check_first_header(version: int, kind: int, length: int) -> None:
    """Check the first header of a connection; Malformed if it is not a hello's."""
    if (version, kind) == (0x16, 3):
        raise Malformed("it speaks TLS, but the controller has no --ctl-cert (OpenFlow version 0x16)")
    if kind != HELLO or version > 0x20:
        raise Malformed(f"it begins with a message of type {kind} of OpenFlow version {version:#04x}, not with a hello")
    if not HEADER.size <= length <= HELLO_BYTES:
        raise Malformed(f"a hello says it has {length} bytes")


def check_header(version: int, kind: int, length: int) -> None:
    """Check the header of a later message; Malformed for a message that no switch sends."""
    if length < HEADER.size:
        raise Malformed(f"a message says it has {length} bytes")
    if version != VERSION:
        raise Malformed(f"a message of OpenFlow version {version:#04x} after a hello for {VERSION:#04x}")
    if kind not in FROM_SWITCH:
        what = "only a controller sends" if kind < TYPES else "OpenFlow 1.5 does not have"
        raise Malformed(f"a message of type {kind}, which {what}")
    if kind == HELLO:
        raise Malformed("a second hello")


# ---- the handshake ---------------------------------------------------------------------------------------------------


def offered_versions(hello: bytes) -> frozenset[int]:
    """The OpenFlow versions (0x06 is 1.5) that a hello message offers (7.5.1); Malformed if it is inconsistent."""
    offset = HEADER.size
    for _ in range(HELLO_ELEMENTS):
        if offset >= len(hello):
            return frozenset(range(1, hello[0] + 1))
        if len(hello) - offset < 4:
            raise Malformed("a hello element is cut off")
        kind, length = struct.unpack_from("!HH", hello, offset)
        if not 4 <= length <= len(hello) - offset:
            raise Malformed(f"a hello element says it has {length} bytes of {len(hello) - offset}")
        if kind == 1 and length >= 8:  # a bitmap of versions
            (bitmap,) = struct.unpack_from("!I", hello, offset + 4)
            return frozenset(number for number in range(32) if bitmap >> number & 1)
        offset += -(-length // 8) * 8
    raise Malformed(f"a hello has more than {HELLO_ELEMENTS} elements")


_FEATURES = struct.Struct("!8xQ5xB10x")


def features(message: bytes) -> tuple[int, int]:
    """The datapath id and the auxiliary id of a features reply (7.3.1); Malformed if it is cut off."""
    if len(message) < _FEATURES.size:
        raise Malformed("a features reply is cut off")
    dpid, auxiliary = _FEATURES.unpack_from(message)
    return dpid, auxiliary


def echo_reply(request: bytes) -> bytes:
    """The answer to an echo request (7.5.2): the same message with another type."""
    return request[:1] + bytes([ECHO_REPLY]) + request[2:]


# ---- answers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """An error (7.5.4). In an error that an experimenter defines, `code` is the experimenter's own type."""

    xid: int
    type: int
    code: int
    experimenter: int
    data: bytes

    @property
    def text(self) -> str:
        """The bytes it quotes, at most 100, as printable text."""
        return repr(self.data[:100].decode("ascii", "backslashreplace"))


@dataclass(frozen=True, slots=True)
class RawEntry:
    """One undecoded entry of a multipart reply."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """Any other answer. `flags` are those of a multipart reply, else 0; `data` is the whole message."""

    kind: int
    xid: int
    flags: int
    data: bytes

    @property
    def body(self) -> Iterator[RawEntry]:
        """The entries of a multipart reply, one at a time; Malformed at a wrong length."""
        return _entries(self.data) if self.kind == MULTIPART_REPLY else iter(())


def answer(message: bytes) -> ErrorMessage | Reply:
    """Parse a message of one of the types `ANSWERS`; Malformed if it is cut off."""
    _, kind, length, xid = HEADER.unpack_from(message)
    if kind == ERROR:
        if length < 12:
            raise Malformed("an error is cut off")
        number, code = struct.unpack_from("!HH", message, 8)
        vendor = int.from_bytes(message[12:16], "big") if number == EXPERIMENTER else 0
        return ErrorMessage(xid, number, code, vendor, message[16 if number == EXPERIMENTER else 12 :])
    if kind == MULTIPART_REPLY:
        if length < 16:
            raise Malformed("a multipart reply is cut off")
        return Reply(kind, xid, int.from_bytes(message[10:12], "big"), message)
    return Reply(kind, xid, 0, message)


_ENTRY = {FLOW_DESC: (0, 24), GROUP_STATS: (0, 40), GROUP_DESC: (0, 16), METER_DESC: (0, 8), METER_STATS: (4, 40)}
_ENTRY |= {PORT_STATS: (0, 80)}
"""The offset of the length in an entry of a multipart reply, and the shortest length (7.3.5.2, 7, 10, 13, 14)."""


def _entries(message: bytes) -> Iterator[RawEntry]:
    kind = int.from_bytes(message[8:10], "big")
    if kind not in _ENTRY:
        raise Malformed(f"a multipart reply of type {kind}, which was not asked for")
    where, least = _ENTRY[kind]
    offset = 16
    while offset < len(message):
        length = int.from_bytes(message[offset + where : offset + where + 2], "big")
        if not least <= length <= len(message) - offset:
            raise Malformed(f"a description says it has {length} bytes of {len(message) - offset}")
        yield RawEntry(message[offset : offset + length])
        offset += length


# ---- ports -----------------------------------------------------------------------------------------------------------

_PORT = struct.Struct("!IH10x16sII")
"""struct ofp_port (7.2.1): number, length, name, configuration, state; properties follow."""
_PORT_STATS = struct.Struct("!4xI8x8Q")
"""struct ofp_port_stats (7.3.5.7): number; packets, bytes, dropped and in error, each received and sent."""
MAX_COUNTED_PORTS = 4096
"""Ports of a switch whose counters are kept."""
_PORT_DOWN = _LINK_DOWN = 1
_REMOVED = 1


class PortCounts(NamedTuple):
    """What a port has counted: bytes and packets, received and sent; `lost`: packets dropped or in error."""

    received: int
    sent: int
    packets_received: int
    packets_sent: int
    lost: int


def port_counts(message: bytes) -> dict[int, PortCounts]:
    """The counters in a reply about ports, by number; Malformed. What a switch does not count (all ones) is 0 here."""
    if int.from_bytes(message[8:10], "big") != PORT_STATS:
        raise Malformed("what ports have counted was asked for, and something else is told")
    found: dict[int, PortCounts] = {}
    for entry in _entries(message):
        number, *counted = _PORT_STATS.unpack_from(entry.data)
        here = [0 if each == (1 << 64) - 1 else each for each in counted]
        if len(found) < MAX_COUNTED_PORTS:
            found[number] = PortCounts(here[2], here[3], here[0], here[1], sum(here[4:]))
    return found


@dataclass(frozen=True, slots=True)
class Port:
    """A port: its OpenFlow number, its interface, and whether packets can pass."""

    number: int
    name: str = ""
    is_enabled: bool = True
    has_carrier: bool = True

    @property
    def up(self) -> bool:
        """Whether packets can pass."""
        return self.is_enabled and self.has_carrier


def _port(message: bytes, offset: int) -> tuple[Port, int]:
    """The port described at `offset`, and the length of the description. Properties are skipped."""
    if len(message) - offset < _PORT.size:
        raise Malformed("a port's description is cut off")
    number, length, name, config, state = _PORT.unpack_from(message, offset)
    if not _PORT.size <= length <= len(message) - offset:
        raise Malformed(f"a port's description says it has {length} bytes")
    text = name.partition(b"\0")[0].decode("ascii", "backslashreplace")
    return Port(number, text, not config & _PORT_DOWN, not state & _LINK_DOWN), length


def port_descriptions(message: bytes) -> tuple[list[Port], bool]:
    """The ports of a port description reply (7.3.5.7), and whether more messages follow; Malformed if inconsistent."""
    if len(message) < 16:
        raise Malformed("a multipart reply is cut off")
    kind, flags = struct.unpack_from("!HH", message, 8)
    if kind != PORT_DESC:
        raise Malformed(f"a multipart reply of type {kind} in place of its ports")
    ports, offset = [], 16
    while offset < len(message):
        port, length = _port(message, offset)
        ports.append(port)
        offset += length
    return ports, bool(flags & MORE)


def port_status(message: bytes) -> tuple[Port, bool]:
    """The port of a port status message (7.4.3), and whether it exists; Malformed if it is cut off."""
    port, _ = _port(message, 16)
    return port, message[8] != _REMOVED


# ---- packets that are handed up --------------------------------------------------------------------------------------

PACKET_IN_HEAD = struct.Struct("!8xIHBBQ")
"""struct ofp_packet_in (7.4.1) with its header; a match and two bytes of padding follow, then the frame."""


def check_packet_in(message: bytes) -> None:
    """Check that a packet-in message is consistent; Malformed if not, because the bytes behind it are no message then.

    In a packet-in of more than 65,535 bytes, its own length and its frame's wrap. The rest of the frame, whose bytes
    its sender chose, would be parsed as messages of the switch (seen on Open vSwitch 3.1).
    """
    head = PACKET_IN_HEAD.size
    if len(message) < head + 4:
        raise Malformed(_WRAPPED)
    length = int.from_bytes(message[head + 2 : head + 4], "big")
    if len(message) - (head + -(-length // 8) * 8 + 2) < ETHERNET_BYTES:
        raise Malformed(_WRAPPED)
