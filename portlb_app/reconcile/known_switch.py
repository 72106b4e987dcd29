"""What the reconciler knows of one switch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from portlb_app.config import Forwarding
from portlb_app.reconcile.contest import Contest
from portlb_app.reconcile.double import Double
from portlb_app.reconcile.foreign import Foreign
from portlb_app.reconcile.phases import TRANSITIONS, Change, Phase
from portlb_app.reconcile.plan import Verb
from portlb_app.reconcile.ports import PortProblem
from portlb_app.reconcile.results import Steps
from portlb_app.topology.conditions import HeldSlots, PoolKey

Basis = Literal["read", "memory"]
"""What a plan starts from: what the switch was seen to hold, or what it held then and has taken since."""


@dataclass
class KnownSwitch:
    """One switch: its phase, what is left to do, what was read last, and what is logged about it.

    - `plan`: the steps that are left to the goal of number `target`; None if the switch must be read to know.
      `plan_basis`: what it starts from. `sent`: the stages of it that are in flight.
    - `changed_since_read`: whether the switch was told anything since it was last read, and the basis of that.
    - `changed_at`: when it had last taken an addition or a modification.
    - `synced_with`: the number of the goal it holds; 0 for none.
    - `holds_ours`: it may hold something of ours, so it is emptied before it is forgotten, whatever became of the
      configuration that named it.
    - `problems`: what was logged last about its ports.
    - `held`: the slots of its pools as they were read; None if it was not read since it connected.
    """

    dpid: int
    phase: Phase = Phase.ABSENT
    plan: Steps | None = None
    plan_basis: Basis = "read"
    target: int = 0
    sent: tuple[Verb, ...] = ()
    changed_since_read: Literal["", "read", "memory"] = ""
    changed_at: float = -math.inf
    synced_with: int = 0
    holds_ours: bool = False
    errors: tuple[str, ...] = ()
    next_round: float = 0.0

    flows: int = 0
    groups: int = 0
    meters: int = 0
    drift: int = 0
    metered: Mapping[int, int] = field(default_factory=dict)
    handed_back: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    """What servers have handed back, as of the last read (`results.HandedBack`)."""
    last_read: float | None = None
    held: Mapping[PoolKey, HeldSlots] | None = None
    problems: tuple[PortProblem, ...] = ()
    told: str = "absent"
    """What was told last of it: absent, connected, synced or error."""
    told_at: float | None = None
    contest: Contest = field(default_factory=Contest)
    double: Double | None = None
    """The last other connection that claimed to be it."""
    forwarding: Forwarding | None = None
    """Where it forwards, as far as it tells."""
    foreign: Foreign | None = None
    """The flows of others in portlb's tables; None if it was not read since it connected."""

    @property
    def is_connected(self) -> bool:
        """Whether it can be told something."""
        return self.phase is not Phase.ABSENT

    def change(self, change: Change) -> None:
        """Go to the next phase. KeyError if there is no such transition: that would be a fault of the reconciler."""
        self.phase = TRANSITIONS[self.phase, change]

    def forget_plan(self) -> None:
        """What it holds is not known any more. The answer to what is in flight still comes."""
        self.plan = None
        if (self.phase, Change.UNKNOWN) in TRANSITIONS:
            self.change(Change.UNKNOWN)

    def reset(self, change: Change) -> None:
        """A connection begins or ends: nothing is in flight and nothing is known of what it holds."""
        self.change(change)
        self.plan, self.target, self.synced_with = None, 0, 0
        self.changed_since_read, self.errors, self.held = "", (), None
        self.contest = Contest()
        self.forwarding = self.foreign = None

    def fail(self, errors: tuple[str, ...], next_round: float) -> None:
        """It refused, or took a change without effect."""
        self.change(Change.REFUSED)
        self.plan, self.changed_since_read, self.synced_with = Steps(), "", 0
        self.errors, self.next_round = errors, next_round
