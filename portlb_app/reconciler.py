"""The reconciler brings every switch to what the configuration says and keeps it there: events in, commands out.

Theory of operation
-------------------
It is level-triggered. Whatever happens (a switch connects, a configuration is proposed, a link goes down, the timer),
the answer is the same *round* for a switch, in which one thing at most is in flight::

    ReadState ─► StateRead ─ diff ─┬─ nothing to change ─► synced
                    ▲              └─ Apply ─► Applied ─┐
                    └───────────────────────────────────┘

A switch is read before it is changed, so a controller that starts again with an unchanged configuration sends nothing.
It is read again after it was changed: "applied" then means "seen in the switch", and a switch that quietly alters what
it is told is found at once and not taken for drift later. That costs one read per change.

**Switches that links join** depend on each other: a parent must not send packets down before its children know what to
do with them, and children must know it as long as a parent sends them. So their plans are carried out in three stages
(`plan.VERBS`), and the place of each in the change (`_turn`) is

1. add, the deepest switches first;
2. modify, the deepest first;
3. delete, the shallowest first, and not before packets that are still handled the old way are through (`DRAIN`);
4. read what has become of it.

Whoever is free does what has its turn: everything that comes before or together with the next of all others. A switch
whose needs are not known yet comes first, so the others wait until it was read. Nobody waits for a switch that is
absent, or in error, or that no working link joins to them; a switch that is asked something answers or loses its
connection, so nobody waits for ever. There is no script of a change: all of this is looked at anew after every event,
so a switch that comes, goes or fails in the middle, or a second change, finds its place.

Such switches are not read before a change either, so that a link that is cut is left soon: what a switch was seen to
hold, and has taken since, is what it holds (`plan.apply`). If that was wrong it refuses, or the read at the end shows
it: then it is read, and told once more. Two switches without links between them wait for nothing: each gets all of its
plan at once.

A **link** that is down (`links`) changes what is asked of the switches: the live configuration, and one on trial, are
compiled again without it. A controller that starts while one is down hears of it when a switch at its end connects, and
does not change switches that links join before.

A **proposed configuration** is on trial until every connected switch is synced with it. A switch that refuses, or the
deadline, withdraws it: all switches go back to the last good one, in the same order. Absent switches don't hold it up;
they get it when they connect. A switch that the proposal no longer names is emptied of what is ours.

Between rounds nobody else should change what is ours. What a read finds changed is *drift*: counted, logged, put right.

Time is an argument: seconds of any monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import networkx as nx

from portlb_app import topology
from portlb_app.compiler import compile
from portlb_app.config import Config, Link, load
from portlb_app.etag import ANY, Precondition
from portlb_app.links import HEARING, End, Links
from portlb_app.openflow import SwitchState
from portlb_app.plan import VERBS, Plan, Verb, apply, diff

INTERVAL = 30.0
"""Seconds from the end of a switch's round to the next one by the timer."""

DRAIN = 1.0
"""Seconds from the last addition or modification among switches that links join to the first deletion: Open vSwitch's
datapath goes on as it did until its flows are validated anew, half a second later at most (``max-revalidator``)."""

NO_CONFIG = Config((), (), ())
"""A configuration of nothing."""

State = Literal["absent", "reading", "applying", "synced", "error"]


# ---- values ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """What one switch shall hold. `depth`: how many links it is away from the nearest network side."""

    name: str
    state: SwitchState
    depth: int = 0


@dataclass(frozen=True, eq=False)
class Configuration:
    """A configuration's text and what it asks of each switch, by datapath id, while some of its links are `down`."""

    text: str
    targets: Mapping[int, Target]
    config: Config = NO_CONFIG
    down: frozenset[Link] = frozenset()

    @classmethod
    def of(cls, text: str) -> Configuration:
        """Load and compile a text; ConfigError with every mistake in it."""
        config = load(text)
        return cls(text, _targets(config, frozenset()), config)

    def without(self, down: frozenset[Link]) -> Configuration:
        """The same configuration while these links are down, and no others; compiled again if that is a change."""
        down = down.intersection(self.config.links)
        return self if down == self.down else replace(self, targets=_targets(self.config, down), down=down)

    @cached_property
    def ends(self) -> Mapping[Link, tuple[End, End]]:
        """Both ends of every link, as switches know them."""
        dpids = {switch.name: switch.dpid for switch in self.config.switches}
        return {
            link: ((dpids[link.one.switch], link.one.port), (dpids[link.other.switch], link.other.port))
            for link in self.config.links
        }


