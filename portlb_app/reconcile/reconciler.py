"""The reconciler brings every switch to what the configuration says and keeps it there: events in, commands out.

Theory of operation
-------------------
It is level-triggered. Whatever happens (a switch connects, a configuration is proposed, a link goes down, the timer),
the answer is the same *round* for a switch, in which one thing at most is in flight::

    ReadState ─► StateRead ─ plan ─┬─ nothing to change ─► synced
                    ▲              └─ Apply ─► Applied ─┐
                    └───────────────────────────────────┘

A switch is read before it is changed, so a controller that starts again with an unchanged configuration sends nothing.
It is read again after it was changed: "applied" then means "seen in the switch", and a switch that quietly alters what
it is told is found at once and not taken for drift later. That costs one read per change. One that has no part in a
change, and was synced before, is not read: of 100 switches a change of one pool is about a few.

**The tables are elsewhere** (`tables`): nothing here waits for anything that takes long. A configuration is loaded and
compiled on command, for the links that work; when that is done, it is the *goal*, under a number, and plans that come
with answers are plans to it. One thing is compiled at a time, and what is wanted when that is done is compiled next: of
several changes in between, only the last. Until then switches go on towards the goal there is, unless it was withdrawn.

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
hold, and has taken since, is what it holds. If that was wrong it refuses, or the read at the end shows it: then it is
read, and told once more. Two switches without links between them wait for nothing: each gets all of its plan at once.

A **link** that is down (`links`) changes what is asked of the switches: the goal is compiled again without it. A
controller that starts while one is down hears of it when a switch at its end connects, and does not change switches
that links join before.

A **proposed configuration** is on trial (`trial`) until every connected switch is synced with it. A switch that refuses
it, or is lost over it, or the deadline, withdraws it: all switches go back to the last good one, in the same order. One
that was in error already has no say, unless others depend on it. Absent switches don't hold it up; they get it when
they connect. If none is connected, nothing shows that it works: then it is refused, unless it is wanted all the same;
it is unverified until a switch has it, and if the first switch that tries refuses it, the last good one is live again.
A switch that the proposal no longer names is emptied of what is ours.

Between rounds nobody else should change what is ours. What a read finds changed is *drift*: counted, logged, put right.

Time is an argument: seconds of any monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import networkx as nx

from portlb_app.config import Config, Link
from portlb_app.openflow.messages import Port
from portlb_app.reconcile.events import (
    Answer,
    Applied,
    Apply,
    Busy,
    Command,
    Compile,
    ConfigProposed,
    Configuration,
    Event,
    Forget,
    GoalCompiled,
    Interrupted,
    LinkStatuses,
    Live,
    Load,
    Loaded,
    Log,
    LostSwitches,
    Mistaken,
    NoSwitch,
    NotComputed,
    Outcome,
    Outdated,
    PortsSeen,
    ReadState,
    Refused,
    RefusedBySwitches,
    State,
    StateRead,
    Status,
    SwitchConnected,
    SwitchDisconnected,
    SwitchStatus,
    TablesLost,
    Tick,
    TimedOut,
)
from portlb_app.reconcile.plan import VERBS, Verb
from portlb_app.reconcile.ports import PortProblem, Ports
from portlb_app.reconcile.tables import Compiled, Mistakes, Steps, Target
from portlb_app.reconcile.trial import Trial
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions
from portlb_app.topology.links import HEARING, End, Links

INTERVAL = 30.0
"""Seconds from the end of a switch's round to the next one by the timer."""

DRAIN = 1.0
"""Seconds from the last addition or modification among switches that links join to the first deletion: Open vSwitch's
datapath goes on as it did until its flows are validated anew, half a second later at most (``max-revalidator``)."""

AGAIN = 10.0
"""Seconds until what is live, and could not be compiled, is compiled again."""

KEPT = 2
"""Goals that are remembered, besides the one that is compiled: what to go back to."""

NO_TARGET = Target(0)
"""Of a switch that a configuration does not name."""


# ---- the machine -----------------------------------------------------------------------------------------------------

Turn = tuple[int, float]
"""A place in a change: turns come in their order, equal ones together."""

_FIRST: Turn = (-1, 0)
_LAST: Turn = (len(VERBS), 0)


