"""What a switch tells of what it holds, message by message, within bounds.

Most reads tell what the read before told. So each message is compared with the one that was at its place then, and what
is the same is not decoded again: nor is it compared with what the switch should hold (`tables`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from portlb_app.openflow import Flow, Group, Meter, SwitchState
from portlb_app.openflow.limits import ACTIONS, FLOWS, GROUPS, METERS, WHILE_CHANGED
from portlb_app.pipeline import BY_NUMBER, is_learned
from portlb_app.reconcile.foreign import LOOKED_AT
from portlb_app.reconcile.results import FlowCount, HandedBack, Kind, Unreadable

Entry = Flow | Group | Meter | tuple[int, int]
"""What is in a description from a switch; a pair of numbers: a meter, and how many packets it has dropped."""
_HELD: tuple[Kind, ...] = ("flows", "groups", "meters")


class Page:
    """What one message of a description tells. One of this class knows no other message that tells the same."""

    def __init__(self, entries: Sequence[Entry], actions: int | None = None) -> None:
        """`actions`: how many the entries have, if that is known."""
        self.entries = entries
        self.actions = sum(map(_actions, entries)) if actions is None else actions

    def again(self, message: bytes) -> Page | None:
        """A page of the same entries, if another message tells these; they are the same objects."""
        return None

    def counts(self, before: Page | None) -> Iterable[FlowCount | HandedBack]:
        """What its flows have counted. Of servers, if given the page at its place before: only what has changed."""
        return ()


class Reading:
    """What one switch has told so far. `before`: what it told the time before, to its end."""

    def __init__(self, before: Reading | None = None) -> None:
        self._before = before._pages if before else {}
        self._state_before = before.state if before else SwitchState()
        self._pages: dict[Kind, list[Page]] = {}
        self._state: SwitchState | None = None
        self._are_different: set[Kind] = set()
        self._number: dict[Kind, int] = {}
        self._actions = 0
        self._by_table_before = before._by_table if before else None
        self._by_table: Mapping[int, int] | None = None
        """How many flows each table has."""
        self.unread = 0
        """Flows of others in portlb's tables that are not asked for."""

    def take(self, kind: Kind, messages: Iterable[bytes], decode: Callable[[Kind, bytes], Page]) -> None:
        """Take messages, of which those that tell something else than before are decoded. Unreadable."""
        most = WHILE_CHANGED * {"groups": GROUPS, "meters": METERS, "metered": METERS}.get(kind, FLOWS)
        pages, before = self._pages.setdefault(kind, []), self._before.get(kind, [])
        for message in messages:
            page = before[len(pages)].again(message) if len(pages) < len(before) else None
            if page is None:
                self._are_different.add(kind)
                page = decode(kind, message)
            pages.append(page)
            self._number[kind] = number = self.count(kind) + len(page.entries)
            self._actions += page.actions
            if number > most:
                raise Unreadable(f"more than {most} {kind}")
            if self._actions > ACTIONS * WHILE_CHANGED:
                raise Unreadable(f"more than {ACTIONS * WHILE_CHANGED} actions of flows and groups")

    def occupied(self, tables: Mapping[int, int]) -> tuple[int, ...]:
        """Return the tables of portlb's with flows of others that are to be asked for, by how many each has in all."""
        known, room, asked = self._counts_by_table(), LOOKED_AT, []
        for number in sorted(tables.keys() & BY_NUMBER.keys()):
            theirs = tables[number] - known.get(number, 0)
            if 0 < theirs <= room:
                asked.append(number)
                room -= theirs
            elif theirs > 0:
                self.unread += theirs
        return tuple(asked)

    def _counts_by_table(self) -> Mapping[int, int]:
        if self._by_table is None:
            before = self._by_table_before if self.is_same("flows") else None
            self._by_table = Counter(flow.table for flow in self._entries("flows")) if before is None else before
        return self._by_table

    @property
    def foreign(self) -> frozenset[Flow]:
        """The flows of others in portlb's tables that were read."""
        return frozenset(self._entries("foreign"))

    def count(self, kind: Kind) -> int:
        """How many entries of this kind there are by now."""
        return self._number.get(kind, 0)

    def is_same(self, kind: Kind) -> bool:
        """Whether entries of this kind are those of the time before, in the same order."""
        is_as_long = len(self._of(kind)) == len(self._before.get(kind, ()))
        return bool(self._before) and is_as_long and kind not in self._are_different

    @property
    def state(self) -> SwitchState:
        """What the switch holds, once it has told everything; not what it has made by itself (`is_learned`).

        What is the same as before is the same object.
        """
        if self._state is None:
            before = self._state_before
            if all(map(self.is_same, _HELD)):
                self._state = before
            else:
                self._state = SwitchState(
                    before.flows if self.is_same("flows") else frozenset(self._lasting),
                    before.groups if self.is_same("groups") else frozenset(self._entries("groups")),
                    before.meters if self.is_same("meters") else frozenset(self._entries("meters")),
                )
        return self._state

    def share(self, known: SwitchState) -> None:
        """Keep the objects of another state where they are equal: so these are once in memory, and compared at once."""
        if all(map(self.is_same, _HELD)):
            return
        objects: dict[object, Any] = {each: each for each in (*known.flows, *known.groups, *known.meters)}
        for kind in _HELD:
            for page in self._of(kind):
                page.entries = tuple(map(objects.get, page.entries, page.entries))
        if self.state == known:
            self._state = known

    @property
    def metered(self) -> dict[int, int]:
        """By meter, how many packets it has dropped."""
        return dict(self._entries("metered"))

    def counts(self, only_changed: bool) -> tuple[list[FlowCount], dict[tuple[int, int, int], int]]:
        """What servers' flows have counted, all or those that have counted more than before; what was handed back."""
        before: Iterable[Page | None] = self._before.get("flows", ()) if only_changed else repeat(None)
        passed, handed_back = list[FlowCount](), dict[tuple[int, int, int], int]()
        for page, earlier in zip(self._of("flows"), before, strict=only_changed):
            for each in page.counts(earlier):
                if isinstance(each, FlowCount):
                    passed.append(each)
                else:
                    handed_back[each.key] = handed_back.get(each.key, 0) + each.packets
        return passed, handed_back

    def close(self) -> None:
        """Forget the time before."""
        self._before, self._state_before = {}, self.state

    @property
    def _lasting(self) -> Iterator[Flow]:
        """All flows but those that the switch has made, and that end, by themselves."""
        return (flow for flow in self._entries("flows") if not is_learned(flow))

    def _of(self, kind: Kind) -> list[Page]:
        return self._pages.get(kind, [])

    def _entries(self, kind: Kind) -> Iterator[Any]:
        return chain.from_iterable(page.entries for page in self._of(kind))


def _actions(entry: Entry) -> int:
    """How many actions an entry has; buckets of a group that share a list count once."""
    if isinstance(entry, Flow):
        return len(entry.actions)
    return sum({id(each): len(each) for each in entry.buckets}.values()) if isinstance(entry, Group) else 0
