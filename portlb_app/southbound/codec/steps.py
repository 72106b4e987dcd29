"""Steps of a plan as messages: flow-mods, group-mods and meter-mods, each by itself or added to a bundle."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ryu.ofproto import ofproto_v1_5 as ofp

from portlb_app.openflow import Flow, Group, Meter
from portlb_app.openflow.messages import HEADER, VERSION
from portlb_app.reconcile.plan import Step
from portlb_app.southbound.codec.flows import flow_mod
from portlb_app.southbound.codec.groups import group_mod
from portlb_app.southbound.codec.meters import meter_mod

BUNDLE_FLAGS = ofp.OFPBF_ATOMIC | ofp.OFPBF_ORDERED
_BUNDLE_ADD = struct.Struct("!IHH")
"""struct ofp_bundle_add_msg (7.3.9.6) after its header: bundle, padding, flags; then the message."""


def messages(steps: Sequence[Step], xid: int, bundle: int | None) -> bytes:
    """The messages of steps, with xids from this one on: each by itself (None), or added to a bundle.

    ValueError for a value that was read from a switch and means nothing to us (no plan has one).
    """
    data = bytearray()
    for number, step in enumerate(steps, xid):
        kind, body = _body(step)
        message = HEADER.pack(VERSION, kind, HEADER.size + len(body), number) + body
        if bundle is not None:
            length = HEADER.size + _BUNDLE_ADD.size + len(message)
            data += HEADER.pack(VERSION, ofp.OFPT_BUNDLE_ADD_MESSAGE, length, number)
            data += _BUNDLE_ADD.pack(bundle, 0, BUNDLE_FLAGS)
        data += message
    return bytes(data)


def _body(step: Step) -> tuple[int, bytes]:
    """The type of the message that does a step, and what follows its header."""
    match step.what:
        case Flow() as flow:
            return ofp.OFPT_FLOW_MOD, flow_mod(step.verb, flow)
        case Group() as group:
            return ofp.OFPT_GROUP_MOD, group_mod(step.verb, group)
        case Meter() as meter:
            return ofp.OFPT_METER_MOD, meter_mod(step.verb, meter)
