"""Requests to a switch, as messages of Ryu's classes: reading what it holds, and control of bundles."""

from __future__ import annotations

from typing import Any

from ryu.ofproto import ofproto_v1_5_parser as parser

from portlb_app import pipeline
from portlb_app.southbound.codec.steps import BUNDLE_FLAGS


def bundle_control(datapath: Any, bundle: int, request: int) -> Any:
    """Open, close, commit or discard (``OFPBCT_*_REQUEST``) an atomic, ordered bundle (7.3.9)."""
    return parser.OFPBundleCtrlMsg(datapath, bundle, request, BUNDLE_FLAGS, [])


def flows_request(datapath: Any) -> Any:
    """Ask for all flows that carry our cookie."""
    return parser.OFPFlowDescStatsRequest(datapath, cookie=pipeline.COOKIE, cookie_mask=pipeline.COOKIE_MASK)


def groups_request(datapath: Any) -> Any:
    """Ask for all groups; OpenFlow cannot ask for ours alone."""
    return parser.OFPGroupDescStatsRequest(datapath)


def group_stats_request(datapath: Any, number: int) -> Any:
    """Ask what the buckets of one group have counted."""
    return parser.OFPGroupStatsRequest(datapath, group_id=number)


def meters_request(datapath: Any) -> Any:
    """Ask for all meters; OpenFlow cannot ask for ours alone."""
    return parser.OFPMeterDescStatsRequest(datapath)


def meter_stats_request(datapath: Any) -> Any:
    """Ask what meters have counted; OpenFlow cannot ask for ours alone."""
    return parser.OFPMeterStatsRequest(datapath)
