"""A walk as plain values: what JSON has, and what the words for people are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from portlb_app.compiler.numbering import server_numbers
from portlb_app.explain.events import (
    Choice,
    Chosen,
    Copied,
    Did,
    Event,
    Exit,
    HandedUp,
    Into,
    Left,
    Lookup,
    Outcome,
    Slots,
    Stopped,
    Tracked,
    Visit,
    outcomes,
)
from portlb_app.explain.headers import Fields
from portlb_app.explain.lookup import Tables
from portlb_app.explain.origin import Origins, words_of
from portlb_app.explain.places import Places, port_text
from portlb_app.openflow import FIELDS, Action, Conntrack, SetField, actions_text
from portlb_app.openflow.text import value_text
from portlb_app.pipeline import BY_NUMBER, SERVER, parse_cookie


@dataclass
class Values:
    """Makes values of walks through a network's tables. `desired`: what a switch should hold."""

    places: Places
    origins: Origins
    desired: Callable[[str], Tables | None]

    def __post_init__(self) -> None:
        config = self.places.config
        self._servers: dict[int, str] = {}
        for vip in config.vips:
            numbers = server_numbers(server.name for server in config.servers_of(vip))
            self._servers |= {number: name for name, number in numbers.items()}

    def start(self, visit: Visit, slots: Slots) -> dict[str, Any]:
        """A packet where it comes in, what may become of it, and every step."""
        place = self.places.of(visit.switch, visit.in_port)
        found = outcomes(visit, slots)
        return {
            "switch": visit.switch,
            "port": port_text(visit.in_port),
            "place": str(place),
            "fields": {name: value_text(name, value) for name, value in _ordered(visit.fields)},
            "outcomes": [self._outcome(each, visit.fields, len(slots)) for each in found],
            "steps": list(self._visit(visit, 0)),
        }

    # ---- outcomes ----

    def _outcome(self, outcome: Outcome, before: Fields, among: int) -> dict[str, Any]:
        is_chosen = len(outcome.slots) < among or among == 1
        return {
            "slots": len(outcome.slots),
            "among": among,
            "which": ranges(outcome.slots) if is_chosen else "",
            "exits": [self._exit(each, before) for each in outcome.exits],
            "dropped": [self._where(*each) for each in outcome.last] if not _goes_on(outcome) else [],
        }

    def _exit(self, found: Exit, before: Fields) -> dict[str, Any]:
        if isinstance(found, Stopped):
            return {"kind": "stopped", "words": found.reason}
        changed = [_change(name, before.get(name, 0), value) for name, value in _ordered(found.fields, before)]
        if isinstance(found, HandedUp):
            words = words_of(found.cookie)
            return {"kind": "copy" if found.is_copy else "controller", "words": words, "changed": changed}
        place = self.places.of(found.switch, found.port, found.fields)
        return {
            "kind": place.kind,
            "name": place.name,
            "words": str(place),
            "switch": found.switch,
            "port": port_text(found.port),
            "changed": changed,
        }

    def _where(self, switch: str, lookup: Lookup) -> dict[str, Any]:
        return {"switch": switch, "table": _table(lookup.table), **self._why(switch, lookup)}

    # ---- steps ----

    def _visit(self, visit: Visit, depth: int) -> Iterator[dict[str, Any]]:
        place = str(self.places.of(visit.switch, visit.in_port))
        yield _step(depth, "enters", switch=visit.switch, port=port_text(visit.in_port), words=place)
        yield from self._lookup(visit.switch, visit.first, depth)

    def _lookup(self, switch: str, lookup: Lookup, depth: int) -> Iterator[dict[str, Any]]:
        changed = [
            _change(*each) for event in lookup.events if isinstance(event, Did) for each in event.changed
        ]
        yield _step(
            depth, "table", switch=switch, table=_table(lookup.table), **self._why(switch, lookup), changed=changed
        )
        for event in lookup.events:
            yield from self._event(switch, event, depth)

    def _why(self, switch: str, lookup: Lookup) -> dict[str, Any]:
        flow = lookup.flow
        if flow is None:
            return {"flow": None, "why": "no flow matches", "origin": "", "vip": "", "path": "", "as_desired": True}
        tables, origin = self.desired(switch), self.origins.of(switch, flow)
        twin = None if tables is None else tables.twin(flow)
        reason, _, _ = parse_cookie(flow.cookie)
        return {
            "flow": str(flow),
            "cookie": f"{flow.cookie:#018x}",
            "reason": None if reason is None else reason.name,
            "why": origin.words if twin is None else twin.reason,
            "origin": origin.words,
            "vip": origin.vip,
            "path": origin.path,
            "actions": actions_text(flow.actions),
            "as_desired": twin is not None,
            "unread": lookup.unread,
        }

    def _event(self, switch: str, event: Event, depth: int) -> Iterator[dict[str, Any]]:
        match event:
            case Into():
                yield from self._lookup(switch, event.lookup, depth)
            case Tracked():
                yield _step(depth, "conntrack", switch=switch, words=self._conntrack(event))
                if event.lookup is not None:
                    yield from self._lookup(switch, event.lookup, depth)
            case Left():
                words = str(self.places.of(event.switch, event.port, event.fields))
                yield _step(depth, "leaves", switch=switch, port=port_text(event.port), words=words)
                if event.onward is not None:
                    yield from self._visit(event.onward, depth)
            case HandedUp():
                what = "a copy to the controller" if event.is_copy else "to the controller"
                yield _step(depth, "controller", switch=switch, words=what)
            case Chosen():
                yield from self._group(switch, event, depth)
            case Copied():
                for copy in event.copies:
                    yield _step(depth + 1, "copy", switch=switch, words=f"a copy by group {event.group}")
                    yield from self._events(switch, copy, depth + 1)
            case Stopped():
                yield _step(depth, "stopped", switch=switch, words=event.reason)

    def _events(self, switch: str, events: Iterable[Event], depth: int) -> Iterator[dict[str, Any]]:
        for event in events:
            yield from self._event(switch, event, depth)

    def _group(self, switch: str, event: Chosen, depth: int) -> Iterator[dict[str, Any]]:
        if not event.choices:
            missing = "the switch has no such group: dropped" if not event.of else "no slots: dropped"
            yield _step(depth, "stopped", switch=switch, words=f"group {event.group}: {missing}")
        for choice in event.choices:
            yield _step(
                depth + 1,
                "choice",
                switch=switch,
                group=event.group,
                slots=len(choice.slots),
                of=event.of,
                which=ranges(choice.slots),
                server=self._owners(choice),
                watched=port_text(choice.watched) if choice.watched else None,
                actions=actions_text(choice.buckets[0]),
            )
            yield from self._events(switch, choice.events, depth + 1)

    def _owners(self, choice: Choice) -> str:
        """The servers whose slots these are, as the buckets say; empty where they do not."""
        named = (each.value for bucket in choice.buckets for each in bucket if _names_server(each))
        return ", ".join(dict.fromkeys(self._servers.get(number, "an unknown server") for number in named))

    def _conntrack(self, event: Tracked) -> str:
        if event.lookup is None:
            commits = isinstance(event.action, Conntrack) and event.action.mark is not None
            return f"conntrack {'remembers the server' if commits else 'sees the packet'}"
        if event.known:
            name = self._servers.get(event.known, f"mark {event.known:#x}")
            return f"conntrack remembers the connection with server {name}"
        return "conntrack does not remember the connection"


