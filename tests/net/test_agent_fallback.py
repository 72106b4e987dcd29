"""Paths that do not let the redirect protocol through: every connection completes at the port it opened on.

The middlebox is nftables in the router between the hosts; programs are curl, nginx and a server that speaks first.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.net.network import ACK, CONFIRM, REDIRECT, RST, SYN, agent_stats, server_agent, until
from tests.net.world import VIP, World, X, Y, slow_path
from tests.net.world import world as make_world

SECONDS = 10.0
"""How long a connection may take where the announced port is silent; without a way back it takes for ever."""


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The hosts, over IPv4, then over IPv6."""
    with make_world(family=request.param) as made:
        yield made


def timed_get(world: World, port: int = X) -> float:
    """Fetch the small file; return the seconds from the first SYN to the end, as curl says."""
    words = ("-sS", "-m", "20", "-w", "%{time_total}", "-o", "/dev/null", world.url(port))
    return float(world.client.run("curl", *words).stdout)


def middlebox(world: World, *rules: str) -> None:
    """Have the router apply rules of nftables to what it forwards, in this order."""
    world.router.nft("add table inet box")
    world.router.nft("add chain inet box forward { type filter hook forward priority 0; }")
    for rule in rules:
        world.router.nft(f"add rule inet box forward {rule}")


def stateful_firewall(world: World, verdict: str = "drop") -> None:
    """Let through connections that were opened to X, and of others not even what looks like their middle."""
    world.router.run("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0")
    middlebox(
        world,
        "meta l4proto ipv6-icmp accept",
        "ct state established,related accept",
        f"ct state new tcp dport {X} tcp flags & (syn | ack) == syn accept",
        verdict,
    )


VERDICTS = ["drop", "meta l4proto tcp reject with tcp reset", "reject with icmpx type admin-prohibited"]


@pytest.mark.parametrize("verdict", VERDICTS, ids=["drops", "resets", "refuses by ICMP"])
def test_stateful_firewall(world: World, verdict: str) -> None:
    """E7: the ACK to Y is dropped or refused: the connection completes on X in time, the next one at once."""
    stateful_firewall(world, verdict)
    world.agents()
    with world.network.capture(world.client, "tcp") as segments:
        took = timed_get(world)
    assert took < SECONDS
    assert segments[1].announced == Y
    tried = [s for s in world.sent(segments, to_server=True) if s.dport == Y]
    heard = [s for s in world.sent(segments, to_server=False) if not s.flags & RST or s.sport == X]
    assert tried and {s.sport for s in heard} == {X}
    stats = agent_stats(world.client)
    assert (stats["bound"], stats["fallen_back"], stats["confirmed"]) == (1, 1, 0)
    assert agent_stats(world.server)["stayed"] == 1

    with world.network.capture(world.client, "tcp") as segments:
        timed_get(world)
    assert set(world.ports(segments)) == {X}
    assert agent_stats(world.client)["remembered"] == 1


def test_stateful_firewall_and_a_server_that_speaks_first(world: World) -> None:
    """E7: the client has nothing to send; the server's repeated SYN/ACK leads it back to X."""
    program = (
        "import socket; server = socket.create_server(('::', 25), family=socket.AF_INET6, dualstack_ipv6=True)\n"
        "while True:\n"
        "    try: server.accept()[0].sendall(b'220 hello')\n"
        "    except ConnectionError: pass"  # the client was quicker
    )
    world.server.popen(sys.executable, "-c", program)
    until(lambda: world.server.listens(25), "the server listens")
    world.router.run("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0")
    middlebox(world, "meta l4proto ipv6-icmp accept", "ct state established accept",
              "ct state new tcp dport 25 tcp flags & (syn | ack) == syn accept", "drop")  # fmt: skip
    world.client_agent()
    world.server_agent(["3=25"], ["25=3"])
    ask = (
        "import socket, time; t = time.monotonic(); "
        f"s = socket.create_connection(('{world.vip}', 25), 10); print(s.recv(9).decode(), time.monotonic() - t)"
    )
    for remembered in (0, 1):
        *said, took = world.client.run(sys.executable, "-c", ask).stdout.split()
        assert said == ["220", "hello"] and float(took) < SECONDS
        assert agent_stats(world.client)["remembered"] == remembered


def test_packets_from_the_announced_port_are_dropped(world: World) -> None:
    """E7: the ACK reaches Y, nothing comes back from there: the server sees it and goes back to X as well."""
    middlebox(world, f"tcp sport {Y} drop")
    world.agents()
    assert timed_get(world) < SECONDS
    assert agent_stats(world.client)["fallen_back"] == 1
    timed_get(world)
    assert agent_stats(world.client)["remembered"] == 1
    stats = agent_stats(world.server)
    assert (stats["redirected"], stats["stayed"]) == (1, 2)


def test_option_is_stripped(world: World) -> None:
    """E7: CONFIRM without a port: X at once, for every connection."""
    middlebox(world, "reset tcp option 253")
    world.agents()
    with world.network.capture(world.client, "tcp") as segments:
        timed_get(world)
    assert segments[1].flags == SYN | ACK | CONFIRM and segments[1].announced is None
    assert set(world.ports(segments)) == {X}
    assert agent_stats(world.client)["unredirected"] == 1


