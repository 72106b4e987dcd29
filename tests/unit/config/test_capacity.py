"""What tables need is counted before they are made: what is accepted can be installed and read back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from portlb_app.compiler import compile as compile_config
from portlb_app.config import Config, ConfigError, load
from portlb_app.config.capacity import usage
from portlb_app.openflow import Meter
from portlb_app.openflow.limits import (
    FLOWS,
    GROUPS,
    LARGEST_FRAME,
    MAX_VIPS,
    MESSAGE,
    METERS,
    METERS_OF_A_KIND,
    OUTPUTS,
)
from portlb_app.pipeline import METER_SIGNATURE, UPSTREAM, Reason, is_our_meter, parse_cookie, rate_meter
from tests.support import generate, trees


def settings(servers: int, ports: int, pools: Iterable[int] = (), members: int = 1, **vip: Any) -> dict[str, Any]:
    """One VIP on one switch: servers with so many service ports each, pools of so many servers."""
    names = [f"s{number}" for number in range(servers)]
    legacy = vip.pop("legacy", "drop")
    pool = {"servers": names[:members], "legacy": legacy}
    return {
        "switches": {"s1": {"dpid": 1, "network": 1}},
        "vips": {
            "web": {
                "address": "10.0.0.100",
                "mac": "02:00:00:00:00:64",
                "redirect_ports": dict.fromkeys(pools, pool),
                **vip,
            }
        },
        "servers": {
            name: {
                "vip": "web",
                "connector": f"s1:{number + 2}",
                "service_ports": [10000 + number * ports + port for port in range(ports)],
            }
            for number, name in enumerate(names)
        },
    }


def refused(data: dict[str, Any]) -> list[str]:
    """The mistakes of a configuration, as text."""
    with pytest.raises(ConfigError) as caught:
        load(json.dumps(data))
    return [str(problem) for problem in caught.value.errors]


def agrees(config: Config) -> None:
    """No switch has more than was counted."""
    states = compile_config(config)
    for name, (flows, groups) in usage(config).items():
        assert len(states[name].flows) <= flows
        assert len(states[name].groups) <= groups
        assert len(states[name].meters) <= METERS


def test_nothing_compiles_to_more_than_was_counted() -> None:
    """Random configurations on one switch, and on several."""
    for number in range(60):
        agrees(generate.configuration(Random(f"capacity/{number}")))
    for number in range(20):
        agrees(trees.tree(Random(f"capacity/{number}")).spread)


@pytest.mark.parametrize(
    "data",
    [
        settings(100, 50),
        settings(300, 5, address=["10.0.0.100", "fd00::100"]),
        settings(200, 1, range(1, 101), 50, legacy="balance"),
        settings(100, 2, range(1, 201), 1, legacy="pin"),
    ],
)
def test_a_large_configuration_is_counted_closely(data: dict[str, Any]) -> None:
    """Within a tenth, so that little is refused that would have had room."""
    config = load(json.dumps(data))
    (flows, _), (state,) = usage(config)["s1"], compile_config(config).values()
    assert len(state.flows) <= flows <= 1.1 * len(state.flows)


@pytest.mark.parametrize(
    "data",
    [
        settings(224, 200, address=["10.0.0.100", "fd00::100"]),
        settings(200, 0, range(1, 2800), 1, legacy="pin"),
        settings(200, 0, range(1, 801), 200, legacy="pin"),
    ],
)
def test_more_flows_than_can_be_read_back_are_refused(data: dict[str, Any]) -> None:
    """Before any is made; the VIP that needs most is named."""
    (problem,) = refused(data)
    assert problem.startswith("vips.web: the tables of switch s1 would have up to ")
    assert problem.endswith(f"{FLOWS} are the most")


def test_what_is_remembered_is_tcp() -> None:
    """A server answers from a pinned port whose pool it has left, by TCP, and not by UDP or SCTP."""
    (state,) = compile_config(load(json.dumps(settings(50, 0, range(1, 101), 1, legacy="pin")))).values()
    upstream = [flow for flow in state.flows if flow.table == UPSTREAM.number]
    own = [flow for flow in upstream if parse_cookie(flow.cookie)[0] is Reason.OWN_PORT]
    assert len(own) == 50 * 100 + 2 * 100


def test_every_service_may_have_a_rate() -> None:
    """As many as have meters; one more is refused."""
    data = settings(16, 256)
    for server in data["servers"].values():
        server["service_ports"] = [{"port": port, "quality": {"rate": 1000}} for port in server["service_ports"]]
    (state,) = compile_config(load(json.dumps(data))).values()
    numbers = {meter.number for meter in state.meters if meter.unit == "kbps"}
    assert len(numbers) == METERS_OF_A_KIND and all(map(is_our_meter, numbers))
    data["servers"]["s0"]["service_ports"].append({"port": 1, "quality": {"rate": 1}})
    assert refused(data) == ["vips: 4097 services have a rate, each with a meter; 4096 are the most"]


@pytest.mark.parametrize("rate", [1, 100, 5000, 10_000_000, (1 << 32) - 1])
def test_the_largest_packet_passes_every_rate(rate: int) -> None:
    """64 kB are 524 kbit; numbers stay within 32 bits."""
    meter: Meter = rate_meter(0, rate)
    assert meter.burst * 1000 >= 65535 * 8 and meter.burst >= rate // 10
    assert meter.burst % 256 == METER_SIGNATURE and meter.burst < 1 << 32


def test_vips_with_one_number_are_refused() -> None:
    """A number says whose a flow is; groups' numbers are made from it."""
    data = settings(1, 1)
    data["vips"]["web"]["number"] = 5
    data["vips"]["dns"] = {"address": "10.0.0.101", "mac": "02:00:00:00:00:64", "number": 5}
    assert refused(data) == ["vips.web.number: 5 is already the number of dns: give one of them another"]
    data["vips"]["dns"]["number"] = 6
    assert [vip.number for vip in load(json.dumps(data)).vips] == [6, 5]
    data["vips"]["dns"]["number"] = 1 << 24
    assert refused(data)[0].startswith("vips.dns.number: ")