def _turn(verb: Verb, depth: float) -> Turn:
    """When a switch so deep does this stage of its plan."""
    return VERBS.index(verb), depth if verb == "delete" else -depth


@dataclass(frozen=True, eq=False)
class _Goal:
    """What was compiled last. Number 0: nothing was."""

    number: int
    configuration: Configuration
    targets: Mapping[int, Target] = field(default_factory=dict)

    def is_for(self, wanted: Configuration) -> bool:
        """Whether it is this configuration, and under the same conditions."""
        return self.is_of(wanted) and self.configuration.conditions == wanted.conditions

    def is_of(self, wanted: Configuration) -> bool:
        """Whether it is this configuration, under whatever conditions."""
        return self.number != 0 and self.configuration.config is wanted.config


@dataclass
class _Switch:
    """What is known of one switch.

    `plan`: what is left to be done so that it holds what the goal of number `aim` asks of it; None if it must be read
    to know. `sent`: the stages of the plan that are in flight. `told`: whether it was told anything since it was last
    read, and what that was derived from: a read, or what it was thought to hold. `look`: it shall be read when nothing
    else is left to do. `changed_at`: when it was last told to add or modify something, and had done so.
    `holds_ours`: it may hold something of ours, so it is emptied before it is forgotten, whatever became of the
    configuration that named it. `problems`: what was logged last of its ports.
    """

    dpid: int
    connected: bool = False
    in_flight: Literal["", "read", "apply"] = ""
    plan: Steps | None = None
    aim: int = 0
    sent: tuple[Verb, ...] = ()
    by: Literal["read", "memory"] = "read"
    told: Literal["", "read", "memory"] = ""
    look: bool = False
    changed_at: float = -math.inf
    synced_with: int = 0
    flows: int = 0
    groups: int = 0
    meters: int = 0
    seen_at: float | None = None
    next_round: float = 0.0
    drift: int = 0
    errors: tuple[str, ...] = ()
    holds_ours: bool = False
    metered: Mapping[int, int] = field(default_factory=dict)
    problems: tuple[PortProblem, ...] = ()


