"""What every switch shall hold: the target of each, compiled for a goal."""

from __future__ import annotations

from portlb_app import compiler, topology
from portlb_app.compiler.memo import Memo
from portlb_app.config import Config
from portlb_app.openflow import SwitchState
from portlb_app.reconcile.results import Target
from portlb_app.topology.conditions import Conditions


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
