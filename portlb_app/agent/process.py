"""The foreground process of an agent: the packets never come here.

It attaches the agent and looks after it: ages entries, attaches again what somebody removed, follows its source of
settings, and says how it goes to the log and to the service manager.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable

from portlb_app.agent import notify, report
from portlb_app.agent.errors import AgentError
from portlb_app.agent.loader import CONNECTIONS, Agent, Presence
from portlb_app.agent.loop import Loop
from portlb_app.agent.source import Unreachable
from portlb_app.agent.troubles import Troubles

SWEEP_EVERY = 10.0  # seconds
REPORT_EVERY = 60.0  # seconds
FIRST_RETRY, LAST_RETRY = 1.0, 10.0  # seconds between attempts to get the first settings; each wait is twice as long

_log = logging.getLogger("portlb.agent")


def serve(
    interface: str,
    role: str,
    settings: Callable[[], bytes],
    connections: int = CONNECTIONS,
    every: float | None = None,
    on_attached: Callable[[Agent, Loop, Troubles], None] | None = None,
) -> int:
    """Run an agent until a signal or a successor ends it, and return the exit code.

    `settings` returns the programs' constants, AgentError if it cannot. It is asked in a thread: at first, on SIGHUP,
    and `every` so many seconds if that is not None. AgentError if the agent cannot be attached, or if its first
    settings are wrong rather than Unreachable.

    `on_attached` is called once with the attached agent, and may have the loop wait for more files and times.
    """
    with Loop() as loop:
        _Process(loop, interface, role, settings, connections, every, on_attached)
        try:
            return loop.run()
        finally:
            notify.tell("STOPPING=1")


class _Process:
    def __init__(
        self,
        loop: Loop,
        interface: str,
        role: str,
        settings: Callable[[], bytes],
        connections: int,
        every: float | None,
        on_attached: Callable[[Agent, Loop, Troubles], None] | None,
    ) -> None:
        self._loop, self._interface, self._role, self._connections = loop, interface, role, connections
        self._source, self._every, self._on_attached = settings, every, on_attached
        self._agent: Agent | None = None
        self._settings = b""
        self._asking = self._ask_again = False
        self._retry = FIRST_RETRY
        self._troubles = Troubles(self._say)
        stop = self._stop
        loop.on_signals(
            {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGQUIT: self._leave, signal.SIGHUP: self._reload}
        )
        self._ask()

    # ---- signals -----------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._loop.end(0)
        if self._agent:
            self._agent.detach()

    def _leave(self) -> None:
        self._loop.end(0)
        self._say(logging.INFO, "this process ends, the programs stay attached")

    def _reload(self) -> None:
        if self._agent:
            notify.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._ask()

    # ---- settings ----------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        self._ask_again = self._asking  # the answer on its way may be older than this question
        if not self._asking:
            self._asking = True
            self._loop.ask(self._source, self._take)

    def _take(self, answer: bytes | Exception) -> None:
        self._asking = False
        try:
            if isinstance(answer, Exception):
                raise answer
            self._go_on_with(answer)
            self._troubles.note("settings", "")
        except AgentError as error:
            if self._agent:
                self._troubles.note("settings", f"{error}; the last good settings stay in force")
            elif isinstance(error, Unreachable):
                self._troubles.note("settings", f"{error}; trying again")
            else:
                raise
        if self._ask_again:
            self._ask()
        elif not self._agent:
            self._loop.after(self._retry, self._ask)
            self._retry = min(2 * self._retry, LAST_RETRY)
        else:
            notify.tell("READY=1")
            if self._every is not None:
                self._loop.after(self._every, self._ask)

    def _go_on_with(self, settings: bytes) -> None:
        if not self._agent:
            agent = Agent(self._interface, self._role, settings, self._connections)
            self._look_after(agent)
            self._agent, self._settings = agent, settings
        elif settings != self._settings and self._stays(self._agent):
            self._agent.reload(settings)
            self._settings = settings
            self._say(logging.INFO, "new settings in force")

    # ---- time --------------------------------------------------------------------------------------------------------

    def _look_after(self, agent: Agent) -> None:
        """Begin what is to be done for an attached agent for ever after."""
        counted, counted_at = agent.programs.counters(), time.monotonic()
        refused = counted["map_full"]
        watchdog = notify.watchdog_seconds()

        def sweep() -> None:
            self._loop.after(SWEEP_EVERY, sweep)
            self._stays(agent)
            self._tried("removing aged entries", age)

        def age() -> None:
            nonlocal refused
            used, total = agent.programs.sweep(), agent.programs.counters()["map_full"]
            crowded = report.crowded(report.Entries(used, self._connections), total - refused)
            refused = total
            self._troubles.note("connections", crowded)
            self._troubles.note("paths", "; ".join(map(str, agent.programs.silent_paths())))

        def tell_rates() -> None:
            self._loop.after(REPORT_EVERY, tell_rates)
            self._tried("reading the counters", tell_them)

        def tell_them() -> None:
            nonlocal counted, counted_at
            values, now = agent.programs.counters(), time.monotonic()
            if moved := report.rates(counted, values, now - counted_at):
                self._say(logging.INFO, f"per second: {moved}")
            counted, counted_at = values, now

        def live() -> None:
            if watchdog is not None:
                self._loop.after(watchdog / 2, live)
                notify.tell("WATCHDOG=1")

        self._loop.after(SWEEP_EVERY, sweep)
        self._loop.after(REPORT_EVERY, tell_rates)
        live()
        if self._on_attached is not None:
            self._on_attached(agent, self._loop, self._troubles)
        notify.tell("STATUS=attached")
        print("ready", flush=True)

    def _tried(self, topic: str, action: Callable[[], None]) -> None:
        """Do something that is done again soon: a refused call is counted and told, and ends nothing."""
        try:
            action()
        except OSError as error:
            self._troubles.failed(topic, error)

    def _stays(self, agent: Agent) -> bool:
        """See that the agent is attached. False: it cannot be now, or its time is over."""
        try:
            presence = agent.stay()
        except AgentError as error:
            kept = "its connections are kept until it can be attached again"
            self._troubles.note("attached programs", f"{error}; {kept}")
            return False
        self._troubles.note("attached programs", "")
        if presence is Presence.RESTORED:
            self._say(logging.WARNING, "its programs were gone; attached again, connections kept")
            self._ask()  # settings that came when it could not be attached
        if presence is Presence.SUCCEEDED:
            self._say(logging.INFO, "an agent started later has taken over; this process ends")
            self._loop.end(0)
        return presence is not Presence.SUCCEEDED

    # ---- words -------------------------------------------------------------------------------------------------------

    def _say(self, level: int, text: str) -> None:
        _log.log(level, "%s agent on %s: %s", self._role, self._interface, text)
