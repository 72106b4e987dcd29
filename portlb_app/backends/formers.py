"""The servers that slots had before they moved, and how long they are remembered (docs/second-chance.md).

A slot that moves remembers its server: connections that it carries may still be open there. A server is forgotten when
nothing was handed back for it for `QUIET` seconds, or after the pool's bound, or when a configuration does not name it
any more. One that is down is remembered, but not named meanwhile: a client that gets a reset connects again, one that
gets nothing waits.

Pure: time is an argument, seconds of any monotonic clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from portlb_app.pipeline import FORMERS

QUIET = 7440.0
"""Seconds: 2 hours 4 minutes, for which an idle TCP connection must live behind an address translator (RFC 5382, 5). A
keep-alive of Linux comes after two hours."""

LISTS = 2048
"""The most lists of servers, to be tried one after the other, that the slots of a pool have: switches have a flow for
each (FORMER). A pool of one group has fewer in any case; `move` has those of more groups forget."""

Slots = tuple[tuple[str, ...], ...]
"""For each slot the servers that it had before, latest first."""


class Formers:
    """Those of one pool."""

    def __init__(self) -> None:
        self.slots: Slots = ()
        self._since: dict[str, float] = {}
        self._used: dict[str, float] = {}

    def copy(self) -> Formers:
        """The same, to be changed."""
        made = Formers()
        made.slots, made._since, made._used = self.slots, dict(self._since), dict(self._used)
        return made

    def move(self, before: Sequence[str | None], after: Sequence[str], leaving: Collection[str], now: float) -> None:
        """Slots have moved. Only the servers in `leaving` are remembered: they may still have connections.

        A slot that did not move keeps its former servers; its own server is none of them. A pool that has another
        number of slots than before forgets them all: its packets get other slots.
        """
        earlier = self.slots or ((),) * len(before)
        if len(before) != len(after) or len(earlier) != len(after):
            self.slots = ()
            self._keep()
            return
        slots: list[tuple[str, ...]] = []
        for old, new, known in zip(before, after, earlier, strict=True):
            if old == new:
                slots.append(known)
                continue
            every = known
            if old is not None and old in leaving:
                every = (old, *known)
                self._since[old] = self._used[old] = now
            slots.append(tuple(dict.fromkeys(each for each in every if each != new))[:FORMERS])
        self.slots = tuple(_bounded(after, slots)) if any(slots) else ()
        self._keep()

    def held(self, slots: Slots, now: float) -> None:
        """A switch was read that has these; since when, it does not say."""
        self.slots = slots if any(slots) else ()
        for name in {each for names in slots for each in names}:
            self._since[name] = self._used[name] = now
        self._keep()

    def use(self, server: str, now: float) -> None:
        """Something was handed back for a server."""
        if server in self._used:
            self._used[server] = now

    def expire(self, now: float, longest: float, known: Collection[str]) -> bool:
        """Forget those that are over, and all that are not known. Whether there were some."""
        over = {
            name
            for name, since in self._since.items()
            if now - since >= longest or now - self._used[name] >= QUIET or name not in known
        }
        if over:
            slots = tuple(tuple(name for name in names if name not in over) for names in self.slots)
            self.slots = slots if any(slots) else ()
            self._keep()
        return bool(over)

    def named(self, working: Collection[str]) -> Slots:
        """Those that work."""
        slots = tuple(tuple(name for name in names if name in working) for names in self.slots)
        return slots if any(slots) else ()

    @property
    def since(self) -> Mapping[str, float]:
        """Every former server, and when a slot moved away from it last."""
        return self._since

    def _keep(self) -> None:
        names = {name for each in self.slots for name in each}
        for times in (self._since, self._used):
            for name in times.keys() - names:
                del times[name]


def _bounded(table: Sequence[str], slots: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """These former servers of slots, with `LISTS` lists at most.

    All slots forget what they had the longest ago, as much as they must. Where the latest one of each is too much,
    those with few slots alike forget it.
    """
    alike = Counter(zip(table, slots, strict=True))
    for most in range(FORMERS, 0, -1):
        if _lists((server, *names[:most]) for server, names in alike if names) <= LISTS:
            return slots if most == FORMERS else [names[:most] for names in slots]
    pairs = Counter[tuple[str, tuple[str, ...]]]()
    for (server, names), count in alike.items():
        if names:
            pairs[server, names[:1]] += count
    kept = {pair for pair, _ in pairs.most_common(LISTS // 2)}  # a pair is two lists
    return [names[:1] if (server, names[:1]) in kept else () for server, names in zip(table, slots, strict=True)]


def _lists(chains: Iterable[tuple[str, ...]]) -> int:
    """How many lists these are: any server of a chain may hand back to those behind it."""
    return len({chain[at:] for chain in chains for at in range(len(chain))})
