"""A server agent's heartbeats: once a second it tells the controller about this host, and does what is answered.

Only the answer to its last heartbeat counts, and what it asks for holds as long as such answers come.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import time
from collections.abc import Callable

from portlb_app import __version__
from portlb_app.agent import server, sockets, vitals
from portlb_app.agent.attachment import Agent
from portlb_app.agent.census import Census, Counted
from portlb_app.agent.errors import AgentError
from portlb_app.agent.heartbeat_link import Link
from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.loop import Action, Loop
from portlb_app.agent.moving import Mover
from portlb_app.agent.troubles import Troubles
from portlb_app.net.heartbeat import EVERY, About, Can, Heartbeat, Order, State, parse_answer

OBEY = 10.0
"""Seconds for which an order holds after the last answer."""
SPARE = 20
"""How many times as long as a count took nothing is counted."""
LAST_WORD = 60
"""Seconds that the last heartbeat of a host counts that shuts down."""
RESET_EVERY = 5.0
"""Seconds between two times that connections are reset."""
_LOG = logging.getLogger("portlb.agent")
_TOPIC = "heartbeats"


class Heart:
    """The heartbeats of one agent; `name` is its server's, "" if it has none."""

    def __init__(self, agent: Agent, interface: str, name: str, loop: Loop, troubles: Troubles, limit: float) -> None:
        """Begin. `limit`: the most seconds that `drain` takes."""
        self._agent, self._interface, self._name = agent, interface, name
        self._loop, self._troubles, self._limit = loop, troubles, limit
        self._boot = int.from_bytes(os.urandom(8), "big")
        self._sequence = 0
        self._state = State.READY
        self._link: Link | None = None
        self._census, self._counted, self._is_counting = Census(), Counted(), False
        self._counts, self._counted_at, self._not_before = vitals.Counts(), 0.0, 0.0
        self._rates = (0.0, 0.0, 0.0, 0.0)
        self._mover: Mover | None = None
        self._answered_at = self._reset_at = self._asked_at = float("-inf")
        self._closed = False
        self._drained: Callable[[], None] | None = None
        loop.after(EVERY * random.random(), self._beat)

    def detach(self) -> None:
        """Nothing is to be put back."""

    def close(self) -> None:
        """Say nothing more."""
        self._closed = True
        self._drained = None
        self._obey(Order(0))
        self._close_link()

    def drain(self, done: Action) -> None:
        """Say that this server gets no new connections; call `done` when none is left, or the limit is over."""
        if not self._limit:
            done()
            return
        self._drained = done
        self._state = State.DRAIN
        self._say(logging.INFO, f"draining: waiting for {self._counted.open} connections, {self._limit:g} s at most")
        self._loop.after(self._limit, self._give_up_draining)
        self._not_before = 0.0
        self._beat()

    # ---- heartbeats --------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        if self._closed:
            return
        self._loop.after(EVERY * random.uniform(0.9, 1.1), self._beat)
        now = time.monotonic()
        if now - self._answered_at > OBEY:
            self._obey(Order(0))
        if not self._is_counting and now >= self._not_before:
            self._is_counting = True
            self._loop.ask(self._count, self._take_count)
        self._send()

    def _send(self, valid: int = 0) -> None:
        self._sequence += 1
        counted, mover = self._counted, self._mover
        openings, short, resets, overflow = self._rates
        said = Heartbeat(
            self._boot, self._sequence, self._state, Can.MOVE, valid, counted.open, openings, short, resets, overflow,
            vitals.pressure("cpu"), vitals.pressure("io"), mover.moved if mover else 0, mover.left if mover else 0,
            self._name, counted.by_port, self._about(),
        )  # fmt: skip
        try:
            self._opened_link().send(said.pack())
            self._troubles.note(_TOPIC, "")
        except OSError as error:
            self._close_link()
            self._troubles.note(_TOPIC, f"the controller cannot be told about this server: {error}")

    def _about(self) -> About | None:
        """What this process is like, if the controller asks for that: another one would not know the heartbeat."""
        if time.monotonic() - self._asked_at > OBEY:
            return None
        return About(time.time(), server.serving(self._agent.settings), __version__)

    def _opened_link(self) -> Link:
        source = min(self._agent.vips, key=lambda vip: (vip.version, vip))
        if self._link is not None and self._link.source != source:
            self._close_link()
        if self._link is None:
            self._link = Link(self._interface, source)
            self._loop.on_readable(self._link.fileno(), self._hear)
        return self._link

    def _close_link(self) -> None:
        if self._link is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._loop.forget(self._link.fileno())
            self._link.close()
            self._link = None

    # ---- counting ----------------------------------------------------------------------------------------------------

    def _count(self) -> tuple[Counted, vitals.Counts, float, float]:
        """In a thread: open connections, what has happened, when that was, and how long it took."""
        began = time.monotonic()
        counts = vitals.counts()
        with contextlib.closing(Map.copy_of(self._agent.map_fd("connections"))) as connections:
            counted = self._census.count(connections, self._agent.settings, self._agent.vips)
        return counted, counts, began, time.monotonic() - began

    def _take_count(self, answer: tuple[Counted, vitals.Counts, float, float] | Exception) -> None:
        self._is_counting = False
        if self._closed:
            return
        if isinstance(answer, Exception):
            if not isinstance(answer, (OSError, AgentError)):
                raise answer
            self._troubles.failed("counting connections", answer)
            return
        counted, counts, began, took = answer
        self._not_before = began + took * SPARE
        before, passed = self._counts, began - self._counted_at
        if self._counted_at and passed > 0:
            openings = max(0, counts.openings - before.openings)
            rest = counts.resets - before.resets, counts.overflow - before.overflow
            self._rates = (
                openings / passed, max(0, openings - counted.new) / passed, rest[0] / passed, rest[1] / passed
            )  # fmt: skip
        self._counted, self._counts, self._counted_at = counted, counts, began
        if self._state is State.DRAIN and not counted.open:
            self._end_draining("no connection is left")

    # ---- draining ----------------------------------------------------------------------------------------------------

    def _give_up_draining(self) -> None:
        if not self._closed:
            self._end_draining(f"{self._counted.open} connections are left after {self._limit:g} s")

    def _end_draining(self, why: str) -> None:
        done, self._drained = self._drained, None
        if done is not None:
            self._say(logging.INFO, f"drained: {why}")
            self._send(LAST_WORD)
            done()

    # ---- answers -----------------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        if self._link is None:
            return
        try:
            for data in self._link.answers():
                answer = parse_answer(data)
                if answer is not None and (answer.boot, answer.sequence) == (self._boot, self._sequence):
                    self._answered_at = time.monotonic()
                    if answer.orders & Order.TELL:
                        self._asked_at = self._answered_at
                    self._obey(answer.orders)
        except OSError as error:  # the interface is down
            self._close_link()
            self._troubles.failed(_TOPIC, error)

    def _obey(self, orders: Order) -> None:
        if self._mover is not None and not orders & Order.MOVE:
            self._say(logging.INFO, f"{self._mover.moved} connections redirected, no more are")
            self._mover.stop()
            self._mover = None
        elif self._mover is None and orders & Order.MOVE:
            self._say(logging.INFO, "redirecting connections, as the controller asks")
            self._mover = Mover(self._interface, self._agent.vips)
        now = time.monotonic()
        if orders & Order.RESET and now - self._reset_at > RESET_EVERY:
            self._reset_at = now
            self._loop.ask(self._reset, self._after_reset)

    def _reset(self) -> int:
        """In a thread: reset the connections that were there at the last count; how many there were."""
        return len(sockets.destroy(self._census.connections()).chosen)

    def _after_reset(self, answer: int | Exception) -> None:
        if isinstance(answer, Exception):
            self._troubles.failed("resetting connections", answer)
        elif answer:
            self._say(logging.INFO, f"{answer} connections reset, as the controller asks")

    def _say(self, level: int, text: str) -> None:
        name = f" {self._name}" if self._name else ""
        about = {"agent": "server", "server": self._name, "interface": self._interface}
        _LOG.log(level, "server agent%s on %s: %s", name, self._interface, text, extra={"about": about})
