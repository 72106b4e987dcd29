"""The process of `portlb agent mptcp`: MPTCP without an eBPF agent beside it."""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import time
from collections.abc import Callable, Mapping

from portlb_app.agent import notify
from portlb_app.agent.errors import AgentError, Unreachable
from portlb_app.agent.loop import Loop
from portlb_app.agent.mptcp import support
from portlb_app.agent.mptcp.announced import Announced
from portlb_app.agent.mptcp.watch import Watch, say

FIRST_RETRY, LAST_RETRY = 1.0, 10.0  # seconds between attempts to get the first settings; each wait is twice as long

Source = Callable[[], tuple[Announced, ...]]


def serve(sources: Mapping[str, Source], every: float | None) -> int:
    """Announce what `sources` say, by the servers' names, until a signal ends it; return the exit code.

    Each source is asked in a thread: at first, on SIGHUP, and `every` so many seconds if that is not None. AgentError
    if the kernel cannot do it, or if the first answer of a source is wrong (not Unreachable).
    """
    support.require()
    with Loop() as loop:
        process = _Process(loop, sources, every)
        try:
            process.start()
            return loop.run()
        except AgentError:
            process.watch.put_back()
            raise
        finally:
            notify.tell("STOPPING=1")


class _Process:
    def __init__(self, loop: Loop, sources: Mapping[str, Source], every: float | None) -> None:
        self._loop, self._sources, self._every = loop, sources, every
        self._known: dict[str, tuple[Announced, ...]] = {}
        self._retry = FIRST_RETRY
        self._asking: set[str] = set()
        self._has_begun = self._reloads = False
        self._watchdog = notify.watchdog_seconds()
        self.watch = Watch(loop, lambda: tuple(each for its in self._known.values() for each in its))

    def start(self) -> None:
        """Ask for the first settings."""
        stop = self._stop
        self._loop.on_signals(
            {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGQUIT: self._leave, signal.SIGHUP: self._reload}
        )
        self._ask()

    def _stop(self) -> None:
        self.watch.put_back()
        self._loop.end(0)

    def _leave(self) -> None:
        self.watch.close()
        say(logging.INFO, "this process ends, all stays as it is set")
        self._loop.end(0)

    def _reload(self) -> None:
        notify.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._reloads = True
        self._ask()

    def _ask(self) -> None:
        for name, source in self._sources.items():
            if name not in self._asking:
                self._asking.add(name)
                self._loop.ask(source, functools.partial(self._take, name))

    def _take(self, name: str, answer: tuple[Announced, ...] | Exception) -> None:
        self._asking.discard(name)
        if isinstance(answer, Unreachable) or (isinstance(answer, AgentError) and self._has_begun):
            then = "the last good settings stay in force" if self._has_begun else "trying again"
            say(logging.WARNING, f"{answer}; {then}")
        elif isinstance(answer, Exception):
            raise answer
        else:
            self._known[name] = answer
        if self._asking:
            return
        if self._known.keys() != self._sources.keys():
            self._loop.after(self._retry, self._ask)
            self._retry = min(2 * self._retry, LAST_RETRY)
            return
        if self._every is not None:
            self._loop.after(self._every, self._ask)
        if not self._has_begun:
            self._has_begun = True
            self.watch.begin(self._after_first)
        elif self._reloads:
            self._reloads = False
            self.watch.begin(lambda _: notify.tell("READY=1"))

    def _after_first(self, error: AgentError | None) -> None:
        if error is not None:
            raise error
        notify.tell("READY=1", "STATUS=set")
        self._live()
        with contextlib.suppress(OSError):  # a pipe whose reader has gone
            print("ready", flush=True)

    def _live(self) -> None:
        if self._watchdog is not None:
            self._loop.after(self._watchdog / 2, self._live)
            notify.tell("WATCHDOG=1")
