"""Which flow of a table a packet finds: the one of the highest priority that matches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from portlb_app.explain.headers import Fields
from portlb_app.openflow import FIELDS, Flow, Group, SwitchState

_Shape = tuple[tuple[str, int], ...]
"""Names and masks of a match."""


@dataclass
class _Table:
    """Flows by shape, those of one shape by their values; of each only the one with the highest priority."""

    shapes: dict[_Shape, dict[tuple[int, ...], Flow]] = field(default_factory=dict)
    unread: int = 0

    def add(self, flow: Flow) -> None:
        if flow.match.opaque:
            self.unread += 1
            return
        shape = tuple((name, _full(name) if mask is None else mask) for name, _, mask in flow.match)
        values = tuple(value for _, value, _ in flow.match)
        known = self.shapes.setdefault(shape, {})
        if values not in known or known[values].priority < flow.priority:
            known[values] = flow

    def find(self, fields: Fields) -> Flow | None:
        best: Flow | None = None
        for shape, known in self.shapes.items():
            found = known.get(tuple(fields.get(name, 0) & mask for name, mask in shape))
            if found is not None and (best is None or found.priority > best.priority):
                best = found
        return best


class Tables:
    """The flows and groups of one switch, made ready for lookups."""

    def __init__(self, flows: Iterable[Flow], groups: Iterable[Group]) -> None:
        self._by_table: dict[int, list[Flow]] = {}
        for flow in flows:
            self._by_table.setdefault(flow.table, []).append(flow)
        self._tables: dict[int, _Table] = {}
        self.groups = {group.number: group for group in groups}

    @classmethod
    def of(cls, state: SwitchState) -> Tables:
        """Those of a state, desired or read back."""
        return cls(state.flows, state.groups)

    def find(self, table: int, fields: Fields) -> Flow | None:
        """The flow that a packet with these fields finds; None if there is none: the packet is dropped."""
        return self._table(table).find(fields)

    def unread(self, table: int) -> int:
        """How many flows of a table match something that is not understood here, so that they are never found."""
        return self._table(table).unread

    def twin(self, flow: Flow) -> Flow | None:
        """The flow here that equals another one, and may have a sentence of why that the other lacks."""
        return next((each for each in self._by_table.get(flow.table, ()) if each == flow), None)

    def _table(self, number: int) -> _Table:
        """Most tables of a large switch are never asked, so each is made when it is."""
        if number not in self._tables:
            made = self._tables[number] = _Table()
            for flow in self._by_table.get(number, ()):
                made.add(flow)
        return self._tables[number]


def _full(name: str) -> int:
    return (1 << FIELDS[name].bits) - 1
