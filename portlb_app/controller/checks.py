"""Health checks in the loop: a green thread that sends them, and what servers answer, handed on by packet-in workers.

Nothing here waits: packets go into the workers' bounded queues, and what follows from results is an event of the
reconciler.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable

from ryu.lib import hub

from portlb_app.compiler.vips_by_switch import VipsBySwitch
from portlb_app.health.checker import Checker, Known, News
from portlb_app.health.line_state import LineState
from portlb_app.health.probe import Result
from portlb_app.health.targets import Line, lines
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.packet import PacketIn, Send
from portlb_app.reconcile.configuration import Configuration

BUSY, IDLE = 0.01, 0.1
"""Seconds between two looks at the clock while checks are on their way, and at most."""
SWITCHES_AT_ONCE = 4
"""Switches whose servers are worked out at a time when the configuration is another."""

_LOG = logging.getLogger("portlb.health")


class Checks:
    """The checks of the live configuration. `send` has a switch send a packet, `say` takes what follows.

    `on_result` is told every result.
    """

    def __init__(
        self,
        live: Callable[[], Configuration],
        send: Callable[[Send], None],
        say: Callable[[tuple[News, ...]], None],
        known: Known,
        on_result: Callable[[LineState, Result], None],
    ) -> None:
        self._live, self._send, self._say = live, send, say
        self._checker = Checker(lambda: secrets.randbits(32), known, on_result)
        self._coming: VipsBySwitch | None = None
        self._adopted: VipsBySwitch | None = None

    def connected(self, dpid: int) -> None:
        """A switch is connected."""
        self._checker.connected(dpid)

    def disconnected(self, dpid: int) -> None:
        """A switch is gone."""
        self._checker.disconnected(dpid)

    def run(self) -> None:
        """Send checks for ever."""
        while True:
            self._adopt()
            now = time.monotonic()
            for send in self._checker.tick(now):
                self._send(send)
            self._report()
            hub.sleep(min(IDLE, max(BUSY, self._checker.due - now)))

    def take(self, dpid: int, packet: PacketIn, now: float) -> tuple[Disposition, tuple[Send, ...]]:
        """A server has sent something to where checks come from."""
        taken = self._checker.take(dpid, packet, now)
        self._report()
        return taken

    def hurry(self, servers: Iterable[str]) -> None:
        """There is reason to think that these servers have failed."""
        for server in servers:
            self._checker.hurry(server, time.monotonic())

    @property
    def states(self) -> tuple[LineState, ...]:
        """What is known of every check."""
        return tuple(self._checker.states())

    @property
    def counts(self) -> dict[str, int]:
        """How many checks were begun, were void, and began late."""
        checker = self._checker
        return {"begun": checker.begun, "void": checker.voided, "late": checker.late}

    def _adopt(self) -> None:
        """Check by the live configuration; a few switches at a time, or others would have to wait."""
        live = self._live()
        config, conditions = live.config, live.conditions.of_paths
        if self._adopted is not None and self._adopted.is_for(config, conditions):
            return
        if self._coming is None or not self._coming.is_for(config, conditions):
            self._coming = VipsBySwitch(config, conditions)
        if not self._coming.compute(SWITCHES_AT_ONCE):
            return
        self._adopted, self._coming = self._coming, None
        found: list[Line] = []
        if any(vip.checked for vip in config.vips):
            for switch in config.switches:
                found += (
                    line
                    for line in lines(switch.dpid, self._adopted.on(switch.dpid))
                    if line.server not in conditions.closed
                )
        self._checker.adopt(found, time.monotonic())

    def _report(self) -> None:
        for text in self._checker.logs():
            _LOG.warning("%s", text)
        news = self._checker.news()
        if news:
            self._say(tuple(news))