def _targets(config: Config, down: frozenset[Link]) -> dict[int, Target]:
    states, graph = compile(config, down), topology.of(config, down)
    return {
        switch.dpid: Target(switch.name, states[switch.name], graph.depth(switch.name)) for switch in config.switches
    }


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
class LinkStatus:
    """One configured link. `up`: it is used."""

    link: Link
    up: bool


@dataclass(frozen=True)
class Status:
    """Everything. `generation` counts configurations that became live; `unknown` are connected but not configured."""

    generation: int
    switches: tuple[SwitchStatus, ...]
    unknown: tuple[int, ...]
    links: tuple[LinkStatus, ...] = ()


# ---- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SwitchConnected:
    """A switch can be talked to; also after it was silently replaced by a new connection.

    `up`: its OpenFlow ports that are there and up; None if it has not told.
    """

    dpid: int
    up: frozenset[int] | None = None


@dataclass(frozen=True)
class SwitchDisconnected:
    """A switch is gone, with whatever was in flight."""

    dpid: int


@dataclass(frozen=True)
class PortsSeen:
    """Connected switches, by datapath id, tell anew which of their OpenFlow ports are there and up."""

    up: Mapping[int, frozenset[int]]


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
    """Somebody wants this configuration to be live before `deadline`; the Answer carries the same ticket.

    `precondition` is about the configuration that is live when this one's turn has come, not when it was sent.
    """

    ticket: int
    configuration: Configuration
    deadline: float
    precondition: Precondition = ANY


@dataclass(frozen=True)
class Tick:
    """Time passes."""


Event = SwitchConnected | SwitchDisconnected | PortsSeen | StateRead | Applied | Refused | ConfigProposed | Tick


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


@dataclass(frozen=True)
class Outdated:
    """Not tried: the live configuration is not the one that the proposal was to replace."""


Outcome = Live | RefusedBySwitches | TimedOut | Busy | Outdated


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

Turn = tuple[int, float]
"""A place in a change: turns come in their order, equal ones together."""

_FIRST: Turn = (-1, 0)
_LAST: Turn = (len(VERBS), 0)


def _turn(verb: Verb, depth: float) -> Turn:
    """When a switch so deep does this stage of its plan."""
    return VERBS.index(verb), depth if verb == "delete" else -depth


