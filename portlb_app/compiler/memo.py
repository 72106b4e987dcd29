"""A cache of flows: after a change, most flows of a large network are the same as before.

The key is the function and all of its arguments, so a cached result is always right. Equal results are the same object,
so that comparing a switch's new flows with its old ones is mostly a matter of identity.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from portlb_app.openflow import Flow


class Memo:
    """The flows of this compilation and the one before; those are in their tables in any case."""

    def __init__(self) -> None:
        self._now: dict[Hashable, tuple[Flow, ...]] = {}
        self._before: dict[Hashable, tuple[Flow, ...]] = {}

    def begin(self) -> None:
        """Begin a compilation, and forget what the last one did not use."""
        self._now, self._before = {}, self._now

    def get(self, make: Callable[..., tuple[Flow, ...]], *values: Any) -> tuple[Flow, ...]:
        """The result of ``make(*values)``; the values are hashable."""
        key = (make, *values)
        known = self._now.get(key)
        if known is None:
            known = self._before.get(key)
            self._now[key] = known = make(*values) if known is None else known
        return known
