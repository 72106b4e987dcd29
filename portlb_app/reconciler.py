"""The reconciler brings every switch to what the configuration says and keeps it there: events in, commands out.

Theory of operation
-------------------
It is level-triggered. Whatever happens (a switch connects, a configuration is proposed, the timer), the answer is the
same *round* for a switch, of which at most one is in flight::

    ReadState ─► StateRead ─ diff ─┬─ nothing to change ─► synced
                    ▲              └─ Apply ─► Applied ─┐
                    └───────────────────────────────────┘

A switch is read before it is changed, so a controller that starts again with an unchanged configuration sends nothing.
It is read again after it was changed: "applied" then means "seen in the switch", and a switch that quietly alters what
it is told is found at once and not taken for drift later. That costs one read per change.

A proposed configuration is on trial until every connected switch is synced with it. A switch that refuses, or the
deadline, withdraws it: all switches go back to the last good one. Absent switches don't hold it up; they get it when
they connect. A switch that the proposal no longer names is emptied of what is ours.

Between rounds nobody else should change what is ours. What the timer's round finds changed is *drift*: counted, logged,
put right.

Time is an argument: seconds of any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from portlb_app.compiler import compile
from portlb_app.config import Config, load
from portlb_app.openflow import SwitchState
from portlb_app.plan import Plan, diff

INTERVAL = 30.0
"""Seconds from the end of a switch's round to the next one by the timer."""

NO_CONFIG = Config((), (), ())
"""A configuration of nothing."""

State = Literal["absent", "reading", "applying", "synced", "error"]


# ---- values ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """What one switch shall hold."""

    name: str
    state: SwitchState


@dataclass(frozen=True, eq=False)
class Configuration:
    """A configuration's text and what it asks of each switch, by datapath id."""

    text: str
    targets: Mapping[int, Target]
    config: Config = NO_CONFIG

    @classmethod
    def of(cls, text: str) -> Configuration:
        """Load and compile a text; ConfigError with every mistake in it."""
        config = load(text)
        states = compile(config)
        targets = {switch.dpid: Target(switch.name, states[switch.name]) for switch in config.switches}
        return cls(text, targets, config)


@dataclass(frozen=True)
class SwitchStatus:
    """One configured switch. Counts are of what was last read; `read_age` is in seconds, None if it never was read.

    `metered`: how many packets each of our meters, by its number, has kept from being handed up since it was made.
    """

    name: str
    dpid: int
    state: State
    flows: int
    groups: int
    meters: int
    drift: int
    errors: tuple[str, ...]
    read_age: float | None
    metered: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """All switches. `generation` counts configurations that became live; `unknown` are connected but not configured."""

    generation: int
    switches: tuple[SwitchStatus, ...]
    unknown: tuple[int, ...]


# ---- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SwitchConnected:
    """A switch can be talked to; also after it was silently replaced by a new connection."""

    dpid: int


@dataclass(frozen=True)
class SwitchDisconnected:
    """A switch is gone, with whatever was in flight."""

    dpid: int


@dataclass(frozen=True)
class StateRead:
    """The answer to ReadState; `metered` as in `SwitchStatus`."""

    dpid: int
    state: SwitchState
    metered: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Applied:
    """The answer to Apply: the switch has committed all of the plan."""

    dpid: int


@dataclass(frozen=True)
class Refused:
    """The answer to ReadState or Apply of a switch that would not: nothing of the plan is in it. One line per error."""

    dpid: int
    errors: tuple[str, ...]


@dataclass(frozen=True)
class ConfigProposed:
    """Somebody wants this configuration to be live before `deadline`; the Answer carries the same ticket."""

    ticket: int
    configuration: Configuration
    deadline: float


@dataclass(frozen=True)
class Tick:
    """Time passes."""


Event = SwitchConnected | SwitchDisconnected | StateRead | Applied | Refused | ConfigProposed | Tick


# ---- commands --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReadState:
    """Read what the switch holds of ours; answered by StateRead or Refused."""

    dpid: int


@dataclass(frozen=True)
class Apply:
    """Make these changes, all or none; answered by Applied or Refused."""

    dpid: int
    plan: Plan


@dataclass(frozen=True)
class Live:
    """The proposed configuration is live: all connected switches have it."""


@dataclass(frozen=True)
class RefusedBySwitches:
    """Withdrawn: these switches refused, each with its errors. The last good configuration stays live."""

    reasons: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class TimedOut:
    """Withdrawn: these switches did not get there in time. The last good configuration stays live."""

    waiting: tuple[str, ...]


@dataclass(frozen=True)
class Busy:
    """Not tried: another configuration is on trial."""


Outcome = Live | RefusedBySwitches | TimedOut | Busy


@dataclass(frozen=True)
class Answer:
    """What became of the proposal with this ticket."""

    ticket: int
    outcome: Outcome


