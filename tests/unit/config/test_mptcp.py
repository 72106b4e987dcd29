"""`servers.NAME.mptcp`: the port at which a server's MPTCP connections go on."""

from __future__ import annotations

import pytest

from portlb_app.config import ConfigError, load

TEXT = """
switches: {s1: {dpid: 1, network: 1}}
vips: {web: {address: 10.0.0.100, mac: "02:00:00:00:00:64", redirect_ports: {80: {servers: [a], legacy: balance}}}}
servers:
  a:
    vip: web
    connector: s1:2
    service_ports: [{port: 1, application: 80}, {port: 2, application: 9}, 9001]
    mptcp: 9001
  b: {vip: web, connector: "s1:3", service_ports: [9, 80]}
"""
OWN = "MPTCP needs a port of its own"


def test_a_server_has_a_port_for_mptcp_or_none() -> None:
    """It is one of its service ports."""
    servers = load(TEXT).server_by_name
    assert (servers["a"].mptcp, servers["b"].mptcp) == (9001, None)


@pytest.mark.parametrize(
    ("given", "instead", "message"),
    [
        ("mptcp: 9001", "mptcp: 9002", "servers.a.mptcp: 9002 is none of its service_ports"),
        ("mptcp: 9001", "mptcp: 9", "servers.a.mptcp: 9 is none of its service_ports"),
        ("mptcp: 9001", "mptcp: 1", f"servers.a.mptcp: 1 stands for the application on 80: {OWN}"),
        ("application: 9}", "application: 9001}", f"servers.a.mptcp: a program listens on 9001: {OWN}"),
        ("[9, 80]", "[9, 80], mptcp: 80", f"servers.b.mptcp: 80 is a redirect port: {OWN}"),
        ("mptcp: 9001", "mptcp: 0", "servers.a.mptcp: should be greater than or equal to 1"),
        ("mptcp: 9001", "mptcp: yes", "servers.a.mptcp: a number is expected"),
    ],
)
def test_the_port_for_mptcp_is_the_kernels_alone(given: str, instead: str, message: str) -> None:
    """Nothing else listens there, and nothing stands for it."""
    with pytest.raises(ConfigError) as caught:
        load(TEXT.replace(given, instead))
    assert message in str(caught.value).splitlines()
