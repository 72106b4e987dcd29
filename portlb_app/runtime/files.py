"""File calls in a thread of their own: a slow disk, or a file server that is gone, does not stop the event loop.

A call into a file system may take as long as it likes, and nothing can end it. So the loop does not make one: it hands
it to the thread, which does one after the other, and others have their turn until it is done.
"""

from __future__ import annotations

import errno
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ryu.lib import hub

FILE_SECONDS = 10.0
"""How long a call may take before it is said that there is no answer."""
FIRST_LOOK, LAST_LOOK = 0.0005, 0.05
"""Seconds between two looks whether a call is done: a tenth of the time that it took so far, within these."""

_LOG = logging.getLogger("portlb")
Result = TypeVar("Result")


class Slow(OSError):
    """A file system does not answer. What it was asked for may yet be done."""


class Pending(Generic[Result]):
    """A call that is made, or will be."""

    def __init__(self, function: Callable[[], Result], too_late: Callable[[Result], object]) -> None:
        self._function = function
        self._too_late = too_late
        self._result: Result | None = None
        self._error: Exception | None = None
        self.is_done = self._is_given_up = False
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def do(self) -> None:
        """Make the call, in the thread."""
        try:
            self._result = self._function()
        except Exception as error:
            self._error = error
        with self._lock:
            self.is_done = True
        if self._is_given_up and self._error is None:
            try:
                self._too_late(self._result)  # type: ignore[arg-type]
            except Exception:  # else no other call would ever be made
                _LOG.exception("what came too late cannot be undone")

    def wait(self) -> Result:
        """What the call returns or raises; Slow if that takes too long."""
        while not self.is_done:
            passed = time.monotonic() - self._began
            if passed > FILE_SECONDS:
                self._give_up()
            hub.sleep(min(max(FIRST_LOOK, passed / 10), LAST_LOOK))
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def _give_up(self) -> None:
        with self._lock:
            if not self.is_done:
                self._is_given_up = True
                raise Slow(errno.ETIMEDOUT, f"the file system does not answer within {FILE_SECONDS:g} s")


class Files:
    """Calls are made in their order."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Pending[Any]] = queue.SimpleQueue()
        self._last: Pending[Any] | None = None
        threading.Thread(target=self._run, name="files", daemon=True).start()

    def start(
        self, function: Callable[[], Result], too_late: Callable[[Result], object] = lambda _result: None
    ) -> Pending[Result]:
        """Have a call made, and go on. What it returns after `wait` gave up goes to `too_late`, in the thread."""
        self._last = pending = Pending(function, too_late)
        self._calls.put(pending)
        return pending

    @property
    def is_busy(self) -> bool:
        """Whether a call is made, or will be."""
        return self._last is not None and not self._last.is_done

    def _run(self) -> None:
        while True:
            self._calls.get().do()
