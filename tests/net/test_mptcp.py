"""B2: stock MPTCP clients, without an agent, on real kernels: downloads outlive their pool and their first subflows.

`tests.soak.mptcp` has the long form, with every way of rewriting.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import sys
from collections.abc import Iterator

import pytest

from portlb_app.agent.errors import AgentError
from portlb_app.net.packets import Segment, options
from tests.net.balancer import Balancer, Connections
from tests.net.inside import on
from tests.net.network import (
    ACK,
    CONFIRM,
    REDIRECT,
    ROOT,
    RST,
    SYN,
    Namespace,
    Network,
    agent_command,
    agent_here,
    agent_json,
    end,
    until,
)
from tests.net.world import VIPS, World
from tests.soak import mptcp
from tests.soak.mptcp import MPTCP, X, Y
from tests.support import trees

CAPABLE, JOIN, ADD_ADDR = 0, 1, 3
"""Subtypes of MPTCP's option (RFC 8684, 3)."""
DOWNLOADS = 20
BOTH = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


def says(segment: Segment, subtype: int) -> bool:
    """Whether a segment has an option of MPTCP of this subtype."""
    return any(kind == 30 and value[:1] and value[0] >> 4 == subtype for kind, value in options(segment.options))


@pytest.fixture(scope="module", params=["single", "deep"])
def running(request: pytest.FixtureRequest) -> Iterator[Balancer]:
    """Four servers whose kernels announce, on one switch and on a tree; no eBPF agent anywhere."""
    with mptcp.running(trees.shaped(mptcp.configuration("nothing"), request.param)) as made:
        yield made