CLEAR = "@th,96,16 set @th,96,16 & 0xf3ff"
"""Clears both header bits; the checksum is put right."""


def test_header_bits_are_cleared(world: World) -> None:
    """E7: the SYN arrives as a plain client's: X at once."""
    middlebox(world, f"meta l4proto tcp {CLEAR}")
    world.agents()
    with world.network.capture(world.server, "tcp") as segments:
        timed_get(world)
    assert not any(segment.flags & (REDIRECT | CONFIRM) for segment in segments)
    assert set(world.ports(segments)) == {X}
    assert agent_stats(world.client)["plain"] == 1


def test_header_bits_are_cleared_but_the_option_asks(world: World) -> None:
    """E2 with `--signal option`: on the same path the connection is redirected, and no header bit is ever set."""
    middlebox(world, f"meta l4proto tcp {CLEAR}")
    world.agents("--signal", "option")
    with world.network.capture(world.client, "tcp") as segments:
        timed_get(world)
    assert not any(segment.flags & (REDIRECT | CONFIRM) for segment in segments)
    assert [segment.announced for segment in segments[:3]] == [None, Y, X]
    assert set(world.ports(segments[2:])) == {Y}
    assert agent_stats(world.server)["syn_redirect"] == 1
    # in the middle of the connection too, by option alone
    stats = agent_stats(world.client)
    assert (stats["bound"], stats["confirmed"], stats["fallen_back"]) == (1, 1, 0)


def test_only_the_servers_bits_are_cleared(world: World) -> None:
    """E2: CONFIRM arrives in the option alone, which suffices."""
    middlebox(world, f"tcp sport {X} {CLEAR}")
    world.agents()
    timed_get(world)
    assert agent_stats(world.client)["confirmed"] == 1


def test_a_slow_path_is_no_silent_one() -> None:
    """E2: 400 ms each way, more than the least patience: the connection stays on Y, nothing is sent twice."""
    with slow_path(0.4) as (_, client, _):
        words = ("-sS", "-m", "20", "-o", "/dev/null", "-w", "%{time_starttransfer}", f"http://{VIP}:{X}/small")
        assert float(client.run("curl", *words).stdout) > 1.6
        stats = agent_stats(client)
        assert (stats["confirmed"], stats["tried_both"], stats["fallen_back"]) == (1, 0, 0)


def test_fast_open_on_a_slow_path() -> None:
    """E2 D1: what answers a SYN's data leaves before the server knows where the client goes on: nothing falls back."""
    with slow_path(0.02) as (network, client, server):
        for host in (client, server):
            host.run("sysctl", "-qw", "net.ipv4.tcp_fastopen=1027")  # every listener from now on
        words = ("-m", "http.server", "21", "--bind", "0.0.0.0", "--directory", str(network.directory))
        server.popen(sys.executable, *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: server.listens(21), "the server listens")
        server_agent(server, [VIP], ["1=20", "2=21"], ["20=1", "21=2"])
        with network.capture(client, "tcp") as segments:
            for _ in range(2):  # the first one fetches the cookie
                assert client.run("curl", "-sS", "--tcp-fastopen", f"http://{VIP}:21/small").stdout == "odd\n"
        assert sum(segment.size > 0 for segment in segments if segment.flags & SYN) == 1
        stats = agent_stats(client)
        assert (stats["confirmed"], stats["fallen_back"]) == (2, 0)


def test_a_program_that_takes_its_time(world: World) -> None:
    """E2: a program that sends nothing for a second after it has connected: its first data is sent once, to Y."""
    world.agents()
    program = (
        f"import socket, time; s = socket.create_connection(('{world.vip}', {X})); time.sleep(1); "  # as named
        "s.sendall(b'GET /small HTTP/1.0\\r\\n\\r\\n'); print(s.recv(12))"
    )
    assert world.client.run(sys.executable, "-c", program).stdout == "b'HTTP/1.1 200'\n"
    stats = agent_stats(world.client)
    assert (stats["confirmed"], stats["tried_both"]) == (1, 0)
    assert agent_stats(world.server)["stayed"] == 0


def test_a_server_that_resets_at_once_is_heard(world: World) -> None:
    """E2 E7: a server program that resets the connection before it has said anything: the client reads ECONNRESET."""
    program = (
        "import socket, struct\n"
        "server = socket.create_server(('::', 25), family=socket.AF_INET6, dualstack_ipv6=True)\n"
        "while True:\n"
        "    one = server.accept()[0]; one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n"
        "    one.close()"
    )
    world.server.popen(sys.executable, "-c", program)
    until(lambda: world.server.listens(25), "the server listens")
    world.client_agent()
    world.server_agent(["3=25"], ["25=3"])
    ask = (
        "import socket\n"
        f"try: print(socket.create_connection(('{world.vip}', 25), 5).recv(9))\n"  # connect() may fail so, too
        "except OSError as error: print(type(error).__name__)"
    )
    assert world.client.run(sys.executable, "-c", ask).stdout == "ConnectionResetError\n"
    assert agent_stats(world.client)["fallen_back"] == 0
