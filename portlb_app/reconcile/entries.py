"""The entries of one switch, for people: in the order of packets, each as ovs-ofctl writes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from portlb_app import compiler
from portlb_app.openflow import SwitchState
from portlb_app.pipeline.tables import BY_NUMBER


class Entry(NamedTuple):
    """One entry. `kind`: flow, group or meter. Of a flow also its cookie, and its table's name or number."""

    kind: str
    text: str
    cookie: int = 0
    table: str = ""


@dataclass(frozen=True)
class Entries:
    """Some of a switch's entries, and how many there are."""

    flows: int
    groups: int
    meters: int
    some: tuple[Entry, ...]

    @property
    def count(self) -> int:
        """All of them."""
        return self.flows + self.groups + self.meters


def some(state: SwitchState, first: int, count: int) -> Entries:
    """So many entries from this one on."""
    listed = tuple(islice(_entries(state), first, first + count))
    return Entries(len(state.flows), len(state.groups), len(state.meters), listed)


def as_text(name: str, state: SwitchState) -> str:
    """All of them: meters, groups, flows."""
    parts = compiler.meters_text(name, state), compiler.groups_text(name, state), compiler.flows_text(name, state)
    return "\n".join(parts)


def _entries(state: SwitchState) -> Iterator[Entry]:
    for flow in state.ordered_flows:
        known = BY_NUMBER.get(flow.table)
        yield Entry("flow", str(flow), flow.cookie, known.name if known else str(flow.table))
    for group in state.ordered_groups:
        yield Entry("group", str(group))
    for meter in state.ordered_meters:
        yield Entry("meter", str(meter))
