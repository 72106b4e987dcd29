"""A set of flows made of parts, so that two that have most parts in common are compared by what they have not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from itertools import chain

from portlb_app.openflow.flows import Flow

Part = tuple[Flow, ...]


class FlowParts(Set[Flow]):
    """The flows of some parts, of which no two have a flow in common. Equal parts had better be the same object."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self.parts = tuple(parts)
        self._whole: frozenset[Flow] | None = None

    @property
    def whole(self) -> frozenset[Flow]:
        """All flows: made when it is first asked for."""
        if self._whole is None:
            self._whole = frozenset(chain.from_iterable(self.parts))
        return self._whole

    def __iter__(self) -> Iterator[Flow]:
        return chain.from_iterable(self.parts)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __contains__(self, flow: object) -> bool:
        return flow in self.whole

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FlowParts):
            return not any(apart(self, other))
        return self.whole == other

    def __hash__(self) -> int:
        return hash(self.whole)

    def __reduce__(self) -> tuple[type[FlowParts], tuple[tuple[Part, ...]]]:
        return FlowParts, (self.parts,)

    @classmethod
    def _from_iterable(cls, flows: Iterable[Flow]) -> frozenset[Flow]:  # type: ignore[override]
        return frozenset(flows)


Flows = frozenset[Flow] | FlowParts


def whole(flows: Flows) -> frozenset[Flow]:
    """Some flows as a set of their own."""
    return flows.whole if isinstance(flows, FlowParts) else flows


def apart(one: Flows, other: Flows) -> tuple[list[Flow], list[Flow]]:
    """The flows that only the first has, in its order if it is of parts, and those
    that only the second has. Of two that are of parts, only parts that they have not in common are looked at."""
    if one is other:
        return [], []
    if isinstance(one, FlowParts) and isinstance(other, FlowParts):
        common = set(map(id, one.parts)) & set(map(id, other.parts))
        here = [flow for part in one.parts if id(part) not in common for flow in part]
        there = [flow for part in other.parts if id(part) not in common for flow in part]
        of_one, of_other = set(here), set(there)
        return [flow for flow in here if flow not in of_other], [flow for flow in there if flow not in of_one]
    gone, missing = whole(one) - whole(other), whole(other) - whole(one)
    return list(gone), [flow for flow in other if flow in missing] if isinstance(other, FlowParts) else list(missing)
