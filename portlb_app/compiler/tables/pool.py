"""Slots as an OpenFlow group: what all pools have in common."""

from __future__ import annotations

from collections.abc import Callable

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.openflow import Action, Group
from portlb_app.pipeline import SELECTION, SLOT_GROUP, SLOTS, signal_slot


def group(
    local: VipOnSwitch, number: int, servers: tuple[str, ...], bucket: Callable[[str], tuple[Action, ...]]
) -> Group:
    """The select group in which every slot of these servers does what `bucket` says for its server."""
    slots = local.slots(servers)
    buckets = {server: bucket(server) for server in set(slots)}
    return Group(number, "select", tuple(buckets[server] for server in slots), SELECTION)


def slot_group() -> Group:
    """The select group whose buckets tell which slot a packet has: what `group` would hash it to."""
    return Group(SLOT_GROUP, "select", tuple(signal_slot(slot) for slot in range(SLOTS)), SELECTION)
