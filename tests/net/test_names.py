"""Redirection by something else than a port (rows X1, X2, X3), on real parts: curl, nginx, agents, Open vSwitch.

Both programs talk to VIP:80 throughout. What is asserted about addresses, labels and MAC addresses is read from the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
import yaml

from portlb_app.packets import Address, Segment, options
from tests.net.balancer import Balancer, balancer
from tests.net.network import CONFIRM, REDIRECT, SYN, Namespace, agent_command, agent_stats, client_agent
from tests.net.test_modes import BOTH, SIZE, example, frames, nobody_got_a_wrong_checksum, packets

X = 80
FOLLOWS = ("--service-address", "10.0.0.96/28", "--service-address", "fd00::/64")
"""What a client's agent may follow to; the VIP is in there, too."""
ON_THE_LINK = ("--service-mac", "02:00:00:00:01:00/40")
"""And that of a client on the load balancer's own link."""
CLIENTS = {4: "10.1.0.2", 6: "fd00:1::2"}
SERVICE = {4: ip_address("10.0.0.101"), 6: ip_address("fd00::101")}
LABEL, MAC, VIP_MAC = 0x1000B, "02:00:00:00:01:0b", "02:00:00:00:00:64"
ADDRESSES = example("addresses")


def changed(text: str, **servers: dict[str, Any]) -> str:
    """A configuration with other settings of some servers; None takes one away."""
    data = yaml.safe_load(text)
    for name, changes in servers.items():
        entry = data["servers"][name] | changes
        data["servers"][name] = {key: value for key, value in entry.items() if value is not None}
    return yaml.safe_dump(data)


BY_ADDRESS = {"service_ports": [8001], "service_address": list(map(str, SERVICE.values()))}
BY_LABEL = {"service_ports": [8002], "service_label": LABEL}
TEXTS = {
    "N3": ADDRESSES,
    "N2": changed(example("mac"), a=BY_ADDRESS, b=BY_LABEL),
    "N1": changed(example("address"), a=BY_ADDRESS, b=BY_LABEL),
}


@pytest.fixture(scope="module", params=TEXTS)
def made(request: pytest.FixtureRequest) -> Iterator[Balancer]:
    """a is named by addresses, b, over IPv6, by a label; nothing, MAC addresses or IP addresses are rewritten."""
    with balancer(TEXTS[request.param], mtu=1400) as balanced:
        vips = [str(address) for address in balanced.config.vips[0].addresses]
        client_agent(balanced.client, vips, words=FOLLOWS)
        yield balanced


def until_redirected_to(made: Balancer, server: str) -> list[Segment]:
    """curl on the client until this server answers; all segments of that, as the client sees them."""
    for _ in range(40):
        with made.network.capture(made.client, "tcp") as seen:
            if made.curl(made.url(X), seconds=10).strip() == server:
                break
    else:
        raise AssertionError(f"{server} never answered")
    return seen


def named(segment: Segment) -> tuple[int, bytes]:
    """Type and value of a segment's REDIRECT_OPT."""
    (value,) = (value for kind, value in options(segment.options) if kind == 253)
    assert value[:2] == b"\x52\x50" and value[3] == 0
    return value[2] & 0xF, value[4:]


def check_downloads(made: Balancer, server: str) -> None:
    """20 MB from a server, over a path whose MTU it has to learn by an ICMP error."""
    digest = made.random_file("large", SIZE)
    for _ in range(40):
        if made.download("large", digest, X) == server:
            break
    else:
        raise AssertionError(f"{server} never answered")
    assert "mtu 1400" in made.servers[server].run("ip", "route", "get", CLIENTS[made.family]).stdout
    assert nobody_got_a_wrong_checksum(made)


