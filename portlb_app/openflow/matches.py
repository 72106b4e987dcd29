"""Matches: the packets a flow is for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from portlb_app.openflow.fields import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FIELDS,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
)
from portlb_app.openflow.text import value_text

_ORDER = {name: position for position, name in enumerate(FIELDS)}
_PROTOCOLS = {
    (ETH_IPV4, IP_TCP): "tcp",
    (ETH_IPV4, IP_UDP): "udp",
    (ETH_IPV4, IP_ICMP): "icmp",
    (ETH_IPV4, IP_SCTP): "sctp",
    (ETH_IPV4, None): "ip",
    (ETH_IPV6, IP_TCP): "tcp6",
    (ETH_IPV6, IP_UDP): "udp6",
    (ETH_IPV6, IP_ICMPV6): "icmp6",
    (ETH_IPV6, IP_SCTP): "sctp6",
    (ETH_IPV6, None): "ipv6",
    (ETH_ARP, None): "arp",
}
_FRAG_MASKED = {(1, 1): "yes", (0, 2): "not_later"}


@dataclass(frozen=True)
class Match:
    """The packets a flow is for: (field, value, mask) in the order of `FIELDS`; mask None means all bits.

    ``opaque`` holds what was read from a switch and is no field of ours.
    """

    fields: tuple[tuple[str, int, int | None], ...] = ()
    opaque: str = ""

    def __iter__(self) -> Iterator[tuple[str, int, int | None]]:
        return iter(self.fields)

    def __lt__(self, other: Match) -> bool:
        return self.rank < other.rank

    @property
    def rank(self) -> tuple[list[tuple[str, int, int]], str]:
        """The sort key of a match; a field without a mask comes before the same field with one."""
        return [(name, value, -1 if mask is None else mask) for name, value, mask in self.fields], self.opaque

    def __str__(self) -> str:
        named = {name: value for name, value, mask in self.fields if mask is None}
        eth_type, ip_proto = named.get("eth_type"), named.get("ip_proto")
        words = []
        hidden: set[str] = set()
        if eth_type is not None and (keyword := _PROTOCOLS.get((eth_type, ip_proto))):
            words.append(keyword)
            hidden = {"eth_type", "ip_proto"}
        for name, value, mask in self.fields:
            if name in hidden:
                continue
            if mask is None:
                words.append(f"{name}={value_text(name, value)}")
            elif name == "ip_frag" and (value, mask) in _FRAG_MASKED:
                words.append(f"{name}={_FRAG_MASKED[value, mask]}")
            else:
                words.append(f"{name}={value_text(name, value)}/{value_text(name, mask)}")
        if self.opaque:
            words.append(f"<{self.opaque}>")
        return ",".join(words)


def match(**fields: int | IPv4Address | IPv6Address | tuple[int, int]) -> Match:
    """A match from keywords; a tuple is (value, mask). KeyError for an unknown field, ValueError for a misfit."""
    entries: list[tuple[str, int, int | None]] = []
    for name, full in _in_order(tuple(fields)):
        given = fields[name]
        value, mask = given if isinstance(given, tuple) else (int(given), None)
        if mask == full:
            mask = None
        if value & ~full or (mask is not None and (mask & ~full or value & ~mask)):
            raise ValueError(f"{name}: {value:#x} with mask {mask} does not fit {FIELDS[name].bits} bits")
        entries.append((name, value, mask))
    return Match(tuple(entries))


@lru_cache(maxsize=1024)
def _in_order(names: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """The fields in the order of `FIELDS`, each with its full mask. (There are few combinations of fields.)"""
    return tuple((name, (1 << FIELDS[name].bits) - 1) for name in sorted(names, key=_ORDER.__getitem__))
