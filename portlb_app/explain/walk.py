"""Follows one packet through the tables of switches, as Open vSwitch 3.1 does (ovs-actions(7), ovs-fields(7)).

What the tables do not say is an argument or left open: the slot that the data path's hash gives a packet, the mark
by which conntrack remembers its connection. Meters let it pass. Where the slot is open, all slots are followed
together; all groups of a path hash alike, so a packet has the same slot in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from portlb_app.config import Connector
from portlb_app.explain.events import (
    Choice,
    Chosen,
    Copied,
    Did,
    Event,
    HandedUp,
    Into,
    Left,
    Lookup,
    Slots,
    Stopped,
    Tracked,
    Visit,
)
from portlb_app.explain.headers import Fields, has, visible
from portlb_app.explain.lookup import Tables
from portlb_app.openflow import (
    FIELDS,
    IN_PORT,
    Action,
    CheckLarger,
    Conntrack,
    CopyField,
    CopyToController,
    Flow,
    Goto,
    Group,
    Output,
    PopVlan,
    Resubmit,
    SetField,
    ToController,
    ToGroup,
)
from portlb_app.pipeline import CLASSIFY, PUNT_KEY, REASSEMBLY_ZONE, SLOTS, UNREAD

ALL_SLOTS: Slots = tuple(range(SLOTS))
MAX_DEPTH = 64
"""Lookups within lookups, over all switches: Open vSwitch's own limit of a switch (ofproto-dpif-xlate, MAX_DEPTH)."""
MAX_LOOKUPS = 16384
"""Lookups of one walk: a packet that 512 switches copy to each other is not followed for ever."""
_OF_SWITCH = ("in_port", "ct_mark", *(name for name in FIELDS if name.startswith("reg")))
"""Fields that are not in the packet: they end where it leaves the switch."""


@dataclass
class _Passage:
    """A packet on one switch: its fields, registers among them, at this moment."""

    switch: str
    tables: Tables
    fields: dict[str, int]
    flow: Flow | None = None


