"""What the jobs about tables give back to the event loop: small values, however large the tables are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from portlb_app.compiler.traffic import Way
from portlb_app.config import Problem
from portlb_app.openflow import Flow, Group, Meter
from portlb_app.reconcile.foreign import NONE as NO_FOREIGN
from portlb_app.reconcile.foreign import Foreign
from portlb_app.reconcile.plan import Plan, Verb
from portlb_app.topology.conditions import HeldSlots, PoolKey

SHOWN = 3
"""Steps of a plan that are shown as text."""
SHOWN_NUMBERS = 10
"""Numbers of groups, and of meters, that are shown as text."""

Kind = Literal["flows", "groups", "meters", "metered", "counted", "foreign"]
"""What a description from a switch is about; ``metered``: how many packets meters have dropped; ``counted``: how many
the buckets of some groups got; ``foreign``: flows of others."""

MAX_COUNTED = 256
"""Groups of which a switch tells the counters of their buckets at each read: 4 kB each."""


@dataclass(frozen=True)
class Mistakes:
    """A text is no configuration, or one whose tables cannot be."""

    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


@dataclass(frozen=True)
class Steps:
    """A plan as the loop knows it; empty (false) means converged. `first`: its first steps as text."""

    verbs: tuple[Verb, ...] = ()
    count: int = 0
    first: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.verbs)

    @classmethod
    def of(cls, plan: Plan) -> Steps:
        """What there is to know about a plan."""
        return cls(plan.verbs, len(plan.steps), tuple(str(step)[:200] for step in plan.steps[:SHOWN]))


@dataclass(frozen=True)
class Target:
    """What one switch shall hold: how many `entries`. `depth`: links from it to the nearest network side."""

    entries: int
    depth: int = 0


@dataclass(frozen=True)
class Compiled:
    """A goal. `plans`: what each switch that was read since it connected lacks, by what it should hold by now."""

    goal: int
    targets: Mapping[int, Target]
    plans: Mapping[int, Steps] = field(default_factory=dict)


@dataclass(frozen=True)
class Entries:
    """Some entries of a switch: how many flows, and the numbers of groups and meters."""

    flows: int = 0
    groups: tuple[int, ...] = ()
    meters: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.flows or self.groups or self.meters)

    def __str__(self) -> str:
        words = [f"{self.flows} flow{'s' * (self.flows != 1)}"] if self.flows else []
        for noun, numbers in (("group", self.groups), ("meter", self.meters)):
            if numbers:
                named = ", ".join(map(hex, numbers[:SHOWN_NUMBERS])) + ", …" * (len(numbers) > SHOWN_NUMBERS)
                words.append(f"{noun}{'s' * (len(numbers) != 1)} {named}")
        return " and ".join(words)

    @classmethod
    def of(cls, whats: Sequence[Flow | Group | Meter]) -> Entries:
        """What there is to know about some entries."""
        return cls(
            sum(isinstance(each, Flow) for each in whats),
            tuple(each.number for each in whats if isinstance(each, Group)),
            tuple(each.number for each in whats if isinstance(each, Meter)),
        )


class Counted(NamedTuple):
    """The packets and bytes of each bucket of a group, since the group was made or changed."""

    group: int
    packets: tuple[int, ...]
    octets: tuple[int, ...] = ()


class Amount(NamedTuple):
    """Packets and their bytes."""

    packets: int = 0
    octets: int = 0

    def plus(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(self.packets + other.packets, self.octets + other.octets)


class FlowCount(NamedTuple):
    """What a flow has had since it was added, of those whose packets may count for a server (`compiler.traffic`)."""

    flow: Flow
    amount: Amount


@dataclass(frozen=True)
class Passed:
    """What has passed since the read before: of each server by direction, and by the slots of each pool.

    `datagrams`: UDP to each server's service ports, which is in `servers`, too.
    """

    servers: Mapping[Way, Amount] = field(default_factory=dict)
    pools: Mapping[PoolKey, Amount] = field(default_factory=dict)
    by_ipv6: Mapping[str, int] = field(default_factory=dict)
    """How many of the packets from each server were IPv6."""
    datagrams: Mapping[str, Amount] = field(default_factory=dict)


class HandedBack(NamedTuple):
    """How many packets servers have handed back; `key`: the VIP's number, the port and the mark."""

    key: tuple[int, int, int]
    packets: int


@dataclass(frozen=True)
class Read:
    """What a switch holds: counts, what of it is not as it was left (`drift`), and the plan to the goal.

    `surplus`: what the plan removes, and the switch was not told since it connected. `foreign`: groups and meters
    without our mark that the plan overwrites, because it needs their numbers. `held`: the slots of its pools; None if
    they are what the read before said. `handed_back`: as in `HandedBack`.
    """

    flows: int
    groups: int
    meters: int
    drift: int
    plan: Steps
    goal: int
    metered: Mapping[int, int] = field(default_factory=dict)
    surplus: Entries = Entries()
    foreign: Entries = Entries()
    held: Mapping[PoolKey, HeldSlots] | None = None
    passed: Passed = Passed()
    counted: Mapping[PoolKey, tuple[int, ...]] = field(default_factory=dict)
    """The packets of each slot of some pools, as far as this switch has counted them."""
    handed_back: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    rewritten: int = 0
    """Entries that others have written, as they had before; portlb has removed them in between."""
    others: Foreign = NO_FOREIGN
    """The flows of others in portlb's tables."""


@dataclass(frozen=True)
class Remaining:
    """What is left of the plan to the goal, after a switch has taken what it was sent."""

    plan: Steps
    goal: int


@dataclass(frozen=True)
class MessageCounts:
    """How many messages a stage of a plan has: meters that come, the bundle, meters that leave."""

    before: int
    bundle: int
    after: int


class Unreadable(Exception):
    """A switch describes what cannot be; str() says what."""


class Unknown(Exception):
    """Nothing is known of this switch: it must be read first."""
