"""Tables for people: columns that are as wide as they must be, and times as how long ago."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from portlb_app.cli import colour
from portlb_app.config import moments
from portlb_app.config.problems import printable

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@dataclass(frozen=True)
class Style:
    """How a table is printed. `now`: Unix seconds. `wide`: with all columns, and times as moments."""

    now: float
    wide: bool = False
    headings: bool = True
    coloured: bool = False

    def time(self, moment: str | None) -> str:
        """A time (RFC 3339): how long ago it was, or itself where there is room; empty for none."""
        if moment is None:
            return ""
        return moment if self.wide else ago(moment, self.now)

    def at(self, seconds: float | None) -> str:
        """The same for Unix seconds."""
        return "" if seconds is None else self.time(moments.text(seconds))

    def since(self, seconds: float | None) -> str:
        """The same for so many seconds before now."""
        if seconds is None:
            return ""
        return moments.text(self.now - seconds) if self.wide else span(seconds)


@dataclass(frozen=True)
class Column:
    """A column. `cell`: what it has of an item. `wide`: only with -o wide."""

    heading: str
    cell: Callable[[Any, Style], object]
    wide: bool = False


Columns = tuple[Column, ...]


def table(columns: Columns, items: Iterable[Any], style: Style) -> Iterator[str]:
    """Items as lines, with their heading."""
    used = [column for column in columns if style.wide or not column.wide]
    rows = [[column.cell(item, style) for column in used] for item in items]
    return lines([[column.heading for column in used], *rows], style)


def lines(rows: Iterable[Sequence[object]], style: Style | None = None) -> Iterator[str]:
    """The rows, of which the first is the heading; numbers are to the right. The last column may be of any width."""
    style = style or Style(0.0)
    texts = [[printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    shown = texts if style.headings else texts[1:]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    numbers = [all(is_number(cell) for cell in column[1:]) for column in zip(*texts, strict=True)]
    for row in shown:
        columns = zip(row, widths, numbers, strict=True)
        cells = [cell.rjust(width) if number else cell.ljust(width) for cell, width, number in columns]
        cells[-1] = cells[-1].rstrip()
        if style.coloured:
            cells = [colour.paint(cell) for cell in cells]
        yield "  ".join(cells).rstrip()


def is_number(text: str) -> bool:
    """Whether a cell is one, or stands for one that is not known."""
    return text in ("", "-") or text.replace(".", "", 1).isdigit()


def pairs(rows: Iterable[tuple[str, object]], style: Style) -> Iterator[str]:
    """Names and what they stand for, one a line."""
    kept = [(printable(name), printable(str(value))) for name, value in rows if value not in (None, "")]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        yield f"{name.ljust(width)}  {colour.paint(value) if style.coloured else value}"


def ago(moment: str | None, now: float) -> str:
    """How long ago a time (RFC 3339) was, in its two largest units; empty for none."""
    return "" if moment is None else span(max(0.0, now - moments.parse(moment)))


def span(seconds: float) -> str:
    """Seconds in the two largest units, such as 3m12s."""
    left = int(seconds)
    words: list[str] = []
    for size, name in _UNITS:
        if left >= size or (name == "s" and not words):
            words.append(f"{left // size}{name}")
            left %= size
    return "".join(words[:2])


def clock(now: float) -> str:
    """The time of day here, for a screen that is drawn again and again."""
    return datetime.datetime.fromtimestamp(now).strftime("%H:%M:%S")
