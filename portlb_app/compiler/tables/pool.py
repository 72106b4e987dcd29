"""Slots as the buckets of OpenFlow groups, and which packets get which group.

A bucket says whose slot it is by a number that it writes into a register (`pipeline.SERVER`): the slot's server in the
whole pool's table, also on a switch that must give the slot to another server because it cannot reach that one. So any
switch tells the whole table when it is read, whatever it can reach, and also where two servers share a connector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat

from portlb_app.compiler.delivery import marked
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import RedirectPort
from portlb_app.openflow import Action, Group
from portlb_app.pipeline import SELECTION, SLOT_GROUP, SLOTS, from_group, load_server, signal_slot


def pool_groups(
    local: VipOnSwitch,
    port: int,
    number: Callable[[int], int],
    bucket: Callable[[str], tuple[Action, ...]],
    are_marked: bool = False,
) -> Iterator[Group]:
    """The groups of the pool of a redirect port, or of `ALL_SERVERS`: each has 256 of its slots.

    `number` makes the number of each, `bucket` the actions for a server. With `are_marked`, the packets of slots that
    have moved name the slots' former servers.
    """
    given, table = local.slots(port), local.table(port)
    formers: Iterable[tuple[str, ...]] = table.formers if are_marked and table.formers else repeat((), len(given))
    slots = list(zip(table.servers, given, formers, strict=True)) if given else []
    made = {server: bucket(server) for server in set(given)}
    buckets = {
        (owner, server, earlier): (load_server(local.numbers[owner]), *marked(local, made[server], server, earlier))
        for owner, server, earlier in set(slots)
    }
    for index in range(1 << local.group_bits(port)):
        some = slots[SLOTS * index : SLOTS * (index + 1)]
        yield Group(number(index), "select", tuple(map(buckets.__getitem__, some)), SELECTION)


def by_group(
    local: VipOnSwitch, pool: RedirectPort, protocol: int
) -> Iterator[tuple[int, Mapping[str, tuple[int, int]]]]:
    """The groups of a pool by index, each with the match of the packets that get it."""
    bits = local.group_bits(pool.port)
    for index in range(1 << bits):
        yield index, from_group(protocol, index, bits)


def slot_group() -> Group:
    """The select group whose buckets hand a SYN up with its slot: the one that any pool's group would choose."""
    return Group(SLOT_GROUP, "select", tuple(signal_slot(slot) for slot in range(SLOTS)), SELECTION)
