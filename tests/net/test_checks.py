"""Health checks with real hosts, programs and agents: what is found, by which way, and what follows for clients."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.net.balancer import REST, Balancer, balancer
from tests.net.network import until

SECONDS = 40
CHECK = 'check: {kind: http, path: /name, interval: "0.5", timeout: "0.3"}'
TEXT = f"""
switches: {{s1: {{dpid: 1, network: 1}}}}
vips:
  web:
    address: [10.0.0.100, "fd00::100"]
    mac: "02:00:00:00:00:64"
    {CHECK}
    redirect_ports:
      80: {{servers: [a, b, c], legacy: balance}}
servers:
  a: {{vip: web, connector: "s1:2", service_ports: [{{port: 8001, application: 80}}]}}
  b: {{vip: web, connector: "s1:3", service_ports: [{{port: 8002, application: 80}}]}}
  c: {{vip: web, connector: "s1:4"}}
"""
TREE = f"""
switches: {{root: {{dpid: 1, network: 1}}, leaf: {{dpid: 2}}}}
links: [[root:2, leaf:1]]
vips:
  web:
    address: 10.0.0.100
    mac: "02:00:00:00:00:64"
    rewrite: address
    {CHECK}
    redirect_ports:
      80: {{servers: [a, b], legacy: balance}}
servers:
  a:
    vip: web
    connector: leaf:2
    mac: "02:00:00:00:00:0a"
    address: 10.0.0.11
    service_ports: [{{port: 8001, application: 80}}]
  b: {{vip: web, connector: "leaf:3", mac: "02:00:00:00:00:0b", address: 10.0.0.12}}
"""
ONE_ARMED = f"""
switches: {{s1: {{dpid: 1, network: 1}}}}
vips:
  web:
    address: 10.0.0.100
    mac: "02:00:00:00:00:64"
    rewrite: mac
    check_address: 10.0.0.99
    {CHECK}
    redirect_ports:
      80: {{servers: [a, b], legacy: balance}}
servers:
  a: {{vip: web, connector: "s1:1", mac: "02:00:00:00:00:0a", service_ports: [{{port: 8001, application: 80}}]}}
  b: {{vip: web, connector: "s1:1", mac: "02:00:00:00:00:0b"}}
"""


def checks(made: Balancer) -> dict[tuple[str, int], dict[str, Any]]:
    """What ``GET /v1/checks`` says, by server and version of IP."""
    done = made.lb.run("curl", "--silent", "--fail", f"http://127.0.0.1:{REST}/v1/checks")
    return {(each["server"], each["version"]): each for each in json.loads(done.stdout)["checks"]}


def down(made: Balancer) -> set[str]:
    """The servers that are down by their checks."""
    return {server for (server, _), each in checks(made).items() if each["up"] is False}


def wait_down(made: Balancer, *servers: str) -> None:
    """Until just these are down, and clients reach all others and none of them."""
    until(lambda: down(made) == set(servers), f"{servers} are down, and no others", SECONDS)
    others = {server.name for server in made.config.servers} - set(servers)
    until(lambda: reached(made) == others, f"clients reach {others}", SECONDS)


def reached(made: Balancer) -> set[str]:
    """Who answers forty connections of a plain client."""
    words = ("--max-time", "1", "--header", "Connection: close", made.url(80, "name?[1-40]"))
    return set(made.plain.run("curl", "--silent", *words, check=False).stdout.split())


def wait_said(made: Balancer, server: str, reason: str, version: int = 4) -> None:
    """Until this is said about a server, perhaps with more about how often that happens."""
    until(lambda: str(checks(made)[server, version]["reason"]).startswith(reason), f"{server}: {reason}", SECONDS)


def wait_up(made: Balancer) -> None:
    """Until all are up."""
    until(lambda: all(each["up"] for each in checks(made).values()), "all checks pass", SECONDS)
    wait_down(made)


def nginx(made: Balancer, server: str) -> Path:
    """Where a server's nginx has its files."""
    return made.network.directory / f"nginx-{server}"


def answer(made: Balancer, server: str, status: int) -> None:
    """Have a server's nginx answer with another status from now on."""
    file = nginx(made, server) / "nginx.conf"
    lines = file.read_text().splitlines()
    lines = [line if "/name" not in line else f'location /name {{ return {status} "{server}\\n"; }}' for line in lines]
    file.write_text("\n".join(lines))
    os.kill(int((nginx(made, server) / "pid").read_text()), signal.SIGHUP)


@pytest.fixture(scope="module")
def running() -> Iterator[Balancer]:
    """Three servers, two of them with a service port, which an agent translates."""
    with balancer(TEXT) as made:
        yield made


def test_a_program_that_answers_503_gets_no_connections(running: Balancer) -> None:
    """Over IPv4 and IPv6, by the service port and by the connector; until it answers again."""
    wait_up(running)
    for server, way in (("a", "port 8001"), ("c", "its connector")):
        answer(running, server, 503)
        wait_down(running, server)
        wait_said(running, server, f"http by {way}: http 503, 3 of 3")
        wait_said(running, server, f"http by {way} over IPv6: http 503, 3 of 3", 6)
        answer(running, server, 200)
        wait_up(running)


def test_a_host_that_is_silent_gets_no_connections(running: Balancer) -> None:
    """It drops what comes, and then takes it again."""
    wait_up(running)
    host = running.servers["b"]
    host.nft("table inet silent { chain input { type filter hook input priority 0; policy drop; }; }")
    wait_down(running, "b")
    wait_said(running, "b", "http by port 8002: no answer within 0.3 s, 3 of 3")
    host.run("nft", "delete", "table", "inet", "silent")
    wait_up(running)


def test_a_process_that_is_killed(running: Balancer) -> None:
    """Refused, over both versions of IP; the hosts themselves are well."""
    wait_up(running)
    os.kill(int((nginx(running, "c") / "pid").read_text()), signal.SIGTERM)
    wait_down(running, "c")
    wait_said(running, "c", "http by its connector: refused, 3 of 3")


def test_an_agent_that_is_gone_is_told_from_a_server(running: Balancer) -> None:
    """Its service port is closed then, and the program still answers by the connector."""
    agent = running.agents["a"]
    agent.terminate()
    agent.wait(SECONDS)
    until(lambda: "a" in down(running), "a is down", SECONDS)
    at_fault = "it answers by its connector, so its agent or the tables are at fault"
    expected = f"http by port 8001: refused, 3 of 3; {at_fault}"
    wait_said(running, "a", expected)


@pytest.mark.parametrize("text", [TREE, ONE_ARMED], ids=["a tree that rewrites addresses", "one-armed"])
def test_servers_that_packets_are_rewritten_for(text: str) -> None:
    """Checks are sent by the servers' own switch: one without a network side, or one that has the servers there."""
    with balancer(text) as made:
        wait_up(made)
        assert {each["check"] for each in checks(made).values()} == {
            "http GET /name by port 8001",
            "http GET /name by its connector",
        }
        answer(made, "b", 500)
        wait_down(made, "b")
        answer(made, "b", 200)
        answer(made, "a", 500)
        wait_down(made, "a")
        wait_said(made, "a", "http by port 8001: http 500, 3 of 3")
