"""What a change would do: steps for each switch, and slots that move. Nothing is changed by asking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from portlb_app.backends.pools import Pool, Pools
from portlb_app.config import Config
from portlb_app.config.overrides import Overrides
from portlb_app.reconcile.plan import Plan
from portlb_app.topology.conditions import ALL_SERVERS, Conditions, PoolKey

MAX_STEPS = 1000
"""Steps of one switch that are told one by one."""
MAX_TEXT = 300
"""Characters of one."""


@dataclass(frozen=True)
class Situation:
    """A configuration's text, the overrides that hold for it, and the conditions it is compiled under."""

    text: str
    overrides: Overrides
    conditions: Conditions


@dataclass(frozen=True)
class SwitchPreview:
    """What a switch would be told, in numbers, and the steps as text if they are asked for."""

    add: int
    modify: int
    delete: int
    steps: tuple[str, ...] = ()

    @classmethod
    def of(cls, plan: Plan, with_steps: bool) -> SwitchPreview:
        """A plan in numbers."""
        counts = Counter(step.verb for step in plan.steps)
        steps = tuple(str(step)[:MAX_TEXT] for step in plan.steps[:MAX_STEPS]) if with_steps else ()
        return cls(counts["add"], counts["modify"], counts["delete"], steps)


@dataclass(frozen=True)
class PoolPreview:
    """A pool whose slots would change: slots by server before and after, how many move, and how few could."""

    key: PoolKey
    before: Mapping[str, int]
    after: Mapping[str, int]
    moved: int

    @property
    def least(self) -> int:
        """How many slots must move at least, so that each server has as many as it is to have."""
        if sum(self.before.values()) != sum(self.after.values()):
            return self.moved
        return sum(max(0, count - self.after.get(name, 0)) for name, count in self.before.items())


@dataclass(frozen=True)
class Preview:
    """What a change would do. `switches`: by datapath id; None for one whose tables are not known now."""

    switches: Mapping[int, SwitchPreview | None]
    pools: tuple[PoolPreview, ...]


def pool_previews(
    before: tuple[Config, Situation], after: tuple[Config, Situation]
) -> Iterator[PoolPreview]:
    """The redirect ports' pools that have other slots afterwards."""
    old, new = _slots(*before), _slots(*after)
    for key in dict.fromkeys((*old, *new)):
        was, becomes = old.get(key, ()), new.get(key, ())
        if key[1] != ALL_SERVERS and was != becomes:
            yield PoolPreview(key, Counter(was), Counter(becomes), _moved(was, becomes))


def _slots(config: Config, situation: Situation) -> dict[PoolKey, tuple[str, ...]]:
    explicit = situation.conditions.slots
    pools: Iterable[tuple[PoolKey, Pool]] = Pools(config, situation.overrides).items()
    return {key: explicit[key].servers if key in explicit else pool.default for key, pool in pools}


def _moved(before: tuple[str, ...], after: tuple[str, ...]) -> int:
    """How many slots change their server; all, if there were or are none, or another number of them."""
    if len(before) != len(after):
        return len(before) or len(after)
    return sum(old != new for old, new in zip(before, after, strict=True))
