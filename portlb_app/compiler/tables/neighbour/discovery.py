"""What the flows of neighbour discovery have in common (RFC 4861)."""

from __future__ import annotations

from collections.abc import Mapping

from portlb_app.openflow import IP_ICMPV6, Match, match
from portlb_app.pipeline import (
    FAMILIES,
    ND_ADVERTISE,
    ND_SOLICIT,
    SIDE,
    Priority,
    Side,
    from_side,
)

ICMPV6 = {"eth_type": FAMILIES[6].eth_type, "ip_proto": IP_ICMPV6}


def asked_priority(inbound: Mapping[str, int]) -> Priority:
    """The priority of flows to servers. On a link, flows by a sender's MAC address come before them (`transit`)."""
    return Priority.PASSING if inbound[SIDE] is Side.LINK else Priority.EXCEPTION


def soliciting(port: int, mac: int) -> dict[str, int]:
    """The match of neighbour solicitations from a connector and a MAC address."""
    return {
        **from_side(Side.SERVER),
        "in_port": port,
        "eth_src": mac,
        **ICMPV6,
        "icmpv6_type": ND_SOLICIT,
        "nd_sll": mac,
    }


def speaking(source: Mapping[str, int], name: int | tuple[int, int]) -> tuple[Match, Match]:
    """The matches of solicitations from an address (or a range, with a mask) and of advertisements of that address."""
    kind: dict[str, int | tuple[int, int]] = {**source, **ICMPV6, "ipv6_src": name}
    return match(**kind, icmpv6_type=ND_SOLICIT), match(**kind, icmpv6_type=ND_ADVERTISE, nd_target=name)
