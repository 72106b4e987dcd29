"""Real programs over real wires: curl and nginx know nothing of the agents, the captures show what they do.

Every test makes its own hosts, links and agents (tests/net/world.py), and runs over IPv4 and IPv6 where that can make
a difference (row B1).
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portlb_app.agent import counters, loader, versions
from portlb_app.agent.errors import AgentError
from tests.net.network import (
    ACK,
    CONFIRM,
    FIN,
    PSH,
    REDIRECT,
    ROOT,
    RST,
    SYN,
    Namespace,
    agent_command,
    agent_stats,
    client_agent,
    end,
    until,
)
from tests.net.world import CLIENTS, MEGABYTE, OWN, VIP, VIPS, World, X, Y
from tests.net.world import world as make_world


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The hosts, over IPv4, then over IPv6."""
    with make_world(family=request.param) as made:
        yield made


FIRST = "numgen inc mod 1000000 0"  # the first packet that comes so far in its rule


def checksum_errors(host: Namespace) -> int:
    found = json.loads(host.run("nstat", "-asjz", "TcpInCsumErrors").stdout)
    return int(found["kernel"]["TcpInCsumErrors"])


def test_redirect_step_by_step(world: World) -> None:
    """E8 E2 steps 1-4, D1: ports X, X, Y, Y... on the wire; nginx was running before the agents came."""
    world.agents()
    with world.network.capture(world.client, "tcp") as segments:
        assert world.get() == "odd\n"
    syn, synack, third = segments[:3]
    assert (syn.dport, syn.flags, syn.announced) == (X, SYN | REDIRECT, None)
    assert (synack.sport, synack.flags, synack.announced) == (X, SYN | ACK | CONFIRM, Y)
    assert (third.dport, third.flags, third.announced) == (Y, ACK | CONFIRM, X)
    assert set(world.ports(segments[2:])) == {Y}
    assert [segment.announced for segment in segments if segment.size] == [None] * sum(s.size > 0 for s in segments)
    heard = next(at for at, segment in enumerate(segments) if at > 1 and segment.sport == Y)
    assert not any(segment.flags & (REDIRECT | CONFIRM) for segment in segments[heard:])
    assert all(segment.flags & CONFIRM for segment in segments[2:heard])

    stats = agent_stats(world.client)
    assert (stats["syn_marked"], stats["bound"], stats["confirmed"]) == (1, 1, 1)
    stats = agent_stats(world.server)
    assert (stats["syn_redirect"], stats["announced"], stats["redirected"], stats["rebuilt"]) == (1, 1, 1, 0)


def test_own_service_port(world: World) -> None:
    """E1: CONFIRM, no redirect, and REDIRECT on every packet of the client."""
    world.agents()
    with world.network.capture(world.client, "tcp") as segments:
        assert world.get(OWN) == "odd\n"
    assert set(world.ports(segments)) == {OWN}
    assert [segment.announced for segment in segments] == [None] * len(segments)
    assert segments[1].flags == SYN | ACK | CONFIRM
    assert all(segment.flags & REDIRECT for segment in world.sent(segments, to_server=True))
    assert agent_stats(world.client)["unredirected"] == 1
    assert agent_stats(world.server)["supported"] == 1


@pytest.mark.parametrize("with_agent", [False, True], ids=["server without agent", "agent without answers"])
def test_server_that_does_not_redirect(world: World, with_agent: bool) -> None:
    """E7: a plain connection on X, REDIRECT on every packet of the client."""
    world.client_agent()
    if with_agent:
        world.server_agent((), ())
    with world.network.capture(world.client, "tcp") as segments:
        assert world.get() == "odd\n"
    assert set(world.ports(segments)) == {X}
    assert bool(segments[1].flags & CONFIRM) == with_agent
    assert all(segment.flags & REDIRECT for segment in world.sent(segments, to_server=True))
    assert agent_stats(world.client)["unredirected" if with_agent else "plain"] == 1


@pytest.mark.parametrize("port", [X, OWN, Y])
def test_client_without_agent(world: World, port: int) -> None:
    """E7 E3: a plain client is served on a redirect port, a service port, and one whose application is elsewhere."""
    world.server_agent()
    with world.network.capture(world.client, "tcp") as segments:
        assert world.get(port) == "odd\n"
    assert set(world.ports(segments)) == {port}
    assert not any(segment.flags & (REDIRECT | CONFIRM) for segment in segments)


def test_service_port_asked_for_directly(world: World) -> None:
    """E1: a client with an agent opens on Y itself: served there, CONFIRM, no redirect."""
    world.agents()
    with world.network.capture(world.client, "tcp") as segments:
        assert world.get(Y) == "odd\n"
    assert set(world.ports(segments)) == {Y}
    assert segments[1].flags == SYN | ACK | CONFIRM and segments[1].announced is None


