"""Health checks as values: how a server is asked whether it works, and how many must work before others are used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from portlb_app.config.policies import CheckKind, Via

MAX_POOL = 1024
"""Servers of one pool: each has 32 slots at least where there is room for the most groups."""
CHECK_ADDRESSES = (IPv4Address("192.0.0.8"), IPv6Address("100::8"))
"""Where checks come from by default: the dummy address of IPv4 (RFC 7600), and one of the block that is never routed
(RFC 6666). Servers answer them by their default route, and the answers go no further than their own switch."""


@dataclass(frozen=True, order=True)
class Check:
    """How one server of a pool is checked.

    `port`: the port its program listens on, if that is not the redirect port. `interval` and `timeout` are in seconds.
    `fall` failures in a row make a server that is up go down, `rise` successes in a row bring it back. Of HTTP:
    `method`, `path`, `host` (the header; None: the VIP's address), `status` (ranges of status codes that are good) and
    `body` (what the beginning of the answer must contain). Of UDP: `send`, and `expect`, with which the answer begins.
    """

    kind: CheckKind = CheckKind.TCP
    port: int | None = None
    via: Via | None = None
    interval: float = 2.0
    timeout: float = 1.0
    fall: int = 3
    rise: int = 2
    path: str = "/"
    host: str | None = None
    method: str = "GET"
    status: tuple[tuple[int, int], ...] = ((200, 399),)
    body: bytes = b""
    send: bytes = b""
    expect: bytes | None = None

    @property
    def says_up(self) -> bool:
        """Whether its answers say that a server is up; a datagram without an expected answer only tells of errors."""
        return self.kind is not CheckKind.UDP or self.expect is not None


@dataclass(frozen=True, order=True)
class FailOpen:
    """When all servers of a pool are used although checks say that they are down: when no more than so many are up.

    `most`: a number of servers, or of per cent of the pool; None: never.
    """

    most: int | None = 0
    is_percent: bool = False

    def applies(self, up: int, of: int) -> bool:
        """Whether so many servers that are up, of all that the pool may use, are too few."""
        if self.most is None or not of:
            return False
        return up * 100 <= self.most * of if self.is_percent else up <= self.most

    @classmethod
    def read(cls, value: Any) -> FailOpen:
        """As the file has it: a number of servers, a percentage, or "never"; ValueError if it is none of them."""
        if value == "never":
            return cls(None)
        if isinstance(value, str) and (found := re.fullmatch(r"([0-9]{1,3})%", value)) and int(found[1]) <= 100:
            return cls(int(found[1]), is_percent=True)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_POOL:
            return cls(value)
        raise ValueError(f'a number of servers from 0 to {MAX_POOL}, a percentage like "30%", or never is expected')
