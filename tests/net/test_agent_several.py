"""Several VIPs and servers on one interface, by one agent or several: none disturbs another's connections."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from portlb_app.agent import server
from portlb_app.agent.mapping import ServerMapping, unpacked_vips
from tests.net.network import Namespace, agent_command, agent_stats, end, until
from tests.net.service import CLIENT, WAYS, Idle, Service, fast, programs
from tests.net.world import VIP, World, X, Y, Z
from tests.net.world import world as made_world

DB = "10.0.2.101"
CONFIGURATION = f"""
switches: {{s1: {{dpid: 1, network: 1}}}}
vips:
  web: {{address: {VIP}, mac: "02:00:00:00:00:64", redirect_ports: {{{X}: {{servers: [web-a]}}}}}}
  db:  {{address: {DB}, mac: "02:00:00:00:00:64", redirect_ports: {{9: {{servers: [db-a]}}}}}}
servers:
  web-a: {{vip: web, connector: "s1:2", service_ports: [{{port: {Y}, application: {X}}}]}}
  web-b: {{vip: web, connector: "s1:3", service_ports: [{{port: {Z}, application: {X}}}]}}
  db-a:  {{vip: db,  connector: "s1:2", service_ports: [{{port: 3, application: 9}}]}}
"""


@pytest.fixture
def world() -> Iterator[World]:
    """The second VIP is at the same server."""
    with made_world() as world:
        world.server.run("ip", "address", "add", f"{DB}/24", "dev", "eth0")
        (world.network.directory / "lb.yaml").write_text(CONFIGURATION, encoding="utf-8")
        yield world


def server_words(world: World, *names: str) -> tuple[str, ...]:
    file = str(world.network.directory / "lb.yaml")
    return ("server", "--interface", "eth0", "--config", file, *(word for name in names for word in ("--server", name)))


def client_words(*vips: str) -> tuple[str, ...]:
    return ("client", "--interface", "eth0", *(word for vip in vips for word in ("--vip", vip)))


def announced(world: World, vip: str, port: int) -> int | None:
    """Where a new connection is redirected to."""
    with world.network.capture(world.client, "tcp") as segments:
        done = world.client.run("curl", "-sS", "-m", "5", f"http://{vip}:{port}/small")
        assert done.stdout == "odd\n"
    return segments[1].announced


def wire_ports(world: World, host: Namespace) -> dict[str, set[object]]:
    """The wire's ports of the connections an agent knows, by VIP."""
    found: dict[str, set[object]] = {}
    for each in world.record(host):
        if each["state"] == "bound":
            found.setdefault(str(each["vip"]), set()).add(each["wire"])
    return found


@pytest.mark.parametrize("way", WAYS)
def test_two_server_agents(world: World, way: str) -> None:
    """The second for another VIP joins: connections of the first go on, both redirect, and each can be ended alone."""
    client = fast(world, world.client, *client_words(VIP, DB))
    first = fast(world, world.server, *server_words(world, "web-a"), program=WAYS[way])
    idle = Idle(world)
    second = fast(world, world.server, *server_words(world, "db-a"), program=WAYS[way])
    assert idle.answers()
    assert (announced(world, VIP, X), announced(world, DB, 9)) == (Y, 3)
    assert first.process.poll() is None and len(programs(world.server)) == 4
    done = agent_command(world.server, "health", "--interface", "eth0")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 2
    for service, vip in ((first, VIP), (second, DB)):
        (line,) = (line for line in lines if f"eth0 for {vip}: attached" in line)
        assert line.endswith(f"process {service.process.pid}")
    assert wire_ports(world, world.server)[VIP] == {Y}
    assert agent_stats(world.server)["announced"] == 3, "of both"
    done = world.redirect("--from", f":{Y}", "--to", str(Z), "--close")
    assert (done.returncode, done.stdout) == (0, "1 connection: 1 followed\n"), done.stderr
    assert end(first.process) == 0 and len(programs(world.server)) == 2
    assert announced(world, DB, 9) == 3
    assert client.process.poll() is None


@pytest.mark.parametrize("way", WAYS)
def test_two_client_agents(world: World, way: str) -> None:
    """Likewise: the open redirected connection goes on, and one is ended by FIN although the packet passes both."""
    first = fast(world, world.client, *client_words(VIP), program=WAYS[way])
    fast(world, world.server, *server_words(world, "web-a", "db-a"))
    idle = Idle(world)
    fast(world, world.client, *client_words(DB), program=WAYS[way])
    assert idle.answers()
    assert (announced(world, VIP, X), announced(world, DB, 9)) == (Y, 3)
    assert first.process.poll() is None and len(programs(world.client)) == 4
    done = world.redirect("--from", f":{Y}", "--to", str(X), "--close")
    assert done.returncode == 0, done
    assert not idle.answers(), "it was ended"


