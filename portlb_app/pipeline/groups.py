"""The numbers of our groups, which packets get which group of a pool, and how groups hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache

from portlb_app.openflow import IP_SCTP, IP_TCP, IP_UDP, Selection
from portlb_app.pipeline.reasons import VIP_NUMBERS

GROUPS = 0x5 << 28
"""Bits 28-31 of the number of every group of ours."""
_GROUP_NUMBERS = (1 << 28) - 1
SLOT_GROUP = GROUPS | _GROUP_NUMBERS
"""The group that finds the slot of a packet. All pools number their slots alike, so one group does for all of them that
hash alike (`slot_group`)."""

SELECTION = Selection("dp_hash", 0x504C0000)
"""How a pool's group hashes.

The datapath hash makes no flow per connection; algorithm 0 covers addresses and ports in user space (ofproto/group,
"selection_method_param"). All switches hash alike, so that switches on one path choose the same slot; their slots agree
(`selection.restrict`).
"""


def by_source(version: int, prefix: int) -> Selection:
    """How the group of a pool hashes whose clients keep their server: by the first bits of their address alone.

    The method ``hash`` makes a datapath flow for each client (or network), and none for each connection.
    """
    name, bits = ("ip_src", 32) if version == 4 else ("ipv6_src", 128)
    return Selection("hash", SELECTION.parameter, ((name, (1 << prefix) - 1 << bits - prefix),))


def slot_group(selection: Selection) -> int:
    """The number of the group that finds slots as pools with this selection do."""
    if not selection.fields:
        return SLOT_GROUP
    ((_, mask),) = selection.fields
    return SLOT_GROUP - mask.bit_count() - (33 if mask >> 32 else 0) - 1


def is_our_selection(selection: Selection | None) -> bool:
    """Whether a group in a switch may be ours, by how it hashes."""
    return selection is not None and selection.parameter == SELECTION.parameter


MAX_GROUP_BITS = 7
"""The most bits of the source port that choose among the groups of one pool: 128 groups, 32,768 slots."""
_PORTS = 1 << 16
_SOURCE_PORT = {IP_TCP: "tcp_src", IP_UDP: "udp_src", IP_SCTP: "sctp_src"}


def group_of(source_port: int, bits: int) -> int:
    """Which of the 2^bits groups of a pool a packet gets: bits 1 and up of its source port.

    Linux prefers even ports for connections of its own, so bit 0 would leave half of the groups idle.
    """
    return source_port >> 1 & (1 << bits) - 1


def from_group(protocol: int, group: int, bits: int) -> Mapping[str, tuple[int, int]]:
    """The match of the packets that get this one of a pool's 2^bits groups; empty where there is one for all."""
    return {_SOURCE_PORT[protocol]: (group << 1, (1 << bits) - 1 << 1)} if bits else {}


def pool_number(vip: int, reachability: int) -> int:
    """What the numbers of a VIP's groups for a reachability are made from; for the first it is the VIP's own number."""
    return vip + reachability * VIP_NUMBERS


def pool_group(vip: int, port: int, version: int, group: int = 0) -> int:
    """A group of a redirect port's pool, of each version of IP: a hash of the VIP's number, plus the port.

    So the groups of one VIP never collide, and none depends on another VIP. A configuration in which groups of two VIPs
    collide is refused (`config.capacity`). The further groups of a large pool are 65,536 apart.
    """
    return GROUPS | (_first_group("pool", vip, version) + port + group * _PORTS) % _GROUP_NUMBERS


def pin_group(vip: int, port: int, version: int, group: int = 0) -> int:
    """The group with the same slots whose buckets name the server that PIN has conntrack remember."""
    return GROUPS | (_first_group("pin", vip, version) + port + group * _PORTS) % _GROUP_NUMBERS


def icmp_group(vip: int, version: int) -> int:
    """The group that spreads a VIP's ICMP over all of its servers: that of port 0, which no redirect port has."""
    return pool_group(vip, 0, version)


@lru_cache(maxsize=65536)
def _first_group(kind: str, vip: int, version: int) -> int:
    digest = hashlib.blake2b(f"{kind} {vip} {version}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _GROUP_NUMBERS


def is_our_group(number: int) -> bool:
    """Whether a group in a switch may be ours, by its number."""
    return number >> 28 == GROUPS >> 28
