"""What switches shall hold, and what they hold: the large values, and everything that is made of them.

They live in a process of their own (`tables_worker`), because at the size of a large network each of these jobs takes
seconds: the loop, which talks with switches and users, sends a job and goes on. It gets back small values only: how
many steps a switch needs and of which kinds, how much drift there is, and, when a switch is to be told something, the
messages as bytes. So what the loop's process holds does not grow with the tables.

A *goal* is a configuration compiled under some conditions; the loop numbers it. Jobs are done one after the other; an
answer is about the goal that was compiled last; it says which that was.

Pure: a job is a method, and the bytes of switches are read and written by a `Codec`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from portlb_app import compiler, config, topology
from portlb_app.compiler.memo import Memo
from portlb_app.config import Config, ConfigError, Problem
from portlb_app.openflow import Flow, Group, Meter, SwitchState
from portlb_app.openflow.limits import FLOWS, GROUPS, METERS, WHILE_CHANGED
from portlb_app.pipeline import is_ours
from portlb_app.reconcile.plan import Plan, Step, Verb, apply, diff
from portlb_app.topology.conditions import Conditions

SHOWN = 3
"""Steps of a plan that are told as text."""
SHOWN_NUMBERS = 10
"""Numbers of groups, and of meters, that are told as text."""

Kind = Literal["flows", "groups", "meters", "metered"]
"""What a description from a switch is about; ``metered``: how many packets meters have dropped."""


# ---- answers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mistakes:
    """A text is no configuration, or one whose tables cannot be."""

    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


@dataclass(frozen=True)
class Steps:
    """A plan as the loop knows it; empty (false) means converged. `first`: its first steps as text."""

    verbs: tuple[Verb, ...] = ()
    count: int = 0
    first: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.verbs)

    @classmethod
    def of(cls, plan: Plan) -> Steps:
        """What there is to know about a plan."""
        return cls(plan.verbs, len(plan.steps), tuple(str(step)[:200] for step in plan.steps[:SHOWN]))


@dataclass(frozen=True)
class Target:
    """What one switch shall hold: how many `entries`. `depth`: links from it to the nearest network side."""

    entries: int
    depth: int = 0


@dataclass(frozen=True)
class Compiled:
    """A goal. `plans`: what each switch that was read since it connected lacks, by what it should hold by now."""

    goal: int
    targets: Mapping[int, Target]
    plans: Mapping[int, Steps] = field(default_factory=dict)


@dataclass(frozen=True)
class Entries:
    """Some entries of a switch: how many flows, and the numbers of groups and meters."""

    flows: int = 0
    groups: tuple[int, ...] = ()
    meters: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.flows or self.groups or self.meters)

    def __str__(self) -> str:
        words = [f"{self.flows} flow{'s' * (self.flows != 1)}"] if self.flows else []
        for noun, numbers in (("group", self.groups), ("meter", self.meters)):
            if numbers:
                named = ", ".join(map(hex, numbers[:SHOWN_NUMBERS])) + ", …" * (len(numbers) > SHOWN_NUMBERS)
                words.append(f"{noun}{'s' * (len(numbers) != 1)} {named}")
        return " and ".join(words)

    @classmethod
    def of(cls, whats: Sequence[Flow | Group | Meter]) -> Entries:
        """What there is to know about some entries."""
        return cls(
            sum(isinstance(each, Flow) for each in whats),
            tuple(each.number for each in whats if isinstance(each, Group)),
            tuple(each.number for each in whats if isinstance(each, Meter)),
        )


@dataclass(frozen=True)
class Read:
    """What a switch holds: counts, what of it is not as it was left (`drift`), and the plan to the goal.

    `surplus`: what the plan removes, and the switch was not told since it connected. `foreign`: groups and meters
    without our mark that the plan overwrites, because it needs their numbers.
    """

    flows: int
    groups: int
    meters: int
    drift: int
    plan: Steps
    goal: int
    metered: Mapping[int, int] = field(default_factory=dict)
    surplus: Entries = Entries()
    foreign: Entries = Entries()


@dataclass(frozen=True)
class Told:
    """A switch has taken what it was sent: what is left of the plan to the goal."""

    plan: Steps
    goal: int


@dataclass(frozen=True)
class Parts:
    """How many messages a stage of a plan has: meters that come, the bundle, meters that leave."""

    before: int
    bundle: int
    after: int


class Unreadable(Exception):
    """A switch tells what cannot be; str() says what."""


class Unknown(Exception):
    """Nothing is known of this switch: it must be read first."""


class Codec(Protocol):
    """Between values and OpenFlow messages."""

    def decode(self, kind: Kind, message: bytes) -> Iterable[Flow | Group | Meter | tuple[int, int]]:
        """What of ours is in a multipart reply (7.3.5); Unreadable."""

    def encode(self, steps: Sequence[Step], xid: int, bundle: int | None) -> bytes:
        """The messages of steps, with xids from this one on, as they are or as additions to a bundle."""


# ---- the jobs --------------------------------------------------------------------------------------------------------


def compiled(
    configuration: Config, conditions: Conditions, memo: Memo | None = None
) -> dict[int, tuple[Target, SwitchState]]:
    """What every switch shall hold under these conditions, by datapath id."""
    states, graph = compiler.compile(configuration, conditions, memo), topology.of(configuration, conditions.links_down)
    made = {}
    for switch in configuration.switches:
        state = states[switch.name]
        entries = len(state.flows) + len(state.groups) + len(state.meters)
        made[switch.dpid] = Target(entries, graph.depth(switch.name)), state
    return made


@dataclass
class _Switch:
    """`held`: what it holds, as it was read and has taken since. `reading`: what came so far of what it holds.

    `plan`: what is left so that it holds what the goal asks; `sent`: stages that are on their way, and whether they are
    of that plan (`sent_of_plan`), or of one that was made before.
    """

    held: SwitchState | None = None
    plan: Plan = Plan()
    sent: Plan = Plan()
    sent_of_plan: bool = False
    flows: set[Flow] = field(default_factory=set)
    groups: set[Group] = field(default_factory=set)
    meters: set[Meter] = field(default_factory=set)
    metered: dict[int, int] = field(default_factory=dict)


class Tables:
    """The jobs. `load` and `compile` are arguments so that tests can have small networks."""

    def __init__(
        self,
        codec: Codec,
        load: Callable[[str], Config] = config.load,
        compile: Callable[[Config, Conditions], dict[int, tuple[Target, SwitchState]]] | None = None,  # noqa: A002
    ) -> None:
        self._codec = codec
        self._load = load
        self._compile = compile or functools.partial(compiled, memo=Memo())
        self._loaded: dict[str, Config] = {}
        self._goals: dict[int, dict[int, tuple[Target, SwitchState]]] = {}
        self._goal = 0
        self._switches: dict[int, _Switch] = {}

    # ---- configurations ----

    def load(self, text: str) -> Config | Mistakes:
        """Read and check a text."""
        try:
            loaded = self._load(text)
        except ConfigError as error:
            return Mistakes(error.errors)
        self._loaded = {text: loaded, **{each: known for each, known in list(self._loaded.items())[:1] if each != text}}
        return loaded

    def compile(self, goal: int, text: str, conditions: Conditions, keep: Collection[int]) -> Compiled | Mistakes:
        """Make this the goal, and compile it if it is none of those that are kept. All others are forgotten."""
        kept = {number: made for number, made in self._goals.items() if number in keep}
        if goal not in kept:
            loaded = self._loaded.get(text) or self.load(text)
            if isinstance(loaded, Mistakes):
                return loaded
            try:
                kept[goal] = self._compile(loaded, conditions)
            except ConfigError as error:
                return Mistakes(error.errors)
        self._goals, self._goal = kept, goal
        targets = {dpid: target for dpid, (target, _) in kept[goal].items()}
        plans = {}
        for dpid, switch in self._switches.items():
            if switch.held is not None:
                plans[dpid] = self._planned(dpid, switch, switch.held)
        return Compiled(goal, targets, plans)

    def _planned(self, dpid: int, switch: _Switch, held: SwitchState) -> Steps:
        switch.plan, switch.sent_of_plan = diff(held, self._desired(dpid)), False
        return Steps.of(switch.plan)

    def _desired(self, dpid: int) -> SwitchState:
        return self._goals.get(self._goal, {}).get(dpid, (None, SwitchState()))[1]

    # ---- what switches hold ----

    def forget(self, dpid: int) -> None:
        """A switch is gone, or another connection took its place."""
        self._switches.pop(dpid, None)

    def begin(self, dpid: int) -> None:
        """A switch is about to tell what it holds."""
        switch = self._switches.setdefault(dpid, _Switch())
        switch.flows, switch.groups, switch.meters, switch.metered = set(), set(), set(), {}

    def read(self, dpid: int, kind: Kind, messages: Iterable[bytes]) -> int:
        """Multipart replies came. How many entries of this kind there are by now; Unreadable."""
        switch = self._known(dpid)
        held: dict[str, tuple[set[Flow] | set[Group] | set[Meter] | dict[int, int], int]] = {
            "flows": (switch.flows, FLOWS),
            "groups": (switch.groups, GROUPS),
            "meters": (switch.meters, METERS),
            "metered": (switch.metered, METERS),
        }
        entries, limit = held[kind]
        for message in messages:
            entries.update(self._codec.decode(kind, message))  # type: ignore[arg-type]
            if len(entries) > limit * WHILE_CHANGED:
                raise Unreadable(f"more than {limit * WHILE_CHANGED} {kind}")
        return len(entries)

    def end(self, dpid: int) -> Read:
        """It has told everything."""
        switch = self._known(dpid)
        seen = SwitchState(frozenset(switch.flows), frozenset(switch.groups), frozenset(switch.meters))
        metered = switch.metered
        self.begin(dpid)
        return self.see(dpid, seen, metered)

    def see(self, dpid: int, seen: SwitchState, metered: Mapping[int, int] | None = None) -> Read:
        """This is what a switch holds."""
        switch = self._switches.setdefault(dpid, _Switch())
        before = switch.held
        drift = 0 if before is None else len(diff(seen, before).steps)
        switch.held = seen
        plan = self._planned(dpid, switch, seen)
        surplus, foreign = _surplus(switch.plan, before), _foreign(switch.plan, seen)
        if not plan and seen == (desired := self._desired(dpid)):
            switch.held = desired  # once in memory, and the next plan compares the same objects
        counts = len(seen.flows), len(seen.groups), len(seen.meters)
        return Read(*counts, drift, plan, self._goal, metered or {}, surplus, foreign)

    # ---- what switches are told ----

    def prepare(self, dpid: int, verbs: Collection[Verb]) -> Parts:
        """The stages of these verbs are what a switch is told next."""
        switch = self._known(dpid)
        stage = switch.plan.stage(*verbs)
        switch.sent, switch.sent_of_plan = Plan((*stage.before, *stage.bundle, *stage.after)), True
        return Parts(len(stage.before), len(stage.bundle), len(stage.after))

    def encode(self, dpid: int, first: int, number: int, xid: int, bundle: int | None) -> bytes:
        """So many of its messages from the first on, with xids from this one on."""
        return self._codec.encode(self._known(dpid).sent.steps[first : first + number], xid, bundle)

    def told(self, dpid: int) -> Told:
        """A switch has taken all of what was prepared."""
        switch = self._known(dpid)
        if switch.held is None:
            raise Unknown
        switch.held = apply(switch.sent, switch.held)
        if switch.sent_of_plan:
            done = switch.sent.verbs
            switch.plan = switch.plan.stage(*(verb for verb in switch.plan.verbs if verb not in done))
            return Told(Steps.of(switch.plan), self._goal)
        return Told(self._planned(dpid, switch, switch.held), self._goal)

    def refused(self, dpid: int, numbers: Iterable[int]) -> tuple[str, ...]:
        """A switch refused the steps of these numbers, so all of the bundle; the steps as text.

        Meters are in no bundle: with some among the steps, what it holds is not known any more.
        """
        switch = self._known(dpid)
        steps = switch.sent.steps
        if switch.sent.before or switch.sent.after:
            switch.held = None
        return tuple(_text(steps[number]) for number in numbers if number < len(steps))

    def _known(self, dpid: int) -> _Switch:
        if dpid not in self._switches:
            raise Unknown
        return self._switches[dpid]


def _surplus(plan: Plan, before: SwitchState | None) -> Entries:
    """What a plan removes, but for what the switch held before it was read."""
    before = before or SwitchState()
    known = (before.flows, before.groups, before.meters)
    removed = [step.what for step in plan.steps if step.verb == "delete"]
    return Entries.of([what for what in removed if not any(what in held for held in known)])


def _foreign(plan: Plan, seen: SwitchState) -> Entries:
    """Groups and meters that a plan changes, and that lack our mark."""
    changed = [step.what for step in plan.steps if step.verb == "modify"]
    held: list[Group | Meter] = [
        *(seen.group_by_number[what.number] for what in changed if isinstance(what, Group)),
        *(seen.meter_by_number[what.number] for what in changed if isinstance(what, Meter)),
    ]
    return Entries.of([what for what in held if not is_ours(what)])


def _text(step: Step) -> str:
    text = str(step.what)
    return f"{step.verb} {step.noun} {text if len(text) <= 300 else text[:300] + '…'}"
