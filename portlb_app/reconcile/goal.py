"""The goal: a configuration that is compiled, under a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from portlb_app.reconcile.configuration import Configuration
from portlb_app.reconcile.results import Target

NO_TARGET = Target(0)
"""The target of a switch that a configuration does not name."""


@dataclass(frozen=True, eq=False)
class Goal:
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
