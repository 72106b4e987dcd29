"""Redirection by something else than a port (rows X1, X2, X3), on real parts: curl, nginx, agents, Open vSwitch.

Both programs talk to VIP:80 throughout. What is asserted about addresses, labels and MAC addresses is read from the
wire.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
import yaml

from portlb_app.net.packets import Address, Segment, options
from tests.net.balancer import Balancer, Connections, balancer
from tests.net.network import CONFIRM, REDIRECT, SYN, Namespace, agent_command, agent_stats, client_agent, end
from tests.net.seen import BOTH, SIZE, example, frames, nobody_got_a_wrong_checksum, packets

X = 80
FOLLOWS = ("--service-address", "10.0.0.96/28", "--service-address", "fd00::/64")
"""What a client's agent may follow to; the VIP is in there, too."""
ON_THE_LINK = ("--service-mac", "02:00:00:00:01:00/40")
"""And that of a client on the load balancer's own link."""
CLIENTS = {4: "10.1.0.2", 6: "fd00:1::2"}
SERVICE = {4: ip_address("10.0.0.101"), 6: ip_address("fd00::101")}
LABEL, MAC, VIP_MAC = 0x1000B, "02:00:00:00:01:0b", "02:00:00:00:00:64"
ADDRESSES = example("addresses")
WHERE_MOST_IS_REWRITTEN = pytest.mark.parametrize("made", ["N1"], indirect=True)
"""What does not depend on what the switch rewrites is tried where that is most."""


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


@WHERE_MOST_IS_REWRITTEN
@pytest.mark.parametrize(("server", "family"), [("a", 4), ("a", 6), ("b", 6)])
def test_x1_x3_a_lost_entry_is_rebuilt(made: Balancer, server: str, family: int) -> None:
    """X1, X3: a server's agent that has forgotten a connection knows by its own name how to answer."""
    connections = Connections(made.speak(family), made.client)
    connections.open_to(server, X)
    assert end(made.agents[server]) == 0
    made.start_agent(made.config.server_by_name[server])
    assert all(connections.ask())
    assert agent_stats(made.servers[server])["rebuilt"] == 1
    connections.close()


@WHERE_MOST_IS_REWRITTEN
@pytest.mark.parametrize(("server", "family"), [("a", 4), ("a", 6), ("b", 6)])
def test_x1_x3_d4_an_open_connection_is_redirected(made: Balancer, server: str, family: int) -> None:
    """X1, X3, D4: told a redirect port in the middle, a client that goes by a name opens its next connection there."""
    connections = Connections(made.speak(family), made.client)
    connections.open_to(server, X)
    words = ("redirect", "--interface", "eth0", "--from", f"[{CLIENTS[6]}]" if family == 6 else CLIENTS[4])
    done = agent_command(made.servers[server], *words, "--to", str(X))
    assert done.returncode == 0 and "1 followed" in done.stdout, done.stdout + done.stderr
    with made.network.capture(made.client, "tcp") as seen:
        assert connections.open(X) in made.servers
    assert seen[0].announced == X and (seen[0].destination, seen[0].dport) == (made.address, X)
    connections.close()


@WHERE_MOST_IS_REWRITTEN
@BOTH
def test_x1_a_silent_service_address_is_given_up(made: Balancer, family: int) -> None:
    """X1: a path that lets nothing through to the service address costs a second; the connection goes on at the VIP."""
    ip = {4: "ip", 6: "ip6"}[family]
    made.speak(family)
    agent = client_agent(made.plain, [str(made.address)], words=FOLLOWS)
    drops = f"type filter hook forward priority 0\n{ip} daddr {SERVICE[family]} counter drop\n"
    made.router.nft(f"table {ip} silent {{\nchain forward {{\n{drops}}}\n}}\n")
    try:
        while ask(made, made.plain) != "a":
            pass
    finally:
        made.router.run("nft", "delete", "table", ip, "silent")
    stats = agent_stats(made.plain)
    assert end(agent) == 0
    assert (stats["fallen_back"], stats["tried_both"] > 0) == (1, True)


def ask(made: Balancer, host: Namespace) -> str:
    """Who answers curl on a host."""
    return host.run("curl", "--silent", "--show-error", "--max-time", "10", made.url(X)).stdout.strip()


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


@pytest.mark.parametrize("mode", ON_A_LINK)
def test_x2_a_router_in_between_costs_a_second(mode: str) -> None:
    """X2: a client behind a router cannot follow to a MAC address, and goes on at the VIP; the next ones do not try."""
    with balancer(ON_A_LINK[mode]) as behind:  # whose router has no agent: it would hide the wire from the client's
        client_agent(behind.client, [str(behind.speak(4).address)], words=ON_THE_LINK)
        while ask(behind, behind.client) != "b":
            pass
        stats = agent_stats(behind.client)
        assert (stats["bound"] - stats["confirmed"], stats["fallen_back"], stats["remembered"]) == (1, 1, 0)
        later: list[str] = []
        while len(later) < 8 or "b" not in later:
            later.append(ask(behind, behind.client))
        assert set(later) <= {"a", "b", "c"}
        stats = agent_stats(behind.client)
        assert (stats["bound"] - stats["confirmed"], stats["fallen_back"]) == (1, 1), "the others' ports are followed"
        assert stats["remembered"] == later.count("b")
