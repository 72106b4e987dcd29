"""`portlb attach`: what is printed, and what is refused. tests/ovs/test_attach.py runs it."""

from __future__ import annotations

import argparse

import pytest

from portlb_app.cli.attach import TARGET, bridge_name, file_of_switch, lines, target
from portlb_app.config import load

CONFIGURATION = """
switches:
  s1: {dpid: 0xfe, network: 1}
  a-switch-with-a-long-name: {dpid: 2, datapath: kernel}
links: [[s1:2, a-switch-with-a-long-name:1]]
vips:
  one: {address: 10.0.0.100, mac: "02:00:00:00:00:64"}
  two: {address: 10.0.0.101, mac: "02:00:00:00:00:64"}
servers:
  b: {vip: two, connector: s1:3}
  a: {vip: one, connector: s1:3}
"""


def test_what_is_printed() -> None:
    """Bridges, controllers, and for each port its use; the name of a bridge fits an interface."""
    long = bridge_name("a-switch-with-a-long-name")
    assert len(long) == 15 and long.startswith("a-swit-")
    files = ["/etc/a key", "/etc/cert", "/etc/ca"]
    assert list(lines(load(CONFIGURATION), "ssl:192.0.2.1:6653", files)) == [
        "# switch a-switch-with-a-long-name",
        f"ovs-vsctl --may-exist add-br {long} -- set bridge {long} datapath_type=system protocols=OpenFlow15 "
        "fail_mode=secure other_config:datapath-id=0000000000000002",
        "ovs-vsctl set-ssl '/etc/a key' /etc/cert /etc/ca",
        f"ovs-vsctl set-controller {long} ssl:192.0.2.1:6653 -- set controller {long} connection-mode=out-of-band",
        "# port 1, link to s1:2; put the interface's name for IFACE:",
        f"# ovs-vsctl --may-exist add-port {long} IFACE -- set interface IFACE ofport_request=1",
        "",
        "# switch s1",
        "ovs-vsctl --may-exist add-br s1 -- set bridge s1 datapath_type=netdev protocols=OpenFlow15 "
        "fail_mode=secure other_config:datapath-id=00000000000000fe",
        "ovs-vsctl set-ssl '/etc/a key' /etc/cert /etc/ca",
        "ovs-vsctl set-controller s1 ssl:192.0.2.1:6653 -- set controller s1 connection-mode=out-of-band",
        "# port 1, the network side; put the interface's name for IFACE:",
        "# ovs-vsctl --may-exist add-port s1 IFACE -- set interface IFACE ofport_request=1",
        "# port 2, link to a-switch-with-a-long-name:1; put the interface's name for IFACE:",
        "# ovs-vsctl --may-exist add-port s1 IFACE -- set interface IFACE ofport_request=2",
        "# port 3, connector of a, b; put the interface's name for IFACE:",
        "# ovs-vsctl --may-exist add-port s1 IFACE -- set interface IFACE ofport_request=3",
        "",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (TARGET, TARGET),
        ("tcp:192.0.2.1", "tcp:192.0.2.1:6653"),
        ("ssl:[2001:db8::1]:7", "ssl:[2001:db8::1]:7"),
        ("ssl:[2001:db8::1]", "ssl:[2001:db8::1]:6653"),
    ],
)
def test_targets(text: str, found: str) -> None:
    assert target(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "192.0.2.1", "udp:192.0.2.1", "tcp:host", "tcp:192.0.2.1:0", "tcp:192.0.2.1:65536", "tcp:2001:db8::1:6653",
     "tcp:[192.0.2.1]", "tcp:192.0.2.1;reboot", "tcp:999.0.0.1", "tcp:192.0.2.1:6653\n", "tcp:192.0.2.\u0661"],
)  # fmt: skip
def test_no_targets(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        target(text)


def test_files_are_named_as_the_switch_finds_them() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="absolute"):
        file_of_switch("key.pem")
