"""What there is to tell about pools: the slots that they shall have, those that switches hold, and who is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from portlb_app.backends import PoolState, ServerState
from portlb_app.backends.states import Seen
from portlb_app.config import Wanted
from portlb_app.pipeline import SLOTS
from portlb_app.reconcile.network import Network
from portlb_app.selection import quotas
from portlb_app.topology.conditions import HeldSlots, PoolKey


@dataclass(frozen=True)
class HeldStatus:
    """What some switches hold of a pool: slots by server, and how many have another server than they shall have.

    None stands for servers that the configuration does not name.
    """

    switches: tuple[str, ...]
    slots: Mapping[str | None, int]
    differ: int


@dataclass(frozen=True)
class ServerStatus:
    """What is wanted and seen of a server in one pool."""

    wanted: Wanted
    seen: Seen
    reason: str
    seconds: float
    """Since it is seen so."""


@dataclass(frozen=True)
class PoolStatus:
    """One pool: slots by server, as wanted and as held; `missing`: servers that are not both ready and up, and why.

    `fails_open`: none of its servers works, so its slots stay as they are.
    """

    key: PoolKey
    slots: Mapping[str, int] | Mapping[str | None, int]
    held: tuple[HeldStatus, ...]
    missing: Mapping[str, ServerStatus] = field(default_factory=dict)
    fails_open: bool = False


def pool_word(state: PoolState, network: Network) -> tuple[str, dict[str, str]]:
    """A pool in one word, and the servers that get no new connections, each with why.

    As ``GET /v1/pools`` has it, but for whether switches were read.
    """
    used, missing = network.backends.used.server_by_name, dict[str, str]()
    for name in state.pool.servers:
        if used[name].wanted is not Wanted.READY:
            missing[name] = used[name].wanted.value
        elif network.backends.seen(name, state.key) is Seen.DOWN:
            missing[name] = Seen.DOWN.value
    if state.slots == () or (state.slots is None and not any(state.pool.configured)):
        return "empty", missing
    if len(missing) == len(state.pool.servers) or state.fails_open:
        return "fail_open", missing
    return ("degraded" if missing else "ok"), missing


def pool_statuses(network: Network, now: float) -> Iterator[PoolStatus]:
    """The status of every pool."""
    servers = {each.name: each for each in network.backends.servers()}
    for state in network.backends.pools():
        yield PoolStatus(
            state.key,
            quotas(state.pool.weight_of, SLOTS << state.pool.bits) if state.slots is None else _counts(state.slots),
            tuple(_held(network, state)),
            dict(_missing(network, state, servers, now)),
            state.fails_open,
        )


def _missing(
    network: Network, state: PoolState, servers: Mapping[str, ServerState], now: float
) -> Iterator[tuple[str, ServerStatus]]:
    for name in state.pool.servers:
        wanted = network.backends.used.server_by_name[name].wanted
        judgement = servers[name].seen[state.key]
        if wanted is not Wanted.READY or judgement.seen is not Seen.UP:
            yield name, ServerStatus(wanted, judgement.seen, judgement.reason, now - judgement.since)


def _held(network: Network, state: PoolState) -> Iterator[HeldStatus]:
    """What switches hold: those that hold the same together. In a tree there are many, and they agree."""
    alike: dict[HeldSlots, list[str]] = {}
    for dpid, name in network.live.names.items():
        held = network.switches[dpid].held if dpid in network.switches else None
        if held and state.key in held:
            alike.setdefault(held[state.key], []).append(name)
    for held_slots, names in sorted(alike.items(), key=lambda item: item[1]):
        yield HeldStatus(tuple(sorted(names)), _counts(held_slots.servers), _differ(held_slots, state))


def _differ(held: HeldSlots, state: PoolState) -> int:
    """How many slots have another server than they shall have."""
    if state.slots is None and held.is_default:
        return 0
    wanted = state.pool.default if state.slots is None else state.slots
    if len(held.servers) != len(wanted):
        return max(len(held.servers), len(wanted))
    return sum(here != there for here, there in zip(held.servers, wanted, strict=True))


@lru_cache(maxsize=256)
def _counts(table: tuple[str | None, ...]) -> Mapping[str | None, int]:
    return Counter(table)
