"""Which links between switches work, as the switches report it about their ports.

A link is down as soon as a switch reports that its end is down or missing. A switch that is not connected reports
nothing: its packets may well go on, so the other end decides, and a link without any report works. Only just after the
start, before both ends have had time to report (`HEARING`), must nothing follow from that.

A link that comes back must stay up for a while (the hold) before it is used again, so that a flapping link costs one
change for a while, not two for every flap (`damping`).

Time is an argument: seconds of any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping

from portlb_app.config import Link
from portlb_app.topology.damping import HOLD, Downs

HOLD_UNHEARD = 15.0
"""The shortest hold where only one end reports. The other switch may have just started, and has no tables until it
reaches the controller; Open vSwitch tries at least every 8 s, unless ``max_backoff`` says otherwise."""

HEARING = 10.0
"""Seconds after the start within which switches that can reach the controller have connected (see `HOLD_UNHEARD`)."""

End = tuple[int, int]
"""A datapath id and an OpenFlow port."""


class Links:
    """The last report about every port, and since when links are up again."""

    def __init__(self) -> None:
        self.down: frozenset[Link] = frozenset()
        """The links that must not be used, as of the last `judge`."""
        self._up: dict[int, frozenset[int]] = {}
        self._links: Mapping[Link, tuple[End, End]] = {}
        self._by_switch: dict[int, set[Link]] = {}
        self._changed: set[int] = set()
        """The switches that have reported since the last `judge`."""
        self._since: dict[Link, float] = {}
        self._downs: dict[Link, Downs] = {}

    @property
    def heard(self) -> frozenset[int]:
        """The switches that have reported."""
        return frozenset(self._up)

    def see(self, dpid: int, up: frozenset[int]) -> None:
        """A switch reports that these of its OpenFlow ports exist and are up."""
        self._up[dpid] = up
        self._changed.add(dpid)

    def forget(self, dpid: int) -> None:
        """Forget the report of a switch that is disconnected."""
        self._up.pop(dpid, None)
        self._changed.add(dpid)

    def all_heard(self, links: Mapping[Link, tuple[End, End]]) -> bool:
        """Whether the switches at both ends of all these links have reported."""
        return all(dpid in self._up for ends in links.values() for dpid, _ in ends)

    def judge(self, links: Mapping[Link, tuple[End, End]], now: float) -> frozenset[Link]:
        """The links, of these, that must not be used at time `now`. All other links are forgotten.

        For the same object as in the last call, only some links are checked: those about which a switch has reported
        since, and those that are down. A large network has thousands of links, and every event asks.
        """
        if links is not self._links:
            self._adopt(links)
            checked = set(links)
        else:
            checked = {link for dpid in self._changed for link in self._by_switch.get(dpid, ())}
            checked |= self.down
        self._changed.clear()
        if checked:
            down = (self.down - checked) | {link for link in checked if not self._usable(link, links[link], now)}
            if down != self.down:
                self.down = frozenset(down)
        return self.down

    def _adopt(self, links: Mapping[Link, tuple[End, End]]) -> None:
        self._since = {link: since for link, since in self._since.items() if link in links}
        self._downs = {link: downs for link, downs in self._downs.items() if link in links}
        self.down = self.down.intersection(links)
        self._links, self._by_switch = links, {}
        for link, ends in links.items():
            for dpid, _ in ends:
                self._by_switch.setdefault(dpid, set()).add(link)

    def hold(self, link: Link, now: float) -> float:
        """The hold of a link, in seconds: how long it must stay up before it is used again."""
        downs = self._downs.get(link)
        return downs.hold(now) if downs else HOLD

    def _usable(self, link: Link, ends: tuple[End, End], now: float) -> bool:
        heard = [port in self._up[dpid] for dpid, port in ends if dpid in self._up]
        is_down = not all(heard)
        if is_down or link in self._downs:
            self._downs.setdefault(link, Downs()).report(is_down, now)
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
