"""Matches of many flows read at once: those whose fields have the same headers are read by one precompiled struct.

A table has few such layouts. What is found this way is what `fields` finds one by one; whatever has an unknown field, a
field twice, or a value that does not fit, is left to it. A switch chooses what it tells, so the number of layouts that
are remembered has a bound.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from portlb_app.openflow import FIELDS, Match
from portlb_app.southbound.codec.fields import decode_match, oxm

LAYOUTS = 256
"""The most layouts that are remembered, and the longest match with one, in bytes."""
PLACES = 8
"""The most ways in which the headers of matches of one length are placed."""
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_ORDER = {name: position for position, name in enumerate(FIELDS)}


class _Layout:
    """Fields with certain headers: how to read their values."""

    def __init__(self, fields: list[tuple[str, bool, int]]) -> None:
        """`fields`: name, whether it has a mask, and bytes of the value, as they come."""
        code, sizes, places = "!", list[int](), list[tuple[str, int, int]]()
        for name, has_mask, size in fields:
            places.append((name, len(sizes), len(sizes) + 1 if has_mask else -1))
            code += "4x" + _CODES.get(size, f"{size}s") * (1 + has_mask)
            sizes += [size] * (1 + has_mask)
        self._unpack = struct.Struct(code).unpack
        self._wide = tuple(number for number, size in enumerate(sizes) if size not in _CODES)
        in_order = sorted(places, key=lambda place: _ORDER[place[0]])
        self._names = tuple(name for name, _, _ in in_order)
        self._values, self._masks = _getter([at for _, at, _ in in_order]), _getter([at for _, _, at in in_order])
        full = {name: (1 << FIELDS[name].bits) - 1 for name in self._names}
        self._narrow = tuple(
            (at, full[name])
            for name, at, mask_at in in_order
            if mask_at < 0 and FIELDS[name].bits < 8 * sizes[at]
        )
        self._masked = tuple((at, mask_at, full[name]) for name, at, mask_at in in_order if mask_at >= 0)

    def match(self, data: bytes) -> Match | None:
        """The match; None if a value does not fit its field or its mask, or the mask is that of no mask."""
        values: Any = self._unpack(data)
        if self._wide:
            values = list(values)
            for at in self._wide:
                values[at] = int.from_bytes(values[at], "big")
        for at, full in self._narrow:
            if values[at] > full:
                return None
        for at, mask_at, full in self._masked:
            if values[mask_at] >= full or values[at] & ~values[mask_at]:
                return None
        return Match(tuple(zip(self._names, self._values(values), self._masks((*values, None)), strict=True)))


class MatchReader:
    """Reads matches, and remembers layouts."""

    def __init__(self) -> None:
        self._by_length: dict[int, list[tuple[int, dict[int, _Layout]]]] = {}
        """By length of a match, where headers are, and by these the layout."""
        self._number = 0

    def read(self, data: bytes) -> Match:
        """The match of these fields, without the head and the padding; Malformed if a field is cut off."""
        number = int.from_bytes(data, "big")
        for headers, layouts in self._by_length.get(len(data), ()):
            layout = layouts.get(number & headers)
            if layout is not None:
                found = layout.match(data)
                return decode_match(data) if found is None else found
        self._learn(data, number)
        return decode_match(data)

    def _learn(self, data: bytes, number: int) -> None:
        """Remember how to read matches like this one, if there is room."""
        if not 0 < len(data) <= LAYOUTS or self._number >= LAYOUTS:
            return
        fields = _fields(data)
        places = self._by_length.setdefault(len(data), [])
        if fields is None or len({name for name, _, _ in fields}) != len(fields):
            return
        pieces = [b"\xff" * 4 + bytes(size * (1 + has_mask)) for _, has_mask, size in fields]
        headers = int.from_bytes(b"".join(pieces), "big")
        layouts = next((layouts for mask, layouts in places if mask == headers), None)
        if layouts is None:
            if len(places) >= PLACES:
                return
            layouts = {}
            places.append((headers, layouts))
        layouts[number & headers] = _Layout(fields)
        self._number += 1


def _fields(data: bytes) -> list[tuple[str, bool, int]] | None:
    """Name, whether it has a mask, and bytes of the value, of each field; None if one is none of ours."""
    found, at = [], 0
    while at < len(data):
        header = int.from_bytes(data[at : at + 4], "big")
        field = oxm(header)
        if field is None:
            return None
        found.append((field.name, field.masked, field.bytes))
        at += 4 + (header & 0xFF)
    return found if at == len(data) else None


def _getter(places: list[int]) -> Callable[[Any], tuple[Any, ...]]:
    if len(places) == 1:
        (place,) = places
        return lambda values: (values[place],)
    return itemgetter(*places)
