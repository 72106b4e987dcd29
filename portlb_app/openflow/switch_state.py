"""All flows, groups and meters of one switch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from portlb_app.openflow.flow_parts import Flows
from portlb_app.openflow.flows import Flow
from portlb_app.openflow.groups import Group
from portlb_app.openflow.meters import Meter


@dataclass(frozen=True)
class SwitchState:
    """The flows, groups and meters of one switch that are ours: desired (compiled) or actual (read back)."""

    flows: Flows = frozenset()
    groups: frozenset[Group] = frozenset()
    meters: frozenset[Meter] = frozenset()

    @cached_property
    def group_by_number(self) -> Mapping[int, Group]:
        """Groups by group id."""
        return {group.number: group for group in self.groups}

    @cached_property
    def meter_by_number(self) -> Mapping[int, Meter]:
        """Meters by meter id."""
        return {meter.number: meter for meter in self.meters}

    @property
    def ordered_flows(self) -> list[Flow]:
        """Flows in packet order: by table, highest priority first."""
        return sorted(self.flows, key=lambda flow: (flow.table, -flow.priority, flow.match.rank))

    @property
    def ordered_groups(self) -> list[Group]:
        """Groups by number."""
        return sorted(self.groups, key=lambda group: group.number)

    @property
    def ordered_meters(self) -> list[Meter]:
        """Meters by number."""
        return sorted(self.meters, key=lambda meter: meter.number)
