"""Flows of others in portlb's tables, and which of portlb's flows they take packets from.

Other programs may use the same bridge, and their flows are never touched. A foreign flow is found before one of
portlb's if it matches some of the same packets and its priority is not lower (OpenFlow 1.5.1, 5.3; with equal
priorities it is not said which is found). What portlb would drop by a table's miss is left to others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from portlb_app.openflow import FIELDS, Flow, Flows, Match
from portlb_app.pipeline import BY_NUMBER, Priority

LOOKED_AT = 1024
"""Foreign flows of a switch that are read; of more there is only the number."""
SHOWN = 20
"""Foreign flows that take packets and are told one by one."""
WORK = 2_000_000
"""Flows of portlb's that are put in order for a comparison, over all kinds of foreign matches: two seconds' work."""

_Masks = tuple[tuple[str, int], ...]
_NOTHING: tuple[list[int], list[Flow]] = ([], [])


@dataclass(frozen=True)
class Shadow:
    """A foreign flow that takes packets before flows of portlb's: `count` of them; `ours` is the first of these.

    `below`: the least priority of these.
    """

    table: int
    table_name: str
    priority: int
    match: str
    cookie: int
    ours: str
    count: int
    below: int


@dataclass(frozen=True)
class Foreign:
    """The flows of others in a switch's tables that are portlb's: how many, and how many of them were not looked at.

    `shadows`: the first `SHOWN` of those that take packets from portlb's flows; `shadowing`: how many do.
    """

    flows: int = 0
    unread: int = 0
    shadowing: int = 0
    shadows: tuple[Shadow, ...] = ()


NONE = Foreign()


class Comparison:
    """Compares the flows of others with those of a switch, and only if one of both has changed."""

    def __init__(self) -> None:
        self._foreign: frozenset[Flow] = frozenset()
        self._unread = 0
        self._ours: Flows | None = None
        self._found = NONE

    def of(self, foreign: frozenset[Flow], unread: int, ours: Flows) -> Foreign:
        """What there is to tell of these flows of others, and of so many that were not read."""
        if (foreign, unread) != (self._foreign, self._unread) or ours is not self._ours:
            self._foreign, self._unread, self._ours = foreign, unread, ours
            self._found = _compare(foreign, unread, ours) if foreign or unread else NONE
        return self._found


def _compare(foreign: frozenset[Flow], unread: int, ours: Flows) -> Foreign:
    tables = {flow.table: _Table() for flow in foreign}
    for flow in ours:
        if flow.table in tables and (flow.actions or flow.priority != Priority.MISS):
            tables[flow.table].add(flow)
    shadows, work, beyond = list[Shadow](), WORK, 0
    for flow in sorted(foreign, key=lambda each: (each.table, -each.priority, each.match.rank, each.cookie)):
        table = tables[flow.table]
        if work <= 0:
            beyond += 1
            continue
        before = table.work
        shadow = _shadow(flow, table)
        work -= table.work - before
        if shadow is not None:
            shadows.append(shadow)
    return Foreign(len(foreign) + unread, unread + beyond, len(shadows), tuple(shadows[:SHOWN]))


def _shadow(flow: Flow, table: _Table) -> Shadow | None:
    """What a foreign flow takes packets from; None if that is nothing."""
    count, below, first = 0, flow.priority, None
    for priorities, flows in table.overlapping(flow.match):
        number = bisect_right(priorities, flow.priority)
        if number:
            count, below = count + number, min(below, priorities[0])
            if first is None or flows[number - 1].priority > first.priority:
                first = flows[number - 1]
    if first is None:
        return None
    name, match = BY_NUMBER[flow.table].name, str(flow.match)[:200]
    return Shadow(flow.table, name, flow.priority, match, flow.cookie, _words(first), count, below)


def _words(flow: Flow) -> str:
    """A flow of portlb's: what it matches, and why it is there, if that is known."""
    matching = str(flow.match)[:200] or "all packets"
    return f"{matching} of priority {flow.priority}" + (f" ({flow.reason})" if flow.reason else "")


class _Table:
    """The flows of one table of portlb's: those with the same fields and masks together."""

    def __init__(self) -> None:
        self.work = 0
        self._shapes: dict[_Masks, list[Flow]] = {}
        self._sorted: dict[tuple[_Masks, _Masks], Mapping[tuple[int, ...], tuple[list[int], list[Flow]]]] = {}

    def add(self, flow: Flow) -> None:
        """Add a flow of portlb's."""
        self._shapes.setdefault(_masks(flow.match), []).append(flow)

    def overlapping(self, match: Match) -> Iterator[tuple[list[int], list[Flow]]]:
        """The flows that match some packet that this matches, too, by priority: two matches do unless they differ in a
        bit that both look at. Of what is not understood of a foreign match any value counts.
        """
        theirs, values = dict(_masks(match)), {name: value for name, value, _ in match}
        for shape in self._shapes:
            both = tuple((name, mask & theirs[name]) for name, mask in shape if mask & theirs.get(name, 0))
            if (shape, both) not in self._sorted:
                self._sorted[shape, both] = self._in_order(shape, both)
            yield self._sorted[shape, both].get(tuple(values[name] & mask for name, mask in both), _NOTHING)

    def _in_order(self, shape: _Masks, both: _Masks) -> Mapping[tuple[int, ...], tuple[list[int], list[Flow]]]:
        found: dict[tuple[int, ...], list[Flow]] = {}
        for flow in self._shapes[shape]:
            values = {name: value for name, value, _ in flow.match}
            found.setdefault(tuple(values[name] & mask for name, mask in both), []).append(flow)
        self.work += len(self._shapes[shape])
        return {key: _by_priority(flows) for key, flows in found.items()}


def _by_priority(flows: Iterable[Flow]) -> tuple[list[int], list[Flow]]:
    ordered = sorted(flows, key=lambda each: (each.priority, each.match.rank))
    return [each.priority for each in ordered], ordered


def _masks(match: Match) -> _Masks:
    return tuple((name, (1 << FIELDS[name].bits) - 1 if mask is None else mask) for name, _, mask in match)
