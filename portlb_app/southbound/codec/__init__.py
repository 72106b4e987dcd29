"""Between our values and the bytes of OpenFlow 1.5 messages.

Out: `messages` makes the flow-mods, group-mods and meter-mods of a plan's steps, `packet_out` a packet-out.

In: flow, group and meter descriptions become `Flow`, `Group` and `Meter`, equal to what was sent; a packet-in becomes
a `Punted`. `portlb_app.openflow.messages` reads everything else.

Both are made from bytes here and not by Ryu. Its encoder takes 0.1 ms for each flow. Its decoder of groups reads past
the end of buckets and groups (it takes the next bucket for a property of this one, and hangs if that is empty), its
decoder of meters hangs on a band of length 0, and it loses a whole reply over one action it does not know. Ryu gives
the numbers, and the classes of requests (`requests`).

Rules of the decoder: every length is checked before it is used, every loop consumes its input, and what we do not know
becomes `Opaque` (or an ``opaque`` match) with its bytes in hex. Only framing that contradicts itself is `Malformed`.

Numbers of sections are those of the OpenFlow switch specification 1.5.1; Open vSwitch's extensions are named as in
its ``include/openflow/nicira-ext.h`` and ``netronome-ext.h``.
"""

from __future__ import annotations

from portlb_app.southbound.codec.errors import error_name
from portlb_app.southbound.codec.flows import decode_flow
from portlb_app.southbound.codec.groups import decode_group, our_counted, our_groups
from portlb_app.southbound.codec.meters import decode_meter, our_metered, our_meters
from portlb_app.southbound.codec.packets import fits, packet_in, packet_in_cookie, packet_out
from portlb_app.southbound.codec.pages import FlowPages, Same
from portlb_app.southbound.codec.requests import (
    CountRequest,
    bundle_control,
    counted_packets,
    flows_request,
    foreign_requests,
    forwarding,
    group_stats_request,
    groups_request,
    meter_features_request,
    meter_stats_request,
    meters_request,
    ports_request,
    tables_request,
)
from portlb_app.southbound.codec.steps import messages

__all__ = [
    "CountRequest",
    "FlowPages",
    "Same",
    "bundle_control",
    "counted_packets",
    "decode_flow",
    "decode_group",
    "decode_meter",
    "error_name",
    "fits",
    "flows_request",
    "foreign_requests",
    "forwarding",
    "group_stats_request",
    "groups_request",
    "messages",
    "meter_features_request",
    "meter_stats_request",
    "meters_request",
    "our_counted",
    "our_groups",
    "our_metered",
    "our_meters",
    "packet_in",
    "packet_in_cookie",
    "packet_out",
    "ports_request",
    "tables_request",
]
