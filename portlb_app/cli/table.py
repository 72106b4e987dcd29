"""Tables for people: columns that are as wide as they must be, and times as how long ago."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from portlb_app.config import moments
from portlb_app.config.problems import printable

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def lines(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The rows, of which the first is the heading; numbers are to the right. The last column may be of any width."""
    texts = [[printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    numbers = [all(cell.isdigit() or cell == "-" for cell in column[1:]) for column in zip(*texts, strict=True)]
    for row in texts:
        columns = zip(row, widths, numbers, strict=True)
        cells = (cell.rjust(width) if is_number else cell.ljust(width) for cell, width, is_number in columns)
        yield "  ".join(cells).rstrip()


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
