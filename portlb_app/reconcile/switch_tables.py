"""What one switch holds, is asked to hold, and has counted; and the messages that make the one the other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from portlb_app.compiler.held import counted_groups, held_slots
from portlb_app.compiler.traffic import Traffic
from portlb_app.config import Config
from portlb_app.openflow import Flow, Group, Meter, SwitchState, apart
from portlb_app.pipeline import SLOTS
from portlb_app.reconcile.foreign import Comparison
from portlb_app.reconcile.goals import Goals
from portlb_app.reconcile.passed import Counters
from portlb_app.reconcile.plan import Plan, Step, Verb, apply, diff
from portlb_app.reconcile.reading import Page, Reading
from portlb_app.reconcile.results import (
    MAX_COUNTED,
    Counted,
    FlowCount,
    Kind,
    MessageCounts,
    Passed,
    Read,
    Remaining,
    Steps,
    Unknown,
)
from portlb_app.reconcile.surplus import foreign_entries, surplus_entries
from portlb_app.topology.conditions import HeldSlots, PoolKey


class Codec(Protocol):
    """Between values and OpenFlow messages."""

    def decode(self, kind: Kind, message: bytes) -> Page:
        """What of ours is in a description (7.3.5); Unreadable."""

    def decode_counted(self, message: bytes) -> Iterable[Counted]:
        """What our groups' buckets have counted, of a reply about that (7.3.5.9); Unreadable."""

    def encode(self, steps: Sequence[Step], xid: int, bundle: int | None) -> bytes:
        """The messages of steps, with xids from this one on, as they are or as additions to a bundle."""


class PassedSwitch:
    """What has passed a switch. It outlives a connection: the counters of the switch go on."""

    def __init__(self) -> None:
        self._traffic: Traffic | None = None
        self._counters = Counters()

    def is_of(self, config: Config) -> bool:
        """Whether flows count for what they counted for when it was last compared."""
        return self._traffic is not None and self._traffic.config is config

    def compare(
        self,
        goals: Goals,
        dpid: int,
        flows: tuple[Iterable[FlowCount], bool],
        groups: Mapping[int, Group],
        counted: Mapping[int, Counted] | None,
    ) -> Passed:
        """What has passed since it was read before. `flows`: what they counted, and whether only of those that did."""
        config, switch = goals.config, goals.switch(dpid)
        if config is None or switch is None:
            self._traffic, self._counters = None, Counters()
            return Passed()
        if self._traffic is None or self._traffic.config is not config:
            self._traffic = Traffic(config, switch)
        return self._counters.compare(self._traffic, flows[0], groups, counted, only_changed=flows[1])