@pytest.mark.parametrize(("rewrite", "most"), [("nothing", 4063), ("mac", 1354)])
def test_a_flow_that_reaches_every_server_fits_into_a_message(rewrite: str, most: int) -> None:
    """ARP answers go to each of them."""
    data = settings(most, 0, rewrite=rewrite)
    for number, server in enumerate(data["servers"].values()):
        if rewrite == "mac":
            server["mac"] = f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}"
    load(json.dumps(data))
    extra = {"vip": "web", "connector": f"s1:{most + 2}", "service_ports": [1]}
    data["servers"]["extra"] = extra | ({"mac": "02:00:00:02:00:00"} if rewrite == "mac" else {})
    (problem,) = refused(data)
    assert problem.startswith(f"vips.web: has {most + 1} servers") and problem.endswith(f"room for {most}")


def test_numbers_that_belong_together() -> None:
    """What one limit is made for is within the other."""
    assert OUTPUTS * 16 + LARGEST_FRAME + 512 < MESSAGE
    assert MAX_VIPS == METERS_OF_A_KIND
    assert [is_our_meter(number) for number in (0x2FFF, 0x3000, 0x3000 + METERS - 1, 0x3000 + METERS)] == [
        False,
        True,
        True,
        False,
    ]


def test_more_groups_than_can_be_read_back_are_a_mistake() -> None:
    data = settings(1, 1, range(1, GROUPS + 1))
    assert any(f"{GROUPS} are the most" in problem for problem in refused(data))


@pytest.mark.parametrize("name", ["fig2", "tree", "address", "mac", "one-armed", "addresses", "two-vips"])
def test_checks_are_counted(name: str) -> None:
    """The examples, with every server checked."""
    data = yaml.safe_load((Path(__file__).parents[3] / f"flows/{name}/lb.yaml").read_text())
    for vip in data["vips"].values():
        both = isinstance(vip["address"], list)
        vip |= {"check": {}, "check_address": ["10.0.0.9", "fd00::9"] if both else "10.0.0.9"}
    agrees(load(json.dumps(data)))