@dataclass
class _Switch:
    """What is known of one switch.

    `held`: what it holds, as it was seen and has been told since; None if it was not seen yet. `plan`: what is left to
    be done so that it holds what `aim` asks of it; None if it must be read to know. `sent`: what of the plan is in
    flight. `told`: whether it was told anything since it was last read, and what that was derived from: a read, or
    what it was thought to hold. `look`: it shall be read when nothing else is left to do.
    `changed_at`: when it was last told to add or modify something, and had done so.
    `holds_ours`: it may hold something of ours, so it is emptied before it is forgotten, whatever became of the
    configuration that named it.
    """

    dpid: int
    connected: bool = False
    in_flight: Literal["", "read", "apply"] = ""
    held: SwitchState | None = None
    plan: Plan | None = None
    aim: Configuration | None = None
    sent: Plan = Plan()
    by: Literal["read", "memory"] = "read"
    told: Literal["", "read", "memory"] = ""
    look: bool = False
    changed_at: float = -math.inf
    synced_with: Configuration | None = None
    seen: SwitchState = field(default_factory=SwitchState)
    seen_at: float | None = None
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
        self._aim = live
        self._generation = 1
        self._interval = interval
        self._switches: dict[int, _Switch] = {}
        self._links = Links()
        self._parts = _parts((live,), frozenset())
        self._links_known_at = math.inf
        self._commands: list[Command] = []
        self._now = 0.0

    @property
    def text(self) -> str:
        """The text of the live configuration."""
        return self._live.text

    @property
    def live(self) -> Configuration:
        """The live configuration, compiled for the links that work."""
        return self._live

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event at time `now`; what must be done about it."""
        self._now = now
        handlers: dict[type, Callable[..., None]] = {
            SwitchConnected: self._connected,
            SwitchDisconnected: self._disconnected,
            PortsSeen: self._ports_seen,
            StateRead: self._state_read,
            Applied: self._applied,
            Refused: self._refused,
            ConfigProposed: self._config_proposed,
            Tick: self._tick,
        }
        handlers[type(event)](event)
        self._judge_links()
        if self._aim is not self._wanted:
            self._aim_anew()
        self._accept_if_all_have_it()
        self._go_on()
        commands, self._commands = self._commands, []
        return commands

    @property
    def holding(self) -> Mapping[int, Configuration]:
        """What each switch, by datapath id, is known to hold; nothing for one that is on its way there."""
        switches = self._switches.values()
        return {each.dpid: each.synced_with for each in switches if each.synced_with is not None}

    def status(self, now: float) -> Status:
        """What a user may know about every switch and link at time `now`."""
        return Status(
            generation=self._generation,
            switches=tuple(
                self._status(self._switches.get(dpid, _Switch(dpid)), target.name, now)
                for dpid, target in sorted(self._live.targets.items(), key=lambda item: item[1].name)
            ),
            unknown=tuple(
                sorted(dpid for dpid, switch in self._switches.items() if switch.connected and not self._knows(dpid))
            ),
            links=tuple(LinkStatus(link, link not in self._links.down) for link in self._live.config.links),
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
        if switch.plan:
            return "applying"
        return "synced" if switch.synced_with is self._wanted else "reading"

    # ---- what is wanted ----

    @property
    def _wanted(self) -> Configuration:
        return self._proposed.configuration if self._proposed else self._live

    def knows(self, dpid: int) -> bool:
        """Whether a switch is in the configuration, or holds what is left of one."""
        return self._knows(dpid)

    def _knows(self, dpid: int) -> bool:
        switch = self._switches.get(dpid)
        named = dpid in self._wanted.targets or dpid in self._live.targets
        return named or (switch is not None and switch.holds_ours)

    def _desired(self, dpid: int) -> SwitchState:
        target = self._wanted.targets.get(dpid)
        return target.state if target else _NOTHING

    def _depth(self, dpid: int) -> float:
        """Links to the nearest network side; a switch that is not named any more is beyond all others."""
        target = self._wanted.targets.get(dpid)
        return target.depth if target else math.inf

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
        if event.up is not None:
            self._links.see(event.dpid, event.up)
        if self._knows(event.dpid):
            self._log("info", f"{self._name(event.dpid)} is connected")
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

    def _ports_seen(self, event: PortsSeen) -> None:
        for dpid, up in event.up.items():
            if dpid in self._switches and self._switches[dpid].connected:
                self._links.see(dpid, up)

    def _state_read(self, event: StateRead) -> None:
        switch = self._answering(event.dpid, "read")
        if switch is None:
            return
        switch.seen, switch.seen_at, switch.metered = event.state, self._now, event.metered
        if switch.told != "read":
            self._notice_drift(switch)
        obeyed = switch.told == "read" and switch.aim is self._wanted
        switch.held, switch.told, switch.look = event.state, "", False
        if not self._knows(event.dpid):
            return
        plan = self._plan(switch, by="read")
        if not plan:
            self._seen_synced(switch)
        elif obeyed:
            still = "; ".join(str(step)[:200] for step in plan.steps[:3])
            self._failed(switch, (f"took the change but still needs {len(plan.steps)} steps: {still}",))

    def _applied(self, event: Applied) -> None:
        switch = self._answering(event.dpid, "apply")
        if switch is None or switch.held is None or switch.plan is None:
            return
        switch.held = apply(switch.sent, switch.held)
        switch.plan = switch.plan.stage(*(verb for verb in switch.plan.verbs if verb not in switch.sent.verbs))
        switch.look = True
        switch.told = switch.by
        if switch.sent.verbs != ("delete",):
            switch.changed_at = self._now
        if switch.aim is not self._wanted:
            self._begin(switch)

    def _refused(self, event: Refused) -> None:
        switch = self._answering(event.dpid, "read")
        if switch is not None:
            self._failed(switch, event.errors)
            return
        switch = self._answering(event.dpid, "apply")
        if switch is None:
            return
        if switch.sent.before or switch.sent.after:
            switch.held = None  # meters are in no bundle, so some may have changed
        if switch.aim is self._wanted and switch.by == "read":
            self._failed(switch, event.errors)
        else:
            switch.plan = None

    def _config_proposed(self, event: ConfigProposed) -> None:
        if self._proposed:
            self._commands.append(Answer(event.ticket, Busy()))
        elif not event.precondition.holds(self._live.text):
            self._commands.append(Answer(event.ticket, Outdated()))
        else:
            self._proposed = event

    def _tick(self, _: Tick) -> None:
        if self._proposed and self._now >= self._proposed.deadline:
            waiting = [switch for switch in self._members() if switch.synced_with is not self._wanted]
            self._withdraw(TimedOut(tuple(sorted(self._name(switch.dpid) for switch in waiting))))
        for switch in self._members():
            if self._now >= switch.next_round:
                switch.look = True

    # ---- links ----

    def _judge_links(self) -> None:
        """Find the links that are not to be used; if they are others than before, compile without them."""
        known_at = self._now if self._links.all_heard(self._live.ends) else self._now + HEARING
        self._links_known_at = min(self._links_known_at, known_at)
        links, before = {**self._live.ends, **self._wanted.ends}, self._links.down
        down = self._links.judge(links, self._now)
        for link in sorted(down - before):
            self._log("warning", f"link {link} is down")
        for link in sorted((before - down).intersection(links)):
            self._log("info", f"link {link} works again")
        self._live = self._live.without(down)
        if self._proposed:
            configuration = self._proposed.configuration.without(down)
            if configuration is not self._proposed.configuration:
                self._proposed = replace(self._proposed, configuration=configuration)

    # ---- rounds ----

    def _forget_connection(self, switch: _Switch) -> None:
        switch.in_flight, switch.held, switch.plan, switch.aim, switch.synced_with = "", None, None, None, None
        switch.told, switch.look, switch.errors = "", False, ()
        self._links.forget(switch.dpid)

    def _answering(self, dpid: int, to: Literal["read", "apply"]) -> _Switch | None:
        """The switch whose answer this is; None for an answer nobody waits for any more."""
        switch = self._switches.get(dpid)
        if switch is None or not switch.connected or switch.in_flight != to:
            return None
        switch.in_flight = ""
        return switch

    def _aim_anew(self) -> None:
        """Something else is wanted now. Packets may still take the ways of what was wanted before."""
        self._parts = _parts((self._wanted, self._live, self._aim), self._links.down)
        self._aim = self._wanted
        for switch in self._members():
            switch.errors = ()
            if switch.in_flight != "apply":
                self._begin(switch)

    def _begin(self, switch: _Switch) -> None:
        """Begin a round: by what it is known to hold if others depend on it, else by a read."""
        if switch.dpid not in self._parts or switch.held is None or switch.plan is None:
            switch.plan = None
        elif self._plan(switch, by="memory") or switch.held is not switch.seen:
            switch.look = True
        else:
            self._synced(switch)

    def _plan(self, switch: _Switch, by: Literal["read", "memory"]) -> Plan:
        """What a switch needs, as far as it is known what it holds."""
        assert switch.held is not None
        desired = self._desired(switch.dpid)
        switch.plan = Plan() if switch.held == desired else diff(switch.held, desired)
        switch.aim, switch.by = self._wanted, by
        if switch.told:
            switch.told = by
        return switch.plan

    def _go_on(self) -> None:
        """Have every switch that is free do what has its turn."""
        turns: dict[int, list[tuple[Turn, int]]] = {}
        drained: dict[int, float] = {}
        for switch in self._members():
            part = self._parts.get(switch.dpid)
            if part is not None:
                drained[part] = max(switch.changed_at + DRAIN, drained.get(part, 0.0))
                if not switch.errors:
                    turns.setdefault(part, []).append((self._next_turn(switch), switch.dpid))
        for waiting in turns.values():
            waiting.sort()
        for switch in self._members():
            if not switch.in_flight and (switch.look or switch.plan is None or switch.plan):
                part = self._parts.get(switch.dpid, -1)
                others = next((turn for turn, dpid in turns.get(part, ()) if dpid != switch.dpid), _LAST)
                self._do_next(switch, others, drained.get(part, self._now))

    def _next_turn(self, switch: _Switch) -> Turn:
        """When a switch does what comes next for it."""
        if switch.plan is None or (switch.in_flight == "apply" and switch.aim is not self._wanted):
            return _FIRST
        return _turn(switch.plan.verbs[0], self._depth(switch.dpid)) if switch.plan else _LAST

    def _do_next(self, switch: _Switch, others: Turn, drained: float) -> None:
        """Command what comes next for a switch, unless something that others do comes before."""
        if switch.plan is None or (not switch.plan and others >= _LAST):
            switch.in_flight = "read"
            self._commands.append(ReadState(switch.dpid))
        elif verbs := [verb for verb in switch.plan.verbs if self._may(switch.dpid, verb, others, drained)]:
            switch.in_flight, switch.sent, switch.synced_with = "apply", switch.plan.stage(*verbs), None
            switch.holds_ours = True
            self._commands.append(Apply(switch.dpid, switch.sent))

    def _may(self, dpid: int, verb: Verb, others: Turn, drained: float) -> bool:
        """Whether it is a switch's turn to do a stage, and time for it."""
        if dpid in self._parts and self._now < self._links_known_at:
            return False
        return _turn(verb, self._depth(dpid)) <= others and (verb != "delete" or self._now >= drained)

    def _notice_drift(self, switch: _Switch) -> None:
        if switch.held is None or switch.held == switch.seen:
            return
        changed = len(diff(switch.seen, switch.held).steps)
        if changed:
            switch.drift += changed
            text = f"{self._name(switch.dpid)}: somebody changed {changed} of our entries; putting them right"
            self._log("warning", text)

    def _seen_synced(self, switch: _Switch) -> None:
        if switch.synced_with is not self._wanted or switch.errors:
            counts = f"{len(switch.seen.flows)} flows, {len(switch.seen.groups)} groups"
            self._log("info", f"{self._name(switch.dpid)} is synced: {counts}")
        switch.next_round = self._now + self._interval
        self._synced(switch)

    def _synced(self, switch: _Switch) -> None:
        switch.synced_with = self._wanted
        switch.holds_ours = switch.dpid in self._wanted.targets
        switch.errors = ()

    def _failed(self, switch: _Switch, errors: tuple[str, ...]) -> None:
        if not self._knows(switch.dpid):
            return
        name = self._name(switch.dpid)
        for error in errors:
            self._log("error", f"{name}: {error}")
        switch.plan, switch.told, switch.look, switch.errors = Plan(), "", False, errors
        switch.next_round = self._now + self._interval
        if self._proposed:
            self._withdraw(RefusedBySwitches({name: errors}))

    # ---- proposals ----

    def _withdraw(self, outcome: Outcome) -> None:
        assert self._proposed is not None
        self._answer(outcome)
        self._log("warning", "the proposed configuration is withdrawn; the last good one stays live")

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


def _parts(configurations: Iterable[Configuration], down: frozenset[Link]) -> dict[int, int]:
    """For every switch with a link in one of these, the number of the part it is in; no link that works joins two."""
    graph: nx.Graph[int] = nx.Graph()
    for configuration in configurations:
        for link, ((one, _), (other, _)) in configuration.ends.items():
            graph.add_nodes_from((one, other))
            if link not in down:
                graph.add_edge(one, other)
    return {dpid: number for number, part in enumerate(nx.connected_components(graph)) for dpid in part}
