"""Why a flow exists, and the cookie that says so."""

from __future__ import annotations

import enum
import zlib
from functools import lru_cache


class Reason(enum.IntEnum):
    """Why a flow exists: bits 40-47 of its cookie, so that a dumped flow explains itself."""

    SIDE = 1
    ANSWER_ARP = 2
    SHARE_ARP = 3
    SERVER_ARP = 4
    TO_VIP = 5
    FROM_SERVER = 6
    FRAGMENT = 7
    ICMP_ERROR = 8
    NO_PORTS = 9
    SERVICE = 10
    REDIRECT = 11
    LEGACY = 12
    DEFAULT = 13
    OWN_PORT = 14
    FOREIGN_PORT = 15
    UNKNOWN_PORT = 16
    SERVER_ICMP = 17
    SERVER_FRAGMENT = 18
    MISS = 19
    ANSWER_ND = 20
    NEIGHBOUR_DISCOVERY = 21
    PEER = 22
    GATEWAY_ARP = 23
    MANAGEMENT = 24
    PIN = 26
    NAMED = 27
    REFUSED = 30
    QUERY = 31
    SIGNAL = 32
    OPENING = 33
    CLOSING = 34
    SERVER_CLOSING = 35
    TOO_LARGE = 36
    CHECK = 37
    TO_CHECKER = 38
    TRANSIT = 40
    HANDED_BACK = 45
    HEARTBEAT = 50
    ASKED = 51
    TURNS = 55


VIP_NUMBERS = 1 << 24
"""How many numbers there are for VIPs. A configuration that gives two VIPs the same number is refused
(`config.capacity`)."""


def vip_number(name: str) -> int:
    """The number of a VIP that the configuration gives none: made from its name, so it stays when others change."""
    return zlib.crc32(name.encode()) % VIP_NUMBERS


COOKIE = 0x504C << 48
"""Bits 48-63 of every cookie of ours. A flow without them is foreign and never touched."""
COOKIE_MASK = 0xFFFF << 48


OF_ANY_PORT = (1 << 64) - (1 << 16)
"""What of a cookie says owner, reason and VIP."""


def make_cookie(reason: Reason, vip: int = 0, port: int = 0) -> int:
    """The cookie of a flow: owner (16 bits), reason (8), number of the VIP (24), port (16)."""
    return COOKIE | int(reason) << 40 | (vip & VIP_NUMBERS - 1) << 16 | port


@lru_cache(maxsize=4096)
def parse_cookie(cookie: int) -> tuple[Reason | None, int, int]:
    """The reason (None if the cookie is foreign), the number of the VIP, and the port."""
    reason = cookie >> 40 & 0xFF
    known = cookie >> 48 == COOKIE >> 48 and reason in Reason.__members__.values()
    return (Reason(reason) if known else None), cookie >> 16 & VIP_NUMBERS - 1, cookie & 0xFFFF
