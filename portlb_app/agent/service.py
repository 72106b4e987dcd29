"""The agents of one process, as signals and the service manager know them."""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import time
from typing import TYPE_CHECKING

from portlb_app.agent import notify
from portlb_app.agent.errors import AgentError
from portlb_app.agent.loop import Loop
from portlb_app.agent.mapping import unpacked_vips
from portlb_app.agent.running import words

if TYPE_CHECKING:
    from portlb_app.agent.process import Unit


class Service:
    """The agents of one process, as the service manager and signals know them."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._units: list[Unit] = []
        self._waited_for: set[Unit] = set()
        self._is_ready = self._is_stopping = False
        self._drained: set[Unit] = set()
        self._watchdog = notify.watchdog_seconds()

    def add(self, unit: Unit) -> None:
        """Add an agent."""
        self._units.append(unit)

    def start(self) -> None:
        """Ask for the first settings of each."""
        stop = self.stop
        self._loop.on_signals(
            {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGQUIT: self._leave, signal.SIGHUP: self._reload}
        )
        self._waited_for = set(self._units)
        for unit in self._units:
            unit.ask()

    def stop(self) -> None:
        """Detach all, when those whose connections are waited for have none any more; at once if it is said again."""
        waits = [unit for unit in self._units if unit.companion is not None]
        if self._is_stopping or not waits:
            self._stop_now()
            return
        self._is_stopping = True
        self._drained = set(waits)
        notify.tell("STATUS=draining")
        for unit in waits:
            if unit.companion is not None:
                unit.companion.drain(functools.partial(self._has_drained, unit))

    def _has_drained(self, unit: Unit) -> None:
        self._drained.discard(unit)
        if not self._drained:
            self._stop_now()

    def _stop_now(self) -> None:
        self._loop.end(0)
        for unit in self._units:
            if unit.is_attached():
                unit.detach()
                unit.say(logging.INFO, "detached; new connections are not redirected until an agent runs here again")

    def give_up(self) -> None:
        """Detach the agents this process has started; those it has taken over stay, with their connections."""
        for unit in self._units:
            if not unit.has_taken_over():
                unit.detach()

    def _leave(self) -> None:
        self._loop.end(0)
        for unit in self._units:
            unit.say(logging.INFO, "this process ends, the programs stay attached")

    def _reload(self) -> None:
        if self._is_ready:
            notify.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._waited_for = set(self._units)
        for unit in self._units:
            unit.reload()

    def settled(self, unit: Unit) -> None:
        """An agent has the settings it asked for. When all have, tell the service manager."""
        self._waited_for.discard(unit)
        if self._waited_for:
            return
        notify.tell("READY=1")
        if not self._is_ready:
            self._is_ready = True
            self._live()
            notify.tell("STATUS=attached")
            with contextlib.suppress(OSError):  # a pipe whose reader has gone
                print("ready", flush=True)

    def taken_over(self, unit: Unit) -> None:
        """A successor has taken over from an agent. When none is left, end the process."""
        self._units.remove(unit)
        if self._is_stopping:
            self._has_drained(unit)
        if not self._units:
            self._loop.end(0)
        elif unit in self._waited_for:
            self.settled(unit)

    def attach_when_all_known(self) -> None:
        """The first settings of an agent are known. When all are, and no two collide, attach all."""
        if all(unit.first or unit.is_attached() for unit in self._units):
            begin = [unit for unit in self._units if not unit.is_attached()]
            for unit in begin:
                self.check_apart(unit, unit.first)
                unit.check()
            for unit in begin:
                unit.begin()

    def check_apart(self, unit: Unit, settings: bytes) -> None:
        """AgentError if another agent of this process is for some of the VIPs in these settings."""
        vips = unpacked_vips(settings)
        for other in self._units:
            if other is not unit and (both := vips & other.vips()):
                raise AgentError(
                    f"{unit.name} and {other.name} are both for {words(both)}: a host is one server of a VIP at most"
                )

    def _live(self) -> None:
        if self._watchdog is not None:
            self._loop.after(self._watchdog / 2, self._live)
            notify.tell("WATCHDOG=1")
