"""Servers that do not answer, by what switches have counted: packets to a server and none from it, or resets alone.

Nothing is sent for it. It is for servers without a check, and slow: a look is a read of the server's switch, and two in
a row must say the same. It is wrong rather by leaving a server in than by taking one out, so a server counts as bad
only

- with `LEAST` packets to it in each of these looks: an idle one never does;
- while others of each of its pools answer: else it may be a service that nobody answers, or the network;
- if it has answered before, where it is silent: answers may take another way than by the switch;
- as long as no more than `MOST` of a pool, or one, is out for it.

A server that is out gets no packets, so nothing can say that it works again. It is tried again after `HOLD`, and each
time later that it fails. Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

PASSIVE = "passive"
"""The source of this evidence."""
LEAST = 20
"""Packets to a server in one look that say something."""
LOOKS = 2
"""Looks in a row that must say the same."""
HOLD, LONGEST = 60.0, 960.0
"""Seconds until a server is tried again: the first time, and at most."""
MOST = 0.3
"""The part of a pool's servers that may be out by this evidence; one always may."""
RECENT = 120.0
"""Seconds for which it counts that another server has answered."""
BARE = {4: 60, 6: 74}
"""Bytes of a TCP segment without options and data, the least that an Ethernet frame has included."""
OPENING = 98
"""Bytes of a SYN with the options of common hosts, at most; one with data is larger."""


class Look(NamedTuple):
    """What has passed to and from a server since the look before: packets and bytes.

    `come_by_ipv6`: how many of the packets from it were IPv6.
    """

    to: int
    to_octets: int
    come: int
    come_octets: int
    come_by_ipv6: int = 0

    @property
    def is_bare(self) -> bool:
        """Whether no packet from it has had anything but headers; false if none came."""
        least = BARE[4] * (self.come - self.come_by_ipv6) + BARE[6] * self.come_by_ipv6
        return self.come > 0 and self.come_octets <= least


@dataclass
class _Seen:
    answered_at: float | None = None
    bad: int = 0
    """Looks in a row that say that it is silent, or refuses."""
    is_silent: bool = False
    since: float = 0.0
    to: int = 0
    come: int = 0
    looked_at: float | None = None
    strikes: int = 0
    out_until: float | None = None
    tried_at: float = 0.0


class Passive:
    """What is seen of all servers that are looked at."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def keep(self, servers: Collection[str]) -> None:
        """Forget all servers but these."""
        self._seen = {name: each for name, each in self._seen.items() if name in servers}

    def look(
        self, looks: Mapping[str, Look], pools: Mapping[str, Iterable[Collection[str]]], now: float
    ) -> list[tuple[str, str]]:
        """The servers that are found bad, and why in words. `pools`: of each of these servers those of its pools."""
        for name, look in looks.items():
            self._take(self._seen.setdefault(name, _Seen()), look, now)
        found = []
        for name in looks:
            seen = self._seen[name]
            if seen.bad >= LOOKS and seen.out_until is None and self._may_go(name, pools.get(name, ()), now):
                seen.strikes += 1
                seen.out_until = now + min(LONGEST, HOLD * 2 ** (seen.strikes - 1))
                found.append((name, _reason(seen, now)))
        return found

    def over(self, now: float) -> list[str]:
        """The servers that are to be tried again."""
        names = [name for name, each in self._seen.items() if each.out_until is not None and now >= each.out_until]
        for name in names:
            seen = self._seen[name]
            seen.out_until, seen.bad, seen.tried_at = None, 0, now
        return names

    def _take(self, seen: _Seen, look: Look, now: float) -> None:
        refuses = look.is_bare and look.come <= look.to and look.to_octets <= OPENING * look.to
        is_silent = look.come == 0 and seen.answered_at is not None
        if look.to >= LEAST and (refuses or is_silent):
            if not seen.bad or seen.is_silent is not is_silent:
                seen.bad, seen.is_silent, seen.to, seen.come = 0, is_silent, 0, 0
                seen.since = now if seen.looked_at is None else seen.looked_at
            seen.bad, seen.to, seen.come = seen.bad + 1, seen.to + look.to, seen.come + look.come
        else:
            seen.bad = 0
            if look.come and not refuses:
                seen.answered_at = now
                if seen.out_until is None and now - seen.tried_at >= LONGEST:
                    seen.strikes = 0
        seen.looked_at = now

    def _may_go(self, name: str, pools: Iterable[Collection[str]], now: float) -> bool:
        every = [set(pool) - {name} for pool in pools]
        return bool(every) and all(
            any(self._answers(other, now) for other in others)
            and 1 + sum(self._is_out(other) for other in others) <= max(1, MOST * (1 + len(others)))
            for others in every
        )

    def _answers(self, name: str, now: float) -> bool:
        seen = self._seen.get(name)
        return seen is not None and not seen.bad and seen.answered_at is not None and now - seen.answered_at <= RECENT

    def _is_out(self, name: str) -> bool:
        seen = self._seen.get(name)
        return seen is not None and seen.out_until is not None


def _reason(seen: _Seen, now: float) -> str:
    until = f"it is tried again in {(seen.out_until or now) - now:.0f} s"
    answers = "none" if seen.is_silent else f"{seen.come} bare ones, such as resets,"
    return f"{seen.to} packets to it in {now - seen.since:.0f} s and {answers} from it, while others answer; {until}"