def test_refused_connection(world: World) -> None:
    """E7: a reset answer to a SYN with REDIRECT reaches the program at once."""
    world.agents()
    refused = world.client.run("curl", "-sS", "-m", "5", world.url(21, ""), check=False)
    assert refused.returncode == 7, refused.stderr


def test_fast_open(world: World) -> None:
    """E2 D1: a SYN that carries data (TCP Fast Open) is redirected like any other."""
    for host in (world.client, world.server):
        host.run("sysctl", "-qw", "net.ipv4.tcp_fastopen=1027")  # client, server, every listener from now on
    words = ("-m", "http.server", "21", "--bind", "::", "--directory", str(world.network.directory))
    world.server.popen(sys.executable, *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: world.server.listens(21), "the server listens")
    world.client_agent()
    world.server_agent(["2=21"], ["21=2"])
    assert world.get(21, "--tcp-fastopen") == "odd\n"  # fetches the cookie
    with world.network.capture(world.client, "tcp") as segments:
        assert world.get(21, "--tcp-fastopen") == "odd\n"
    assert segments[0].size > 0 and segments[0].flags == SYN | REDIRECT
    assert (segments[1].announced, set(world.ports(world.sent(segments, to_server=True)[1:]))) == (2, {2})
    assert agent_stats(world.client)["confirmed"] == 2


def test_kill_and_restart_during_a_download(world: World) -> None:
    """E2 D1: both agents die with SIGKILL and come back; the connection stays on Y and loses nothing."""
    wanted = world.store("large", 50 * MEGABYTE)
    agents = world.agents()
    with world.network.capture(world.client, "tcp", "and", "greater", "54") as segments:
        download = world.download("large", 8 * MEGABYTE)
        until(lambda: agent_stats(world.client)["confirmed"] == 1, "the download has begun")
        for agent in agents:
            assert end(agent, signal.SIGKILL) == -signal.SIGKILL
        assert agent_stats(world.client)["confirmed"] == 1  # the filters hold programs and maps
        world.agents()
        assert download.finish() == wanted
    assert set(world.ports(segments[2:])) == {Y}
    stats = agent_stats(world.client)
    assert (stats["syn_marked"], stats["confirmed"], stats["from_old_port"]) == (1, 1, 0)
    assert agent_stats(world.server)["rebuilt"] == 0
    assert world.get() == "odd\n"


def test_upgrade(world: World) -> None:
    """A second agent takes over from the running one; stopping the first then removes nothing."""
    first, _ = world.agents()
    assert world.get() == "odd\n"
    second = world.client_agent()
    assert end(first) == 0
    assert world.get() == "odd\n"
    assert agent_stats(world.client)["confirmed"] == 2
    assert end(second) == 0
    assert "no agent" in agent_command(world.client, "stats", "--interface", "eth0").stderr
    assert "clsact" not in world.client.run("tc", "qdisc", "show", "dev", "eth0").stdout


def test_stopping_leaves_other_peoples_filters(world: World) -> None:
    """Other filters on the interface stay when the agent goes."""
    agent = world.client_agent()
    rule = "protocol ip prio 30000 u32 match u32 0 0 classid 1:1"
    world.client.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    world.client.run("tc", "filter", "add", "dev", "eth0", "ingress", *rule.split())
    assert world.get() == "odd\n"
    assert end(agent) == 0
    assert "u32" in world.client.run("tc", "filter", "show", "dev", "eth0", "ingress").stdout


def test_both_roles_on_one_interface(world: World) -> None:
    """A host can be a client of one VIP and a server of another: packets pass one agent and reach the next."""
    world.agents()
    client_agent(world.server, list(CLIENTS.values()))
    assert world.get() == "odd\n"
    done = agent_command(world.server, "stats", "--interface", "eth0")
    assert "client agent on eth0" in done.stdout and "server agent on eth0" in done.stdout
    assert all(name in done.stdout for name in counters.meanings())


def test_lost_third_ack(world: World) -> None:
    """E2: the first ACK to Y is lost; the first data segment carries CONFIRM, and no option, to Y."""
    world.lose(f"tcp dport {Y} tcp flags & (syn|ack|psh|fin|rst) == ack {FIRST} drop")
    world.agents()
    with world.network.capture(world.server, "tcp") as segments:
        assert world.get() == "odd\n"
    first = world.sent(segments, to_server=True)[1]
    assert (first.dport, first.flags, first.announced) == (Y, ACK | PSH | CONFIRM, None) and first.size > 0
    stats = agent_stats(world.server)
    assert (stats["redirected"], stats["stayed"]) == (1, 0)


