"""Heartbeats: what a server's agent tells the controller about once a second, and the controller's answers.

Both are UDP datagrams (docs/protocol.md, "Heartbeats"). Numbers are in network byte order; a message is exactly as long
as it says, or it counts for nothing.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import NamedTuple

PORT = 20560
"""The UDP port that heartbeats are sent to (0x5050)."""
ADDRESSES: Mapping[int, IPv4Address | IPv6Address] = MappingProxyType(
    {4: IPv4Address("192.0.0.8"), 6: IPv6Address("100::8")}
)
"""The addresses that heartbeats are sent to, by version of IP: they belong to no host (RFC 7600, 3.8; RFC 6666)."""
MAC = 0x06504C000001
"""The MAC address that heartbeats are sent to: locally administered, of no host; the switch takes them by their IP."""
EVERY = 1.0
"""Seconds between two heartbeats."""
VALID = 3.5
"""Seconds that a heartbeat counts: three may be missing."""
LONGEST = 300
"""Seconds that an agent may have its last word count."""
PORTS = 128
"""Ports of which a heartbeat tells the open connections: those with the most."""
NAME = 63
"""Bytes of a server's name in a heartbeat. A longer name is not told."""
UNKNOWN = 0xFFFF
"""The pressure of a host whose kernel does not tell it."""

SOFTWARE = 31
"""Bytes of the version of an agent's program in a heartbeat."""

_PLAIN, _TELLING = 1, 2
"""The versions of heartbeats: the second has also what `About` has. Answers are of the first."""
_HEARTBEAT, _ANSWER = b"PLBH", b"PLBA"
_HEAD = struct.Struct("!4sBBBBQQHHHHIIIIIIIBBH")
_PORT = struct.Struct("!HI")
_ABOUT = struct.Struct("!QIIIB3x")
"""Milliseconds since 1970, three sums of `Serving`, and the bytes of the version, which follows the name."""
_REPLY = struct.Struct("!4sBBHQQ")
_MOST = 0xFFFFFFFF
_LATEST = 1 << 48
"""Milliseconds since 1970: a time that is not, but no number that cannot be reckoned with."""


class State(enum.IntEnum):
    """What an agent says of its server."""

    READY = 0
    DRAIN = 1
    """No new connections; open ones go on."""
    DOWN = 2
    """No connections."""


class Can(enum.IntFlag):
    """What an agent can do."""

    MOVE = 2
    """It can redirect open connections."""


class Order(enum.IntFlag):
    """What the controller wants of an agent."""

    MOVE = 1
    """Redirect open connections to the redirect ports they opened on."""
    RESET = 2
    """Reset all connections that are left."""
    TELL = 4
    """Tell what `About` has. Agents that do not know this bit look at the others."""


class Serving(NamedTuple):
    """What a server's agent serves, as sums that can be compared: its addresses, its service ports with the ports of
    their programs, and the redirect ports for which it announces service ports.
    """

    addresses: int
    services: int
    announced: int

    @classmethod
    def of(
        cls,
        addresses: Iterable[IPv4Address | IPv6Address],
        services: Iterable[tuple[int, int]],
        announced: Iterable[tuple[int, int]],
    ) -> Serving:
        """The sums (CRC-32) of addresses and pairs of ports, in whatever order."""
        sums = (sorted(map(str, addresses)), sorted(services), sorted(announced))
        return cls(*(zlib.crc32(repr([*each]).encode()) for each in sums))


@dataclass(frozen=True)
class About:
    """What an agent's process is like. `unix`: its clock, in seconds since 1970; `software`: its version of portlb."""

    unix: float
    serving: Serving
    software: str = ""


