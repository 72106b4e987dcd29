"""Which slot a packet would get: groups that hash as pools do, and tell the controller the slot instead of delivering.

To ask, the controller sends a packet into such a group, from a side of its own that no packet from a port can have. So
the hash is the switch's own, and nothing leaves the switch but the answer. The same groups give a SYN that is handed up
its slot (`legacy`).
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.tables.pool import selection
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.openflow import Flow, Group, Selection, ToController, ToMeter, match
from portlb_app.pipeline import (
    SELECTION,
    SIGNAL,
    SLOTS,
    Priority,
    Reason,
    Side,
    family,
    flow,
    from_side,
    make_cookie,
    signal_slot,
    slot_group,
)


def flows(here: tuple[VipOnSwitch, ...]) -> Iterator[Flow]:
    """The flow that hands answers up; none where no pool has slots."""
    asked = next((local for local in here if any(_selections(local))), None)
    if asked is not None:
        yield flow(
            SIGNAL,
            Priority.FIRST,
            match(**from_side(Side.ASK)),
            (ToMeter(asked.meter(Reason.ASKED)), ToController()),
            make_cookie(Reason.ASKED),
            "the controller has asked for a packet's slot: to the controller",
        )


def groups(here: tuple[VipOnSwitch, ...]) -> Iterator[Group]:
    """A group for each way in which pools here hash, and the one for SYNs that are handed up."""
    wanted = {each for local in here for each in _selections(local)}
    if wanted:
        buckets = tuple(signal_slot(slot) for slot in range(SLOTS))
        for each in {SELECTION, *wanted}:
            yield Group(slot_group(each), "select", buckets, each)


def _selections(local: VipOnSwitch) -> Iterator[Selection]:
    for pool in local.pools:
        if local.slots(pool.port):
            yield from (selection(pool, family(address)) for address in local.vip.addresses)