@dataclass(frozen=True)
class Log:
    """Something the operator should be able to read later."""

    level: Literal["info", "warning", "error"]
    text: str


Command = ReadState | Apply | Answer | Log


# ---- the machine -----------------------------------------------------------------------------------------------------

_NOTHING = SwitchState()
"""What a switch shall hold that a configuration no longer names."""


@dataclass
class _Switch:
    """What is known of one switch. `left` is what it held when its last round ended, to know drift by.

    `holds_ours`: it may hold something of ours, so it is emptied before it is forgotten, whatever became of the
    configuration that named it.
    """

    dpid: int
    connected: bool = False
    in_flight: Literal["", "read", "apply"] = ""
    applied: SwitchState | None = None
    synced_with: Configuration | None = None
    seen: SwitchState = field(default_factory=SwitchState)
    seen_at: float | None = None
    left: SwitchState | None = None
    next_round: float = 0.0
    drift: int = 0
    errors: tuple[str, ...] = ()
    holds_ours: bool = False
    metered: Mapping[int, int] = field(default_factory=dict)


class Reconciler:
    """Feed it every event with the time it happened, and carry out the commands it returns, in order."""

    def __init__(self, live: Configuration, interval: float = INTERVAL) -> None:
        self._live = live
        self._proposed: ConfigProposed | None = None
        self._generation = 1
        self._interval = interval
        self._switches: dict[int, _Switch] = {}
        self._commands: list[Command] = []
        self._now = 0.0

    @property
    def text(self) -> str:
        """The text of the live configuration."""
        return self._live.text

    @property
    def live(self) -> Configuration:
        """The live configuration."""
        return self._live

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event at time `now`; what must be done about it."""
        self._now = now
        handlers: dict[type, Callable[..., None]] = {
            SwitchConnected: self._connected,
            SwitchDisconnected: self._disconnected,
            StateRead: self._state_read,
            Applied: self._applied,
            Refused: self._refused,
            ConfigProposed: self._config_proposed,
            Tick: self._tick,
        }
        handlers[type(event)](event)
        self._accept_if_all_have_it()
        commands, self._commands = self._commands, []
        return commands

    def status(self, now: float) -> Status:
        """What a user may know about every switch at time `now`."""
        return Status(
            generation=self._generation,
            switches=tuple(
                self._status(self._switches.get(dpid, _Switch(dpid)), target.name, now)
                for dpid, target in sorted(self._live.targets.items(), key=lambda item: item[1].name)
            ),
            unknown=tuple(
                sorted(dpid for dpid, switch in self._switches.items() if switch.connected and not self._knows(dpid))
            ),
        )

    def _status(self, switch: _Switch, name: str, now: float) -> SwitchStatus:
        return SwitchStatus(
            name=name,
            dpid=switch.dpid,
            state=self._state(switch),
            flows=len(switch.seen.flows),
            groups=len(switch.seen.groups),
            meters=len(switch.seen.meters),
            drift=switch.drift,
            errors=switch.errors,
            read_age=None if switch.seen_at is None else now - switch.seen_at,
            metered=switch.metered,
        )

    def _state(self, switch: _Switch) -> State:
        if not switch.connected:
            return "absent"
        if switch.errors:
            return "error"
        if switch.in_flight == "apply":
            return "applying"
        return "synced" if switch.synced_with is self._wanted else "reading"

    # ---- what is wanted ----

    @property
    def _wanted(self) -> Configuration:
        return self._proposed.configuration if self._proposed else self._live

    def _knows(self, dpid: int) -> bool:
        switch = self._switches.get(dpid)
        named = dpid in self._wanted.targets or dpid in self._live.targets
        return named or (switch is not None and switch.holds_ours)

    def _desired(self, dpid: int) -> SwitchState:
        target = self._wanted.targets.get(dpid)
        return target.state if target else _NOTHING

    def _name(self, dpid: int) -> str:
        target = self._wanted.targets.get(dpid) or self._live.targets.get(dpid)
        return target.name if target else f"{dpid:#x}"

    def _members(self) -> list[_Switch]:
        return [switch for dpid, switch in self._switches.items() if switch.connected and self._knows(dpid)]

    # ---- events ----

    def _connected(self, event: SwitchConnected) -> None:
        switch = self._switches.setdefault(event.dpid, _Switch(event.dpid))
        self._forget_connection(switch)
        switch.connected = True
        if self._knows(event.dpid):
            self._log("info", f"{self._name(event.dpid)} is connected")
            self._start_round(switch)
        else:
            self._log("warning", f"switch {event.dpid:#x} is not in the configuration and left alone")

    def _disconnected(self, event: SwitchDisconnected) -> None:
        switch = self._switches.get(event.dpid)
        if switch is None or not switch.connected:
            return
        self._forget_connection(switch)
        switch.connected = False
        self._log("warning", f"{self._name(event.dpid)} is disconnected")
        if not self._knows(event.dpid):
            del self._switches[event.dpid]

    def _state_read(self, event: StateRead) -> None:
        switch = self._answering(event.dpid, "read")
        if switch is None:
            return
        switch.seen, switch.seen_at, switch.metered = event.state, self._now, event.metered
        self._notice_drift(switch)
        switch.left = event.state
        if not self._knows(event.dpid):
            return
        desired = self._desired(event.dpid)
        plan = Plan() if event.state == desired else diff(event.state, desired)
        just_applied, switch.applied = switch.applied, None
        if not plan:
            self._synced(switch)
        elif just_applied is desired:
            still = "; ".join(str(step)[:200] for step in plan.steps[:3])
            self._failed(switch, (f"took the change but still needs {len(plan.steps)} steps: {still}",))
        else:
            switch.in_flight, switch.applied, switch.left, switch.synced_with = "apply", desired, None, None
            switch.holds_ours = True
            self._commands.append(Apply(event.dpid, plan))

    def _applied(self, event: Applied) -> None:
        switch = self._answering(event.dpid, "apply")
        if switch is not None:
            self._start_round(switch)

    def _refused(self, event: Refused) -> None:
        switch = self._answering(event.dpid, "read") or self._answering(event.dpid, "apply")
        if switch is None or not self._knows(event.dpid):
            return
        attempted, switch.applied = switch.applied, None
        if attempted is not None and attempted is not self._desired(event.dpid):
            self._start_round(switch)
        else:
            self._failed(switch, event.errors)

    def _config_proposed(self, event: ConfigProposed) -> None:
        if self._proposed:
            self._commands.append(Answer(event.ticket, Busy()))
            return
        self._proposed = event
        self._start_all()

    def _tick(self, _: Tick) -> None:
        if self._proposed and self._now >= self._proposed.deadline:
            waiting = [switch for switch in self._members() if switch.synced_with is not self._wanted]
            self._withdraw(TimedOut(tuple(sorted(self._name(switch.dpid) for switch in waiting))))
        for switch in self._members():
            if self._now >= switch.next_round:
                self._start_round(switch)

    # ---- rounds ----

    def _forget_connection(self, switch: _Switch) -> None:
        switch.in_flight, switch.applied, switch.left, switch.synced_with = "", None, None, None
        switch.errors = ()

    def _answering(self, dpid: int, to: Literal["read", "apply"]) -> _Switch | None:
        """The switch whose answer this is; None for an answer nobody waits for any more."""
        switch = self._switches.get(dpid)
        if switch is None or not switch.connected or switch.in_flight != to:
            return None
        switch.in_flight = ""
        return switch

    def _start_round(self, switch: _Switch) -> None:
        """Begin a round; one in flight will itself compare with what is wanted by then."""
        if not switch.in_flight:
            switch.in_flight = "read"
            self._commands.append(ReadState(switch.dpid))

    def _start_all(self) -> None:
        for switch in self._members():
            switch.errors = ()
            self._start_round(switch)

    def _notice_drift(self, switch: _Switch) -> None:
        if switch.left is None or switch.left == switch.seen:
            return
        changed = len(diff(switch.seen, switch.left).steps)
        if changed:
            switch.drift += changed
            text = f"{self._name(switch.dpid)}: somebody changed {changed} of our entries; putting them right"
            self._log("warning", text)

    def _synced(self, switch: _Switch) -> None:
        if switch.synced_with is not self._wanted or switch.errors:
            counts = f"{len(switch.seen.flows)} flows, {len(switch.seen.groups)} groups"
            self._log("info", f"{self._name(switch.dpid)} is synced: {counts}")
        switch.synced_with = self._wanted
        switch.holds_ours = switch.dpid in self._wanted.targets
        switch.errors = ()
        switch.next_round = self._now + self._interval

    def _failed(self, switch: _Switch, errors: tuple[str, ...]) -> None:
        name = self._name(switch.dpid)
        for error in errors:
            self._log("error", f"{name}: {error}")
        switch.errors = errors
        switch.next_round = self._now + self._interval
        if self._proposed:
            self._withdraw(RefusedBySwitches({name: errors}))

    # ---- proposals ----

    def _withdraw(self, outcome: Outcome) -> None:
        assert self._proposed is not None
        self._answer(outcome)
        self._log("warning", "the proposed configuration is withdrawn; the last good one stays live")
        self._start_all()

    def _accept_if_all_have_it(self) -> None:
        if self._proposed and all(switch.synced_with is self._wanted for switch in self._members()):
            self._live = self._proposed.configuration
            self._generation += 1
            self._answer(Live())
            self._log("info", f"configuration {self._generation} is live")

    def _answer(self, outcome: Outcome) -> None:
        assert self._proposed is not None
        self._commands.append(Answer(self._proposed.ticket, outcome))
        self._proposed = None

    def _log(self, level: Literal["info", "warning", "error"], text: str) -> None:
        self._commands.append(Log(level, text))
