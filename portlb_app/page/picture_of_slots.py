"""The slots of a pool as a picture: one cell a slot, with the mark and the colour of its server.

A picture has as many cells as a reader can tell apart. Of a larger pool it shows how many slots each server has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

MOST = 1024
"""Cells of a picture."""
COLUMNS = 32
COLOURS = 12
_MARKS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZ"


class Cell(NamedTuple):
    """One slot: where it is, whose it is, and whose it shall be if that is another one."""

    number: int
    column: int
    row: int
    mark: str
    colour: int
    server: str
    wanted: str | None


class Legend:
    """The mark and the colour of each server of a pool; the mark tells them apart as far as there are letters."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._number = {name: number for number, name in enumerate(servers)}

    def mark(self, name: str | None) -> str:
        """One character; a question mark for what the pool does not name."""
        number = self._number.get(name or "")
        return "?" if number is None else _MARKS[number % len(_MARKS)]

    def colour(self, name: str | None) -> int:
        """From 0; `COLOURS` for what the pool does not name."""
        number = self._number.get(name or "")
        return COLOURS if number is None else number % COLOURS


def picture(held: Sequence[str | None], wanted: Sequence[str | None], legend: Legend) -> dict[str, Any]:
    """The picture of what a switch holds: cells, or numbers of slots of a pool that has too many."""
    should = list(wanted) if len(wanted) == len(held) else [None] * len(held)
    differ = sum(is_ != shall for is_, shall in zip(held, should, strict=True))
    cells = []
    if len(held) <= MOST:
        for number, (is_, shall) in enumerate(zip(held, should, strict=True)):
            row, column = divmod(number, COLUMNS)
            other = None if is_ == shall else shall or "no server"
            looks = legend.mark(is_), legend.colour(is_), is_ or "another server"
            cells.append(Cell(number, column, row, *looks, other))
    counts = Counter(held).most_common()
    return {
        "cells": cells,
        "columns": COLUMNS,
        "rows": -(-len(cells) // COLUMNS),
        "slots": len(held),
        "differ": differ,
        "bars": [(name or "another server", count, legend.mark(name), legend.colour(name)) for name, count in counts],
    }
