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
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from portlb_app import config
from portlb_app.compiler.held import counted_groups, held_slots
from portlb_app.compiler.memo import Memo
from portlb_app.compiler.traffic import Traffic
from portlb_app.config import Config, ConfigError
from portlb_app.config.editing import patched
from portlb_app.explain import PacketError, explain
from portlb_app.openflow import Flow, Group, Meter, SwitchState
from portlb_app.pipeline import SLOTS
from portlb_app.reconcile import entries
from portlb_app.reconcile.entries import Entries
from portlb_app.reconcile.foreign import Comparison
from portlb_app.reconcile.passed import Counters
from portlb_app.reconcile.plan import Plan, Step, Verb, apply, diff
from portlb_app.reconcile.preview import Preview, Situation, SwitchPreview, pool_previews
from portlb_app.reconcile.reading import Reading, Told
from portlb_app.reconcile.results import (
    MAX_COUNTED,
    Compiled,
    Counted,
    FlowCount,
    Kind,
    MessageCounts,
    Mistakes,
    Passed,
    Read,
    Remaining,
    Steps,
    Target,
    Unknown,
)
from portlb_app.reconcile.surplus import foreign_entries, surplus_entries
from portlb_app.reconcile.targets import compiled
from portlb_app.topology.conditions import Conditions, HeldSlots, PoolKey


class Codec(Protocol):
    """Between values and OpenFlow messages."""

    def decode(self, kind: Kind, message: bytes) -> Iterable[Told]:
        """What of ours is in a multipart reply (7.3.5); Unreadable."""

    def encode(self, steps: Sequence[Step], xid: int, bundle: int | None) -> bytes:
        """The messages of steps, with xids from this one on, as they are or as additions to a bundle."""