@dataclass(frozen=True)
class Heartbeat:
    """What an agent says at one moment. Rates are a second's; pressures are per mille of ten seconds.

    `boot` is drawn anew by each process of an agent, `sequence` grows with each of its heartbeats. `valid`: seconds
    that this one counts, 0 for `VALID`. `open`: TCP connections in all; `by_port`: those of single ports of the VIP, as
    on the wire. `openings`: connections that have opened; `short`: of these, those that were over by the next one.
    `resets`: refused or reset connections; `overflow`: openings that found the program's queue full. `moved`, `left`:
    connections that have followed a redirect since the order to move, and that have not. `name`: the server's name, ""
    if its agent has none.
    """

    boot: int
    sequence: int
    state: State = State.READY
    can: Can = Can(0)
    valid: int = 0
    open: int = 0
    openings: float = 0.0
    short: float = 0.0
    resets: float = 0.0
    overflow: float = 0.0
    cpu: int = UNKNOWN
    io: int = UNKNOWN
    moved: int = 0
    left: int = 0
    name: str = ""
    by_port: Mapping[int, int] = field(default_factory=dict)
    about: About | None = None
    """None: the agent is of a version that does not tell, or was not asked to."""

    def pack(self) -> bytes:
        """The message; what does not fit is cut: numbers at their largest, ports with the fewest connections."""
        fullest = sorted(self.by_port.items(), key=lambda item: (-item[1], item[0]))[:PORTS]
        name = self.name.encode()
        name = name if len(name) <= NAME else b""
        rates = (_hundredths(rate) for rate in (self.openings, self.short, self.resets, self.overflow))
        head = _HEAD.pack(
            _HEARTBEAT, _TELLING if self.about else _PLAIN,
            self.state, self.can, len(fullest), self.boot, self.sequence,
            min(self.valid, LONGEST), self.cpu, self.io, 0, min(self.open, _MOST), *rates,
            min(self.moved, _MOST), min(self.left, _MOST), len(name), 0, 0,
        )  # fmt: skip
        ports = b"".join(_PORT.pack(port, min(number, _MOST)) for port, number in sorted(fullest))
        if self.about is None:
            return head + name + ports
        software = self.about.software.encode()[:SOFTWARE]
        unix = max(0, min(round(self.about.unix * 1000), _LATEST))
        return head + _ABOUT.pack(unix, *self.about.serving, len(software)) + name + software + ports


def parse_heartbeat(data: bytes) -> Heartbeat | None:
    """The heartbeat in a datagram; None if it is none of these versions, or contradicts itself."""
    if len(data) < _HEAD.size:
        return None
    (
        magic, version, state, can, ports, boot, sequence, valid, cpu, io, reserved,
        in_all, openings, short, resets, overflow, moved, left, named, more, rest,
    ) = _HEAD.unpack_from(data)  # fmt: skip
    if magic != _HEARTBEAT or version not in (_PLAIN, _TELLING) or state not in list(State):
        return None
    if reserved or more or rest:
        return None
    if ports > PORTS or named > NAME or valid > LONGEST:
        return None
    at, told = _HEAD.size, (0, 0, 0, 0, 0)
    if version == _TELLING:
        if len(data) < at + _ABOUT.size:
            return None
        told, at = _ABOUT.unpack_from(data, at), at + _ABOUT.size
    *facts, software_bytes = told
    software_at, ports_at = at + named, at + named + software_bytes
    if software_bytes > SOFTWARE or len(data) != ports_at + ports * _PORT.size:
        return None
    if any(pressure > 1000 and pressure != UNKNOWN for pressure in (cpu, io)):
        return None
    try:
        name, software = data[at:software_at].decode(), data[software_at:ports_at].decode("ascii")
    except UnicodeDecodeError:
        return None
    by_port = dict(_PORT.iter_unpack(data[ports_at:]))
    if len(by_port) != ports or 0 in by_port or not name.isprintable() or not software.isprintable():
        return None
    if facts[0] > _LATEST:
        return None
    about = About(facts[0] / 1000, Serving(*facts[1:]), software) if version == _TELLING else None
    known = Can(can & Can.MOVE)
    return Heartbeat(
        boot, sequence, State(state), known, valid, in_all, openings / 100, short / 100, resets / 100, overflow / 100,
        cpu, io, moved, left, name, by_port, about,
    )  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """The controller's answer to the heartbeat of this process with this number."""

    boot: int
    sequence: int
    orders: Order = Order(0)

    def pack(self) -> bytes:
        """The message."""
        return _REPLY.pack(_ANSWER, _PLAIN, self.orders, 0, self.boot, self.sequence)


def parse_answer(data: bytes) -> Answer | None:
    """The answer in a datagram; None if it is none of this version."""
    if len(data) != _REPLY.size:
        return None
    magic, version, orders, reserved, boot, sequence = _REPLY.unpack(data)
    if magic != _ANSWER or version != _PLAIN or reserved:
        return None
    return Answer(boot, sequence, Order(orders & (Order.MOVE | Order.RESET | Order.TELL)))


def _hundredths(rate: float) -> int:
    return max(0, min(round(rate * 100), _MOST))