@BOTH
def test_b2_downloads_outlive_their_pool_and_their_first_subflows(
    running: Balancer, family: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """All joined, the whole pool is replaced, all first subflows are killed: none breaks. With plain TCP all do."""
    got = mptcp.outcome(running.speak(family), DOWNLOADS)
    plain = mptcp.outcome(running, DOWNLOADS, mptcp=False)
    with capsys.disabled():
        print(f" broken of {DOWNLOADS}: {got.broken}, without MPTCP {plain.broken}", end=" ")
    assert (got.broken, got.left) == (0, 0)
    assert got.new == plain.new == {"c", "d"}, "a plain client of the same port gets the new servers"
    assert plain.broken == DOWNLOADS, "each of them had moved"


@BOTH
def test_b2_on_the_wire(running: Balancer, family: int) -> None:
    """SYN on X, ADD_ADDR there, MP_JOIN on the server's own port, and data on that."""
    running.speak(family).put(running.text)
    running.random_file("long", 4_000_000)
    with running.network.capture(running.client, "tcp") as seen:
        words = ("--silent", "--output", "/dev/null", "--write-out", "%header{x-server}", "--limit-rate", "4M")
        name = running.client.run(*MPTCP, "curl", *words, running.url(X, "long")).stdout
    up = [segment for segment in seen if segment.destination == running.address]
    down = [segment for segment in seen if segment.source == running.address]
    first, join = (segment for segment in up if segment.flags & SYN)
    assert first.dport == X and says(first, CAPABLE) and not first.flags & REDIRECT
    assert any(segment.sport == X and says(segment, ADD_ADDR) for segment in down)
    assert join.dport == Y[name] and says(join, JOIN)
    data = {port: sum(segment.size for segment in down if segment.sport == port) for port in (X, Y[name])}
    assert data[Y[name]] > data[X]


JOINS = """
import socket, struct, sys
from ipaddress import ip_address
from tests.net.frames import tcp_segment
source, vip = ip_address("10.3.0.2"), ip_address(sys.argv[1])
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
    for number, port in enumerate(map(int, sys.argv[2:])):
        option = struct.pack("!BBBBII", 30, 12, 0x10, 1, number << 20 | 5, 7)
        raw.sendto(tcp_segment(source, vip, 1024 + number, port, 2, number, 0, option), (str(vip), 0))
"""
"""SYNs that want to join a connection by a token (RFC 8684, 3.2), one for each port given."""


def test_b2_forged_joins_harm_nothing(running: Balancer) -> None:
    """MP_JOINs with unknown tokens, at X and at each server's port: each is reset, and connections go on."""
    running.speak(4).put(running.text)
    kept = Connections(running, running.plain)
    kept.open(X)
    before, ports = mptcp.counted(running), [X, *Y.values()] * 20
    with running.network.capture(running.plain, "tcp") as seen:
        running.plain.run(sys.executable, "-c", JOINS, str(running.address), *map(str, ports), cwd=ROOT)
        until(lambda: _unknown(running) >= before["mptcp_join_unknown"] + len(ports), "all are refused")
    answers = [segment for segment in seen if segment.source == running.address]
    assert len(answers) == len(ports) and all(segment.flags & RST for segment in answers)
    after = mptcp.counted(running)
    assert after["mptcp_joined"] == before["mptcp_joined"]
    assert all(kept.ask())
    kept.close()


def _unknown(made: Balancer) -> int:
    return mptcp.counted(made)["mptcp_join_unknown"]


def test_b2_with_agents_nothing_is_redirected_twice() -> None:
    """Both eBPF agents: the first subflow is redirected once, its join stays at Y; a redirect leaves both alone."""
    text = mptcp.configuration("nothing", "ab")
    with mptcp.running(text, agents=frozenset("ab"), agent_words=("--mptcp",)) as made:
        made.client_agent()
        until(lambda: all(_announces(host) for host in made.servers.values()), "all servers announce")
        with made.network.capture(made.client, "tcp") as seen:
            kept = Connections(made, made.client, under=MPTCP)
            name = kept.open(X)
            until(lambda: mptcp.subflows(made, Y[name]) == 1, "it has joined")
        server = made.servers[name]
        first, second = (segment for segment in seen if segment.flags & (SYN | ACK) == SYN)
        answers = [segment for segment in seen if segment.flags & (SYN | ACK) == SYN | ACK]
        assert (first.dport, second.dport) == (X, Y[name]) and first.flags & second.flags & REDIRECT
        own = made.config.server_by_name[name].service_ports[0].port
        assert [each.announced for each in answers] == [own, None] and all(each.flags & CONFIRM for each in answers)
        ports = {each.dport for each in seen if each.destination == made.address and not each.flags & SYN}
        assert ports == {own, Y[name]}
        done = agent_command(server, "redirect", "--interface", "eth0", "--from", f":{own}", "--to", str(X))
        assert "1 connection: 1 impossible" in done.stdout and done.returncode == 1, done.stdout + done.stderr
        assert all(kept.ask()) and mptcp.subflows(made, Y[name]) == 1
        assert agent_json(server, "stats", "--interface", "eth0")["mptcp"]["mptcp_joined_announced"] == 1
        _, said = agent_here(server, "stats", "--interface", "eth0", "--format", "prometheus")
        assert f'portlb_agent_mptcp_subflows{{port="{Y[name]}"}} 1' in said.splitlines()
        end(made.agents[name])
        assert not _announces(server), "put back with the agent"
        kept.close()


def _announces(host: Namespace) -> bool:
    return "signal" in host.run("ip", "mptcp", "endpoint", "show").stdout


# ---- one server, no load balancer ------------------------------------------------------------------------------------

PORT = 9001
OFTEN = """
import runpy
from portlb_app.agent.mptcp import watch
watch.LOOK_EVERY = 0.2
runpy.run_module("portlb_app.agent", run_name="__main__")
"""
"""An agent that looks more often."""
ANNOUNCE = ("-c", OFTEN, "mptcp", "--vip", VIPS[4], "--vip", VIPS[6], "--port", str(PORT))


@pytest.fixture
def server() -> Iterator[World]:
    """A client and a server, nothing of which is in use."""
    with Network() as network:
        yield World(network)


def settings(host: Namespace) -> tuple[str, ...]:
    """What an agent sets, without the numbers of endpoints."""
    endpoints = host.run("ip", "mptcp", "endpoint", "show").stdout.splitlines()
    said = sorted(re.sub(r" id \d+", "", line) for line in endpoints)
    limits = host.run("ip", "mptcp", "limits", "show").stdout.strip()
    join_initial = host.run("sysctl", "-n", "net.mptcp.allow_join_initial_addr_port").stdout.strip()
    return (*said, limits, join_initial, host.run("nft", "list", "ruleset").stdout)


def test_b2_what_is_set_is_kept_and_put_back(server: World) -> None:
    """What is deleted comes back; another process goes on from there; the end is as the beginning."""
    host = server.server
    host.run("ip", "mptcp", "limits", "set", "subflows", "1")
    before = settings(host)
    agent = host.popen_ready(sys.executable, *ANNOUNCE, cwd=ROOT)
    during = settings(host)
    assert during != before and f"port {PORT}" in host.run("ip", "mptcp", "endpoint", "show").stdout
    host.run("ip", "mptcp", "endpoint", "flush")
    host.run("sysctl", "-qw", "net.mptcp.allow_join_initial_addr_port=1")
    host.run("nft", "flush", "ruleset")
    until(lambda: settings(host) == during, "all is set again", 20)
    end(agent, signal.SIGQUIT)
    assert settings(host) == during
    agent = host.popen_ready(sys.executable, *ANNOUNCE, cwd=ROOT)
    assert settings(host) == during
    assert end(agent) == 0
    assert settings(host) == before


def test_b2_a_port_in_use_is_said_and_tried_again(server: World) -> None:
    """A program listens on Y: the agent says so, serves what it can, and announces once the port is free."""
    host = server.server
    with on(host):
        taken = socket.create_server((VIPS[4], PORT))
    with contextlib.closing(taken):
        agent = host.popen_ready(sys.executable, *ANNOUNCE, cwd=ROOT)
        until(lambda: f"a program listens on port {PORT}" in agent.complaint(), "it is said")
    until(lambda: f"{VIPS[4]} port {PORT}" in host.run("ip", "mptcp", "endpoint", "show").stdout, "announced", 20)


def test_b2_what_cannot_be_is_refused(server: World) -> None:
    """No MPTCP, no port in the configuration, nothing said: a sentence, exit code 1, and nothing is set."""
    host = server.server
    before = settings(host)
    lb = server.network.directory / "lb.yaml"
    lb.write_text(mptcp.configuration("nothing").replace("mptcp: 9001", "weight: 1"))
    done = agent_command(host, "mptcp", "--config", str(lb), "--server", "a")
    assert done.returncode == 1 and "server a has no `mptcp` in the configuration" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    for words in (("--vip", VIPS[4]), ("--port", "9001"), ("--vip", VIPS[4], "--port", "9001", "--server", "a")):
        with pytest.raises(AgentError, match="say"):
            agent_here(host, "mptcp", *words)
    host.run("sysctl", "-qw", "net.mptcp.enabled=0")
    with pytest.raises(AgentError, match="sysctl -w net.mptcp.enabled=1"):
        agent_here(host, "mptcp", "--vip", VIPS[4], "--port", "9001")
    assert settings(host) == before
