"""A configuration as the reconciler handles it: its text, what it means, and the conditions it is compiled under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from portlb_app.config import Config, Link
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions
from portlb_app.topology.links import End

NO_CONFIG = Config((), (), ())
"""A configuration of nothing."""


@dataclass(frozen=True, eq=False)
class Configuration:
    """A configuration's text and what it means, and the conditions it is to be compiled under."""

    text: str
    config: Config = NO_CONFIG
    conditions: Conditions = AS_CONFIGURED

    def under(self, conditions: Conditions) -> Configuration:
        """The same configuration under these conditions, as far as they are about it."""
        conditions = conditions.of(self.config)
        return self if conditions == self.conditions else replace(self, conditions=conditions)

    @cached_property
    def names(self) -> Mapping[int, str]:
        """Its switches' names by datapath id."""
        return {switch.dpid: switch.name for switch in self.config.switches}

    @cached_property
    def ends(self) -> Mapping[Link, tuple[End, End]]:
        """Both ends of every link, as switches know them."""
        dpids = {switch.name: switch.dpid for switch in self.config.switches}
        return {
            link: ((dpids[link.one.switch], link.one.port), (dpids[link.other.switch], link.other.port))
            for link in self.config.links
        }
