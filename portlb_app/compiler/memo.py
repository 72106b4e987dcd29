"""Flows that were made before from the same values: most of a large network stays as it is when something changes.

What a function makes is remembered under the function and everything it is given, so nothing else can matter. It also
stays the same object, which makes comparing what a switch shall hold with what it held before a matter of identity.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from portlb_app.openflow import Flow


class Memo:
    """What was made in this compilation and the one before: no more than what their tables have in any case."""

    def __init__(self) -> None:
        self._now: dict[Hashable, tuple[Flow, ...]] = {}
        self._before: dict[Hashable, tuple[Flow, ...]] = {}

    def begin(self) -> None:
        """A compilation begins. What the one before it did not need is forgotten."""
        self._now, self._before = {}, self._now

    def get(self, make: Callable[..., tuple[Flow, ...]], *values: Any) -> tuple[Flow, ...]:
        """What `make` makes of values, which are hashable."""
        key = (make, *values)
        known = self._now.get(key)
        if known is None:
            known = self._before.get(key)
            self._now[key] = known = make(*values) if known is None else known
        return known
