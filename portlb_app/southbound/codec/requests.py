"""Requests to a switch, as messages of Ryu's classes: reading what it holds, and control of bundles."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from ryu.ofproto import ofproto_v1_5 as ofp
from ryu.ofproto import ofproto_v1_5_parser as parser

from portlb_app import pipeline
from portlb_app.config import Forwarding
from portlb_app.openflow import FlowFilter, messages
from portlb_app.openflow.abilities import most_bands
from portlb_app.openflow.messages import Malformed, Reply
from portlb_app.southbound.codec.fields import encode_match
from portlb_app.southbound.codec.steps import BUNDLE_FLAGS

_AGGREGATE = struct.Struct("!HH4xB3xII4xQQ")
"""Type and flags of a multipart request; table, output port and group, cookie and mask; the match follows (7.3.5.2)."""
_STATS_AT = 16
"""Where a multipart reply's body begins: here struct ofp_stats (7.2.4)."""
_OXS_BASIC = b"\x80\x02"


class CountRequest:
    """Ask how many packets some flows have seen, all together (7.3.5.4). A message as Ryu's classes are."""

    def __init__(self, flows: FlowFilter) -> None:
        self._filter = flows
        self.xid: int | None = None
        self.buf = b""

    def set_xid(self, xid: int) -> None:
        """Give it an xid."""
        self.xid = xid

    def serialize(self) -> None:
        """Make its bytes."""
        flows = self._filter
        body = _AGGREGATE.pack(
            *(ofp.OFPMP_AGGREGATE_STATS, 0, flows.table, ofp.OFPP_ANY, ofp.OFPG_ANY, flows.cookie, flows.cookie_mask)
        ) + encode_match(flows.match)
        length = messages.HEADER.size + len(body)
        self.buf = messages.HEADER.pack(messages.VERSION, ofp.OFPT_MULTIPART_REQUEST, length, self.xid) + body


def counted_packets(reply: Reply) -> int:
    """What the answer to a `CountRequest` says; Malformed."""
    data = reply.data[_STATS_AT:]
    if reply.kind != messages.MULTIPART_REPLY or len(data) < 4:
        raise Malformed("the counters of flows are cut off")
    length = int.from_bytes(data[2:4], "big")
    offset = 4
    while offset + 4 <= min(length, len(data)):
        field, size = data[offset + 2] >> 1, data[offset + 3]
        value = data[offset + 4 : offset + 4 + size]
        if data[offset : offset + 2] == _OXS_BASIC and field == ofp.OFPXST_OFB_PACKET_COUNT and len(value) == 8:
            return int.from_bytes(value, "big")
        offset += 4 + size
    raise Malformed("the counters of flows have no packets")


def bundle_control(datapath: Any, bundle: int, request: int) -> Any:
    """Open, close, commit or discard (``OFPBCT_*_REQUEST``) an atomic, ordered bundle (7.3.9)."""
    return parser.OFPBundleCtrlMsg(datapath, bundle, request, BUNDLE_FLAGS, [])


def flows_request(datapath: Any) -> Any:
    """Ask for all flows that carry our cookie."""
    return parser.OFPFlowDescStatsRequest(datapath, cookie=pipeline.COOKIE, cookie_mask=pipeline.COOKIE_MASK)


def tables_request(datapath: Any) -> Any:
    """Ask how many flows each table has."""
    return parser.OFPTableStatsRequest(datapath, 0)


def foreign_requests(datapath: Any, table: int) -> Iterator[Any]:
    """Ask for the flows of a table whose cookies are not ours.

    OpenFlow can only ask for cookies that have some bits. Each of these requests is for those that differ from ours in
    one bit, and in none of the bits before it.
    """
    for number in range(63, 63 - pipeline.COOKIE_MASK.bit_count(), -1):
        mask = (1 << 64) - (1 << number)
        cookie = (pipeline.COOKIE ^ 1 << number) & mask
        yield parser.OFPFlowDescStatsRequest(datapath, table_id=table, cookie=cookie, cookie_mask=mask)


def meter_features_request(datapath: Any) -> Any:
    """Ask what meters can do."""
    return parser.OFPMeterFeaturesStatsRequest(datapath, 0)


def forwarding(reply: Reply) -> Forwarding | None:
    """Where a switch forwards, by what its meters can do: nothing else that it tells depends on that; Malformed.

    The kernel's meters have one band (DP_MAX_BANDS in net/openvswitch/meter.h), those of user space eight (MAX_BANDS
    in lib/dpif-netdev.c; seen in Open vSwitch 3.1). None: neither, such as a kernel without meters.
    """
    return {1: Forwarding.KERNEL, 8: Forwarding.USERSPACE}.get(most_bands(reply))


def groups_request(datapath: Any) -> Any:
    """Ask for all groups; OpenFlow cannot ask for ours alone."""
    return parser.OFPGroupDescStatsRequest(datapath)


def group_stats_request(datapath: Any, number: int | None) -> Any:
    """Ask what the buckets of one group have counted, or those of all: OpenFlow cannot ask for ours alone."""
    return parser.OFPGroupStatsRequest(datapath, group_id=ofp.OFPG_ALL if number is None else number)


def ports_request(datapath: Any) -> Any:
    """Ask what all ports have counted."""
    return parser.OFPPortStatsRequest(datapath, 0, ofp.OFPP_ANY)


def meters_request(datapath: Any) -> Any:
    """Ask for all meters; OpenFlow cannot ask for ours alone."""
    return parser.OFPMeterDescStatsRequest(datapath)


def meter_stats_request(datapath: Any) -> Any:
    """Ask what meters have counted; OpenFlow cannot ask for ours alone."""
    return parser.OFPMeterStatsRequest(datapath)
