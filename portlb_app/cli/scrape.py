"""Prometheus' text format, as far as the controller's metrics need it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_SAMPLE = re.compile(r"(portlb_[a-z_]+)\{([^{}]*)\} (\S+)")
_LABEL = re.compile(r'([a-z_]+)="([^"\\]*)"')


class Sample(NamedTuple):
    """One value and its labels."""

    name: str
    labels: dict[str, str]
    value: float


def samples(text: str) -> Iterator[Sample]:
    """The values that have labels; a line that is none is passed over."""
    for line in text.splitlines():
        if found := _SAMPLE.fullmatch(line):
            try:
                value = float(found[3])
            except ValueError:
                continue
            yield Sample(found[1], dict(_LABEL.findall(found[2])), value)
