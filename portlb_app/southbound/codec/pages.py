"""Messages of descriptions as `Page`s: a later message that tells the same is known by its bytes, and not decoded.

Of flow descriptions some bytes change by themselves: counters, and how old a flow is. So two messages are compared as
numbers, under a mask: a millionth of a second for each kilobyte. Their counters are looked at where one has changed.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from weakref import WeakValueDictionary

from portlb_app import pipeline
from portlb_app.openflow import Flow
from portlb_app.openflow.messages import FLOW_DESC, Malformed
from portlb_app.reconcile.reading import Entry, Page
from portlb_app.reconcile.results import Amount, FlowCount, HandedBack
from portlb_app.southbound.codec.flows import counters_at, counts, described, hand_back_key

_HEAD = 16
"""Bytes of a multipart reply before the first entry; its xid is another one each time."""
_LEAST = 24
"""Bytes of the shortest flow description."""
_NOWHERE = 0xFFFF
"""The place of a counter that an entry does not have: no counter begins at the end of a message."""
_FLOW_DESC = FLOW_DESC.to_bytes(2, "big")


class Same(Page):
    """A message without counters: the same entries if it has the same bytes."""

    def __init__(self, message: bytes, entries: Sequence[Entry]) -> None:
        super().__init__(entries)
        self._digest = _digest(message)

    def again(self, message: bytes) -> Page | None:
        """This page, if another message tells the same."""
        return self if _digest(message) == self._digest else None


def _digest(message: bytes) -> bytes:
    return hashlib.blake2b(memoryview(message)[_HEAD:], digest_size=16).digest()


class _Layout:
    """Which bits of a message do not change by themselves, and which count; where entries count packets and bytes."""

    def __init__(self, mask: bytes, counting: bytes, packets: array[int], octets: array[int]) -> None:
        self.fixed, self.counters = int.from_bytes(mask, "big"), int.from_bytes(counting, "big")
        self.packets, self.octets = packets, octets


class FlowPage(Page):
    """A message of flow descriptions: its flows in its order, and all of its bytes as a number."""

    def __init__(
        self, flows: Sequence[Entry], size: int, value: int, layout: _Layout, before: FlowPage | None = None
    ) -> None:
        super().__init__(flows, before.actions if before else None)
        self._size, self._value, self._layout = size, value, layout
        self._hands_back: bool = before._hands_back if before else any(map(_is_of_former, flows))

    def again(self, message: bytes) -> Page | None:
        """The same entries, with the counters of another message; None if that tells others."""
        value = _value(message)
        if len(message) != self._size or (value ^ self._value) & self._layout.fixed:
            return None
        return FlowPage(self.entries, self._size, value, self._layout, self)

    def counts(self, before: Page | None) -> Iterator[FlowCount | HandedBack]:
        """What its flows have counted; of servers' flows, if given what they had before, only what has changed."""
        layout, data, earlier = self._layout, self._data, b""
        if isinstance(before, FlowPage):
            if not self._hands_back and not (self._value ^ before._value) & layout.counters:
                return
            earlier = before._data
        for flow, packets, octets in zip(self.entries, layout.packets, layout.octets, strict=True):
            assert isinstance(flow, Flow)
            if counts(flow):
                places = slice(packets, packets + 8), slice(octets, octets + 8)
                if not earlier or any(data[place] != earlier[place] for place in places):
                    yield FlowCount(flow, Amount(_counter(data, packets), _counter(data, octets)))
            elif self._hands_back and (key := hand_back_key(flow)):
                yield HandedBack(key, _counter(data, packets))

    @property
    def _data(self) -> bytes:
        return self._value.to_bytes(self._size - _HEAD, "big")


def _value(message: bytes) -> int:
    return int.from_bytes(memoryview(message)[_HEAD:], "big")


def _is_of_former(entry: Entry) -> bool:
    return isinstance(entry, Flow) and entry.table == pipeline.FORMER.number


def _counter(data: bytes, at: int) -> int:
    """A counter; 0 if the switch does not tell it."""
    return int.from_bytes(data[at : at + 8], "big")


class FlowPages:
    """Makes pages of flow descriptions. Those whose entries have the same lengths share a layout."""

    def __init__(self) -> None:
        self._layouts: WeakValueDictionary[bytes, _Layout] = WeakValueDictionary()

    def page(self, message: bytes) -> Page:
        """What a message of flow descriptions tells; Malformed."""
        if message[8:10] != _FLOW_DESC:
            kind = int.from_bytes(message[8:10], "big")
            raise Malformed(f"a multipart reply of type {kind}, which was not asked for")
        flows, masks, counting = list[Flow](), list[bytes](), list[bytes]()
        packets, octets = array("H"), array("H")
        at, end = _HEAD, len(message)
        while at < end:
            length = message[at] << 8 | message[at + 1] if at + 1 < end else 0
            if not _LEAST <= length <= end - at:
                raise Malformed(f"a description says it has {length} bytes of {end - at}")
            flow, statistics, size = described(message, at, length)
            flows.append(flow)
            of_packets, of_octets, changing = counters_at(message, statistics, size)
            packets.append(_NOWHERE if of_packets is None else statistics + of_packets - _HEAD)
            octets.append(_NOWHERE if of_octets is None else statistics + of_octets - _HEAD)
            masks.append(_mask(length, statistics - at, changing))
            counting.append(_counting(length, statistics - at, of_packets, of_octets))
            at += length
        layout = self._layout(b"".join(masks), b"".join(counting), packets, octets)
        return FlowPage(tuple(flows), end, _value(message), layout)

    def _layout(self, mask: bytes, counting: bytes, packets: array[int], octets: array[int]) -> _Layout:
        key = hashlib.blake2b(b"".join((mask, counting, packets, octets)), digest_size=32).digest()
        found = self._layouts.get(key)
        if found is None:
            found = self._layouts[key] = _Layout(mask, counting, packets, octets)
        return found


@lru_cache(maxsize=1024)
def _mask(length: int, statistics: int, changing: tuple[int, ...]) -> bytes:
    """Ones where an entry's bytes do not change by themselves."""
    mask = bytearray(b"\xff" * length)
    for place in changing:
        mask[statistics + place : statistics + place + 8] = bytes(8)
    return bytes(mask)


@lru_cache(maxsize=1024)
def _counting(length: int, statistics: int, *places: int | None) -> bytes:
    """Ones where an entry counts packets and bytes."""
    mask = bytearray(length)
    for place in places:
        if place is not None:
            mask[statistics + place : statistics + place + 8] = b"\xff" * 8
    return bytes(mask)
