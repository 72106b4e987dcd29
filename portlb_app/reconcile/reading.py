"""What a switch tells of what it holds, message by message, within bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from portlb_app.openflow import Flow, Group, Meter, SwitchState
from portlb_app.openflow.limits import ACTIONS, FLOWS, GROUPS, METERS, WHILE_CHANGED
from portlb_app.pipeline import BY_NUMBER
from portlb_app.reconcile.foreign import LOOKED_AT
from portlb_app.reconcile.results import Counted, FlowCount, HandedBack, Kind, Unreadable

Told = Flow | Group | Meter | Counted | HandedBack | FlowCount | tuple[int, int]
"""What is in a description from a switch; a pair of numbers: a meter, and how many packets it has dropped."""


class Reading:
    """What one switch has told so far."""

    def __init__(self) -> None:
        self._flows: set[Flow] = set()
        self._groups: set[Group] = set()
        self._meters: set[Meter] = set()
        self._foreign: set[Flow] = set()
        self.unread = 0
        """Flows of others in portlb's tables that are not asked for."""
        self.metered: dict[int, int] = {}
        """By meter, how many packets it has dropped."""
        self.handed_back: dict[tuple[int, int, int], int] = {}
        self.passed: list[FlowCount] = []
        """What flows have had whose packets may count for a server."""
        self._actions = 0

    def take(self, kind: Kind, told: Iterable[Told]) -> None:
        """Take what is in one message. Unreadable."""
        decoded = list(told)
        entries, limit = self._of(kind)
        found = [each for each in decoded if not isinstance(each, (Counted, HandedBack, FlowCount))]
        entries.update(found)
        for each in decoded:
            if isinstance(each, HandedBack):
                self.handed_back[each.key] = self.handed_back.get(each.key, 0) + each.packets
            elif isinstance(each, FlowCount):
                self.passed.append(each)
        self._actions += sum(map(_actions, found))
        if len(entries) > limit * WHILE_CHANGED:
            raise Unreadable(f"more than {limit * WHILE_CHANGED} {kind}")
        if self._actions > ACTIONS * WHILE_CHANGED:
            raise Unreadable(f"more than {ACTIONS * WHILE_CHANGED} actions of flows and groups")

    def occupied(self, tables: Mapping[int, int]) -> tuple[int, ...]:
        """Return the tables of portlb's with flows of others that are to be asked for, by how many each has in all."""
        known, room, asked = Counter(flow.table for flow in self._flows), LOOKED_AT, []
        for number in sorted(tables.keys() & BY_NUMBER.keys()):
            theirs = tables[number] - known[number]
            if 0 < theirs <= room:
                asked.append(number)
                room -= theirs
            elif theirs > 0:
                self.unread += theirs
        return tuple(asked)

    @property
    def foreign(self) -> frozenset[Flow]:
        """The flows of others in portlb's tables that were read."""
        return frozenset(self._foreign)

    def count(self, kind: Kind) -> int:
        """How many entries of this kind there are by now."""
        return len(self._of(kind)[0])

    @property
    def state(self) -> SwitchState:
        """What the switch holds, once it has told everything."""
        return SwitchState(frozenset(self._flows), frozenset(self._groups), frozenset(self._meters))

    def _of(self, kind: Kind) -> tuple[Any, int]:
        """Where entries of this kind go, and how many of them a switch may have."""
        held: dict[str, tuple[set[Flow] | set[Group] | set[Meter] | dict[int, int], int]] = {
            "flows": (self._flows, FLOWS),
            "groups": (self._groups, GROUPS),
            "meters": (self._meters, METERS),
            "metered": (self.metered, METERS),
            "foreign": (self._foreign, FLOWS),
        }
        return held[kind]


def _actions(entry: Flow | Group | Meter | tuple[int, int]) -> int:
    """How many actions an entry has; buckets of a group that share a list count once."""
    if isinstance(entry, Flow):
        return len(entry.actions)
    return sum({id(each): len(each) for each in entry.buckets}.values()) if isinstance(entry, Group) else 0