@dataclass
class Walk:
    """`tables` gives those of a switch, None if they are not known; `links`: the other end of every link.

    `size`: bytes of the frame, without a VLAN tag. `known`: the mark by which conntrack remembers the connection; 0 for
    none. `slots`: those that the packet may have.
    """

    tables: Callable[[str], Tables | None]
    links: Mapping[Connector, Connector]
    size: int
    known: int = 0
    slots: Slots = ALL_SLOTS
    _lookups: int = field(default=0, init=False)

    def follow(self, switch: str, in_port: int, fields: Fields) -> Visit:
        """What becomes of a packet that comes in by a port of a switch."""
        return self._enter(switch, in_port, fields, self.slots, 0)

    def _enter(self, switch: str, in_port: int, fields: Fields, slots: Slots, depth: int) -> Visit:
        tables = self.tables(switch)
        if tables is None:
            nothing = Lookup(CLASSIFY.number, None, (Stopped(f"nothing is known of what {switch} holds"),))
            return Visit(switch, in_port, fields, nothing)
        passage = _Passage(switch, tables, {**fields, "in_port": in_port})
        return Visit(switch, in_port, fields, self._look_up(passage, CLASSIFY.number, slots, depth))

    def _look_up(self, passage: _Passage, table: int, slots: Slots, depth: int) -> Lookup:
        self._lookups += 1
        if depth >= MAX_DEPTH or self._lookups > MAX_LOOKUPS:
            return Lookup(table, None, (Stopped("it goes on without an end"),))
        caller, found = passage.flow, passage.tables.find(table, visible(passage.fields))
        passage.flow = found
        events = () if found is None else tuple(self._act(passage, found.actions, slots, depth + 1))
        passage.flow = caller
        return Lookup(table, found, events, passage.tables.unread(table))

    def _act(self, passage: _Passage, actions: tuple[Action, ...], slots: Slots, depth: int) -> Iterator[Event]:
        for action in actions:
            match action:
                case Goto() | Resubmit():
                    yield Into(action, self._look_up(passage, action.table, slots, depth))
                case Output():
                    yield from self._output(passage, action.port, slots, depth)
                case ToGroup():
                    yield self._to_group(passage, action.group, slots, depth)
                case Conntrack():
                    yield self._track(passage, action, slots, depth)
                case ToController() | CopyToController():
                    cookie = 0 if passage.flow is None else passage.flow.cookie
                    yield HandedUp(cookie, isinstance(action, CopyToController), _of_packet(passage.fields))
                case _:
                    yield Did(action, tuple(_changes(passage.fields, action, self.size)))

    def _output(self, passage: _Passage, port: int, slots: Slots, depth: int) -> Iterator[Event]:
        """A packet never leaves by the port it came in by, unless the action says so."""
        fields = passage.fields
        if port == fields["in_port"]:
            return
        port, packet = (fields["in_port"] if port == IN_PORT else port), _of_packet(fields)
        other = self.links.get(Connector(passage.switch, port))
        onward = None
        if other is not None:
            onward = self._enter(other.switch, other.port, packet, slots, depth)
        yield Left(passage.switch, port, packet, onward)

    def _to_group(self, passage: _Passage, number: int, slots: Slots, depth: int) -> Event:
        """A bucket's changes end with it."""
        group = passage.tables.groups.get(number)
        if group is None:
            return Chosen(number, 0, ())
        if group.type == "all":
            return Copied(number, tuple(self._bucket(passage, each, slots, depth) for each in group.buckets))
        choices = tuple(
            Choice(chosen, watched, tuple(buckets), self._bucket(passage, next(iter(buckets)), chosen, depth))
            for (_, watched), (buckets, chosen) in _by_bucket(group, slots).items()
        )
        return Chosen(number, len(group.buckets), choices)

    def _bucket(
        self, passage: _Passage, actions: tuple[Action, ...], slots: Slots, depth: int
    ) -> tuple[Event, ...]:
        inside = _Passage(passage.switch, passage.tables, dict(passage.fields), passage.flow)
        return tuple(self._act(inside, actions, slots, depth))

    def _track(self, passage: _Passage, action: Conntrack, slots: Slots, depth: int) -> Event:
        if action.table is None:
            return Tracked(action)
        if action.zone == REASSEMBLY_ZONE:
            passage.fields["ip_frag"] = 0
            return Tracked(action, 0, self._look_up(passage, action.table, slots, depth))
        passage.fields["ct_mark"] = self.known
        return Tracked(action, self.known, self._look_up(passage, action.table, slots, depth))


def _of_packet(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if name not in _OF_SWITCH}


def _by_bucket(
    group: Group, slots: Slots
) -> dict[tuple[tuple[Action, ...], int], tuple[dict[tuple[Action, ...], None], Slots]]:
    """The buckets that slots lead to, those together that do the same, with their slots."""
    found: dict[tuple[tuple[Action, ...], int], tuple[dict[tuple[Action, ...], None], list[int]]] = {}
    for slot in slots if group.buckets else ():
        at = slot % len(group.buckets)
        actions, watched = group.buckets[at], group.watched[at] if group.watched else 0
        does = tuple(each for each in actions if not (isinstance(each, SetField) and each.name in UNREAD))
        buckets, chosen = found.setdefault((does, watched), ({}, []))
        buckets[actions] = None
        chosen.append(slot)
    return {does: (buckets, tuple(chosen)) for does, (buckets, chosen) in found.items()}


def _changes(fields: dict[str, int], action: Action, size: int) -> Iterator[tuple[str, int, int]]:
    """Carry out an action that writes; yield what it changes."""
    match action:
        case SetField():
            name, value = action.name, action.value
        case CopyField():
            name = action.target
            value = fields.get(action.source, 0) & (1 << action.bits) - 1
        case CheckLarger():
            name, bit = PUNT_KEY, 1 << action.bit
            value = fields.get(name, 0) & ~bit | (bit if size > action.size else 0)
        case PopVlan():
            name, value = "vlan_vid", 0
        case _:
            return
    before = fields.get(name, 0)
    if value != before and has(fields, name):
        fields[name] = value
        yield name, before, value