def test_one_process_for_several_servers(world: World) -> None:
    """`--server` repeated: ready once all are attached; a start for one more takes over and joins, live."""
    world.client_agent()
    first = fast(world, world.server, *server_words(world, "web-a"))
    idle = Idle(world)
    both = fast(world, world.server, *server_words(world, "web-a", "db-a"))
    first.says("an agent started later has taken over")
    assert first.process.wait(timeout=10) == 0 and idle.answers()
    assert len(programs(world.server)) == 4
    both.signal(signal.SIGHUP)
    # One of its servers is taken over by a process of its own: the other stays with this one.
    alone = fast(world, world.server, *server_words(world, "db-a"))
    both.says("server agent db-a on eth0: an agent started later has taken over")
    assert both.process.poll() is None and idle.answers()
    assert end(both.process) == 0 and len(programs(world.server)) == 2
    assert end(alone.process) == 0 and not programs(world.server)


def refused(world: World, host: Namespace, words: tuple[str, ...], *reasons: str) -> None:
    """A start that is refused with a sentence, and changes nothing."""
    before = programs(host)
    done = agent_command(host, *words)
    assert done.returncode == 1 and all(reason in done.stderr for reason in reasons), done.stderr
    assert "Traceback" not in done.stderr and programs(host) == before


def test_starts_that_would_break_connections_are_refused(world: World) -> None:
    """For some of the VIPs of a running agent, for VIPs of two, for another server of the same VIP, for both of one."""
    one = fast(world, world.client, *client_words(VIP, DB))
    fast(world, world.server, *server_words(world, "web-a"))
    idle = Idle(world)
    refused(world, world.client, client_words(VIP), f"also serves {DB}", f"start this one for {VIP}, {DB}")
    refused(world, world.client, client_words(VIP, "10.0.2.102"), f"start this one for {VIP}, {DB}, 10.0.2.102")
    refused(world, world.server, server_words(world, "web-b"), "service ports 1, and this one has none of them")
    refused(world, world.server, server_words(world, "db-a", "web-b"), "service ports 1, and this one has none of them")
    refused(world, world.server, server_words(world, "web-a", "web-b"), f"web-a and web-b are both for {VIP}")
    refused(world, world.server, server_words(world, "web-a", "web-a"), "--server web-a is given twice")
    assert idle.answers() and one.process.poll() is None
    wider = fast(world, world.client, *client_words(VIP, DB, "10.0.2.102"))  # a superset: takes over
    until(lambda: one.process.poll() == 0, "the first has ended")
    assert idle.answers()
    fast(world, world.client, *client_words("10.0.2.103"))
    refused(world, world.client, client_words(VIP, DB, "10.0.2.102", "10.0.2.103"), "2 client agents run on eth0")
    assert idle.answers() and wider.process.poll() is None


KILLED = """
import os, signal, sys
from portlb_app.agent{module}
made, calls = {function}, []
def killed(*arguments, **named):
    calls.append(1)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(*arguments, **named)
{function} = killed
import portlb_app.agent.__main__
"""
POINTS = {
    "before the maps are used": (".kernel import object_file", "object_file.Object.reuse", 1),
    "before the programs are loaded": (".kernel import object_file", "object_file.Object.load", 1),
    "before ingress": (" import hooks", "hooks.{way}.attach", 1),
    "between ingress and egress": (" import hooks", "hooks.{way}.attach", 2),
}


@pytest.mark.parametrize(("point", "way"), [*((each, "tcx") for each in POINTS), (list(POINTS)[-1], "clsact")])
def test_a_take_over_that_is_killed(world: World, point: str, way: str) -> None:
    """At each point the connection that is open goes on, new ones are redirected, and the next start repairs it."""
    fast(world, world.server, *server_words(world, "web-a"))
    first = fast(world, world.client, *CLIENT, program=WAYS[way])
    idle = Idle(world)
    module, function, call = POINTS[point]
    function = function.format(way={"tcx": "_Tcx", "clsact": "_Clsact"}[way])
    code = KILLED.format(module=module, function=function, call=call)
    dying = Service(world.network, world.client, sys.executable, "-c", code, *CLIENT, ready=False)
    assert dying.process.wait(timeout=20) == -signal.SIGKILL
    assert idle.answers() and announced(world, VIP, X) == Y
    if point == "between ingress and egress":
        first.says("attached again, connections kept")
        assert first.process.poll() is None and idle.answers() and announced(world, VIP, X) == Y
    last = fast(world, world.client, *CLIENT)
    until(lambda: first.process.poll() == 0, "the first has ended")
    assert len(programs(world.client)) == 2 and idle.answers() and announced(world, VIP, X) == Y
    assert agent_command(world.client, "health", "--interface", "eth0").returncode == 0
    assert end(last.process) == 0 and not programs(world.client)


def test_vips_are_read_back() -> None:
    vips = [ip_address(each) for each in ("10.0.0.1", "10.0.0.2", "fd00::1")]
    assert unpacked_vips(server.settings(ServerMapping(tuple(vips)))) == set(vips)
    ports = {1: 20, 9: 9, 4000: 20}
    settings = server.settings(ServerMapping(tuple(vips), applications=ports))
    assert set(server.service_ports(settings)) == set(ports)
    assert {port: server.application_of(settings, port) for port in (*ports, 2)} == {**ports, 2: 0}
