"""What a switch announces about its VIPs, and what it answers to multicast listener queries of routers. Pure.

When a VIP appears at a port of a switch, or gets another MAC address, the hosts there still have the old one in their
tables, for hours perhaps. So it is announced: an ARP request for itself (RFC 5227, 3) or an unsolicited advertisement
(RFC 4861, 7.2.6), `TIMES` times.

Bridges that snoop on multicast listener discovery (RFC 4541) send neighbour solicitations for an IPv6 VIP only where a
host has reported that it listens to its solicited-node group. The switch answers solicitations, so it reports that when
a VIP appears, and when a querier asks (RFC 3810; RFC 2710 for the version before).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.compiler.vips_by_switch import VipsBySwitch
from portlb_app.config import Address, Config, Rewrite
from portlb_app.net import packets
from portlb_app.openflow import CONTROLLER, Action, Output
from portlb_app.pipeline import link_local
from portlb_app.topology.conditions import Conditions

TIMES = 2
INTERVAL = 2.0
"""Seconds between two announcements (RFC 5227, 1.1: ANNOUNCE_NUM, ANNOUNCE_INTERVAL)."""
AT_ONCE = 256
"""Frames in one turn: with a turn each quarter of a second, 1024 a second."""
SWITCHES_AT_ONCE = 8
"""Switches whose VIPs are looked through in one turn."""
RECORDS = 60
"""Groups in one report, which then fits the least MTU of IPv6, 1280 bytes."""
_ALL_NODES = IPv6Address("ff02::1")
_ALL_SNOOPERS = IPv6Address("ff02::16")
_ROUTER_ALERT = bytes((packets.ICMP6, 0, 5, 2, 0, 0, 1, 0))
"""A hop-by-hop header with the option that MLD needs (RFC 2711)."""
_IS_EXCLUDE, _TO_EXCLUDE = 2, 4
"""Kinds of record (RFC 3810, 5.2.12): listens to all sources; has begun to."""


@dataclass(frozen=True, order=True)
class Claim:
    """What is asked for an address at a port of a switch gets this MAC address (48 bits)."""

    port: int
    address: Address
    mac: int


@dataclass(frozen=True)
class Announcement:
    """Have the switch `dpid` do `actions` with `frame`, which came in on its port `in_port`."""

    dpid: int
    in_port: int
    actions: tuple[Action, ...]
    frame: bytes


@dataclass(frozen=True)
class Held:
    """What a switch holds: its part of a configuration, under these conditions."""

    config: Config
    conditions: Conditions

    def is_same(self, other: Held | None) -> bool:
        """Whether it is the same object of a configuration: to compare two of 10,000 ports takes a while."""
        return other is not None and self.config is other.config and self.conditions == other.conditions


class Announcer:
    """Remembers what each switch has announced, and says what it shall announce next."""

    def __init__(self) -> None:
        self._held: dict[int, Held] = {}
        self._claims: dict[int, frozenset[Claim]] = {}
        self._changed: set[int] = set()
        self._placement: VipsBySwitch | None = None
        self._due = tuple(deque[tuple[float, int, Claim]]() for _ in range(TIMES))
        """What is said for the first time, what is said again, and so on: each in the order of time."""

    def changing(self, dpid: int) -> None:
        """A switch gets other tables. One that is first seen without was there before the controller: no news."""
        self._changed.add(dpid)

    def take(self, holding: Mapping[int, Held], now: float) -> Iterator[Announcement]:
        """What switches shall say now (seconds of a clock that only grows), by what each of them holds."""
        fresh = [dpid for dpid, held in holding.items() if not held.is_same(self._held.get(dpid))]
        for dpid in fresh[:SWITCHES_AT_ONCE]:
            claims = frozenset(_claims(self._vips_on_switch(holding[dpid], dpid)))
            known = self._claims.get(dpid, frozenset() if dpid in self._changed else claims)
            self._held[dpid], self._claims[dpid] = holding[dpid], claims
            self._changed.discard(dpid)
            news = sorted(claims - known, key=lambda claim: (claim.port, claim.address.version, int(claim.address)))
            for time, line in enumerate(self._due):
                line.extend((now + INTERVAL * time, dpid, claim) for claim in news)
        ready: list[tuple[float, int, Claim]] = []
        for line in self._due:
            while line and line[0][0] <= now and len(ready) < AT_ONCE:
                ready.append(line.popleft())
        for _, dpid, claim in ready:
            if claim in self._claims.get(dpid, ()) and dpid in holding:
                for frame in announcements(claim):
                    yield Announcement(dpid, CONTROLLER, (Output(claim.port),), frame)

    def _vips_on_switch(self, held: Held, dpid: int) -> tuple[VipOnSwitch, ...]:
        if self._placement is None or not self._placement.is_for(held.config, held.conditions):
            self._placement = VipsBySwitch(held.config, held.conditions)
        return self._placement.on(dpid)


def _claims(here: Iterable[VipOnSwitch]) -> Iterator[Claim]:
    """What a switch answers for, and where: at its network side, and at servers whose gateway may be the VIP."""
    for local in here:
        ports = {local.network} if local.is_entrance else set()
        if local.vip.rewrite is Rewrite.ADDRESS:
            ports |= {server.connector.port for server in local.attached}
        for address in (*local.vip.addresses, *local.by_service_address):
            yield from (Claim(port, address, local.vip.mac) for port in ports if port is not None)


def announcements(claim: Claim) -> Iterator[bytes]:
    """The frames that announce an address: where it is, and over IPv6 that it listens."""
    if isinstance(claim.address, IPv4Address):
        yield _arp(claim.address, claim.mac)
    else:
        yield _advertisement(claim.address, claim.mac)
        yield from _reports(claim.mac, [solicited_node(claim.address)], _TO_EXCLUDE)


def answers(here: Iterable[VipOnSwitch], in_port: int, frame: bytes) -> list[bytes] | None:
    """The reports that answer a querier at a switch with these VIPs; None if the frame is no query that counts."""
    query = packets.parse_mld_query(frame)
    if query is None:
        return None
    groups: dict[int, set[IPv6Address]] = {}
    for local in here:
        if in_port in local.ingress_ports:
            for address in (*local.vip.addresses, *local.by_service_address):
                if isinstance(address, IPv6Address) and int(query.group) in (0, int(solicited_node(address))):
                    groups.setdefault(local.vip.mac, set()).add(solicited_node(address))
    report: Callable[[int, list[IPv6Address]], Iterator[bytes]] = _reports if query.version == 2 else _old_reports
    return [frame for mac in sorted(groups) for frame in report(mac, sorted(groups[mac]))]


def solicited_node(address: IPv6Address) -> IPv6Address:
    """The group that solicitations for an address are sent to (RFC 4291, 2.7.1)."""
    return IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(address) & 0xFFFFFF)


def _arp(address: IPv4Address, mac: int) -> bytes:
    """A request for the sender's own address, broadcast."""
    sender = mac.to_bytes(6, "big")
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + sender + address.packed + bytes(6) + address.packed
    return (b"\xff" * 6 + sender + b"\x08\x06" + body).ljust(60, b"\0")


