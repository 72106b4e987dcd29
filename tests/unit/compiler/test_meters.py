"""Meters of the tables: what becomes many packets, or goes up to the controller, has one, and each VIP its own."""

from __future__ import annotations

from random import Random

from portlb_app.compiler import compile as compile_config
from portlb_app.compiler.tables.qos import punt_meters
from portlb_app.config import load
from portlb_app.openflow import CopyToController, Output, ToMeter
from portlb_app.pipeline import (
    BY_NUMBER,
    FRAGMENT,
    ICMP,
    OF_ALL_VIPS,
    TOO_LARGE_METER,
    Reason,
    is_ours,
    metered_reason,
    parse_cookie,
)
from tests.support import generate

TWO = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  one: {address: [10.0.0.100, "fd00::100"], mac: "02:00:00:00:00:64", icmp: {errors: replicate}, fragments: replicate}
  two: {address: [10.0.0.101, "fd00::101"], mac: "02:00:00:00:00:65", icmp: {errors: replicate}, fragments: replicate}
servers:
  a: {vip: one, connector: s1:2, service_ports: [1]}
  b: {vip: one, connector: s1:3, service_ports: [2]}
  c: {vip: two, connector: s1:4, service_ports: [1]}
  d: {vip: two, connector: s1:5, service_ports: [2]}
"""


def test_what_is_copied_to_all_servers_has_a_meter_of_its_vip() -> None:
    """Errors and fragments under ``replicate``, both versions of IP: else a stranger's packet becomes as many as there
    are servers, without a limit; and one VIP's flood takes nothing from another.
    """
    config = load(TWO)
    state = compile_config(config)["s1"]
    found: dict[tuple[str, str], set[int]] = {}
    numbers = {vip.number: vip.name for vip in config.vips}
    for flow in state.flows:
        if BY_NUMBER[flow.table] in (ICMP, FRAGMENT) and sum(isinstance(each, Output) for each in flow.actions) > 1:
            metered = flow.actions[0]
            assert isinstance(metered, ToMeter), flow
            _, vip, _ = parse_cookie(flow.cookie)
            found.setdefault((BY_NUMBER[flow.table].name, numbers[vip]), set()).add(metered.meter)
    assert sorted(found) == [("FRAGMENT", "one"), ("FRAGMENT", "two"), ("ICMP", "one"), ("ICMP", "two")]
    assert all(len(meters) == 1 for meters in found.values())
    assert len(set.union(*found.values())) == 4, "none is shared"
    assert {metered_reason(number) for number in set.union(*found.values())} == {Reason.ICMP_ERROR, Reason.FRAGMENT}


def test_no_two_vips_share_a_meter() -> None:
    """Of what is about one VIP; and the numbers of all meters are different ones."""
    for number in range(40):
        config = generate.configuration(Random(f"meters/{number}"))
        meters = punt_meters(config)
        assert len({meter.number for meter in meters.values()}) == len(meters)
        assert {vip for reason, vip, _ in meters if reason in OF_ALL_VIPS} <= {""}
        assert all(is_ours(meter) and metered_reason(meter.number) is reason for (reason, *_), meter in meters.items())
        for state in compile_config(config).values():
            used = {
                action.meter
                for flow in state.flows
                for action in flow.actions
                if isinstance(action, (ToMeter, CopyToController))
            }
            assert used == state.meter_by_number.keys()
    assert metered_reason(TOO_LARGE_METER.number) is Reason.TOO_LARGE
