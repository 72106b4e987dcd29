"""Handing packets up to the controller."""

from __future__ import annotations

from portlb_app.openflow import Action, CheckLarger, SetField
from portlb_app.openflow.limits import LARGEST_FRAME
from portlb_app.pipeline.reasons import Reason
from portlb_app.pipeline.registers import PUNT_KEY, TOO_LARGE, load_slot
from portlb_app.pipeline.tables import PUNT, SIGNAL, resubmit


def punt_key(reason: Reason, vip: int) -> int:
    """The value of `PUNT_KEY`, by which PUNT knows why a packet is handed up and about which VIP."""
    return int(reason) << 24 | vip


def punt(reason: Reason, vip: int = 0) -> tuple[Action, ...]:
    """The actions that hand up a packet, or a copy of one that goes on; PUNT drops a frame that is too large."""
    return (SetField(PUNT_KEY, punt_key(reason, vip)), CheckLarger(LARGEST_FRAME, TOO_LARGE), resubmit(PUNT))


def signal_slot(slot: int) -> tuple[Action, ...]:
    """The actions of a bucket of `SLOT_GROUP`: SIGNAL hands the SYN up with the bucket's slot (from 0)."""
    return (load_slot(slot), resubmit(SIGNAL))
