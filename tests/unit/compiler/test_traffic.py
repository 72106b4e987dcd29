"""Whose packets flows and groups count: compared with where they output, for every scenario."""

from __future__ import annotations

from pathlib import Path

import pytest

from portlb_app import compiler
from portlb_app.compiler.traffic import Account, Direction, Traffic
from portlb_app.config import Config, Switch, load
from portlb_app.openflow import IP_UDP, Flow, Output
from portlb_app.pipeline import (
    DEFAULT,
    LABEL,
    LEGACY,
    PIN,
    PINNED,
    SERVICE,
    UPSTREAM,
    Reason,
    parse_cookie,
)

SCENARIOS = sorted(path.parent.name for path in (Path(__file__).parents[3] / "flows").glob("*/lb.yaml"))
DELIVERING = {table.number for table in (SERVICE, LABEL, LEGACY, PINNED, PIN, DEFAULT)}
NOT_COUNTED = {Reason.PEER, Reason.TO_CHECKER, Reason.TRANSIT}


def scenario(name: str) -> Config:
    return load((Path(__file__).parents[3] / f"flows/{name}/lb.yaml").read_text())


def outputs(flow: Flow) -> set[int]:
    return {action.port for action in flow.actions if isinstance(action, Output)}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_flow_that_delivers_to_a_connector_counts_for_the_server_there(name: str) -> None:
    """Where a connector has one server; and nothing else counts as delivered."""
    config = scenario(name)
    states = compiler.compile(config)
    for switch in config.switches:
        at = connectors(config, switch)
        traffic = Traffic(config, switch)
        for flow in states[switch.name].flows:
            account = traffic.of_flow(flow)
            ports = outputs(flow)
            servers = set().union(*(at.get(port, set()) for port in ports))
            if flow.table in DELIVERING and len(servers) == 1:
                is_udp = flow.table == SERVICE.number and ("ip_proto", IP_UDP, None) in flow.match
                expected = Account((*servers, Direction.TO_SERVER), account and account.pool, datagrams=is_udp)
                assert account == expected, flow
            elif account is not None and account.way[1] is Direction.TO_SERVER:
                assert account.way[0] in servers or not servers, flow


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_flow_that_lets_a_server_out_counts_for_it(name: str) -> None:
    """What passes on for others, to the controller and to other servers does not."""
    config = scenario(name)
    states = compiler.compile(config)
    for switch in config.switches:
        at, traffic = connectors(config, switch), Traffic(config, switch)
        for flow in states[switch.name].flows:
            if flow.table != UPSTREAM.number or not outputs(flow):
                continue
            in_port = next((value for field, value, _ in flow.match if field == "in_port"), None)
            account, servers = traffic.of_flow(flow), at.get(in_port or 0, set())
            if parse_cookie(flow.cookie)[0] in NOT_COUNTED or not servers:
                assert account is None, flow
            else:
                assert account is not None and account.way[1] is Direction.FROM_SERVER, flow
                assert account.way[0] in servers
                assert account.is_ipv6 is ("ipv6_src" in {field for field, _, _ in flow.match})


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_slot_of_an_attached_server_counts_for_it_and_its_pool(name: str) -> None:
    config = scenario(name)
    states = compiler.compile(config)
    for switch in config.switches:
        here = {server.name for server in config.servers if server.connector.switch == switch.name}
        found = list(Traffic(config, switch).of_groups(states[switch.name].group_by_number))
        for group, parts in found:
            buckets = [bucket for _, some in parts for bucket in some]
            assert len(set(buckets)) == len(buckets)
            assert {account.way[0] for account, _ in parts} <= here
            if len(config.switches) == 1:
                assert sorted(buckets) == list(range(len(group.buckets)))
                assert all(account.pool for account, _ in parts)


def connectors(config: Config, switch: Switch) -> dict[int, set[str]]:
    """The servers behind each port of a switch."""
    found: dict[int, set[str]] = {}
    for server in config.servers:
        if server.connector.switch == switch.name:
            found.setdefault(server.connector.port, set()).add(server.name)
    return found
