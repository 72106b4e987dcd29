"""Every way to reach the servers, with real hosts: what is rewritten, and by what they are attached.

What is asserted about addresses is read from the wire; that checksums are right, from hosts that drop what is wrong:
datagrams are answered and downloads arrive whole.

What is rewritten, is by the server's own switch: also where that is not the one clients' packets come in by (row T3).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portlb_app.net.packets import Segment
from tests.net.balancer import Balancer, balancer
from tests.net.network import CONFIRM, REDIRECT, Namespace
from tests.net.seen import BOTH, SIZE, example, frames, nobody_got_a_wrong_checksum, on_links, packets
from tests.net.wiring import ROUTERS
from tests.support import trees

BOTH_SHAPES = ("single", "tree")
"""Of tests that are for trees, too; the others are for one switch."""
PROTOCOLS = pytest.mark.parametrize("protocol", ["udp", "sctp"])


def built(text: str, ports: tuple[int, ...], **options: object) -> Iterator[Balancer]:
    """A running load balancer, its servers answering datagrams, its client with an agent."""
    with balancer(text, **options) as made:
        made.datagrams(ports)
        made.client_agent()
        yield made


def redirected_to(made: Balancer, port: int) -> tuple[str, list[Segment], list[Segment]]:
    """curl on the client, which is redirected: the server, and the segments up and down as the client sees them."""
    with made.network.capture(made.client, "tcp") as seen:
        name = made.curl(made.url(port), seconds=10).strip()
    up = [segment for segment in seen if segment.destination == made.address]
    down = [segment for segment in seen if segment.source == made.address]
    assert len(up) + len(down) == len(seen), "everything is to and from the VIP"
    announced = down[0].announced
    assert announced is not None and made.config.owners(made.vip)[announced].name == name
    assert up[0].dport == port and up[0].flags & REDIRECT and down[0].flags & CONFIRM
    assert {segment.dport for segment in up[1:]} == {segment.sport for segment in down[1:]} == {announced}
    return name, up, down


def check_service(made: Balancer, port: int) -> None:
    """Redirected connections, service ports and a large download from every server of the VIP."""
    members = {server.name: server for server in made.config.servers_of(made.vip)}
    reached: set[str] = set()
    for _ in range(40):
        reached.add(redirected_to(made, port)[0])
        if reached == members.keys():
            break
    assert reached == members.keys(), "every server of the pool was reached by redirection"
    digest = made.random_file("large", SIZE)
    for name, server in members.items():
        assert made.curl(made.url(server.service_ports[0].port), seconds=10).strip() == name
        assert made.download("large", digest, server.service_ports[0].port) == name
    assert made.download("large", digest, port) in members
    assert nobody_got_a_wrong_checksum(made)


def check_datagrams(made: Balancer, protocol: str, port: int) -> None:
    """UDP or SCTP: service ports reach their owners, the redirect port somebody of the pool; all answer as the VIP."""
    members = made.config.servers_of(made.vip)
    for server in members:
        assert made.ask(protocol, server.service_ports[0].port, 2) == [server.name] * 2
    answers = made.ask(protocol, port, 12)
    assert set(answers) <= {server.name for server in members} and len(set(answers)) > 1, answers
    assert nobody_got_a_wrong_checksum(made)


# --- N1: IP and MAC addresses are rewritten ---------------------------------------------------------------------------

ADDRESS = example("address", ("servers: [a, b, c]}", "servers: [a, b, c], legacy: balance}"))


@pytest.fixture(scope="module", params=["single"])
def n1(request: pytest.FixtureRequest) -> Iterator[Balancer]:
    """a on the link, b and c behind a router."""
    yield from built(trees.shaped(ADDRESS, request.param), (80, 8001, 8002, 8003, 99))


@pytest.mark.parametrize("n1", BOTH_SHAPES, indirect=True)
@BOTH
def test_n1_redirected_and_large_downloads(n1: Balancer, family: int) -> None:
    """N1: redirection, service ports and 20 MB from servers with addresses of their own; clients see the VIP only."""
    check_service(n1.speak(family), 80)


@BOTH
def test_n1_plain_clients(n1: Balancer, family: int) -> None:
    """N1: a client without an agent is balanced, and its connection stays where it is."""
    n1.speak(family)
    words = ("curl", "--silent", "--show-error", "--max-time", "10", "--header", "Connection: close")
    names = n1.plain.run(*words, n1.url(80, "name?[1-20]")).stdout.split()
    assert len(names) == 20 and set(names) <= set("abc") and len(set(names)) > 1
    digest = n1.random_file("plain", SIZE)
    assert n1.download("plain", digest, 80, n1.plain) in "abc"


@BOTH
@PROTOCOLS
def test_n1_x4_datagrams(n1: Balancer, family: int, protocol: str) -> None:
    """N1, X4: UDP and SCTP, with checksums right after rewriting (SCTP's does not cover addresses)."""
    check_datagrams(n1.speak(family), protocol, 80)


@pytest.mark.parametrize("n1", BOTH_SHAPES, indirect=True)
@BOTH
def test_n1_what_is_rewritten(n1: Balancer, family: int) -> None:
    """N1: a server's packets have its own address and MAC address; on the network side they are the VIP's."""
    n1.speak(family)
    index = n1.vip.addresses.index(n1.address)
    server = n1.config.server_by_name["a"]
    own, mac = str(server.addresses[index]), "02:00:00:00:00:0a"
    with frames(n1, n1.servers["a"], "udp port 8001") as inside, frames(n1, n1.router, "udp port 8001") as outside:
        with on_links(n1, "udp port 8001") as between:
            assert n1.ask("udp", 8001, 1) == ["a"]
    assert not n1.links or packets(between) == packets(outside), "unchanged between switches"
    (question, answer), (asked, answered) = packets(inside), packets(outside)
    client = {4: "10.1.0.2", 6: "fd00:1::2"}[family]
    assert f"> {mac}" in question and f"> {own}.8001:" in question and f"{client}." in question
    assert answer.startswith(mac) and f"{own}.8001 > {client}." in answer
    assert "> 02:00:00:00:00:64" in asked and f"> {n1.address}.8001:" in asked
    assert answered.startswith("02:00:00:00:00:64") and f"{n1.address}.8001 > {client}." in answered
    assert not [line for line in inside + outside if "bad" in line], "checksums"


@BOTH
def test_n1_ping_reaches_the_default_server(n1: Balancer, family: int) -> None:
    """N1, I1: a ping of 1000 bytes is answered by the default server, as the VIP."""
    n1.speak(family)
    ping(n1.client, str(n1.address))


def test_n1_a_smaller_path_mtu() -> None:
    """N1, I2: an ICMP error quotes the VIP; its server gets it with its own address, and learns the path's MTU."""
    with balancer(ADDRESS, mtu=1400) as made:
        made.client_agent()
        digest = made.random_file("large", SIZE)
        for family, client in ((4, "10.1.0.2"), (6, "fd00:1::2")):
            made.speak(family)
            for host in (made.client, made.plain):
                assert made.download("large", digest, 80, host) in "abc"
            for server in made.config.servers:
                assert made.download("large", digest, server.service_ports[0].port) == server.name
                assert "mtu 1400" in made.servers[server.name].run("ip", "route", "get", client).stdout


def ping(host: Namespace, address: str, answers: bool = True) -> None:
    """Ping from a host; AssertionError unless it is answered, or is not, as it should be."""
    words = ("-c", "2", "-i", "0.2", "-W", "10" if answers else "0.5")
    done = host.run("ping", "-n", *words, "-s", "1000", address, check=False)
    assert ("2 received" in done.stdout) == answers, done.stdout + done.stderr
    assert answers or " 0 received" in done.stdout


# --- N2: only MAC addresses are rewritten -----------------------------------------------------------------------------

MAC = example("mac", ("servers: [a, b, c]}", "servers: [a, b, c], legacy: balance}"))
MACS = {"02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"}
VIP_MAC = "02:00:00:00:00:64"


@pytest.fixture(scope="module", params=["single"])
def n2(request: pytest.FixtureRequest) -> Iterator[Balancer]:
    """a and b behind one switch on one connector, c on another; the VIP is on their loopback."""
    yield from built(trees.shaped(MAC, request.param), (80, 8001, 8002, 8003), mtu=1400)


@pytest.mark.parametrize("n2", BOTH_SHAPES, indirect=True)
@BOTH
def test_n2_redirected_and_large_downloads(n2: Balancer, family: int) -> None:
    """N2: redirection, service ports, 20 MB from servers with the VIP on their loopback; ICMP errors reach them."""
    check_service(n2.speak(family), 80)
    client = {4: "10.1.0.2", 6: "fd00:1::2"}[family]
    for host in n2.servers.values():
        assert "mtu 1400" in host.run("ip", "route", "get", client).stdout


@BOTH
@PROTOCOLS
def test_n2_x4_datagrams(n2: Balancer, family: int, protocol: str) -> None:
    """N2, X4: UDP and SCTP."""
    check_datagrams(n2.speak(family), protocol, 80)


@pytest.mark.parametrize("n2", BOTH_SHAPES, indirect=True)
@BOTH
def test_n2_what_is_rewritten(n2: Balancer, family: int) -> None:
    """N2: of a packet to a server only the destination MAC address changes, and back the source MAC address."""
    n2.speak(family)
    router = {4: "10.0.0.1", 6: "fd00::1"}[family]
    for name, port in (("a", 8001), ("b", 8002)):
        only = f"udp port {port}"
        with frames(n2, n2.servers[name], only) as inside, frames(n2, n2.router, only) as outside:
            with on_links(n2, only) as between:
                assert n2.ask("udp", port, 1, n2.router) == [name]
        assert not n2.links or packets(between) == packets(outside), "unchanged between switches"
        (question, answer), (asked, answered) = packets(inside), packets(outside)
        changed = {asked.replace(VIP_MAC, "MAC"): question, answered.replace(VIP_MAC, "MAC"): answer}
        mac = f"02:00:00:00:00:0{name}"
        for before, after in changed.items():
            assert before == after.replace(mac, "MAC"), "nothing else"
        assert f"> {mac}" in question and answer.startswith(mac)
        assert f"{router}." in asked and f"> {VIP_MAC}" in asked and answered.startswith(VIP_MAC)


@pytest.mark.parametrize("n2", BOTH_SHAPES, indirect=True)
@BOTH
def test_n2_the_vip_keeps_its_mac_address(n2: Balancer, family: int) -> None:
    """N2: whatever servers ask for, the router finds the VIP at the VIP's MAC address, and at no server's."""
    n2.speak(family)
    for host in n2.servers.values():
        host.run("ip", "neigh", "flush", "dev", "eth0")
    n2.router.run("ip", "neigh", "flush", "dev", "eth0")
    with frames(n2, n2.router, {4: "arp", 6: "icmp6"}[family]) as seen:
        for port, name in ((8001, "a"), (8002, "b"), (8003, "c")):
            assert n2.curl(n2.url(port), seconds=5).strip() == name
    assert VIP_MAC in n2.router.run("ip", "neigh", "show", "to", str(n2.address), "dev", "eth0").stdout
    told = [packet for packet in packets(seen) if any(mac in packet for mac in MACS)]
    assert len(packets(seen)) > 3 and not [packet for packet in told if str(n2.address) in packet]
    known = {name: host.run("ip", "neigh", "show", "dev", "eth0").stdout for name, host in n2.servers.items()}
    assert all(ROUTERS[n2.vip.addresses.index(n2.address)] in text for text in known.values()), known


# --- N4: servers reach each other by further addresses ----------------------------------------------------------------


@pytest.fixture(scope="module", params=["single"])
def n4(request: pytest.FixtureRequest) -> Iterator[Balancer]:
    """a and b, each with a further address on an interface of its own."""
    yield from built(trees.shaped(example("peers"), request.param), (80, 8001, 8002))


@pytest.mark.parametrize("n4", BOTH_SHAPES, indirect=True)
@BOTH
def test_n4_servers_talk_to_each_other(n4: Balancer, family: int) -> None:
    """N4: ping and 20 MB over HTTP between servers, by their further addresses."""
    content = n4.random_file("between", SIZE)
    for name, other in (("a", "b"), ("b", "a")):
        address = further(n4, other, family)
        ping(n4.servers[name], address)
        host = f"[{address}]" if family == 6 else address
        got = n4.servers[name].run("sh", "-c", f"curl -s -S -m 30 http://{host}:80/between | sha256sum").stdout
        assert got.split()[0] == content
        assert n4.servers[name].run("curl", "-sS", "-m", "5", f"http://{host}:80/name").stdout.strip() == other


@pytest.mark.parametrize("n4", BOTH_SHAPES, indirect=True)
@BOTH
def test_n4_and_to_nobody_else(n4: Balancer, family: int) -> None:
    """N4: as the VIP a server reaches no other one; further addresses and the router do not reach each other."""
    a, address = n4.servers["a"], further(n4, "b", family)
    vip = {4: "10.0.0.100", 6: "fd00::100"}[family]
    router = {4: "10.0.0.1", 6: "fd00::1"}[family]
    net = {4: "192.168.0.0/24", 6: "fd01::/64"}[family]
    n4.router.run("ip", "route", "replace", net, "dev", "eth0")
    ping(n4.router, address, answers=False)
    a.run("ip", "route", "replace", router, "dev", "peer", "src", further(n4, "a", family))
    ping(a, router, answers=False)
    a.run("ip", "route", "del", router, "dev", "peer")
    a.run("ip", "route", "replace", address, "dev", "eth0", "src", vip)
    ping(a, address, answers=False)
    a.run("ip", "route", "del", address, "dev", "eth0")
    ping(a, address)


@BOTH
def test_n4_clients_are_served(n4: Balancer, family: int) -> None:
    """N4, N3: the clients' service beside it: nothing is rewritten."""
    check_service(n4.speak(family), 80)


def further(made: Balancer, name: str, family: int) -> str:
    """A server's further address."""
    return str(next(each for each in made.config.server_by_name[name].addresses if each.version == family))


# --- N5: one external connector ---------------------------------------------------------------------------------------

ONE_ARMED = example(
    "one-armed", ("servers: [a, b]}", "servers: [a, b], legacy: balance}"), ("[c, d]}", "[c, d], legacy: balance}")
)
VIPS = pytest.mark.parametrize("vip", ["direct", "routed"])


@pytest.fixture(scope="module")
def n5() -> Iterator[Balancer]:
    """Client, gateway, servers and the load balancer's one port on a LAN."""
    yield from built(ONE_ARMED, (80, 8001, 8002))


@BOTH
@VIPS
def test_n5_redirected_and_large_downloads(n5: Balancer, vip: str, family: int) -> None:
    """N5: redirection, service ports and 20 MB, for a client on the LAN."""
    check_service(n5.speak(family, vip), 80)


@BOTH
@VIPS
def test_n5_plain_clients_beyond_the_gateway(n5: Balancer, vip: str, family: int) -> None:
    """N5: a client without an agent and behind the gateway."""
    n5.speak(family, vip)
    words = ("curl", "--silent", "--show-error", "--max-time", "10", "--header", "Connection: close")
    names = n5.plain.run(*words, n5.url(80, "name?[1-20]")).stdout.split()
    assert len(names) == 20 and set(names) == {server.name for server in n5.config.servers_of(n5.vip)}
    digest = n5.random_file("plain", SIZE)
    assert n5.download("plain", digest, 80, n5.plain) in names


@BOTH
@VIPS
def test_n5_datagrams_and_who_answers(n5: Balancer, vip: str, family: int) -> None:
    """N5: direct answers do not pass the load balancer, the others do; the LAN finds the VIP at its MAC address."""
    n5.speak(family, vip)
    check_datagrams(n5, "udp", 80)
    check_datagrams(n5, "sctp", 80)
    with frames(n5, n5.lb, "udp src port 8001", n5.sides[0]) as answers:
        assert len(n5.ask("udp", 8001, 5)) == 5
    assert len(packets(answers)) == {"direct": 0, "routed": 10}[vip]
    mac = {"direct": "02:00:00:00:00:64", "routed": "02:00:00:00:00:65"}[vip]
    for host in (n5.client, n5.router):
        assert mac in host.run("ip", "neigh", "show", "to", str(n5.address), "dev", "eth0").stdout


# --- L6: connectors of any kind ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def l6() -> Iterator[Balancer]:
    """FIG. 2 with a on a veth link, b behind a second bridge, c behind a tunnel, d behind a tap device."""
    text = example("fig2", ("10.0.0.100", '[10.0.0.100, "fd00::100"]'))
    yield from built(text, (1, 2, 3, 4, 22), kinds={"b": "patch", "c": "vxlan", "d": "tap"})


@BOTH
def test_l6_redirected_and_large_downloads(l6: Balancer, family: int) -> None:
    """L6: redirection, service ports and 20 MB from the server behind each kind of connector."""
    check_service(l6.speak(family), 22)
    with frames(l6, l6.lb, "udp port 4789", "under-4") as tunnelled:
        assert l6.curl(l6.url(3)).strip() == "c"
    assert f"{l6.address}" in "".join(tunnelled), "c is behind the tunnel"


@BOTH
@PROTOCOLS
def test_l6_x4_datagrams(l6: Balancer, family: int, protocol: str) -> None:
    """L6, X4: UDP and SCTP by each kind of connector."""
    check_datagrams(l6.speak(family), protocol, 22)
