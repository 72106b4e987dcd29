"""What to change so that a switch holds what it should: ``apply(diff(actual, desired), actual) == desired``.

A plan's order is make before break: meters and groups come before the flows that use them; flows come deepest table
first, so that a packet never meets a ``goto`` into a table that is not ready; then flows leave, then groups, then
meters (with a meter every flow that uses it leaves, OpenFlow 1.5.1, 6.5). Flows and groups travel in one atomic bundle,
inside which the order only has to satisfy the switch's checks; meters cannot (Open vSwitch: OFPBFC_MSG_UNSUP), so those
that come are sent before it and those that leave after it. An unused meter is harmless.

A flow that copies within a meter does not leave with it (seen in Open vSwitch 3.1), but copies without limit, and when
the meter comes back, may count by another one: so a meter that comes adds such flows again.

Where switches depend on each other, a plan is carried out in stages, one for each verb: what is added (each entry
that is there stays as it is), what is modified, what is deleted. Every stage finds what it needs: groups and meters are
added before or with the flows that use them, and deleted with the last of those or after. A stage is a plan like any
other: ``plan.stage("add")``. Carrying out all stages in the order of `VERBS` is carrying out the plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

from portlb_app.openflow import CopyToController, Flow, FlowParts, Flows, Group, Meter, Part, SwitchState, apart
from portlb_app.pipeline import COPIED, is_ours, metered_reason

Kept = TypeVar("Kept", Flow, Group, Meter)

Verb = Literal["add", "modify", "delete"]
VERBS: tuple[Verb, ...] = ("add", "modify", "delete")
"""The stages of a change, in order."""


@dataclass(frozen=True)
class Step:
    """One change. ``add`` leaves everything that is there as it is; ``modify`` keeps a flow's counters."""

    verb: Verb
    what: Flow | Group | Meter

    @property
    def noun(self) -> str:
        """What is changed, in a word."""
        return type(self.what).__name__.lower()

    def __str__(self) -> str:
        return f"{self.verb} {self.noun} {self.what}"


@dataclass(frozen=True)
class Plan:
    """The changes in the order they are made; empty (false) means converged."""

    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    @cached_property
    def verbs(self) -> tuple[Verb, ...]:
        """The stages in which there is something to do, in order."""
        found = {step.verb for step in self.steps}
        return tuple(verb for verb in VERBS if verb in found)

    def stage(self, *verbs: Verb) -> Plan:
        """The steps of these stages alone."""
        return Plan(tuple(step for step in self.steps if step.verb in verbs))

    @property
    def before(self) -> tuple[Step, ...]:
        """Meters that come or change."""
        return tuple(step for step in self.steps if isinstance(step.what, Meter) and step.verb != "delete")

    @property
    def bundle(self) -> tuple[Step, ...]:
        """Flows and groups: all or none."""
        return tuple(step for step in self.steps if not isinstance(step.what, Meter))

    @property
    def after(self) -> tuple[Step, ...]:
        """Meters that leave."""
        return tuple(step for step in self.steps if isinstance(step.what, Meter) and step.verb == "delete")


def diff(actual: SwitchState, desired: SwitchState) -> Plan:
    """The plan that turns `actual` into `desired`, touching nothing that is already right."""
    return Plan(tuple(_steps(actual, desired)))


def _steps(actual: SwitchState, desired: SwitchState) -> Iterator[Step]:
    if actual is desired:
        return
    come = {meter.number for meter in desired.meters} - actual.meter_by_number.keys()
    for meter in desired.ordered_meters:
        held = actual.meter_by_number.get(meter.number)
        if held is None:
            yield Step("add", meter)
        elif held != meter:
            yield Step("modify", meter)
    for group in desired.ordered_groups:
        known = actual.group_by_number.get(group.number)
        if known is None:
            yield Step("add", group)
        elif known != group:
            yield Step("modify", group)
    gone, missing = apart(actual.flows, desired.flows)
    known_as = {flow.key: flow for flow in gone}
    if isinstance(desired.flows, FlowParts):
        come = {number for number in come if metered_reason(number) in COPIED}
    if come:
        missing += [flow for flow in desired.flows if _copies_by(flow, come) and flow in actual.flows]
    if not isinstance(desired.flows, FlowParts):
        missing.sort(key=lambda flow: flow.match.rank)  # else they are in the order in which they were compiled
    for flow in sorted(missing, key=lambda flow: (-flow.table, flow.priority)):
        yield Step("add" if known_as.pop(flow.key, None) is None else "modify", flow)
    for flow in sorted(known_as.values(), key=lambda flow: (flow.table, -flow.priority, flow.match.rank)):
        yield Step("delete", flow)
    for group in actual.ordered_groups:
        if group.number not in desired.group_by_number and is_ours(group):
            yield Step("delete", group)
    for meter in actual.ordered_meters:
        if meter.number not in desired.meter_by_number and is_ours(meter):
            yield Step("delete", meter)


def _copies_by(flow: Flow, meters: set[int]) -> bool:
    return any(isinstance(each, CopyToController) and each.meter in meters for each in flow.actions)


def apply(plan: Plan, state: SwitchState) -> SwitchState:
    """What a switch that held `state` holds after `plan`: the model of what a switch does.

    KeyError if it deletes what is not there.
    """
    whats = [step.what for step in plan.steps]
    return SwitchState(
        _changed_flows(state.flows, plan),
        _changed(state.groups, plan, {each.number for each in whats if isinstance(each, Group)}, Group),
        _changed(state.meters, plan, {each.number for each in whats if isinstance(each, Meter)}, Meter),
    )


def _changed_flows(held: Flows, plan: Plan) -> Flows:
    """The flows after a plan. Parts that it does not touch are the same objects."""
    touched = {step.what.key for step in plan.steps if isinstance(step.what, Flow)}
    if not isinstance(held, FlowParts) or not touched:
        return _changed(held, plan, touched, Flow) if touched else held  # type: ignore[arg-type]
    hashes = {hash(step.what) for step in plan.steps if isinstance(step.what, Flow)}
    parts, before = list[Part](), list[Flow]()
    for part in held.parts:
        met = [] if hashes.isdisjoint(map(hash, part)) else [flow for flow in part if flow.key in touched]
        before += met
        parts.append(tuple(flow for flow in part if flow.key not in touched) if met else part)
    return FlowParts((*parts, tuple(_changed(frozenset(before), plan, touched, Flow))))


def _changed(held: frozenset[Kept], plan: Plan, touched: Collection[object], kind: type[Kept]) -> frozenset[Kept]:
    """What is held of one kind after a plan that touches what these keys name; most of it stays as it is."""
    if not touched:
        return held
    before = {_key(each): each for each in held if _key(each) in touched}
    after = dict(before)
    for step in plan.steps:
        if isinstance(step.what, kind):
            if step.verb == "delete":
                del after[_key(step.what)]
            else:
                after[_key(step.what)] = step.what
    return (held - frozenset(before.values())) | frozenset(after.values())


def _key(what: Flow | Group | Meter) -> object:
    return what.key if isinstance(what, Flow) else what.number
