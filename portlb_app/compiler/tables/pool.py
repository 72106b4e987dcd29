"""Slots as the buckets of OpenFlow groups, and which packets get which group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import RedirectPort
from portlb_app.openflow import Action, Group
from portlb_app.pipeline import SELECTION, SLOT_GROUP, SLOTS, from_group, signal_slot


def group(number: int, slots: tuple[str, ...], bucket: Callable[[str], tuple[Action, ...]]) -> Group:
    """The select group with a bucket for each of these slots; `bucket` makes the actions for a server."""
    buckets = {server: bucket(server) for server in set(slots)}
    return Group(number, "select", tuple(buckets[server] for server in slots), SELECTION)


def pool_groups(
    local: VipOnSwitch,
    pool: RedirectPort,
    number: Callable[[int], int],
    bucket: Callable[[str], tuple[Action, ...]],
) -> Iterator[Group]:
    """The groups of a pool: each has 256 of its slots. `number` makes the number of each."""
    slots = local.pool_slots(pool)
    for index in range(1 << local.group_bits(pool)):
        yield group(number(index), slots[SLOTS * index : SLOTS * (index + 1)], bucket)


def by_group(
    local: VipOnSwitch, pool: RedirectPort, protocol: int
) -> Iterator[tuple[int, Mapping[str, tuple[int, int]]]]:
    """The groups of a pool by index, each with the match of the packets that get it."""
    bits = local.group_bits(pool)
    for index in range(1 << bits):
        yield index, from_group(protocol, index, bits)


def slot_group() -> Group:
    """The select group whose buckets hand a SYN up with its slot: the one that any pool's group would choose."""
    return Group(SLOT_GROUP, "select", tuple(signal_slot(slot) for slot in range(SLOTS)), SELECTION)
