"""Figures of a run: values by round, their medians, ratios and spread, and JSON of all of them."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

VERSION = 1
"""Of the JSON's shape."""


@dataclass
class Figure:
    """One quantity: for each variant a value a round, None where there is none."""

    name: str
    unit: str
    values: dict[str, list[float | None]] = field(default_factory=dict)
    base: str | None = None
    """The variant that others are compared with; None if no ratio says anything."""

    def add(self, variant: str, value: float | None) -> None:
        """Add a round's value."""
        self.values.setdefault(variant, []).append(value)

    def known(self, variant: str) -> list[float]:
        """The values of a variant."""
        return [each for each in self.values.get(variant, ()) if each is not None]

    def median(self, variant: str) -> float | None:
        """The middle one of a variant's values."""
        known = self.known(variant)
        return statistics.median(known) if known else None

    def ratio(self, variant: str) -> float | None:
        """A variant's median to that of the base."""
        if self.base is None:
            return None
        median, base = self.median(variant), self.median(self.base)
        return median / base if median is not None and base else None

    def ratios(self, variant: str) -> list[float]:
        """A variant's value to the base's, of each round that has both; for the spread."""
        pairs = zip(self.values.get(variant, ()), self.values.get(self.base or "", ()), strict=False)
        return [one / other for one, other in pairs if one is not None and other]


@dataclass
class Case:
    """Figures about one question. `printed` is what a program of its own has to say."""

    name: str
    title: str
    about: str
    variants: dict[str, str] = field(default_factory=dict)
    """What each is, in a sentence."""
    figures: list[Figure] = field(default_factory=list)
    printed: str = ""

    def figure(self, name: str, unit: str, base: str | None = None) -> Figure:
        """The figure of that name; a new one if there is none."""
        for each in self.figures:
            if each.name == name:
                return each
        self.figures.append(Figure(name, unit, base=base))
        return self.figures[-1]


@dataclass
class Run:
    """All cases of one run, and what they depend on."""

    about: dict[str, Any]
    cases: list[Case] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Values that `json` can write."""
        return {"version": VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, read: Mapping[str, Any]) -> Run:
        """What `to_json` gave; ValueError if it is of another version."""
        if read["version"] != VERSION:
            raise ValueError(f"a run of version {read['version']}, and not {VERSION}")
        cases = [
            Case(**{**case, "figures": [Figure(**figure) for figure in case["figures"]]}) for case in read["cases"]
        ]
        return cls(read["about"], cases)


def number(value: float | None) -> str:
    """Three digits that say something; "-" for None."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """The least and the greatest."""
    return f"{number(min(values))}..{number(max(values))}" if values else ""


def cell(figure: Figure, variant: str) -> str:
    """Median, and spread if there are several values that differ."""
    known = figure.known(variant)
    if len(set(known)) < 2:
        return number(figure.median(variant))
    return f"{number(figure.median(variant))} ({spread(known)})"


def ratio_cell(figure: Figure, variant: str) -> str:
    """Ratio of medians, and the spread of the rounds' ratios."""
    ratio = figure.ratio(variant)
    if ratio is None or variant == figure.base:
        return ""
    ratios = figure.ratios(variant)
    return f"{ratio:.2f} ({min(ratios):.2f}..{max(ratios):.2f})" if len(ratios) > 1 else f"{ratio:.2f}"