def _advertisement(address: IPv6Address, mac: int) -> bytes:
    """An unsolicited advertisement to all nodes that overrides what is known."""
    option = b"\x02\x01" + mac.to_bytes(6, "big")
    message = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + address.packed + option
    return _icmp6(mac, address, _ALL_NODES, 255, b"", message)


def _reports(mac: int, groups: list[IPv6Address], kind: int = _IS_EXCLUDE) -> Iterator[bytes]:
    """Reports of version 2, from the link-local address of the MAC address."""
    for start in range(0, len(groups), RECORDS):
        part = groups[start : start + RECORDS]
        records = b"".join(struct.pack("!BBH", kind, 0, 0) + group.packed for group in part)
        message = struct.pack("!BBHHH", 143, 0, 0, 0, len(part)) + records
        yield _icmp6(mac, link_local(mac), _ALL_SNOOPERS, 1, _ROUTER_ALERT, message)


def _old_reports(mac: int, groups: list[IPv6Address]) -> Iterator[bytes]:
    """Reports of version 1, one for each group."""
    for group in groups:
        message = struct.pack("!BBHHH", 131, 0, 0, 0, 0) + group.packed
        yield _icmp6(mac, link_local(mac), group, 1, _ROUTER_ALERT, message)


def _icmp6(mac: int, source: IPv6Address, group: IPv6Address, hops: int, extension: bytes, message: bytes) -> bytes:
    """A frame with an ICMPv6 message to a group, behind an extension header if there is one."""
    pseudo = source.packed + group.packed + struct.pack("!II", len(message), packets.ICMP6)
    message = message[:2] + struct.pack("!H", packets.checksum(pseudo + message)) + message[4:]
    first = 0 if extension else packets.ICMP6
    head = struct.pack("!IHBB", 6 << 28, len(extension) + len(message), first, hops)
    ethernet = b"\x33\x33" + group.packed[12:] + mac.to_bytes(6, "big") + b"\x86\xdd"
    return ethernet + head + source.packed + group.packed + extension + message
