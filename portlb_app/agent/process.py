"""The foreground process of an agent: the packets never come here.

It attaches the agent and looks after it: ages entries, attaches removed programs again, follows its source of settings,
and reports to the log and to the service manager.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from portlb_app.agent import notify, report
from portlb_app.agent.attachment import Agent, Presence, check
from portlb_app.agent.errors import AgentError, Unreachable
from portlb_app.agent.loader import CONNECTIONS
from portlb_app.agent.loop import Action, Loop
from portlb_app.agent.mapping import Address, unpacked_vips
from portlb_app.agent.service import Service
from portlb_app.agent.troubles import Troubles

SWEEP_EVERY = 10.0  # seconds
REPORT_EVERY = 60.0  # seconds
FIRST_RETRY, LAST_RETRY = 1.0, 10.0  # seconds between attempts to get the first settings; each wait is twice as long

_log = logging.getLogger("portlb.agent")


class Companion(Protocol):
    """What goes along with an attached agent."""

    def drain(self, done: Action) -> None:
        """The host is about to stop: call `done` when its connections are over, or were waited for long enough."""

    def detach(self) -> None:
        """The agent's programs are being removed."""

    def close(self) -> None:
        """The agent ends."""


OnAttached = Callable[[Agent, str, Loop, Troubles], "Companion | None"]
"""Called with an attached agent and its name in the log."""


def serve(
    interface: str,
    role: str,
    settings: Mapping[str, Callable[[], bytes]],
    connections: int = CONNECTIONS,
    every: float | None = None,
    on_attached: OnAttached | None = None,
    may_change: Callable[[bytes, bytes], None] | None = None,
) -> int:
    """Run agents, one for each of `settings`, until a signal or their successors end them; return the exit code.

    Each of `settings`, by a name for the log, returns the constants of programs, AgentError if it cannot. It is asked
    in a thread: at first, on SIGHUP, and `every` so many seconds if that is not None. AgentError if an agent cannot be
    attached, or if its first settings are wrong (not Unreachable); then none stays attached.

    `may_change` raises AgentError for a change of the settings that is allowed on SIGHUP only.
    `on_attached` is called once with each attached agent, and may have the loop wait for more files and times. With
    what it returns, SIGTERM waits until the agent has no connections any more.
    """
    with Loop() as loop:
        service = Service(loop)
        for name, source in settings.items():
            service.add(
                Unit(service, loop, name, interface, role, source, connections, every, on_attached, may_change)
            )
        try:
            service.start()
            return loop.run()
        except AgentError:
            service.give_up()
            raise
        finally:
            notify.tell("STOPPING=1")