class Reconciler:
    """Feed it every event with the time it happened, and carry out the commands it returns, in order."""

    def __init__(self, live: Configuration, compiled: Compiled, interval: float = INTERVAL) -> None:
        self._live = live
        self._last_good: Configuration | None = None
        self._verified = False
        self._trial: Trial | None = None
        self._goal = _Goal(compiled.goal, live, compiled.targets)
        self._compiling: _Goal | None = None
        self._kept: list[_Goal] = [self._goal]
        self._numbers = compiled.goal
        self._compile_at = -math.inf
        self._problem = ""
        self._generation = 1
        self._interval = interval
        self._switches: dict[int, _Switch] = {}
        self._links = Links()
        self._conditions = AS_CONFIGURED
        self._ports = Ports()
        self._ports.adopt(live.config)
        self._parts = _parts((live,), AS_CONFIGURED)
        self._links_known_at = math.inf
        self._ends_of: tuple[tuple[Config, Config], Mapping[Link, tuple[End, End]]] | None = None
        self._commands: list[Command] = []
        self._now = 0.0

    @property
    def text(self) -> str:
        """The text of the live configuration."""
        return self._live.text

    @property
    def live(self) -> Configuration:
        """The live configuration, for the links that work."""
        return self._live

    @property
    def is_busy(self) -> bool:
        """A configuration is on trial: another one would not be tried."""
        return self._trial is not None

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
            Interrupted: self._interrupted,
            ConfigProposed: self._config_proposed,
            Loaded: self._loaded,
            GoalCompiled: self._goal_compiled,
            TablesLost: self._tables_lost,
            Tick: self._tick,
        }
        handlers[type(event)](event)
        self._judge_links()
        self._judge_ports()
        self._aim()
        self._accept_if_all_have_it()
        self._aim()
        self._go_on()
        commands, self._commands = self._commands, []
        return commands

    @property
    def holding(self) -> Mapping[int, Configuration]:
        """What each switch, by datapath id, is known to hold; nothing for one that is on its way there."""
        return {each.dpid: self._goal.configuration for each in self._switches.values() if self._has_goal(each)}

    def status(self, now: float) -> Status:
        """What a user may know about every switch and link at time `now`."""
        return Status(
            generation=self._generation,
            switches=tuple(
                self._status(self._switches.get(dpid, _Switch(dpid)), name, now)
                for dpid, name in sorted(self._live.names.items(), key=lambda item: item[1])
            ),
            unknown=tuple(
                sorted(dpid for dpid, switch in self._switches.items() if switch.connected and not self._knows(dpid))
            ),
            links=LinkStatuses(
                self._live.config.links, {link: self._links.hold(link, now) for link in self._conditions.links_down}
            ),
            verified=self._verified,
            problem=self._problem,
        )

    def _status(self, switch: _Switch, name: str, now: float) -> SwitchStatus:
        return SwitchStatus(
            name=name,
            dpid=switch.dpid,
            state=self._state(switch),
            flows=switch.flows,
            groups=switch.groups,
            meters=switch.meters,
            drift=switch.drift,
            errors=switch.errors,
            read_age=None if switch.seen_at is None else now - switch.seen_at,
            metered=switch.metered,
            ports=self._ports.problems(switch.dpid) if switch.connected else (),
        )

    def _state(self, switch: _Switch) -> State:
        if not switch.connected:
            return "absent"
        if switch.errors:
            return "error"
        if switch.plan:
            return "applying"
        return "synced" if self._has_goal(switch) else "reading"

    def _has_goal(self, switch: _Switch) -> bool:
        return switch.synced_with == self._goal.number != 0

    # ---- what is wanted ----

    @property
    def _proposed(self) -> Configuration | None:
        return self._trial.configuration if self._trial else None

    @property
    def _wanted(self) -> Configuration:
        return self._proposed or self._live

    def knows(self, dpid: int) -> bool:
        """Whether a switch is in the configuration, or holds what is left of one."""
        return self._knows(dpid)

    def _knows(self, dpid: int) -> bool:
        switch = self._switches.get(dpid)
        named = dpid in self._wanted.names or dpid in self._live.names
        return named or (switch is not None and switch.holds_ours)

    def _depth(self, dpid: int) -> float:
        """Links to the nearest network side; a switch that is not named any more is beyond all others."""
        target = self._goal.targets.get(dpid)
        return target.depth if target else math.inf

    def _name(self, dpid: int) -> str:
        return self._wanted.names.get(dpid) or self._live.names.get(dpid) or f"{dpid:#x}"

    def _members(self) -> list[_Switch]:
        return [switch for dpid, switch in self._switches.items() if switch.connected and self._knows(dpid)]

    def _aim(self) -> None:
        """Have what is wanted compiled, unless something is."""
        wanted = self._wanted
        if self._goal.is_for(wanted) or self._compiling or self._now < self._compile_at:
            return
        known = next((goal for goal in self._kept if goal.is_for(wanted)), None)
        if known is None:
            self._numbers += 1
            known = _Goal(self._numbers, wanted)
        self._compiling = known
        self._kept = [goal for goal in self._kept if goal.is_of(self._live) or goal.is_of(wanted)][-KEPT:]
        numbers = frozenset(goal.number for goal in self._kept)
        self._commands.append(Compile(known.number, wanted.text, wanted.conditions, numbers))

    def _goal_compiled(self, event: GoalCompiled) -> None:
        """Something else is the goal now. Packets may still take the ways of what was the goal before."""
        compiling, self._compiling = self._compiling, None
        if compiling is None or compiling.number != event.goal:
            return
        if isinstance(event.compiled, Mistakes):
            self._not_compiled(compiling, Mistaken(event.compiled), str(event.compiled))
            return
        before, self._goal = self._goal, _Goal(event.goal, compiling.configuration, event.compiled.targets)
        self._kept = [*(goal for goal in self._kept if goal.number != event.goal), self._goal]
        if self._problem and self._goal.is_for(self._live):
            self._problem = ""
        self._parts = _parts((self._goal.configuration, self._live, before.configuration), self._conditions)
        plans = event.compiled.plans
        self._begin_trial(plans)
        for switch in self._members():
            switch.errors = ()
            if switch.in_flight != "apply":
                self._begin(switch, plans.get(switch.dpid))

    def _not_compiled(self, goal: _Goal, outcome: Outcome, reason: str) -> None:
        """A proposal is withdrawn over it. What is live is what switches hold; another goal is tried again later."""
        if self._trial and goal.is_for(self._wanted):
            self._withdraw(outcome)
        elif goal.is_for(self._live):
            self._problem = f"the live configuration cannot be compiled for the links that work: {reason}"
            self._log("error", f"{self._problem}; trying again in {AGAIN:g} s")
            self._compile_at = self._now + AGAIN

    def _tables_lost(self, event: TablesLost) -> None:
        """Everything must be compiled and read again."""
        self._log("error", f"the process with the tables has ended, another one begins: {event.reason}")
        if self._compiling and self._compiling.is_of(self._live):
            self._compile_at = self._now + AGAIN
        self._compiling, self._kept = None, []
        self._goal = replace(self._goal, number=0)
        for switch in self._switches.values():
            switch.plan, switch.told, switch.synced_with = None, "", 0
        if self._trial:
            self._withdraw(NotComputed(event.reason))

    # ---- switches ----

    def _connected(self, event: SwitchConnected) -> None:
        switch = self._switches.setdefault(event.dpid, _Switch(event.dpid))
        if switch.connected:
            self._lost(switch)
        self._forget_connection(switch)
        switch.connected = True
        if event.ports is not None:
            self._see_ports(event.dpid, event.ports)
        if self._knows(event.dpid):
            self._log("info", f"{self._name(event.dpid)} is connected")
            if self._trial:
                self._trial.joined(event.dpid, self._now, self._goal.targets.get(event.dpid, NO_TARGET).entries)
        else:
            self._log("warning", f"switch {event.dpid:#x} is not in the configuration and left alone")

    def _disconnected(self, event: SwitchDisconnected) -> None:
        switch = self._switches.get(event.dpid)
        if switch is None or not switch.connected:
            return
        self._forget_connection(switch)
        switch.connected = False
        self._log("warning", f"{self._name(event.dpid)} is disconnected")
        self._lost(switch)
        if not self._knows(event.dpid):
            del self._switches[event.dpid]

    def _lost(self, switch: _Switch) -> None:
        """A switch that has a say in a trial and is lost over it withdraws it."""
        if self._trial and self._trial.counts(switch.dpid):
            self._withdraw(LostSwitches((self._name(switch.dpid),)))

    def _ports_seen(self, event: PortsSeen) -> None:
        for dpid, ports in event.ports.items():
            if dpid in self._switches and self._switches[dpid].connected:
                self._see_ports(dpid, ports)

    def _see_ports(self, dpid: int, ports: Mapping[int, Port]) -> None:
        self._links.see(dpid, frozenset(number for number, port in ports.items() if port.up))
        self._ports.see(dpid, ports)

    def _state_read(self, event: StateRead) -> None:
        switch = self._answering(event.dpid, "read")
        if switch is None:
            return
        read = event.read
        switch.flows, switch.groups, switch.meters, switch.metered = read.flows, read.groups, read.meters, read.metered
        switch.seen_at = self._now
        if switch.told != "read" and read.drift:
            switch.drift += read.drift
            text = f"{self._name(switch.dpid)}: somebody changed {read.drift} of our entries; putting them right"
            self._log("warning", text)
        obeyed = switch.told == "read" and switch.aim == read.goal
        switch.told, switch.look = "", False
        if not self._knows(event.dpid):
            return
        if read.goal != self._goal.number:
            switch.plan = None
            return
        switch.plan, switch.aim, switch.by = read.plan, read.goal, "read"
        if read.surplus:
            self._log("warning", f"{self._name(switch.dpid)} has {read.surplus} that nothing asks for: to be removed")
        if read.foreign:
            text = f"{read.foreign} of somebody else, whose numbers are needed: to be overwritten"
            self._log("warning", f"{self._name(switch.dpid)} has {text}")
        if not read.plan:
            self._seen_synced(switch)
        elif obeyed:
            still = "; ".join(read.plan.first)
            self._failed(switch, (f"took the change but still needs {read.plan.count} steps: {still}",))

    def _applied(self, event: Applied) -> None:
        switch = self._answering(event.dpid, "apply")
        if switch is None or switch.plan is None:
            return
        switch.look = True
        switch.told = switch.by
        if switch.sent != ("delete",):
            switch.changed_at = self._now
        if event.told.goal != self._goal.number:
            switch.plan = None
        elif switch.aim == event.told.goal:
            switch.plan = event.told.plan
        else:
            self._begin(switch, event.told.plan)

    def _refused(self, event: Refused) -> None:
        switch = self._answering(event.dpid, "read")
        if switch is not None:
            self._failed(switch, event.errors)
            return
        switch = self._answering(event.dpid, "apply")
        if switch is None:
            return
        if switch.aim == self._goal.number and switch.by == "read":
            self._failed(switch, event.errors)
        else:
            switch.plan = None

    def _interrupted(self, event: Interrupted) -> None:
        """What it holds is not known any more."""
        switch = self._answering(event.dpid, "read") or self._answering(event.dpid, "apply")
        if switch is not None:
            switch.plan, switch.told = None, ""

    def _tick(self, _: Tick) -> None:
        if self._trial and self._trial.is_over(self._now, self._compiling is not None):
            waiting = [self._name(each.dpid) for each in self._lacking() if not self._trial.excuses(each.dpid)]
            if waiting:
                self._withdraw(TimedOut(tuple(sorted(waiting)), self._trial.seconds))
            else:
                self._accept()
        for switch in self._members():
            if self._now >= switch.next_round:
                switch.look = True

    # ---- links and ports ----

    def _judge_links(self) -> None:
        """Find the links that are not to be used; if they are others than before, something else is wanted."""
        if self._now < self._links_known_at:
            known_at = self._now if self._links.all_heard(self._live.ends) else self._now + HEARING
            self._links_known_at = min(self._links_known_at, known_at)
        links, before = self._ends(), self._conditions.links_down
        down = self._links.judge(links, self._now)
        for link in sorted(down - before):
            hold = self._links.hold(link, self._now)
            again = f"; it will be used again when it has been up for {hold:.1f} s" if hold > 2 else ""
            self._log("warning", f"link {link} is down{again}")
        for link in sorted((before - down).intersection(links)):
            self._log("info", f"link {link} works again")
        self._conditions = Conditions(links_down=down)
        self._live = self._live.under(self._conditions)
        if self._trial and self._trial.configuration:
            self._trial.configuration = self._trial.configuration.under(self._conditions)

    def _ends(self) -> Mapping[Link, tuple[End, End]]:
        """Both ends of every link that is or shall be: the same object until the configurations are others."""
        configs = self._live.config, self._wanted.config
        if self._ends_of is None or any(one is not other for one, other in zip(configs, self._ends_of[0], strict=True)):
            self._ends_of = configs, {**self._live.ends, **self._wanted.ends}
        return self._ends_of[1]

    def _judge_ports(self) -> None:
        """Log what is wrong with the ports of the live configuration, once a change."""
        for dpid in self._live.names:
            switch = self._switches.get(dpid)
            if switch is None or not switch.connected:
                continue
            problems = self._ports.problems(dpid)
            if problems is switch.problems or problems == switch.problems:
                continue
            name = self._name(dpid)
            for problem in problems:
                if problem not in switch.problems:
                    self._log("warning", f"{name}: {problem}")
            for number in {each.number for each in switch.problems} - {each.number for each in problems}:
                self._log("info", f"{name}: port {number} is as it should be")
            switch.problems = problems

    # ---- rounds ----

    def _forget_connection(self, switch: _Switch) -> None:
        switch.in_flight, switch.plan, switch.aim, switch.synced_with = "", None, 0, 0
        switch.told, switch.look, switch.errors = "", False, ()
        self._links.forget(switch.dpid)
        self._ports.forget(switch.dpid)
        self._commands.append(Forget(switch.dpid))

    def _answering(self, dpid: int, to: Literal["read", "apply"]) -> _Switch | None:
        """The switch whose answer this is; None for an answer nobody waits for any more."""
        switch = self._switches.get(dpid)
        if switch is None or not switch.connected or switch.in_flight != to:
            return None
        switch.in_flight = ""
        if self._trial:
            self._trial.progressed(dpid, self._now)
        return switch

    def _begin(self, switch: _Switch, plan: Steps | None) -> None:
        """Begin a round: by what it is known to hold if others depend on it, or nothing changes; else by a read."""
        is_linked = switch.dpid in self._parts
        if plan is None or switch.plan is None or not (is_linked or (not plan and switch.synced_with)):
            switch.plan = None
            return
        switch.plan, switch.aim, switch.by = plan, self._goal.number, "memory"
        if switch.told:
            switch.told = "memory"
        if plan or switch.told:
            switch.look = True
        else:
            self._synced(switch)

    def _go_on(self) -> None:
        """Have every switch that is free do what has its turn; nothing for a goal that was withdrawn."""
        if not self._goal.is_of(self._live) and not self._goal.is_of(self._wanted):
            return
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
        if switch.plan is None or (switch.in_flight == "apply" and switch.aim != self._goal.number):
            return _FIRST
        return _turn(switch.plan.verbs[0], self._depth(switch.dpid)) if switch.plan else _LAST

    def _do_next(self, switch: _Switch, others: Turn, drained: float) -> None:
        """Command what comes next for a switch, unless something that others do comes before."""
        if switch.plan is None or (not switch.plan and others >= _LAST):
            switch.in_flight = "read"
            self._commands.append(ReadState(switch.dpid))
        elif verbs := [verb for verb in switch.plan.verbs if self._may(switch.dpid, verb, others, drained)]:
            switch.in_flight, switch.sent, switch.synced_with = "apply", tuple(verbs), 0
            switch.holds_ours = True
            self._commands.append(Apply(switch.dpid, switch.sent))

    def _may(self, dpid: int, verb: Verb, others: Turn, drained: float) -> bool:
        """Whether it is a switch's turn to do a stage, and time for it."""
        if dpid in self._parts and self._now < self._links_known_at:
            return False
        return _turn(verb, self._depth(dpid)) <= others and (verb != "delete" or self._now >= drained)

    def _seen_synced(self, switch: _Switch) -> None:
        if not self._has_goal(switch) or switch.errors:
            counts = f"{switch.flows} flows, {switch.groups} groups"
            self._log("info", f"{self._name(switch.dpid)} is synced: {counts}")
        switch.next_round = self._now + self._interval
        self._synced(switch)

    def _synced(self, switch: _Switch) -> None:
        switch.synced_with = self._goal.number
        switch.holds_ours = switch.dpid in self._goal.targets
        switch.errors = ()
        if self._goal.is_of(self._live) and switch.holds_ours:
            self._verify()

    def _verify(self) -> None:
        if not self._verified:
            self._log("info", f"configuration {self._generation} is verified: a switch has it")
        self._verified, self._last_good = True, None

    def _failed(self, switch: _Switch, errors: tuple[str, ...]) -> None:
        if not self._knows(switch.dpid):
            return
        name = self._name(switch.dpid)
        for error in errors:
            self._log("error", f"{name}: {error}")
        switch.plan, switch.told, switch.look, switch.errors, switch.synced_with = Steps(), "", False, errors, 0
        switch.next_round = self._now + self._interval
        if self._trial and self._trial.counts(switch.dpid):
            self._withdraw(RefusedBySwitches({name: errors}))
        elif self._last_good and not self._verified and not self._trial:
            self._fall_back(name)

    # ---- proposals ----

    def _config_proposed(self, event: ConfigProposed) -> None:
        if self._trial:
            self._commands.append(Answer(event.ticket, Busy()))
        elif not event.precondition.holds(self._live.text):
            self._commands.append(Answer(event.ticket, Outdated()))
        else:
            self._trial = Trial(event)
            self._commands.append(Load(event.ticket, event.text))

    def _loaded(self, event: Loaded) -> None:
        if self._trial is None or self._trial.ticket != event.ticket:
            return
        if isinstance(event.loaded, Mistakes):
            self._withdraw(Mistaken(event.loaded))
        else:
            self._trial.configuration = Configuration(self._trial.text, event.loaded)

    def _begin_trial(self, plans: Mapping[int, Steps]) -> None:
        """The proposal is the goal now: whoever is connected has a say in it, but for who is in error already.

        If it was the goal before, for other links, there is other work.
        """
        trial = self._trial
        if trial is None or trial.configuration is None or not self._goal.is_for(self._wanted):
            return
        members = self._members()
        if trial.has_begun:
            voters = [switch.dpid for switch in members if trial.counts(switch.dpid)]
            trial.compiled_anew(self._now, *self._work(voters, plans))
            return
        if not any(switch.dpid in self._goal.targets for switch in members) and not trial.unverified:
            self._withdraw(NoSwitch())
            return
        excused = {switch.dpid for switch in members if switch.errors and not self._is_needed(switch, plans)}
        if len(excused) == len(members):
            excused = set()
        voters = [switch.dpid for switch in members if switch.dpid not in excused]
        trial.begin(voters, excused, self._now, *self._work(voters, plans))

    def _work(self, dpids: Iterable[int], plans: Mapping[int, Steps]) -> tuple[int, int]:
        """How many messages these switches must be told, and how many entries read from them, to have the goal."""
        messages = entries = 0
        for dpid in dpids:
            target = self._goal.targets.get(dpid, NO_TARGET)
            messages += plans[dpid].count if dpid in plans else target.entries
            entries += target.entries
        return messages, entries

    def _is_needed(self, switch: _Switch, plans: Mapping[int, Steps]) -> bool:
        """Whether the proposal changes switches that links join to this one, which is in error."""
        part = self._parts.get(switch.dpid)
        others = (dpid for dpid, number in self._parts.items() if number == part and dpid != switch.dpid)
        return part is not None and any(plans.get(dpid, True) for dpid in others if self._is_connected(dpid))

    def _is_connected(self, dpid: int) -> bool:
        return dpid in self._switches and self._switches[dpid].connected

    def _lacking(self) -> list[_Switch]:
        """The switches that a trial waits for: one that has no say until it was told, too."""
        assert self._trial is not None
        if not self._goal.is_for(self._wanted):
            return self._members()
        lacking = [switch for switch in self._members() if not self._has_goal(switch)]
        return [each for each in lacking if not (each.errors and self._trial.excuses(each.dpid))]

    def _withdraw(self, outcome: Outcome) -> None:
        assert self._trial is not None
        began = self._trial.has_begun
        self._answer(outcome)
        if began:
            self._log("warning", "the proposed configuration is withdrawn; the last good one stays live")

    def _accept_if_all_have_it(self) -> None:
        if self._trial and self._trial.has_begun and self._goal.is_for(self._wanted) and not self._lacking():
            self._accept()

    def _accept(self) -> None:
        trial = self._trial
        assert trial is not None and trial.configuration is not None
        verified = any(self._has_goal(switch) and switch.dpid in self._goal.targets for switch in self._members())
        if not verified and not trial.unverified:
            self._withdraw(NoSwitch())
            return
        if self._verified:
            self._last_good = self._live
        self._live, self._verified = trial.configuration, verified
        if verified:
            self._last_good = None
        self._generation += 1
        self._ports.adopt(self._live.config)
        self._answer(Live(verified))
        what = "is live" if verified else "is live, but unverified: no switch is connected that has it"
        self._log("info" if verified else "warning", f"configuration {self._generation} {what}")

    def _fall_back(self, name: str) -> None:
        """The first switch that tried it refuses what was never verified."""
        assert self._last_good is not None
        text = f"{name} refuses configuration {self._generation}, which no switch has verified"
        self._log("error", f"{text}; the last good one is live again, the file is left as it is")
        self._live, self._last_good, self._verified = self._last_good.under(self._conditions), None, True
        self._generation += 1
        self._ports.adopt(self._live.config)

    def _answer(self, outcome: Outcome) -> None:
        assert self._trial is not None
        self._commands.append(Answer(self._trial.ticket, outcome))
        self._trial = None

    def _log(self, level: Literal["info", "warning", "error"], text: str) -> None:
        self._commands.append(Log(level, text))


def _parts(configurations: Iterable[Configuration], conditions: Conditions) -> dict[int, int]:
    """For every switch with a link in one of these, the number of the part it is in; no link that works joins two."""
    graph: nx.Graph[int] = nx.Graph()
    for configuration in configurations:
        for link, ((one, _), (other, _)) in configuration.ends.items():
            graph.add_nodes_from((one, other))
            if link not in conditions.links_down:
                graph.add_edge(one, other)
    return {dpid: number for number, part in enumerate(nx.connected_components(graph)) for dpid in part}
