"""How far servers are that drain: how many of their connections are open, and when the last one has ended.

Three tell, the first one that can decides:

- the server's agent, which knows its connections (`reported`);
- the counters of the flows by which the server's packets leave its switch (`counted`): no packet for `STILL` seconds.
  TCP's keep-alives are packets, so a connection that is open and silent for longer has neither;
- the log of connections (`logged`), where the switch cannot count. It does not know the server of a connection that is
  open: those of the VIP that opened before the server had no slots any more are the most that can be open there.

A server that is drained and sends again is not drained any more. Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

STILL = 60.0
"""Seconds without a packet after which no connection is open."""
COUNT_EVERY = 5.0
"""Seconds between two looks at the counters of a server."""
COUNTED = 8
"""Servers whose counters are asked for at a time, at most."""
FRESH = 10.0
"""Seconds for which an agent's word counts."""
SETTLED = 2.0
"""Seconds from the order to drain until no connection can open any more that a switch had already chosen a server for:
what is said before is said too early."""

Source = Literal["agent", "counters", "log", ""]


@dataclass(frozen=True)
class Drain:
    """A server that drains, since when. `open`: how many connections are open; None: nothing says it.

    `source`: what tells; empty for nothing. `quiet`: seconds without a packet from it, None where they are not counted.
    `drained_at`: when it was found drained; None if it is not.
    """

    since: float
    open: int | None = None
    source: Source = ""
    quiet: float | None = None
    drained_at: float | None = None

    @property
    def reason(self) -> str:
        """A sentence's end about it."""
        if self.drained_at is not None:
            return f"drained, by {_NAMES[self.source]}"
        if self.open is not None:
            most = "at most " if self.source == "log" else ""
            return f"{most}{self.open} connection{'s' * (self.open != 1)} open, by {_NAMES[self.source]}"
        if self.quiet is not None:
            return f"no packet from it for {self.quiet:.0f} of {STILL:.0f} s"
        return "nothing tells yet how many connections are open"


_NAMES = {"agent": "its agent", "counters": "the counters of its packets", "log": "the log of connections", "": ""}


@dataclass
class _Known:
    since: float
    is_counted: bool = False
    reported: tuple[int, float] | None = None
    packets: int | None = None
    moved_at: float = 0.0
    """When the count was first seen as it is now."""
    counted_at: float | None = None
    asked_at: float | None = None
    logged: tuple[int, float] | None = None
    drained_at: float | None = None
    source: Source = ""


@dataclass
class Drains:
    """All servers that drain."""

    _known: dict[str, _Known] = field(default_factory=dict)
    _news: list[str] = field(default_factory=list)

    def want(self, servers: Mapping[str, bool], now: float) -> None:
        """These servers drain, and no others; of each, whether a switch counts its packets."""
        for gone in self._known.keys() - servers.keys():
            del self._known[gone]
        for name, is_counted in servers.items():
            self._known.setdefault(name, _Known(now)).is_counted = is_counted

    # ---- what is heard ----

    def reported(self, server: str, count: int, now: float) -> None:
        """The server's agent says how many connections are open."""
        if known := self._known.get(server):
            known.reported = count, now
            self._judge(server, known, now)

    def counted(self, server: str, packets: int, now: float) -> None:
        """So many packets have come from a server so far."""
        if known := self._known.get(server):
            if packets != known.packets:
                known.packets, known.moved_at = packets, now
            known.counted_at = now
            self._judge(server, known, now)

    def logged(self, server: str, count: int, now: float) -> None:
        """So many connections are open by the log, at most."""
        if known := self._known.get(server):
            known.logged = count, now
            self._judge(server, known, now)

    # ---- what follows ----

    def due(self, now: float) -> list[str]:
        """The servers whose packets are to be counted now: those that were not for the longest time."""
        waiting = sorted(
            (-1.0 if known.asked_at is None else known.asked_at, name)
            for name, known in self._known.items()
            if known.is_counted and (known.asked_at is None or now >= known.asked_at + COUNT_EVERY)
        )
        chosen = [name for _, name in waiting[:COUNTED]]
        for name in chosen:
            self._known[name].asked_at = now
        return chosen

    def news(self) -> Iterator[tuple[str, Drain]]:
        """The servers that were found drained since the last time."""
        news, self._news = self._news, []
        for name in dict.fromkeys(news):
            known = self._known.get(name)
            if known and known.drained_at is not None and (found := self.of(name, known.drained_at)):
                yield name, found

    def of(self, server: str, now: float) -> Drain | None:
        """How far a server is; None if it does not drain."""
        known = self._known.get(server)
        if known is None:
            return None
        count, source = self._open(known, now)
        if known.drained_at is not None:
            return Drain(known.since, 0, known.source, None, known.drained_at)
        quiet = None if known.counted_at is None else max(0.0, known.counted_at - known.moved_at)
        return Drain(known.since, count, source or ("counters" if quiet is not None else ""), quiet)

    def names(self) -> Iterable[str]:
        """The servers that drain."""
        return self._known.keys()

    def _open(self, known: _Known, now: float) -> tuple[int | None, Source]:
        """How many connections are open, and what says so; a number is worth more than none."""
        if known.reported and now - known.reported[1] <= FRESH:
            return known.reported[0], "agent"
        return (known.logged[0], "log") if known.logged else (None, "")

    def _judge(self, server: str, known: _Known, now: float) -> None:
        source = self._drained_by(known, now)
        if source and known.drained_at is None:
            known.drained_at, known.source = now, source
            self._news.append(server)
        elif not source:
            known.drained_at = None

    def _drained_by(self, known: _Known, now: float) -> Source:
        """What tells that no connection is open; empty if that is not so, or not known."""
        begin = known.since + SETTLED
        if known.reported and now - known.reported[1] <= FRESH:
            count, at = known.reported
            return "agent" if count == 0 and at >= begin else ""
        if known.is_counted:
            is_still = known.counted_at is not None and known.counted_at - known.moved_at >= STILL
            return "counters" if is_still else ""
        if known.logged:
            count, at = known.logged
            return "log" if count == 0 and at >= begin else ""
        return ""
