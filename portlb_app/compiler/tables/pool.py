"""Slots as the buckets of an OpenFlow group, and back.

A bucket says whose slot it is by a number that it writes into a register (`pipeline.SERVER`): the slot's server in the
whole pool's table, also on a switch that must give the slot to another server because it cannot reach that one. So any
switch tells the whole table when it is read, whatever it can reach, and also where two servers share a connector.
"""

from __future__ import annotations

from collections.abc import Callable

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.openflow import Action, Group
from portlb_app.pipeline import SELECTION, SLOT_GROUP, SLOTS, load_server, signal_slot


def group(local: VipOnSwitch, number: int, port: int, bucket: Callable[[str], tuple[Action, ...]]) -> Group:
    """The select group with a bucket for each slot of a redirect port's pool; `bucket` makes the actions for a server.

    Port 0 is that of the pool of all servers.
    """
    given = local.slots(port)
    named = local.table(port).servers if given else ()
    made = {server: bucket(server) for server in set(given)}
    marks = {server: load_server(local.numbers[server]) for server in set(named)}
    buckets = {(name, server): (marks[name], *made[server]) for name, server in set(zip(named, given, strict=True))}
    return Group(number, "select", tuple(map(buckets.__getitem__, zip(named, given, strict=True))), SELECTION)


def slot_group() -> Group:
    """The select group whose buckets hand a SYN up with its slot: the one that any pool's group would choose."""
    return Group(SLOT_GROUP, "select", tuple(signal_slot(slot) for slot in range(SLOTS)), SELECTION)
