"""Which OpenFlow connections were refused and why, and how long a host waits that breaks rules again and again. Pure.

A refusal that is the peer's fault is an offence. A host has `GRACE` of them free, and gets one back each
`FORGIVE_SECONDS`, so a bridge with a wrong setting that tries again every few seconds never waits. Beyond them each
offence doubles the time for which the host's connections are closed at once, up to `MOST_SECONDS`. That is also the
longest an honest switch behind the same address waits once the offences end. Connections that are up stay up.

The same holds for a datapath id whose connections end as soon as they are there: each would cost a line of the log and
the beginning of a read, hundreds of times a second.

The /64 of an IPv6 address is one host: a host with one address of it has all.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from portlb_app.api.snapshot import RefusedConnections

GRACE = 8
FORGIVE_SECONDS = 4.0
FIRST_SECONDS, MOST_SECONDS = 0.5, 30.0
OF_LEAVING = 0.125
"""How much of an offence it is that a configured switch leaves at once: it may crash, and its bridges start anew."""
HOSTS = 4096
"""Hosts with offences that are remembered; the one that offended longest ago is forgotten first."""
REMEMBERED = 10
"""Refusals that the status shows; the same again by the same host takes no second place."""
LOGGED_PER_MINUTE = 20


def host_of(address: tuple[Any, ...]) -> str:
    """The host of a socket address: its IPv4 address, or the /64 of its IPv6 address."""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    if isinstance(host, ipaddress.IPv4Address):
        return str(host)
    if host.ipv4_mapped:
        return str(host.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(host) >> 64 << 64, 64)))


def address_text(address: tuple[Any, ...]) -> str:
    """A socket address as text: host and port."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _switch(dpid: int) -> str:
    return f"switch {dpid:#x}"


@dataclass(slots=True)
class _Offender:
    """`score` offences at the time `at`, of which some are forgiven since; it waits until `until`."""

    score: float = 0.0
    at: float = -math.inf
    until: float = -math.inf

    def score_at(self, now: float) -> float:
        """Time in which it waits forgives nothing."""
        return max(0.0, self.score - max(0.0, now - max(self.at, self.until)) / FORGIVE_SECONDS)


class Refusals:
    """What was refused so far; times are in seconds of one clock."""

    def __init__(self) -> None:
        self._count = 0
        self._last: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._offenders: OrderedDict[str, _Offender] = OrderedDict()
        self._logged: deque[float] = deque(maxlen=LOGGED_PER_MINUTE)

    @property
    def status(self) -> RefusedConnections:
        """How many, and the last ones."""
        return RefusedConnections(self._count, tuple((text, reason) for (_, reason), text in self._last.items()))

    def record(self, address: tuple[Any, ...], reason: str, now: float, is_offence: bool) -> bool:
        """Record that a connection is closed because of its peer; return whether the log has room for a line."""
        self._count += 1
        host = host_of(address)
        self._last[host, reason] = address_text(address)
        self._last.move_to_end((host, reason))
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        if is_offence:
            self._offend(host, now)
        if len(self._logged) == LOGGED_PER_MINUTE and now - self._logged[0] <= 60:
            return False
        self._logged.append(now)
        return True

    def must_wait(self, address: tuple[Any, ...], now: float) -> bool:
        """Whether a new connection comes too early. Then it is counted, and neither shown nor logged."""
        offender = self._offenders.get(host_of(address))
        if offender is None or now >= offender.until:
            return False
        self._count += 1
        return True

    def left_at_once(self, address: tuple[Any, ...], dpid: int, is_configured: bool, now: float) -> None:
        """Record that a switch left at once. If it does so again and again it waits, whatever its host.

        If it is not configured its host waits: a host may name any number of datapath ids.
        """
        if is_configured:
            self._offend(_switch(dpid), now, OF_LEAVING)
        else:
            self._offend(host_of(address), now)

    def wait_of(self, dpid: int, now: float) -> float:
        """Return for how many seconds a switch is refused because it left at once too often."""
        offender = self._offenders.get(_switch(dpid))
        return 0.0 if offender is None else max(0.0, offender.until - now)

    def _offend(self, host: str, now: float, weight: float = 1.0) -> None:
        offender = self._offenders.setdefault(host, _Offender())
        self._offenders.move_to_end(host)
        if len(self._offenders) > HOSTS:
            self._offenders.popitem(last=False)
        offender.score, offender.at = offender.score_at(now) + weight, now
        excess = offender.score - GRACE
        if excess > 0:
            offender.score = min(offender.score, GRACE + 1 + math.log2(MOST_SECONDS / FIRST_SECONDS))
            offender.until = now + min(MOST_SECONDS, FIRST_SECONDS * 2 ** (excess - 1))
