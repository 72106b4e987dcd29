"""What a switch holds and was not told to: entries that a plan removes or overwrites."""

from __future__ import annotations

from portlb_app.openflow import Group, Meter, SwitchState
from portlb_app.pipeline import is_ours
from portlb_app.reconcile.plan import Plan
from portlb_app.reconcile.results import Entries


def surplus_entries(plan: Plan, before: SwitchState | None) -> Entries:
    """What a plan removes, but for what the switch held before it was read."""
    before = before or SwitchState()
    known = (before.flows, before.groups, before.meters)
    removed = [step.what for step in plan.steps if step.verb == "delete"]
    return Entries.of([what for what in removed if not any(what in held for held in known)])


def foreign_entries(plan: Plan, seen: SwitchState) -> Entries:
    """Groups and meters that a plan changes, and that lack our mark."""
    changed = [step.what for step in plan.steps if step.verb == "modify"]
    held: list[Group | Meter] = [
        *(seen.group_by_number[what.number] for what in changed if isinstance(what, Group)),
        *(seen.meter_by_number[what.number] for what in changed if isinstance(what, Meter)),
    ]
    return Entries.of([what for what in held if not is_ours(what)])
