"""Draws lines over time: as text, and as an SVG picture for the documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN = 720, 300, 48
_COLOURS = ("#b02a30", "#1f5fa8", "#2b7a3d", "#8a5a00")


class Line(NamedTuple):
    """A line: what it is, and a value a second."""

    label: str
    values: Sequence[float]


def text_chart(lines: Sequence[Line], rows: int = 12, columns: int = 72) -> str:
    """The lines as text: each with the first letter of its label."""
    highest = max(max(line.values) for line in lines)
    longest = max(len(line.values) for line in lines)
    grid = [[" "] * columns for _ in range(rows)]
    for line in lines:
        for column in range(columns):
            at = column * longest // columns
            if at < len(line.values):
                row = rows - 1 - min(rows - 1, int((line.values[at] - 1) / max(highest - 1, 1e-9) * (rows - 1)))
                grid[max(0, min(rows - 1, row))][column] = line.label[0]
    scale = [1 + (highest - 1) * (rows - 1 - row) / (rows - 1) for row in range(rows)]
    drawn = [f"{value:5.2f} |{''.join(row)}" for value, row in zip(scale, grid, strict=True)]
    return "\n".join([*drawn, f"      +{'-' * columns}", f"       0 s{longest:>{columns - 3}} s"])


def svg(title: str, lines: Sequence[Line], goal: float) -> str:
    """The lines as a picture, with a dashed line at the goal; values from 1 up."""
    highest = max(goal, *(max(line.values) for line in lines)) * 1.05
    longest = max(len(line.values) for line in lines)

    def x(second: float) -> float:
        return round(MARGIN + second / longest * (WIDTH - 2 * MARGIN), 1)

    def y(value: float) -> float:
        return round(HEIGHT - MARGIN - (value - 1) / (highest - 1) * (HEIGHT - 2 * MARGIN), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{MARGIN}" y="20">{escape(title)}</text>',
    ]
    step = 0.25 if highest < 2 else 0.5
    value = 1.0
    while value < highest:
        parts.append(f'<path d="M{MARGIN} {y(value)}H{WIDTH - MARGIN}" stroke="#ddd"/>')
        parts.append(f'<text x="{MARGIN - 8}" y="{y(value) + 4}" text-anchor="end">{value:g}</text>')
        value += step
    for second in range(0, longest + 1, 30):
        parts.append(f'<text x="{x(second)}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{second} s</text>')
    parts.append(f'<path d="M{MARGIN} {y(goal)}H{WIDTH - MARGIN}" stroke="#555" stroke-dasharray="5 4"/>')
    for number, line in enumerate(lines):
        points = " ".join(f"{x(at + 1)},{y(each)}" for at, each in enumerate(line.values))
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        at = MARGIN + 12 + number * 150
        parts.append(f'<text x="{at}" y="{HEIGHT - 8}" fill="{colour}">{escape(line.label)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


class Bar(NamedTuple):
    """A bar: what it is, its length, the ends of its spread, and what stands beside its value."""

    label: str
    value: float
    least: float
    greatest: float
    note: str


def bars(title: str, several: Sequence[Bar]) -> str:
    """Horizontal bars from 0 as a picture, one below the other, each with its spread."""
    left, row, top = 160, 24, 36
    height = top + row * len(several) + 12
    highest = max((bar.greatest for bar in several), default=0.0) or 1.0

    def x(value: float) -> float:
        return round(left + value / highest * (WIDTH - left - 130), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="20">{escape(title)}</text>',
    ]
    for number, bar in enumerate(several):
        y = top + row * number
        colour = _COLOURS[0] if bar.label.startswith("portlb") else _COLOURS[1]
        note = f" ({bar.note})" if bar.note else ""
        parts += [
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{left}" y="{y}" width="{round(x(bar.value) - left, 1)}" height="16" fill="{colour}"/>',
            f'<path d="M{x(bar.least)} {y + 8}H{x(bar.greatest)}" stroke="#222" stroke-width="2"/>',
            f'<text x="{x(bar.greatest) + 6}" y="{y + 13}">{bar.value:.4g}{note}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
