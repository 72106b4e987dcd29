"""Which links between switches work, from what switches say about their ports.

A link is down as soon as a switch says that its end is down or not there. A switch that is not connected says nothing:
its packets may well go on, so the other end decides, and a link nobody speaks of works. Only at the start, before both
ends had the time to speak (`HEARING`), should nobody act on that.

A link that comes back must stay up for a while before it is used again: one that flaps then costs one change for a
spell, not two for every flap. The more often it went down lately, the longer: each time counts one, and what is counted
is halved with every `HALF_LIFE`; the hold doubles with each, up to `MAX_HOLD`. So a link that goes down every few
seconds is left alone until it has found its peace, and one that was cut once in a day comes back at once.

Time is an argument: seconds of any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from portlb_app.config import Link

HOLD = 1.0
"""Seconds a link is up before it is used again: longer than a carrier bounces while both ends agree on a speed."""
HOLD_UNHEARD = 15.0
"""The same where only one end says so. The other switch may have just started, and have no tables until it reaches the
controller: Open vSwitch tries every 8 s at the longest, unless it is told otherwise (``max_backoff``)."""

MAX_HOLD = 60.0
HALF_LIFE = 60.0
"""Seconds: the longest hold, and how fast it is forgotten that a link went down."""

HEARING = 10.0
"""Seconds after the start in which switches that can reach the controller have done so (see `HOLD_UNHEARD`)."""

End = tuple[int, int]
"""A datapath id and an OpenFlow port."""


@dataclass
class _Downs:
    """How often a link went down lately: `count` at the time `at`. `is_down`: it is, as its ends say."""

    count: float = 0.0
    at: float = 0.0
    is_down: bool = False

    def now(self, now: float) -> float:
        """What is left of the count."""
        return float(self.count * 0.5 ** ((now - self.at) / HALF_LIFE))

    def say(self, is_down: bool, now: float) -> None:
        """Its ends say whether it is down."""
        if is_down and not self.is_down:
            self.count, self.at = self.now(now) + 1, now
        self.is_down = is_down


class Links:
    """What was said last about every port, and since when links are up again."""

    def __init__(self) -> None:
        self.down: frozenset[Link] = frozenset()
        """The links that are not to be used, as last judged."""
        self._up: dict[int, frozenset[int]] = {}
        self._links: Mapping[Link, tuple[End, End]] = {}
        self._by_switch: dict[int, set[Link]] = {}
        self._changed: set[int] = set()
        """Switches that have said something since links were judged."""
        self._since: dict[Link, float] = {}
        self._downs: dict[Link, _Downs] = {}

    def see(self, dpid: int, up: frozenset[int]) -> None:
        """A switch says that of its OpenFlow ports these are there, and up."""
        self._up[dpid] = up
        self._changed.add(dpid)

    def forget(self, dpid: int) -> None:
        """A switch does not say anything any more."""
        self._up.pop(dpid, None)
        self._changed.add(dpid)

    def all_heard(self, links: Mapping[Link, tuple[End, End]]) -> bool:
        """Whether the switches at both ends of each of these links say something."""
        return all(dpid in self._up for ends in links.values() for dpid, _ in ends)

    def judge(self, links: Mapping[Link, tuple[End, End]], now: float) -> frozenset[Link]:
        """Which of these links are not to be used at time `now`; all others are forgotten.

        Of the same links (the same object) only those are looked at that a switch has said something about since, that
        are down, or that were not long ago: a large network has thousands, and this is asked after every event.
        """
        if links is not self._links:
            self._take(links)
            look = set(links)
        else:
            look = {link for dpid in self._changed for link in self._by_switch.get(dpid, ())}
            look |= self.down | self._downs.keys()
        self._changed.clear()
        if look:
            down = (self.down - look) | {link for link in look if not self._usable(link, links[link], now)}
            if down != self.down:
                self.down = frozenset(down)
        return self.down

    def _take(self, links: Mapping[Link, tuple[End, End]]) -> None:
        self._since = {link: since for link, since in self._since.items() if link in links}
        self._downs = {link: downs for link, downs in self._downs.items() if link in links}
        self.down = self.down.intersection(links)
        self._links, self._by_switch = links, {}
        for link, ends in links.items():
            for dpid, _ in ends:
                self._by_switch.setdefault(dpid, set()).add(link)

    def hold(self, link: Link, now: float) -> float:
        """Seconds for which a link that is up must stay so before it is used again; twice as long with each time."""
        downs = self._downs.get(link)
        return min(MAX_HOLD, HOLD * 2.0 ** max(0.0, downs.now(now) - 1)) if downs else HOLD

    def _usable(self, link: Link, ends: tuple[End, End], now: float) -> bool:
        heard = [port in self._up[dpid] for dpid, port in ends if dpid in self._up]
        is_down = not all(heard)
        if is_down or link in self._downs:
            self._downs.setdefault(link, _Downs()).say(is_down, now)
        if is_down:
            self._since.pop(link, None)
            return False
        if link not in self.down:
            return True
        since = self._since.setdefault(link, now)
        if now - since < max(self.hold(link, now), HOLD if len(heard) == len(ends) else HOLD_UNHEARD):
            return False
        del self._since[link]
        return True