def test_lost_entry(world: World) -> None:
    """E2: a server that has forgotten its connections in the middle of a download: the static table answers."""
    agent = world.agents()[1]
    wanted = world.store("large", 50 * MEGABYTE)
    download = world.download("large", 8 * MEGABYTE)
    until(lambda: agent_stats(world.client)["confirmed"] == 1, "the download has begun")
    world.lose("drop")  # without an agent the server would answer packets to Y with a reset
    assert end(agent) == 0
    world.server_agent()
    world.keep()
    assert download.finish() == wanted
    assert agent_stats(world.server)["rebuilt"] == 1


def test_lost_syn(world: World) -> None:
    """E2: a retransmitted SYN is marked again and is the same connection."""
    world.lose(f"tcp dport {X} {FIRST} drop")
    world.agents()
    assert world.get() == "odd\n"
    stats = agent_stats(world.client)
    assert (stats["syn_marked"], stats["bound"], stats["second_synack"]) == (2, 1, 0)


def test_lossy_handshakes(world: World) -> None:
    """E2: with 20 % of SYNs, SYN/ACKs and CONFIRMs lost, 200 of 200 connections complete, all on Y."""
    world.agents()
    world.lose("tcp flags & syn == syn numgen random mod 100 < 20 drop")
    world.lose(f"tcp flags & syn == 0 @th,96,16 & {CONFIRM} == {CONFIRM} numgen random mod 100 < 20 drop")
    done = world.client.run(
        "curl", "-sS", "-m", "60", "-Z", "--parallel-immediate", "--parallel-max", "200", "-H", "Connection: close",
        "-w", "%{http_code} %{num_connects}\\n", "-o", "/dev/null", world.url(path="small?[1-200]"),
    )  # fmt: skip
    assert done.stdout.splitlines() == ["200 1"] * 200
    stats = agent_stats(world.client)
    assert (stats["bound"], stats["remembered"], stats["from_old_port"]) == (200, 0, 0)
    assert stats["confirmed"] + stats["fallen_back"] == 200 and stats["fallen_back"] < 20
    assert stats["syn_marked"] > 200


@pytest.mark.parametrize("offloads", [True, False], ids=["offloads on", "offloads off"])
def test_large_transfer(world: World, offloads: bool) -> None:
    """D1: 100 MB down and 50 MB up arrive unchanged and without a checksum error."""
    for host, interface in ((world.client, "eth0"), (world.router, "left"), (world.router, "right"),
                            (world.server, "eth0")):  # fmt: skip
        host.offloads(interface, offloads)
    world.agents()
    wanted = world.store("large", 100 * MEGABYTE)
    assert world.fetch_digest("large") == wanted
    wanted = world.store("up", 50 * MEGABYTE)
    assert world.upload("up") == 0
    assert hashlib.md5((world.network.directory / "stored").read_bytes()).hexdigest() == wanted
    assert checksum_errors(world.client) == checksum_errors(world.server) == 0
    stats = agent_stats(world.client)
    assert (stats["bound"], stats["confirmed"]) == (2, 2)


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def narrow_world(request: pytest.FixtureRequest) -> Iterator[World]:
    """With a link of 1300 bytes in the middle."""
    with make_world(1300, request.param) as made:
        yield made


def test_path_mtu_of_a_download(narrow_world: World) -> None:
    """I2 E2: over a 1300-byte link 50 MB arrive, because the server's agent translates what the router quotes."""
    narrow_world.agents()
    wanted = narrow_world.store("large", 50 * MEGABYTE)
    assert narrow_world.fetch_digest("large") == wanted
    assert agent_stats(narrow_world.server)["icmp_translated"] > 0
    assert "mtu 1300" in narrow_world.server.run("ip", "route", "get", narrow_world.client_address).stdout


def test_path_mtu_of_an_upload(narrow_world: World) -> None:
    """I2 E2: the same in the other direction, for which the client's agent translates."""
    narrow_world.agents()
    wanted = narrow_world.store("large", 50 * MEGABYTE)
    assert narrow_world.upload("large") == 0
    assert hashlib.md5((narrow_world.network.directory / "stored").read_bytes()).hexdigest() == wanted
    assert agent_stats(narrow_world.client)["icmp_translated"] > 0
    assert "mtu 1300" in narrow_world.client.run("ip", "route", "get", narrow_world.vip).stdout


