"""Turns that the controller takes: which server gets a SYN with REDIRECT (row L1, ``turns: controller``).

The servers of a pool stand in a list, each as often as its weight says, spread evenly; each SYN gets the next one
(`round-robin`), or the next one up the list and down again (`elevator`). A SYN that a client repeats gets the server
that it had before: the last `MOST` of the last `REMEMBERED` seconds are known, by addresses, ports and number.

While it takes turns the controller says so, `EVERY` so many seconds, to the switches where clients' packets enter
(`compiler.tables.turns`); a switch that does not hear it for a while lets its slots decide. More SYNs than a port's
`rate` are no matter of turns: it says at once that it takes none, and tries again after `HOLD` seconds, each time twice
as long until a whole `LONGEST` has passed without. Pure: time is an argument.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from portlb_app.compiler.tables.redirect import takes_turns
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Algorithm, RedirectPort, Selecting
from portlb_app.net import packets
from portlb_app.net.packets import Ends, Segment
from portlb_app.pipeline import PRESENCE, RST, SYN, Side, resubmit
from portlb_app.punt.packet import Send
from portlb_app.punt.verdict import ingress_port
from portlb_app.selection.quotas import awards
from portlb_app.topology.conditions import PoolKey

EVERY = 0.5
"""Seconds between two words of the controller that it takes turns."""
HOLD, LONGEST = 10.0, 320.0
"""Seconds for which it takes none after too many SYNs: the first time, and at most."""
MOST, REMEMBERED = 16384, 64.0
"""SYNs that are remembered, and for how many seconds: hosts have given up by then, or repeat it once a minute."""
_FROM = 0x0250 << 32 | 1
"""The MAC address that such words come from; nothing leaves a switch with it."""
_LONGEST_LIST = 4096
"""Places of a list of turns. Servers whose weights need more have their turns nearly as often as these say."""


@dataclass
class _Pool:
    """The turns of one pool. `left`: SYNs that may come at once; `held`: until when no turns are taken."""

    left: float
    counted_at: float
    turn: int = 0
    strikes: int = 0
    held: float = -math.inf


class Turns:
    """The turns of all pools, by VIP and redirect port."""

    def __init__(self) -> None:
        self._pools: dict[PoolKey, _Pool] = {}
        self._known: OrderedDict[tuple[object, ...], tuple[str, float]] = OrderedDict()
        self._said_at = -math.inf
        self._is_ending = False
        self._over: set[PoolKey] = set()
        """The pools with too many SYNs of which switches have not been told."""
        self._troubles: deque[str] = deque(maxlen=64)

    def server(
        self, key: PoolKey, selecting: Selecting, weights: Mapping[str, int], segment: Segment, now: float
    ) -> str | None:
        """Whose turn it is to get a SYN to a pool; None if no server has a weight. `weights`: those that can get it."""
        pool = self._count(key, selecting, now)
        which = key, segment.source, segment.sport, segment.destination, segment.seq
        server, at = self._known.get(which, ("", -math.inf))
        if server not in weights or now - at > REMEMBERED:
            if not weights:
                return None
            places = _places(tuple(weights.items()))
            server = places[_place(selecting.algorithm, pool.turn, len(places))]
            pool.turn += 1
        self._known[which] = server, now
        self._known.move_to_end(which)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
        return server

    def takes(self, key: PoolKey, now: float) -> bool:
        """Whether turns of a pool are taken now: there were not too many SYNs, and the controller stays."""
        pool = self._pools.get(key)
        return not self._is_ending and (pool is None or now >= pool.held)

    def end(self) -> None:
        """Take no turns any more. What `say` gives next tells switches at once; they would wait for seconds else."""
        self._is_ending = True

    def say(self, entrances: Iterable[tuple[int, VipOnSwitch]], now: float) -> Iterator[Send]:
        """What switches are told: it is due that turns are taken, or there were too many SYNs.

        `entrances`: those where clients' packets enter, and the VIPs there.
        """
        is_due = now - self._said_at >= EVERY
        if not is_due and not self._over and not self._is_ending:
            return
        if is_due:
            self._said_at = now
        over, self._over = self._over, set()
        for dpid, local in entrances:
            for pool in local.vip.turning:
                key = local.vip.name, pool.port
                is_told = self._is_ending or key in over or (is_due and self.takes(key, now))
                if takes_turns(local, pool) and is_told:
                    yield from _words(dpid, local, pool, 0 if self.takes(key, now) else RST)

    @property
    def has_news(self) -> bool:
        """Whether switches are to be told at once: there were too many SYNs."""
        return bool(self._over)

    def take_troubles(self) -> Iterator[str]:
        """What an operator should know since the last time."""
        while self._troubles:
            yield self._troubles.popleft()

    def keep(self, keys: Iterable[PoolKey]) -> None:
        """Forget all pools but these."""
        wanted = set(keys)
        self._pools = {key: pool for key, pool in self._pools.items() if key in wanted}

    def _count(self, key: PoolKey, selecting: Selecting, now: float) -> _Pool:
        """Count a SYN. With a second's worth of them at once it is still not too many."""
        pool = self._pools.setdefault(key, _Pool(float(selecting.rate), now))
        pool.left = min(selecting.rate, pool.left + selecting.rate * (now - pool.counted_at)) - 1
        pool.counted_at = now
        if pool.left < 0 and now >= pool.held:
            pool.strikes = 1 if now - pool.held > LONGEST else pool.strikes + 1
            seconds = min(LONGEST, HOLD * 2 ** (pool.strikes - 1))
            pool.held, pool.left = now + seconds, float(selecting.rate)
            self._over.add(key)
            text = f"{key[0]}:{key[1]}: more than {selecting.rate} SYNs a second; its slots decide for {seconds:g} s"
            self._troubles.append(text)
        return pool


@lru_cache(maxsize=64)
def _places(weights: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """The list of servers with these weights, none of them 0."""
    numbers = [weight for _, weight in weights]
    count = min(_LONGEST_LIST, sum(numbers) // math.gcd(*numbers))
    return tuple(awards(dict(weights), max(count, len(weights))))


def _place(algorithm: Algorithm, turn: int, places: int) -> int:
    if algorithm is not Algorithm.ELEVATOR:
        return turn % places
    within = turn % (2 * places)
    return min(within, 2 * places - 1 - within)


def _words(dpid: int, local: VipOnSwitch, pool: RedirectPort, flags: int) -> Iterator[Send]:
    """That turns are taken (`flags`: 0), or none are (RST): one packet for each address of the VIP."""
    for address in local.vip.addresses:
        ends = Ends(_FROM, local.vip.mac, local.vip.check_address(address.version), address)
        frame = packets.make_segment(ends, (pool.port, pool.port), 0, 0, SYN | flags, 0, b"")
        yield Send(dpid, ingress_port(local), (resubmit(PRESENCE),), frame, Side.PRESENT)
