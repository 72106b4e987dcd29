"""What to change so that a switch holds what it should: ``apply(diff(actual, desired), actual) == desired``.

A plan's order is make before break: groups come before the flows that use them; flows come deepest table first, so that
a packet never meets a ``goto`` into a table that is not ready; then flows leave, then groups. Inside one atomic bundle
the order only has to satisfy the switch's checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from portlb_app.openflow import Flow, Group, SwitchState


@dataclass(frozen=True)
class Step:
    """One change. ``modify`` keeps a flow's counters; a flow whose cookie changes is added anew over the old one."""

    verb: Literal["add", "modify", "delete"]
    what: Flow | Group

    def __str__(self) -> str:
        return f"{self.verb} {'flow' if isinstance(self.what, Flow) else 'group'} {self.what}"


@dataclass(frozen=True)
class Plan:
    """The changes in the order they are made; empty (false) means converged."""

    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)


def diff(actual: SwitchState, desired: SwitchState) -> Plan:
    """The plan that turns `actual` into `desired`, touching nothing that is already right."""
    return Plan(tuple(_steps(actual, desired)))


def _steps(actual: SwitchState, desired: SwitchState) -> Iterator[Step]:
    for group in desired.ordered_groups:
        known = actual.group_by_number.get(group.number)
        if known is None:
            yield Step("add", group)
        elif known != group:
            yield Step("modify", group)
    for flow in sorted(desired.flows, key=lambda flow: (-flow.table, flow.priority, flow.match)):
        found = actual.flow_by_key.get(flow.key)
        if found is None or found.cookie != flow.cookie:
            yield Step("add", flow)
        elif found != flow:
            yield Step("modify", flow)
    for flow in actual.ordered_flows:
        if flow.key not in desired.flow_by_key:
            yield Step("delete", flow)
    for group in actual.ordered_groups:
        if group.number not in desired.group_by_number:
            yield Step("delete", group)


def apply(plan: Plan, state: SwitchState) -> SwitchState:
    """What a switch that held `state` holds after `plan`: the model of what a switch does."""
    flows, groups = dict(state.flow_by_key), dict(state.group_by_number)
    for step in plan.steps:
        if isinstance(step.what, Flow):
            if step.verb == "delete":
                del flows[step.what.key]
            else:
                flows[step.what.key] = step.what
        elif step.verb == "delete":
            del groups[step.what.number]
        else:
            groups[step.what.number] = step.what
    return SwitchState(frozenset(flows.values()), frozenset(groups.values()))
