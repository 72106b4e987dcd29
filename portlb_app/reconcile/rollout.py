"""The order in which switches that links join are changed, and what each is told next.

Switches of one component depend on each other: a parent must not send packets down before its children know what to do
with them, and children must know it as long as a parent sends them. So their plans are carried out in stages
(`plan.VERBS`), each with a rank:

1. add, the deepest switches first;
2. modify, the deepest first;
3. delete, the shallowest first, and not before packets that are still handled the old way are through (`DRAIN`);
4. read what has become of it.

An idle switch may run every stage whose rank is not above the lowest pending rank of the other switches. A switch
whose needs are not known yet has the lowest rank, so the others wait until it is read. No switch waits for one that is
absent, or in error, or that no working link joins to it. All of this is computed anew after every event.
"""

from __future__ import annotations

from collections.abc import Callable

from portlb_app.reconcile.commands import Apply, ReadState
from portlb_app.reconcile.known_switch import KnownSwitch
from portlb_app.reconcile.network import Network
from portlb_app.reconcile.phases import FREE, Change, Phase
from portlb_app.reconcile.plan import VERBS, Verb

DRAIN = 1.0
"""Seconds from the last addition or modification in a component to the first deletion: Open vSwitch's datapath goes on
as it did until its flows are validated anew, half a second later at most (``max-revalidator``)."""

RolloutRank = tuple[int, float]
"""A place in a change: lower ranks come first, equal ones together."""

_FIRST: RolloutRank = (-1, 0)
_LAST: RolloutRank = (len(VERBS), 0)


def _rank(verb: Verb, depth: float) -> RolloutRank:
    """The rank of a stage of a switch at this depth."""
    return VERBS.index(verb), depth if verb == "delete" else -depth


class Rollout:
    """Commands the next stage of every idle switch."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def proceed(self, may_change: Callable[[int], bool]) -> None:
        """Give the commands that are due; none for a goal that was withdrawn.

        `may_change`: whether enough is known to change a switch, by its datapath id.
        """
        network = self._network
        if not network.goal.is_of(network.live) and not network.goal.is_of(network.wanted):
            return
        ranks: dict[int, list[tuple[RolloutRank, int]]] = {}
        drained_at: dict[int, float] = {}
        for switch in network.members():
            component = network.components.get(switch.dpid)
            if component is not None:
                drained_at[component] = max(switch.changed_at + DRAIN, drained_at.get(component, 0.0))
                if not switch.errors:
                    ranks.setdefault(component, []).append((self._next_rank(switch), switch.dpid))
        for waiting in ranks.values():
            waiting.sort()
        for switch in network.members():
            if switch.phase in FREE:
                component = network.components.get(switch.dpid, -1)
                others = next((rank for rank, dpid in ranks.get(component, ()) if dpid != switch.dpid), _LAST)
                is_drained = network.now >= drained_at.get(component, network.now)
                self._command(switch, others, may_change(switch.dpid), is_drained)

    def _next_rank(self, switch: KnownSwitch) -> RolloutRank:
        """The rank of what comes next for a switch."""
        is_outdated = switch.phase is Phase.APPLYING and switch.target != self._network.goal.number
        if switch.plan is None or is_outdated:
            return _FIRST
        return _rank(switch.plan.verbs[0], self._network.depth(switch.dpid)) if switch.plan else _LAST

    def _command(self, switch: KnownSwitch, others: RolloutRank, may_change: bool, is_drained: bool) -> None:
        """Command what comes next for a switch, unless something that others do comes before."""
        network = self._network
        if switch.plan is None or (not switch.plan and others >= _LAST):
            switch.change(Change.READ)
            network.commands.append(ReadState(switch.dpid))
            return
        depth = network.depth(switch.dpid)
        verbs = tuple(
            verb
            for verb in switch.plan.verbs
            if may_change and _rank(verb, depth) <= others and (verb != "delete" or is_drained)
        )
        if verbs:
            switch.change(Change.APPLY)
            switch.sent, switch.synced_with, switch.holds_ours = verbs, 0, True
            network.commands.append(Apply(switch.dpid, verbs))
