"""What happens to a packet on its way: a tree of values that says as much as the tables do, and no more.

A `Visit` is a packet on one switch. It begins with a `Lookup` in a table, which has an event for each action; an event
may lead to another lookup, to another switch, or, at a group, to alternatives that share the group's slots.
"""

from __future__ import annotations

from dataclasses import dataclass

from portlb_app.explain.headers import Fields
from portlb_app.openflow import Action, Flow

Slots = tuple[int, ...]
"""Numbers of slots, from 0."""


@dataclass(frozen=True)
class Lookup:
    """A packet in a table: the flow it finds (None: no flow at all), and what comes of its actions, in order.

    `unread`: flows of the table whose matches are not understood, so that one of them may apply instead.
    """

    table: int
    flow: Flow | None
    events: tuple[Event, ...]
    unread: int = 0


@dataclass(frozen=True)
class Visit:
    """A packet with these fields on a switch, where it came in by this port."""

    switch: str
    in_port: int
    fields: Fields
    first: Lookup


@dataclass(frozen=True)
class Did:
    """An action that changed fields, (name, before, after), or that only has a name here: a meter, a queue."""

    action: Action
    changed: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class Into:
    """The packet is looked up in another table. `action` is what leads there."""

    action: Action
    lookup: Lookup


@dataclass(frozen=True)
class Tracked:
    """Conntrack sees the packet: with `mark` it remembers the connection, with `lookup` the packet goes on there.

    `known`: the mark that the packet then has, of a connection that is remembered; 0 for none.
    """

    action: Action
    known: int = 0
    lookup: Lookup | None = None


@dataclass(frozen=True)
class Left:
    """The packet leaves a switch by a port, with these fields. `onward`: what the switch at the link's end does."""

    switch: str
    port: int
    fields: Fields
    onward: Visit | None = None


@dataclass(frozen=True)
class HandedUp:
    """The packet, or a copy of it, goes to the controller, with this cookie."""

    cookie: int
    is_copy: bool
    fields: Fields


@dataclass(frozen=True)
class Choice:
    """Buckets of a group that do the same with a packet: the slots, a port that they watch (0: none), what they do.

    `buckets`: their actions, which may differ in what they say of the slots' servers.
    """

    slots: Slots
    watched: int
    buckets: tuple[tuple[Action, ...], ...]
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Chosen:
    """A select group: one of these, by the packet's slot. `of`: how many slots the group has; 0: it drops."""

    group: int
    of: int
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Copied:
    """A group of which every bucket gets a copy of the packet."""

    group: int
    copies: tuple[tuple[Event, ...], ...]


@dataclass(frozen=True)
class Stopped:
    """The packet is not followed any further, for this reason."""

    reason: str


Event = Did | Into | Tracked | Left | HandedUp | Chosen | Copied | Stopped
Exit = Left | HandedUp | Stopped


@dataclass(frozen=True)
class Outcome:
    """What becomes of a packet that has one of these slots; of one without a choice, all of them."""

    slots: Slots
    exits: tuple[Exit, ...]
    last: tuple[tuple[str, Lookup], ...]
    """The lookups, with the names of their switches, in which nothing happened: where it is dropped, if it is."""


def outcomes(visit: Visit, slots: Slots) -> tuple[Outcome, ...]:
    """What may become of a packet, each with its slots; one for every different way through the groups."""
    return tuple(_of_lookup(visit.switch, visit.first, [Outcome(slots, (), ())]))


def _of_lookup(switch: str, lookup: Lookup, before: list[Outcome]) -> list[Outcome]:
    if not any(not isinstance(event, Did) for event in lookup.events):
        return [Outcome(each.slots, each.exits, (*each.last, (switch, lookup))) for each in before]
    return _of_events(switch, lookup, lookup.events, before)


def _of_events(switch: str, lookup: Lookup, events: tuple[Event, ...], before: list[Outcome]) -> list[Outcome]:
    for event in events:
        before = _of_event(switch, lookup, event, before)
    return before


def _of_event(switch: str, lookup: Lookup, event: Event, before: list[Outcome]) -> list[Outcome]:
    match event:
        case Did():
            return before
        case Into():
            return _of_lookup(switch, event.lookup, before)
        case Tracked():
            return before if event.lookup is None else _of_lookup(switch, event.lookup, before)
        case Left(onward=Visit() as onward):
            return _of_lookup(onward.switch, onward.first, before)
        case Chosen():
            return _of_choices(switch, lookup, event, before)
        case Copied():
            for copy in event.copies:
                before = _of_events(switch, lookup, copy, before)
            return before
        case _:
            return [Outcome(each.slots, (*each.exits, event), each.last) for each in before]


def _of_choices(switch: str, lookup: Lookup, event: Chosen, before: list[Outcome]) -> list[Outcome]:
    if not event.choices:
        return [Outcome(each.slots, each.exits, (*each.last, (switch, lookup))) for each in before]
    found = []
    for each in before:
        for choice in event.choices:
            common = tuple(slot for slot in each.slots if slot in set(choice.slots))
            if common:
                begun = [Outcome(common, each.exits, each.last)]
                if any(not isinstance(each, Did) for each in choice.events):
                    found += _of_events(switch, lookup, choice.events, begun)
                else:
                    found.append(Outcome(common, each.exits, (*each.last, (switch, lookup))))
    return found
