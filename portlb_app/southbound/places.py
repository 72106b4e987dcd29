"""Bounds how many switches are dealt with at a time. None of them can keep the others waiting for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eventlet.hubs import get_hub
from ryu.lib import hub


class Places:
    """`number` places. A switch that keeps one for `seconds` gives it to another, and goes on without one."""

    def __init__(self, number: int, seconds: float) -> None:
        self._free = hub.Semaphore(number)
        self._seconds = seconds

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a place; keep it until the block ends, or for `seconds` at most."""
        self._free.acquire()
        kept = [True]

        def give() -> None:
            if kept:
                kept.clear()
                self._free.release()

        timer = get_hub().schedule_call_global(self._seconds, give)
        try:
            yield
        finally:
            timer.cancel()
            give()
