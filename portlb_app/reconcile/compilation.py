"""Has the wanted configuration compiled, one at a time; the result becomes the goal."""

from __future__ import annotations

import math
from dataclasses import replace

from portlb_app.reconcile.commands import Compile
from portlb_app.reconcile.events import GoalCompiled, TablesLost
from portlb_app.reconcile.goal import Goal
from portlb_app.reconcile.network import Network, components
from portlb_app.reconcile.outcomes import Mistaken, NotComputed, Outcome
from portlb_app.reconcile.phases import Phase
from portlb_app.reconcile.results import Mistakes
from portlb_app.reconcile.rounds import Rounds
from portlb_app.reconcile.trials import Trials

AGAIN = 10.0
"""Seconds until what is live, and could not be compiled, is compiled again."""

KEPT = 2
"""Goals that are remembered, besides the one that is compiled: what to go back to."""


class Compilation:
    """Has goals compiled. Of several changes while one is compiled, only the last is compiled next."""

    def __init__(self, network: Network, trials: Trials, rounds: Rounds) -> None:
        self._network = network
        self._trials = trials
        self._rounds = rounds
        self._compiling: Goal | None = None
        self._kept = [network.goal]
        self._number = network.goal.number
        self._not_before = -math.inf

    def start(self) -> None:
        """Have the wanted configuration compiled, unless another one is being compiled."""
        network, wanted = self._network, self._network.wanted
        if network.goal.is_for(wanted) or self._compiling or network.now < self._not_before:
            return
        known = next((goal for goal in self._kept if goal.is_for(wanted)), None)
        if known is None:
            self._number += 1
            known = Goal(self._number, wanted)
        self._set(known)
        self._kept = [goal for goal in self._kept if goal.is_of(network.live) or goal.is_of(wanted)][-KEPT:]
        numbers = frozenset(goal.number for goal in self._kept)
        network.commands.append(Compile(known.number, wanted.text, wanted.conditions, numbers))

    def compiled(self, event: GoalCompiled) -> None:
        """Take the new goal. Packets may still take the paths of the goal before."""
        compiling = self._compiling
        self._set(None)
        if compiling is None or compiling.number != event.goal:
            return
        if isinstance(event.compiled, Mistakes):
            self._failed(compiling, Mistaken(event.compiled), str(event.compiled))
            return
        network, before = self._network, self._network.goal
        network.goal = Goal(event.goal, compiling.configuration, event.compiled.targets)
        network.is_urgent = network.goal.is_of(before.configuration)
        self._kept = [*(goal for goal in self._kept if goal.number != event.goal), network.goal]
        if network.problem and network.goal.is_for(network.live):
            network.problem = ""
        network.components = components(
            (network.goal.configuration, network.live, before.configuration), network.conditions
        )
        plans = event.compiled.plans
        self._trials.begin(plans)
        for switch in network.members():
            switch.errors = ()
            if switch.phase is not Phase.APPLYING:
                self._rounds.begin(switch, plans.get(switch.dpid))

    def tables_lost(self, event: TablesLost) -> None:
        """Everything must be compiled and read again."""
        network = self._network
        network.log("error", f"the process with the tables has ended, another one begins: {event.reason}")
        if self._compiling and self._compiling.is_of(network.live):
            self._not_before = network.now + AGAIN
        self._set(None)
        self._kept = []
        network.goal = replace(network.goal, number=0)
        self._rounds.tables_lost()
        if network.trial and network.trial.is_read:
            self._trials.withdraw(NotComputed(event.reason))

    def _failed(self, goal: Goal, outcome: Outcome, reason: str) -> None:
        """A proposal is withdrawn over it. What is live is what switches hold; another goal is tried again later."""
        network = self._network
        if network.trial and goal.is_for(network.wanted):
            self._trials.withdraw(outcome)
        elif goal.is_for(network.live):
            network.problem = f"the live configuration cannot be compiled for the links that work: {reason}"
            network.log("error", f"{network.problem}; trying again in {AGAIN:g} s")
            self._not_before = network.now + AGAIN

    def _set(self, compiling: Goal | None) -> None:
        self._compiling = compiling
        self._network.is_compiling = compiling is not None