@dataclass
class _Switch:
    """`known`: what it holds, as it was read and has taken since. `reading`: what came of it so far.

    `plan`: what is left so that it holds what the goal asks; `sent`: stages that are on their way, and whether they are
    of that plan (`sent_of_plan`), or of one that was made before. `told`: the slots of pools that were told last.
    """

    known: SwitchState | None = None
    plan: Plan = Plan()
    sent: Plan = Plan()
    sent_of_plan: bool = False
    reading: Reading = field(default_factory=Reading)
    counted: dict[int, Counted] = field(default_factory=dict)
    are_all_counted: bool = False
    told: Mapping[PoolKey, HeldSlots] | None = None
    foreign: Comparison = field(default_factory=Comparison)
    written: frozenset[Flow | Group | Meter] = frozenset()
    """What others had written when it was last seen that they had."""

    def see_written(self, seen: SwitchState) -> int:
        """Return how many entries others have written that they had written when that was seen before."""
        before = self.known
        if before is None:
            return 0
        written: frozenset[Flow | Group | Meter] = frozenset(
            (*(seen.flows - before.flows), *(seen.groups - before.groups), *(seen.meters - before.meters))
        )
        again = len(written & self.written)
        self.written = written or self.written
        return again


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
        self._configs: dict[int, Config] = {}
        """What each goal was made of."""
        self._switches: dict[int, _Switch] = {}
        self._traffic: dict[int, tuple[Traffic, Counters]] = {}
        """Also of switches that are not connected: their counters go on."""

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
            self._configs[goal] = loaded
            try:
                kept[goal] = self._compile(loaded, conditions)
            except ConfigError as error:
                return Mistakes(error.errors)
        self._goals, self._goal = kept, goal
        self._configs = {number: made for number, made in self._configs.items() if number in kept}
        targets = {dpid: target for dpid, (target, _) in kept[goal].items()}
        plans = {}
        for dpid, switch in self._switches.items():
            if switch.known is not None:
                plans[dpid] = self._planned(dpid, switch, switch.known)
        return Compiled(goal, targets, plans)

    def edit(self, text: str, patch: Mapping[str, Any]) -> str | Mistakes:
        """A configuration's text with some values changed."""
        try:
            return patched(text, patch)
        except ConfigError as error:
            return Mistakes(error.errors)

    def preview(self, now: Situation, then: Situation, with_steps: bool) -> Preview | Mistakes:
        """What it would do if `then` took the place of `now`, which is live. The goal stays."""
        live = self._loaded.get(now.text) or self.load(now.text)
        loaded = self._loaded.get(then.text) or self.load(then.text)
        if isinstance(live, Mistakes):
            return live
        if isinstance(loaded, Mistakes):
            return loaded
        try:
            made = self._compile(loaded, then.conditions)
        except ConfigError as error:
            return Mistakes(error.errors)
        switches: dict[int, SwitchPreview | None] = dict.fromkeys(made)
        for dpid, switch in self._switches.items():
            if switch.known is not None:
                state = made[dpid][1] if dpid in made else SwitchState()
                switches[dpid] = SwitchPreview.of(diff(switch.known, state), with_steps)
        return Preview(switches, tuple(pool_previews((live, now), (loaded, then))))

    def entries(self, dpid: int, is_wanted: bool, first: int, count: int) -> Entries | None:
        """Some entries that a switch holds, or shall hold; None if that is not known."""
        state = self._of_switch(dpid, is_wanted)
        return None if state is None else entries.some(state, first, count)

    def entries_text(self, name: str, dpid: int, is_wanted: bool) -> str | None:
        """All of them, as ovs-ofctl writes them."""
        state = self._of_switch(dpid, is_wanted)
        return None if state is None else entries.as_text(name, state)

    def _of_switch(self, dpid: int, is_wanted: bool) -> SwitchState | None:
        if is_wanted:
            return self._goals.get(self._goal, {}).get(dpid, (None, None))[1]
        return self._switches[dpid].known if dpid in self._switches else None

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
        self._switches.setdefault(dpid, _Switch()).reading = Reading()

    def read(self, dpid: int, kind: Kind, messages: Iterable[bytes]) -> int:
        """Take multipart replies; return how many entries of this kind there are by now. Unreadable."""
        reading = self._known(dpid).reading
        for message in messages:
            reading.take(kind, self._codec.decode(kind, message))
        return reading.count(kind)

    def occupied(self, dpid: int, tables: Mapping[int, int]) -> tuple[int, ...]:
        """Return the tables of a switch that have flows of others to ask for; `tables`: how many flows each has."""
        return self._known(dpid).reading.occupied(tables)

    def end(self, dpid: int) -> Read:
        """Return what it holds: it has told everything."""
        switch = self._known(dpid)
        reading = switch.reading
        self.begin(dpid)
        read = self.see(dpid, reading.state, reading.metered)
        passed = self._passed(dpid, switch, reading.passed)
        ours = switch.known.flows if switch.known is not None else frozenset()
        others = switch.foreign.of(reading.foreign, reading.unread, ours)
        handed_back, counted = reading.handed_back, self._counted(dpid)
        return replace(read, handed_back=handed_back, counted=counted, passed=passed, others=others)

    def see(self, dpid: int, seen: SwitchState, metered: Mapping[int, int] | None = None) -> Read:
        """Take what a switch holds; return its counts, and the plan to the goal."""
        switch = self._switches.setdefault(dpid, _Switch())
        before = switch.known
        drift = 0 if before is None else len(diff(seen, before).steps)
        rewritten = switch.see_written(seen)
        switch.known = seen
        plan = self._planned(dpid, switch, seen)
        surplus, foreign = surplus_entries(switch.plan, before), foreign_entries(switch.plan, seen)
        if not plan and seen == (desired := self._desired(dpid)):
            switch.known = desired  # once in memory, and the next plan compares the same objects
        counts = len(seen.flows), len(seen.groups), len(seen.meters)
        held = self._held(dpid, switch)
        return Read(
            *counts, drift, plan, self._goal, metered or {}, surplus, foreign, held, rewritten=rewritten
        )  # fmt: skip

    def _held(self, dpid: int, switch: _Switch) -> Mapping[PoolKey, HeldSlots] | None:
        """The slots of pools that a switch holds; None if they are what was told last."""
        assert switch.known is not None
        config = self._configs.get(self._goal)
        named = next((each for each in config.switches if each.dpid == dpid), None) if config else None
        held = held_slots(config, named, switch.known.group_by_number) if config and named else {}
        if held == switch.told:
            return None
        switch.told = held
        return held

    def to_count(self, dpid: int) -> tuple[int | None, ...]:
        """Return the groups of a switch whose buckets' counters are to be asked for; None: all at once, if not many.

        What it counted before is forgotten.
        """
        switch = self._known(dpid)
        number = switch.reading.count("groups")
        switch.counted, switch.are_all_counted = {}, number <= MAX_COUNTED
        if switch.are_all_counted:
            return (None,) if number else ()
        return tuple(self._counted_groups(dpid))[:MAX_COUNTED]

    def count(self, dpid: int, messages: Iterable[bytes]) -> None:
        """Take what groups have counted. Unreadable."""
        switch = self._known(dpid)
        for message in messages:
            for each in self._codec.decode("counted", message):
                if isinstance(each, Counted) and len(each.packets) == SLOTS:
                    switch.counted[each.group] = each

    def _counted(self, dpid: int) -> Mapping[PoolKey, tuple[int, ...]]:
        """Return the packets of each slot of the pools that were counted, over all groups that have it."""
        switch, found = self._known(dpid), dict[PoolKey, list[int]]()
        for number, (key, index) in self._counted_groups(dpid).items():
            counted = switch.counted.get(number)
            if counted is not None:
                sums = found.setdefault(key, [])
                sums.extend([0] * (SLOTS * (index + 1) - len(sums)))
                for slot, count in enumerate(counted.packets, SLOTS * index):
                    sums[slot] += count
        return {key: tuple(sums) for key, sums in found.items()}

    def _passed(self, dpid: int, switch: _Switch, flows: Iterable[FlowCount]) -> Passed:
        """Return what has passed since the switch was read before."""
        made_of = self._configs.get(self._goal)
        named = next((each for each in made_of.switches if each.dpid == dpid), None) if made_of else None
        if made_of is None or named is None or switch.known is None:
            self._traffic.pop(dpid, None)
            return Passed()
        traffic, counters = self._traffic.get(dpid, (None, Counters()))
        if traffic is None or traffic.config is not made_of:
            traffic = Traffic(made_of, named)
            self._traffic[dpid] = traffic, counters
        groups = switch.counted if switch.are_all_counted else None
        return counters.compare(traffic, flows, switch.known.group_by_number, groups)

    def _counted_groups(self, dpid: int) -> dict[int, tuple[PoolKey, int]]:
        made_of = self._configs.get(self._goal)
        switch = next((each for each in made_of.switches if each.dpid == dpid), None) if made_of else None
        return counted_groups(made_of, switch) if made_of and switch else {}

    # ---- where packets go ----

    def explain(self, text: str, slot: int | None) -> dict[str, Any] | PacketError:
        """Follow the packet that a text means through what the switches hold; an error says why it means none."""
        made_of, goal = self._configs.get(self._goal), self._goals.get(self._goal, {})
        if made_of is None:
            raise Unknown
        named = [(each.name, each.dpid) for each in made_of.switches]
        known = {name: self._switches[dpid].known for name, dpid in named if dpid in self._switches}
        held = {name: state for name, state in known.items() if state is not None}
        desired = {name: goal[dpid][1] for name, dpid in named if dpid in goal}
        try:
            return explain(text, made_of, held, desired, slot)
        except PacketError as error:
            return PacketError(error.position, error.message)  # without the frames that it was raised in

    # ---- what switches are told ----

    def prepare(self, dpid: int, verbs: Collection[Verb]) -> MessageCounts:
        """Prepare the stages of these verbs; return how many messages they have."""
        switch = self._known(dpid)
        stage = switch.plan.stage(*verbs)
        switch.sent, switch.sent_of_plan = Plan((*stage.before, *stage.bundle, *stage.after)), True
        return MessageCounts(len(stage.before), len(stage.bundle), len(stage.after))

    def encode(self, dpid: int, first: int, number: int, xid: int, bundle: int | None) -> bytes:
        """Return `number` of its messages from `first` on, with xids from `xid` on."""
        return self._codec.encode(self._known(dpid).sent.steps[first : first + number], xid, bundle)

    def applied(self, dpid: int) -> Remaining:
        """Note that a switch has taken all that was prepared; return what remains."""
        switch = self._known(dpid)
        if switch.known is None:
            raise Unknown
        switch.known = apply(switch.sent, switch.known)
        if switch.sent_of_plan:
            done = switch.sent.verbs
            switch.plan = switch.plan.stage(*(verb for verb in switch.plan.verbs if verb not in done))
            return Remaining(Steps.of(switch.plan), self._goal)
        return Remaining(self._planned(dpid, switch, switch.known), self._goal)

    def refused(self, dpid: int, numbers: Iterable[int]) -> tuple[str, ...]:
        """A switch refused the steps of these numbers, so all of the bundle; the steps as text.

        Meters are in no bundle: with some among the steps, what it holds is not known any more.
        """
        switch = self._known(dpid)
        steps = switch.sent.steps
        if switch.sent.before or switch.sent.after:
            switch.known = None
        return tuple(_text(steps[number]) for number in numbers if number < len(steps))

    def _known(self, dpid: int) -> _Switch:
        if dpid not in self._switches:
            raise Unknown
        return self._switches[dpid]


def _text(step: Step) -> str:
    text = str(step.what)
    return f"{step.verb} {step.noun} {text if len(text) <= 300 else text[:300] + '…'}"
