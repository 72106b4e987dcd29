"""Messages that are made from bytes are those that Ryu's classes would make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ryu.ofproto import ofproto_v1_5_parser as parser

from portlb_app.compiler import compile
from portlb_app.config import load
from portlb_app.openflow import Flow, Match, SwitchState, match
from portlb_app.openflow.limits import GROUPS, READ_BYTES, WHILE_CHANGED
from portlb_app.pipeline import COOKIE
from portlb_app.reconcile.plan import Plan, Step, diff
from portlb_app.southbound import codec, encode

SCENARIOS = sorted((Path(__file__).parents[2] / "flows").glob("*/lb.yaml"))


def by_ryu(plan: Plan, xid: int, bundle: int | None) -> bytes:
    """The messages of a plan, made by Ryu alone."""
    data = b""
    for number, step in enumerate(plan.steps, xid):
        made = codec.message(encode._PROTOCOL, step)
        if bundle is not None:
            made = parser.OFPBundleAddMsg(encode._PROTOCOL, bundle, codec.BUNDLE_FLAGS, made, [])
        made.set_xid(number)
        made.serialize()
        data += bytes(made.buf)
    return data


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_every_scenario(path: Path) -> None:
    """All of its entries come, and go."""
    states = list(compile(load(path.read_text())).values())
    assert states
    for state in states:
        for plan in (diff(SwitchState(), state), diff(state, SwitchState())):
            assert encode.messages(plan.bundle, 1000, 7) == by_ryu(Plan(plan.bundle), 1000, 7)
            assert encode.messages(plan.before, 5, None) == by_ryu(Plan(plan.before), 5, None)
            assert encode.messages(plan.after, 6, None) == by_ryu(Plan(plan.after), 6, None)


def test_what_was_read_and_is_none_of_ours() -> None:
    unknown = Match(match(tcp_dst=80).fields, "0001020c00000001000000020000000300000004"[:16])
    plan = Plan((Step("delete", Flow(3, 7, unknown, (), COOKIE)),))
    assert encode.messages(plan.steps, 9, 1) == by_ryu(plan, 9, 1)
    assert unknown.opaque in encode.messages(plan.steps, 9, 1).hex()


def test_as_many_of_the_largest_groups_as_there_can_be_are_read_back() -> None:
    """Twice as many, because a change may have been cut off."""
    names = [f"s{number}" for number in range(256)]
    pool = {"servers": names, "legacy": "balance", "quality": {"dscp": 1, "queue": 1, "rate": 1}}
    vip = {"address": ["10.0.0.100", "fd00::100"], "mac": "02:00:00:00:00:64", "rewrite": "address"}
    servers = {
        name: {
            "vip": "web",
            "connector": f"s1:{number + 2}",
            "service_ports": [10000 + number],
            "mac": f"02:00:00:01:00:{number:02x}",
            "address": [f"10.1.0.{number}", f"fd01::{number + 1:x}"],
        }
        for number, name in enumerate(names)
    }
    switches = {"s1": {"dpid": 1, "network": 1}}
    vips = {"web": vip | {"redirect_ports": {"80": pool}}}
    state = compile(load(json.dumps({"switches": switches, "vips": vips, "servers": servers})))["s1"]
    steps = diff(SwitchState(), SwitchState(groups=state.groups)).steps
    longest = max(len(encode.messages([step], 1, None)) for step in steps)
    assert longest > 16_000 and longest * GROUPS * WHILE_CHANGED < READ_BYTES
