"""The servers that slots had before they moved, and how long they are remembered (docs/second-chance.md).

A slot that moves remembers its server: connections that it carries may still be open there. A server is forgotten when
nothing was handed back for it for `QUIET` seconds, or after the pool's bound, or when a configuration does not name it
any more. One that is down is remembered, but not named meanwhile: a client that gets a reset connects again, one that
gets nothing waits.

Pure: time is an argument, seconds of any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from portlb_app.topology.conditions import FORMERS

QUIET = 7440.0
"""Seconds: 2 hours 4 minutes, for which an idle TCP connection must live behind an address translator (RFC 5382, 5). A
keep-alive of Linux comes after two hours."""

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
        self.slots = tuple(slots) if any(slots) else ()
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
