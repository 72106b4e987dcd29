"""What a server's agent announces, as the configuration has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from portlb_app.agent.errors import AgentError
from portlb_app.agent.mapping import mapping_of
from portlb_app.config import load

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()


def test_a_server_announces_the_service_ports_behind_redirect_ports() -> None:
    """E2: 20 and 22 are answered by 1 and 5; 9 is a service port of its own (E1)."""
    mapping = mapping_of(load(FIG2), "a")
    assert [str(vip) for vip in mapping.vips] == ["10.0.0.100"]
    assert dict(mapping.answers) == {20: 1, 22: 5}
    assert dict(mapping.applications) == {1: 20, 5: 22, 9: 9}


@pytest.mark.parametrize(("policy", "announced"), [("owner", {20: 21}), ("balance", {}), ("drop", {})])
def test_a_shared_service_port_is_announced_only_where_plain_packets_reach_its_owner(
    policy: str, announced: dict[int, int]
) -> None:
    """E2, D1: packets of a redirected connection carry no REDIRECT, so the policy of the port they go to decides."""
    config = load(
        "switches: {s1: {dpid: 1, network: 1}}\n"
        "vips: {web: {address: 10.0.0.100, mac: 02:00:00:00:00:64, redirect_ports: {"
        f"20: {{servers: [a]}}, 21: {{servers: [a], legacy: {policy}}}}}}}}}\n"
        "servers: {a: {vip: web, connector: s1:2, service_ports: [{port: 21, application: 20}]}}\n"
    )
    assert dict(mapping_of(config, "a").answers) == announced


def test_a_server_nobody_configured_is_an_error() -> None:
    """The message says which there are."""
    with pytest.raises(AgentError, match="no server z.*a, b, c, d"):
        mapping_of(load(FIG2), "z")