def test_path_mtu_needs_the_translation(narrow_world: World) -> None:
    """I2: the same link, but a filter before the agent's lets ICMP errors by untranslated: the upload stalls.

    The client's agent is attached by clsact, because by tcx it comes before every filter.
    """
    old_kernel = "from portlb_app.agent import hooks; hooks.has_tcx = lambda index: False"
    program = f"{old_kernel}; import portlb_app.agent.__main__"
    words = ("client", "--interface", "eth0", "--vip", narrow_world.vip)
    narrow_world.client.popen_ready(sys.executable, "-c", program, *words, cwd=ROOT)
    narrow_world.server_agent()
    rule = {
        4: "protocol ip prio 1 u32 match ip protocol 1 0xff classid 1:1",
        6: "protocol ipv6 prio 1 u32 match ip6 protocol 58 0xff classid 1:1",
    }[narrow_world.family]
    narrow_world.client.run("tc", "filter", "add", "dev", "eth0", "ingress", *rule.split())
    narrow_world.store("large", MEGABYTE)
    assert narrow_world.upload("large", patience=2) == 28  # timed out
    assert agent_stats(narrow_world.client)["icmp_translated"] == 0


def test_running_agent_ages_entries(world: World) -> None:
    """E2: the process sweeps by itself; here its clock is 70 s ahead and it looks every 50 ms."""
    program = (
        "import ipaddress, sys; from portlb_app.agent import client, loader, process; "
        "process.SWEEP_EVERY = 0.05; sweep = loader.Programs.sweep; "
        "loader.Programs.sweep = lambda programs, now: sweep(programs, now + 70 * 10**9); "
        f"constants = client.settings([ipaddress.ip_address('{world.vip}')]); "
        "sys.exit(process.serve('eth0', 'client', {'client': lambda: constants}))"
    )
    world.client.popen_ready(sys.executable, "-c", program, cwd=ROOT)
    world.server_agent()
    assert world.get() == "odd\n"
    until(lambda: agent_stats(world.client)["swept_closing"] == 1, "the closed connection is swept")


def test_reset_connection_is_closing(world: World) -> None:
    """E2: both sides forget a connection that was reset; a new one from the same port is served at once."""
    world.agents()
    for _ in range(2):
        program = (
            f"import socket, struct; s = socket.socket(socket.AF_INET{'6' * (world.family == 6)}); "
            "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); "
            f"s.bind(('', 5555)); s.connect(('{world.vip}', {X})); "
            "s.send(b'GET /small HTTP/1.0\\r\\n\\r\\n'); s.recv(9); "
            "s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()"
        )
        with world.network.capture(world.client, "tcp") as segments:
            world.client.run(sys.executable, "-c", program, timeout=5)
        sent = world.sent(segments, to_server=True)  # the server may answer, from the port that was left
        assert sent[-1].flags & RST and sent[-1].dport == Y
        assert not any(segment.flags & FIN for segment in sent)
    assert agent_stats(world.server)["redirected"] == 2
    assert agent_stats(world.server)["collision"] == 0


BOTH = ("--vip", VIPS[4], "--vip", VIPS[6])
REFUSALS = [
    (("client", "--interface", "nothing", "--vip", VIP), 1, "no such interface"),
    (("client", "--interface", "eth0", *BOTH, "--connections", "2048"), 1, "same --connections"),
    (("client", "--interface", "eth0", "--vip", VIP), 1, f"also serves {VIPS[6]}"),
    (("client", "--interface", "eth0", *["--vip", VIP] * 17), 1, "1 to 16 VIPs"),
    (("client", "--interface", "eth0", "--vip", "nobody"), 2, "not an IP address"),
    (("server", "--interface", "eth0", "--vip", VIP, "--redirect", "20=1"), 1, "none of this server's service ports"),
    (("server", "--interface", "eth0", "--vip", VIP, "--service", "0"), 1, "from 1 to 65535"),
    (("server", "--interface", "eth0", "--vip", VIP, "--service", "many"), 2, "invalid"),
    (("server", "--interface", "eth0"), 1, "--config"),
    (("stats", "--interface", "lo"), 1, "no agent is attached"),
]


def test_refusals(world: World) -> None:
    """What cannot be done is refused with a reason, and disturbs nobody."""
    world.client_agent()
    for words, code, reason in REFUSALS:
        done = agent_command(world.client, *words)
        assert (done.returncode, reason in done.stderr) == (code, True), done.stderr
        assert "Traceback" not in done.stderr
    assert world.get() == "odd\n"
    assert agent_stats(world.client)["plain"] == 1


def test_missing_object(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the compiled object the error says what to do."""
    monkeypatch.setattr(versions, "OBJECT_FILE", tmp_path / "redirect.bpf.o")
    with pytest.raises(AgentError, match="builds it in a checkout"):
        loader.Programs("client", b"")
    (tmp_path / "redirect.bpf.o").write_bytes(b"not an object")
    with pytest.raises(AgentError, match="build it again"):
        loader.Programs("client", b"")


def test_documented_counters() -> None:
    """docs/agents.md lists every counter with the meaning that `stats` prints."""
    rows = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8").splitlines()
    assert [f"| {name} | {meaning} |" for name, meaning in counters.meanings().items() if
            f"| {name} | {meaning} |" not in rows] == []  # fmt: skip
