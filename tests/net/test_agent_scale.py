"""Many connections at once, and the worst paths."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.net.network import ROOT, agent_stats, end, web_server
from tests.net.world import OWN, VIPS, World, X
from tests.net.world import world as make_world

NUMBER = 10_000
SECONDS = 30.0
"""Until each has answered, at most."""


@pytest.mark.parametrize("family", [4])
def test_ten_thousand_connections_outlive_their_agents(family: int) -> None:
    """E2 D1: 10,000 redirected connections talk all the time; agents are upgraded, then killed and restarted."""
    with make_world(family=family) as world:
        many = (sys.executable, "-m", "tests.net.many")
        world.server.popen_ready(*many, "serve", "7", cwd=ROOT)
        agents = start(world)
        talk = world.client.popen_ready(*many, "talk", VIPS[family], "7", str(NUMBER), cwd=ROOT)

        def all_answer() -> None:
            assert talk.tell("ask", SECONDS) == f"{NUMBER} of {NUMBER}"

        assert agent_stats(world.client)["bound"] == agent_stats(world.server)["redirected"] == NUMBER
        assert sum(each["state"] == "bound" for each in world.record(world.server)) == NUMBER
        all_answer()
        successors = start(world)
        assert [end(agent) for agent in agents] == [0, 0]
        all_answer()
        for agent in successors:
            assert end(agent, signal.SIGKILL) == -signal.SIGKILL
        all_answer()
        start(world)
        all_answer()
        stats = agent_stats(world.client)
        assert (stats["bound"], stats["confirmed"], stats["fallen_back"], stats["map_full"]) == (NUMBER, NUMBER, 0, 0)
        stats = agent_stats(world.server)
        assert (stats["redirected"], stats["rebuilt"], stats["wrong_port"]) == (NUMBER, 0, 0)


def start(world: World) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """Start both agents."""
    return world.client_agent(), world.server_agent(["3=7"], ["7=3"])


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_a_thousand_connections_with_thirty_percent_loss(family: int) -> None:
    """E2 E7: 30 % of all packets are lost both ways, and 1,000 of 1,000 connections complete."""
    with make_world(family=family) as world:
        world.agents()
        # Else who is unluckiest would wait for minutes: a SYN a second, and time-outs (Linux 6.15) of 2 s at most.
        world.client.run("sysctl", "-qw", "net.ipv4.tcp_syn_linear_timeouts=60", "net.ipv4.tcp_syn_retries=60")
        for host in (world.client, world.server):
            host.run("sysctl", "-qw", "net.ipv4.tcp_rto_max_ms=2000", check=False)
        end(world.web)  # a socket has the limit that was set when it, or its listener, was made
        world.web = web_server(world.server, world.network.directory, (X, OWN))
        world.lose("meta l4proto tcp numgen random mod 100 < 30 drop")
        # The client closes: what a server that has closed still sends, its kernel soon gives up with short time-outs.
        several = [
            world.client.popen_piped(
                "curl", "-sS", "-m", "100", "-Z", "--parallel-immediate", "--parallel-max", "250",
                "-w", "%{http_code} %{num_connects}\\n", "-o", "/dev/null",
                world.url(path=f"small?[{first}-{first + 249}]"),
            )
            for first in range(1, 1001, 250)
        ]  # fmt: skip
        assert [line for curl in several for line in curl.finish(100).splitlines()] == ["200 1"] * 1000
        stats = agent_stats(world.client)
        assert stats["bound"] + stats["plain"] + stats["unredirected"] + stats["remembered"] == 1000
        assert stats["syn_marked"] > 1000