def _goes_on(outcome: Outcome) -> bool:
    """Whether the packet itself, and not only a copy of it, gets somewhere."""
    return any(not (isinstance(each, HandedUp) and each.is_copy) for each in outcome.exits)


def _names_server(action: Action) -> TypeGuard[SetField]:
    return isinstance(action, SetField) and action.name == SERVER


def ranges(slots: Iterable[int]) -> str:
    """Numbers as ranges: 0-3,7."""
    found: list[list[int]] = []
    for slot in slots:
        if found and slot == found[-1][1] + 1:
            found[-1][1] = slot
        else:
            found.append([slot, slot])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def _ordered(fields: Fields, but: Fields | None = None) -> Iterator[tuple[str, int]]:
    """Fields in the order of their text; with `but` those that differ from it."""
    for name in FIELDS:
        value = fields.get(name, 0)
        if value if but is None else value != but.get(name, 0):
            yield name, value


def _change(name: str, before: int, after: int) -> dict[str, str]:
    return {"field": name, "before": value_text(name, before), "after": value_text(name, after)}


def _table(number: int) -> str:
    return BY_NUMBER[number].name if number in BY_NUMBER else f"table {number}"


def _step(depth: int, kind: str, **values: Any) -> dict[str, Any]:
    return {"kind": kind, "depth": depth, **values}
