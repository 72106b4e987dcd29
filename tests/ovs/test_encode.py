"""Messages that are made from bytes are those that Ryu's classes would make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portlb_app.compiler import compile
from portlb_app.config import load
from portlb_app.openflow import Flow, Match, SwitchState, match
from portlb_app.openflow.limits import GROUPS, READ_BYTES, WHILE_CHANGED
from portlb_app.pipeline import COOKIE
from portlb_app.reconcile.plan import Plan, Step, diff
from portlb_app.southbound import codec
from tests.support import ryu_messages

SCENARIOS = sorted((Path(__file__).parents[2] / "flows").glob("*/lb.yaml"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_every_scenario(path: Path) -> None:
    """All of its entries come, and go."""
    states = list(compile(load(path.read_text())).values())
    assert states
    for state in states:
        for plan in (diff(SwitchState(), state), diff(state, SwitchState())):
            assert codec.messages(plan.bundle, 1000, 7) == ryu_messages.messages(plan.bundle, 1000, 7)
            assert codec.messages(plan.before, 5, None) == ryu_messages.messages(plan.before, 5, None)
            assert codec.messages(plan.after, 6, None) == ryu_messages.messages(plan.after, 6, None)


def test_what_was_read_and_is_none_of_ours() -> None:
    unknown = Match(match(tcp_dst=80).fields, "0001020c00000001000000020000000300000004"[:16])
    plan = Plan((Step("delete", Flow(3, 7, unknown, (), COOKIE)),))
    assert codec.messages(plan.steps, 9, 1) == ryu_messages.messages(plan.steps, 9, 1)
    assert unknown.opaque in codec.messages(plan.steps, 9, 1).hex()


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
    longest = max(len(codec.messages([step], 1, None)) for step in steps)
    assert longest > 16_000 and longest * GROUPS * WHILE_CHANGED < READ_BYTES