@BOTH
def test_x1_curl_is_redirected_by_ip_address(made: Balancer, family: int) -> None:
    """X1: SYN and SYN/ACK name the VIP, every later packet the server's service address, at the same port."""
    address: Address = SERVICE[family]
    seen = until_redirected_to(made.speak(family), "a")
    syn, synack, third, *later = seen
    assert (syn.destination, syn.dport, syn.flags & 0x802) == (made.address, X, SYN | REDIRECT)
    assert (synack.source, synack.sport) == (made.address, X) and synack.flags & CONFIRM
    assert named(synack) == {4: (2, address.packed), 6: (4, address.packed[8:])}[family]
    assert third.destination == address and third.flags & CONFIRM and third.announced == X
    assert {(each.source, each.sport) for each in later if each.sport == X} == {(address, X)}
    assert {(each.destination, each.dport) for each in later if each.dport == X} == {(address, X)}
    assert len(later) > 4
    check_downloads(made, "a")


def test_x3_curl_is_redirected_by_flow_label(made: Balancer) -> None:
    """X3: the third and every later packet, both ways, has the server's label; addresses and ports stay."""
    made.speak(6)
    for _ in range(40):
        with frames(made, made.client, "ip6 and tcp") as lines:
            if made.curl(made.url(X), seconds=10).strip() == "b":
                break
    syn, synack, *later = packets(lines)
    assert f"> {made.address}.{X}:" in syn and f"{made.address}.{X} >" in synack
    assert "0xfd" in synack or "unknown-253" in synack or "exp-" in synack, synack
    assert f"flowlabel {LABEL:#07x}" not in syn + synack
    assert len(later) > 5
    for packet in later:
        assert f"flowlabel {LABEL:#07x}" in packet and f"{made.address}.{X}" in packet, packet
    check_downloads(made, "b")


# --- X2 ---------------------------------------------------------------------------------------------------------------

BY_MAC = {"service_ports": [8002], "service_mac": MAC, "service_label": None}
ON_A_LINK = {"N3": changed(ADDRESSES, b=BY_MAC), "N2": changed(example("mac"), b=BY_MAC)}


@pytest.fixture(scope="module", params=ON_A_LINK)
def linked(request: pytest.FixtureRequest) -> Iterator[Balancer]:
    """b is named by a MAC address; the client is the router, which is on the load balancer's link."""
    with balancer(ON_A_LINK[request.param]) as balanced:
        vips = [str(address) for address in balanced.config.vips[0].addresses]
        client_agent(balanced.router, vips, words=ON_THE_LINK)
        yield balanced


def ask(made: Balancer, host: Namespace) -> str:
    """Who answers curl on a host."""
    return host.run("curl", "--silent", "--show-error", "--max-time", "10", made.url(X)).stdout.strip()


@BOTH
def test_x2_curl_is_redirected_by_mac_address(linked: Balancer, family: int) -> None:
    """X2: SYN and SYN/ACK have the VIP's MAC address, every later packet the server's; IP addresses and ports stay."""
    linked.speak(family)
    for _ in range(40):
        with frames(linked, linked.router, "tcp") as lines:
            if ask(linked, linked.router) == "b":
                break
    syn, synack, *later = packets(lines)
    assert f"> {VIP_MAC}" in syn and synack.startswith(VIP_MAC) and MAC not in syn + synack
    assert "0xfd" in synack or "unknown-253" in synack or "exp-" in synack, synack
    assert len(later) > 5
    for packet in later:
        assert (f"> {MAC}" in packet or packet.startswith(MAC)) and VIP_MAC not in packet, packet
        assert f"{linked.address}.{X}" in packet
    digest = linked.random_file("large", SIZE)
    for _ in range(40):
        if linked.download("large", digest, X, linked.router) == "b":
            break
    assert nobody_got_a_wrong_checksum(linked)


def test_x2_a_router_in_between_costs_a_second(linked: Balancer) -> None:
    """X2: a client behind a router cannot follow to a MAC address, and goes on at the VIP; the next ones do not try."""
    client_agent(linked.client, [str(linked.speak(4).address)], words=ON_THE_LINK)
    while ask(linked, linked.client) != "b":
        pass
    stats = agent_stats(linked.client)
    assert (stats["bound"], stats["fallen_back"], stats["confirmed"]) == (1, 1, 0)
    for _ in range(4):
        ask(linked, linked.client)
    assert agent_stats(linked.client)["bound"] == 1
