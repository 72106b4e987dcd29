"""Slots as the buckets of an OpenFlow group."""

from __future__ import annotations

from collections.abc import Callable

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.openflow import Action, Group
from portlb_app.pipeline import SELECTION, SLOT_GROUP, SLOTS, signal_slot


def group(
    local: VipOnSwitch, number: int, servers: tuple[str, ...], bucket: Callable[[str], tuple[Action, ...]]
) -> Group:
    """The select group with a bucket for each slot of these servers; `bucket` makes the actions for a server."""
    slots = local.slots(servers)
    buckets = {server: bucket(server) for server in set(slots)}
    return Group(number, "select", tuple(buckets[server] for server in slots), SELECTION)


def slot_group() -> Group:
    """The select group whose buckets hand a SYN up with its slot: the one that any pool's group would choose."""
    return Group(SLOT_GROUP, "select", tuple(signal_slot(slot) for slot in range(SLOTS)), SELECTION)