class SwitchTables:
    """One switch, as long as it is connected.

    `known`: what it holds, as it was read and has taken since; None if that is not known.
    """

    def __init__(self, dpid: int, codec: Codec, goals: Goals) -> None:
        self._dpid, self._codec, self._goals = dpid, codec, goals
        self.known: SwitchState | None = None
        self._plan = Plan()
        """What is left so that it holds what the goal asks."""
        self._sent, self._is_of_plan = Plan(), False
        """Stages that are on their way, and whether they are of that plan, or of one that was made before."""
        self._leads_to: SwitchState | None = None
        """What it holds when it has taken these, if they are the last of a plan: what the goal asked then."""
        self._last: Reading | None = None
        self._reading = Reading()
        self._counted: dict[int, Counted] = {}
        self._are_all_counted = False
        self._told: Mapping[PoolKey, HeldSlots] | None = None
        """The slots of pools that were told last, and of what configuration and groups."""
        self._told_of: tuple[Config | None, frozenset[Group] | None] = None, None
        self._foreign = Comparison()
        self._written: frozenset[Flow | Group | Meter] = frozenset()
        """What others had written when it was last seen that they had."""

    def plan(self) -> Steps:
        """Plan from what it holds to what the goal asks."""
        assert self.known is not None
        self._plan, self._is_of_plan = diff(self.known, self._goals.desired(self._dpid)), False
        return Steps.of(self._plan)

    # ---- what it tells ----

    def begin(self) -> None:
        """It is about to tell what it holds."""
        self._reading = Reading(self._last)

    def read(self, kind: Kind, messages: Iterable[bytes]) -> int:
        """Take multipart replies; return how many entries of this kind there are by now. Unreadable."""
        self._reading.take(kind, messages, self._codec.decode)
        return self._reading.count(kind)

    def occupied(self, tables: Mapping[int, int]) -> tuple[int, ...]:
        """Return the tables that have flows of others to ask for; `tables`: how many flows each has."""
        return self._reading.occupied(tables)

    def end(self, passed: PassedSwitch) -> Read:
        """Return what it holds: it has told everything."""
        reading, config = self._reading, self._goals.config
        reading.share(self._goals.desired(self._dpid) if self.known is None else self.known)
        read = self.see(reading.state, reading.metered)
        assert self.known is not None
        only_changed = reading.is_same("flows") and config is not None and passed.is_of(config)
        flows, handed_back = reading.counts(only_changed)
        reading.close()
        self._last = reading
        groups = self._counted if self._are_all_counted else None
        found = passed.compare(
            self._goals, self._dpid, (flows, only_changed), self.known.group_by_number, groups
        )  # fmt: skip
        others = self._foreign.of(reading.foreign, reading.unread, self.known.flows)
        self.begin()
        counted = self._counted_slots()
        return replace(read, handed_back=handed_back, counted=counted, passed=found, others=others)

    def see(self, seen: SwitchState, metered: Mapping[int, int] | None = None) -> Read:
        """Take what it holds; return its counts, and the plan to the goal."""
        before, desired = self.known, self._goals.desired(self._dpid)
        drift = 0 if before is None else len(diff(seen, before).steps)
        rewritten = self._see_written(seen)
        self.known = seen
        plan = self.plan()
        surplus, foreign = surplus_entries(self._plan, before), foreign_entries(self._plan, seen)
        if not plan and seen == desired:
            self.known = desired  # once in memory, and the next plan compares the same objects
        counts = len(seen.flows), len(seen.groups), len(seen.meters)
        goal, held = self._goals.current, self._held(self.known)
        return Read(*counts, drift, plan, goal, metered or {}, surplus, foreign, held, rewritten=rewritten)

    def _see_written(self, seen: SwitchState) -> int:
        """Return how many entries others have written that they had written when that was seen before."""
        before = self.known
        if before is None or before is seen:
            return 0
        flows, _ = apart(seen.flows, before.flows)
        groups, meters = seen.groups - before.groups, seen.meters - before.meters
        written: frozenset[Flow | Group | Meter] = frozenset((*flows, *groups, *meters))
        again = len(written & self._written)
        self._written = written or self._written
        return again

    def _held(self, known: SwitchState) -> Mapping[PoolKey, HeldSlots] | None:
        """The slots of pools that it holds; None if they are what was told last."""
        config, switch = self._goals.config, self._goals.switch(self._dpid)
        if self._told is not None and self._told_of[0] is config and self._told_of[1] is known.groups:
            return None
        self._told_of = config, known.groups
        held = held_slots(config, switch, known.group_by_number) if config and switch else {}
        if held == self._told:
            return None
        self._told = held
        return held

    # ---- what it counts ----

    def to_count(self) -> tuple[int | None, ...]:
        """Return the groups whose buckets' counters are to be asked for; None: all at once, if not many.

        What it counted before is forgotten.
        """
        number = self._reading.count("groups")
        self._counted, self._are_all_counted = {}, number <= MAX_COUNTED
        if self._are_all_counted:
            return (None,) if number else ()
        return tuple(self._counted_groups())[:MAX_COUNTED]

    def count(self, messages: Iterable[bytes]) -> None:
        """Take what groups have counted. Unreadable."""
        for message in messages:
            for each in self._codec.decode_counted(message):
                if len(each.packets) == SLOTS:
                    self._counted[each.group] = each

    def _counted_slots(self) -> Mapping[PoolKey, tuple[int, ...]]:
        """Return the packets of each slot of the pools that were counted, over all groups that have it."""
        found = dict[PoolKey, list[int]]()
        for number, (key, index) in self._counted_groups().items():
            counted = self._counted.get(number)
            if counted is not None:
                sums = found.setdefault(key, [])
                sums.extend([0] * (SLOTS * (index + 1) - len(sums)))
                for slot, count in enumerate(counted.packets, SLOTS * index):
                    sums[slot] += count
        return {key: tuple(sums) for key, sums in found.items()}

    def _counted_groups(self) -> dict[int, tuple[PoolKey, int]]:
        config, switch = self._goals.config, self._goals.switch(self._dpid)
        return counted_groups(config, switch) if config and switch else {}

    # ---- what it is told ----

    def prepare(self, verbs: Collection[Verb]) -> MessageCounts:
        """Prepare the stages of these verbs; return how many messages they have."""
        stage = self._plan.stage(*verbs)
        is_last = len(stage.steps) == len(self._plan.steps)
        self._leads_to = self._goals.desired(self._dpid) if is_last else None
        self._sent, self._is_of_plan = Plan((*stage.before, *stage.bundle, *stage.after)), True
        return MessageCounts(len(stage.before), len(stage.bundle), len(stage.after))

    def encode(self, first: int, number: int, xid: int, bundle: int | None) -> bytes:
        """Return `number` of its messages from `first` on, with xids from `xid` on."""
        return self._codec.encode(self._sent.steps[first : first + number], xid, bundle)

    def applied(self) -> Remaining:
        """Note that it has taken all that was prepared; return what remains."""
        if self.known is None:
            raise Unknown
        self.known = apply(self._sent, self.known) if self._leads_to is None else self._leads_to
        if self._is_of_plan:
            done = self._sent.verbs
            self._plan = self._plan.stage(*(verb for verb in self._plan.verbs if verb not in done))
            return Remaining(Steps.of(self._plan), self._goals.current)
        return Remaining(self.plan(), self._goals.current)

    def refused(self, numbers: Iterable[int]) -> tuple[str, ...]:
        """It refused the steps of these numbers, so all of the bundle; the steps as text.

        Meters are in no bundle: with some among the steps, what it holds is not known any more.
        """
        steps = self._sent.steps
        if self._sent.before or self._sent.after:
            self.known = None
        return tuple(_text(steps[number]) for number in numbers if number < len(steps))


def _text(step: Step) -> str:
    text = str(step.what)
    return f"{step.verb} {step.noun} {text if len(text) <= 300 else text[:300] + '…'}"