class Unit:
    """One agent of the process."""

    def __init__(
        self,
        service: Service,
        loop: Loop,
        name: str,
        interface: str,
        role: str,
        settings: Callable[[], bytes],
        connections: int,
        every: float | None,
        on_attached: OnAttached | None,
        may_change: Callable[[bytes, bytes], None] | None,
    ) -> None:
        self.name = name
        self._service, self._loop, self._interface, self._role = service, loop, interface, role
        self._connections, self._source, self._every, self._on_attached = connections, settings, every, on_attached
        self._may_change = may_change
        self._agent: Agent | None = None
        self._settings = b""
        self.first = b""
        """The first settings, until all agents of the process can begin."""
        self._asking = self._ask_again = self._is_told = self._over = False
        self._retry = FIRST_RETRY
        self._troubles = Troubles(self.say)
        self.companion: Companion | None = None

    def vips(self) -> frozenset[Address]:
        """Return the VIPs of the settings in force, or of the first ones."""
        settings = self._settings or self.first
        return unpacked_vips(settings) if settings else frozenset()

    def is_attached(self) -> bool:
        """Tell whether it has begun."""
        return self._agent is not None

    def has_taken_over(self) -> bool:
        """Tell whether it goes on with the connections of an agent that ran before."""
        return self._agent is not None and self._agent.has_taken_over

    def detach(self) -> None:
        """Remove the programs."""
        if self.companion is not None:
            self.companion.detach()
        self._part()
        if self._agent:
            self._agent.detach()
            self._agent = None

    def _part(self) -> None:
        if self.companion is not None:
            self.companion.close()
            self.companion = None

    def check(self) -> None:
        """AgentError if another agent of the interface is in the way."""
        check(self._interface, self._role, self.first)

    def begin(self) -> None:
        """Attach with the first settings."""
        agent = Agent(self._interface, self._role, self.first, self._connections)
        self._agent, self._settings = agent, self.first
        self._look_after(agent)
        self._in_force()

    # ---- settings ----------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Ask for settings and accept any change: the administrator wants it."""
        self._is_told = True
        self.ask()

    def ask(self) -> None:
        """Ask for settings."""
        self._ask_again = self._asking  # the pending answer may be older than this question
        if not self._asking and not self._over:
            self._asking = True
            self._loop.ask(self._source, self._take)

    def _take(self, answer: bytes | Exception) -> None:
        self._asking = False
        if self._over:
            return
        try:
            if isinstance(answer, Exception):
                raise answer
            if self._agent:
                self._service.check_apart(self, answer)
                if self._may_change is not None and not self._is_told:
                    self._may_change(self._settings, answer)
                self._go_on_with(self._agent, answer)
                self._troubles.note("settings", "")
            else:
                self._troubles.note("settings", "")
                self.first = answer
                self._service.attach_when_all_known()
                return
        except AgentError as error:
            if self._agent:
                self._troubles.note("settings", f"{error}; the last good settings stay in force")
            elif isinstance(error, Unreachable):
                self._troubles.note("settings", f"{error}; trying again")
            else:
                raise
        if self._agent:
            self._in_force()
        elif not self._ask_again:
            self._loop.after(self._retry, self.ask)
            self._retry = min(2 * self._retry, LAST_RETRY)
        else:
            self.ask()

    def _in_force(self) -> None:
        """The settings asked for are in force."""
        if self._ask_again:
            self.ask()
            return
        self._is_told = False
        self._service.settled(self)
        if self._every is not None:
            self._loop.after(self._every, self.ask)

    def _go_on_with(self, agent: Agent, settings: bytes) -> None:
        if settings != self._settings and self._keep_attached(agent):
            agent.reload(settings)
            self._settings = settings
            self.say(logging.INFO, "new settings in force")

    # ---- time --------------------------------------------------------------------------------------------------------

    def _look_after(self, agent: Agent) -> None:
        """Schedule the recurring work for an attached agent."""
        counted, counted_at = agent.programs.counters(), time.monotonic()
        refused = counted["map_full"]

        def sweep() -> None:
            if self._over:
                return
            self._loop.after(SWEEP_EVERY, sweep)
            self._keep_attached(agent)
            if not self._over:
                self._tried("removing aged entries", age)

        def age() -> None:
            nonlocal refused
            used, total = agent.programs.sweep(time.monotonic_ns()), agent.programs.counters()["map_full"]
            crowded = report.crowded(report.Entries(used, self._connections), total - refused)
            refused = total
            self._troubles.note("connections", crowded)
            self._troubles.note("paths", "; ".join(map(str, agent.programs.silent_paths())))

        def tell_rates() -> None:
            if self._over:
                return
            self._loop.after(REPORT_EVERY, tell_rates)
            self._tried("reading the counters", tell_them)

        def tell_them() -> None:
            nonlocal counted, counted_at
            values, now = agent.programs.counters(), time.monotonic()
            if moved := report.rates(counted, values, now - counted_at):
                self.say(logging.INFO, f"per second: {moved}")
            counted, counted_at = values, now

        self._loop.after(SWEEP_EVERY, sweep)
        self._loop.after(REPORT_EVERY, tell_rates)
        if self._on_attached is not None:
            self.companion = self._on_attached(agent, self.name, self._loop, self._troubles)

    def _tried(self, topic: str, action: Callable[[], None]) -> None:
        """Do something that is repeated anyway: a refused call is counted and logged, and ends nothing."""
        try:
            action()
        except OSError as error:
            self._troubles.failed(topic, error)

    def _keep_attached(self, agent: Agent) -> bool:
        """Keep the agent attached. False: that is impossible now, or a successor has taken over."""
        try:
            presence = agent.stay()
        except AgentError as error:
            kept = "its connections are kept until it can be attached again"
            self._troubles.note("attached programs", f"{error}; {kept}")
            return False
        self._troubles.note("attached programs", "")
        if presence is Presence.RESTORED:
            self.say(logging.WARNING, "its programs were gone or replaced by half; attached again, connections kept")
            self.ask()  # settings may have come while it could not be attached
        if presence is Presence.TAKEN_OVER:
            self.say(logging.INFO, "an agent started later has taken over; this one ends")
            self._over = True
            self._part()
            self._agent = None
            agent.release()
            self._service.taken_over(self)
        return presence is not Presence.TAKEN_OVER

    # ---- words -------------------------------------------------------------------------------------------------------

    def say(self, level: int, text: str) -> None:
        """Log something about this agent."""
        name = f" {self.name}" if self.name else ""
        about = {"agent": self._role, "server": self.name, "interface": self._interface}
        _log.log(level, "%s agent%s on %s: %s", self._role, name, self._interface, text, extra={"about": about})
