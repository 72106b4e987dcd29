"""Real programs over real wires: curl and nginx know nothing of the agents, the captures show what they do.

There is no load balancer here: one server that announces, which is row E8. Every test makes its own hosts, links and
agents. What is asserted about ports, bits and options is read from the wire, between the agents.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from portlb_app.agent import counters, loader
from portlb_app.agent.errors import AgentError
from portlb_app.packets import Segment
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
    Network,
    agent_command,
    agent_stats,
    client_agent,
    end,
    server_agent,
    until,
    web_server,
)

VIP = "10.0.2.100"
X, Y, OWN = 20, 1, 9
SERVICES, REDIRECTS = (f"{Y}={X}", f"{OWN}"), (f"{X}={Y}",)
MEGABYTE = 1_000_000


class World:
    """client -- router [-- second router] -- server, nginx on the server's ports 20 and 9, no agents yet."""

    def __init__(self, network: Network, middle_mtu: int | None = None) -> None:
        self.network = network
        self.client, self.router, self.server = (network.host(label) for label in ("client", "router", "server"))
        network.link(self.client, self.router, ("10.0.1.1/24", "10.0.1.254/24"), ("eth0", "left"))
        far = self.router
        if middle_mtu is not None:
            far = network.host("far")
            network.link(
                self.router, far, ("10.0.3.1/24", "10.0.3.2/24"), ("middle", "middle"), mtu=middle_mtu
            )
            self.router.run("ip", "route", "add", "10.0.2.0/24", "via", "10.0.3.2")
            far.run("ip", "route", "add", "10.0.1.0/24", "via", "10.0.3.1")
        network.link(far, self.server, ("10.0.2.254/24", f"{VIP}/24"), ("right", "eth0"))
        for router in {self.router, far}:
            router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.client.run("ip", "route", "add", "default", "via", "10.0.1.254")
        self.server.run("ip", "route", "add", "default", "via", "10.0.2.254")
        (network.directory / "small").write_bytes(b"odd\n")
        web_server(self.server, network.directory, (X, OWN))

    def agents(self) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
        """Start both agents."""
        return client_agent(self.client, [VIP]), server_agent(self.server, VIP, SERVICES, REDIRECTS)

    def get(self, port: int = X, *words: str) -> str:
        """Fetch the small file; return its content."""
        return self.client.run("curl", "-sS", "-m", "20", *words, f"http://{VIP}:{port}/small").stdout

    def store(self, name: str, size: int) -> str:
        """Put a random file of `size` bytes on the server; return its MD5."""
        content = os.urandom(size)
        (self.network.directory / name).write_bytes(content)
        return hashlib.md5(content).hexdigest()

    def fetch_digest(self, name: str, *words: str) -> str:
        """Download a file from port X; return the MD5 of what arrived."""
        curl = self.client.popen(
            "curl", "-sS", "-m", "60", *words, f"http://{VIP}:{X}/{name}", stdout=subprocess.PIPE
        )
        assert curl.stdout is not None
        digest = hashlib.md5()
        while chunk := curl.stdout.read(1 << 20):
            digest.update(chunk)
        assert end(curl) == 0
        return digest.hexdigest()


@pytest.fixture
def world() -> Iterator[World]:
    with Network() as network:
        yield World(network)


def sent(segments: list[Segment], to_server: bool) -> list[Segment]:
    return [segment for segment in segments if (str(segment.destination) == VIP) == to_server]


def ports(segments: list[Segment]) -> list[int]:
    """The server's port of every segment."""
    return [segment.dport if str(segment.destination) == VIP else segment.sport for segment in segments]


FIRST = "numgen inc mod 1000000 0"  # the first packet that comes so far in its rule


def lose(world: World, rule: str) -> None:
    """Have the router drop what a rule of nftables says."""
    world.router.nft("add table ip lose")
    world.router.nft("add chain ip lose forward { type filter hook forward priority 0; }")
    world.router.nft(f"add rule ip lose forward {rule}")


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
    assert set(ports(segments[2:])) == {Y}
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
    assert set(ports(segments)) == {OWN}
    assert [segment.announced for segment in segments] == [None] * len(segments)
    assert segments[1].flags == SYN | ACK | CONFIRM
    assert all(segment.flags & REDIRECT for segment in sent(segments, to_server=True))
    assert agent_stats(world.client)["unredirected"] == 1
    assert agent_stats(world.server)["supported"] == 1


@pytest.mark.parametrize("with_agent", [False, True], ids=["server without agent", "agent without answers"])
def test_server_that_does_not_redirect(world: World, with_agent: bool) -> None:
    """E7: a plain connection on X, REDIRECT on every packet of the client."""
    client_agent(world.client, [VIP])
    if with_agent:
        server_agent(world.server, VIP)
    with world.network.capture(world.client, "tcp") as segments:
        assert world.get() == "odd\n"
    assert set(ports(segments)) == {X}
    assert bool(segments[1].flags & CONFIRM) == with_agent
    assert all(segment.flags & REDIRECT for segment in sent(segments, to_server=True))
    assert agent_stats(world.client)["unredirected" if with_agent else "plain"] == 1


@pytest.mark.parametrize("port", [X, OWN, Y])
def test_client_without_agent(world: World, port: int) -> None:
    """E7 E3: a plain client is served on a redirect port, a service port, and one whose application is elsewhere."""
    server_agent(world.server, VIP, SERVICES, REDIRECTS)
    with world.network.capture(world.client, "tcp") as segments:
        assert world.get(port) == "odd\n"
    assert set(ports(segments)) == {port}
    assert not any(segment.flags & (REDIRECT | CONFIRM) for segment in segments)


def test_service_port_asked_for_directly(world: World) -> None:
    """E1: a client with an agent opens on Y itself: served there, CONFIRM, no redirect."""
    world.agents()
    with world.network.capture(world.client, "tcp") as segments:
        assert world.get(Y) == "odd\n"
    assert set(ports(segments)) == {Y}
    assert segments[1].flags == SYN | ACK | CONFIRM and segments[1].announced is None


def test_refused_connection(world: World) -> None:
    """E7: a reset answer to a SYN with REDIRECT reaches the program at once."""
    world.agents()
    refused = world.client.run("curl", "-sS", "-m", "5", f"http://{VIP}:21/", check=False)
    assert refused.returncode == 7, refused.stderr


def test_fast_open(world: World) -> None:
    """E2 D1: a SYN that carries data (TCP Fast Open) is redirected like any other."""
    for host in (world.client, world.server):
        host.run("sysctl", "-qw", "net.ipv4.tcp_fastopen=1027")  # client, server, every listener from now on
    words = ("-m", "http.server", "21", "--directory", str(world.network.directory))
    world.server.popen(sys.executable, *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: world.server.listens(21), "the server listens")
    client_agent(world.client, [VIP])
    server_agent(world.server, VIP, ["2=21"], ["21=2"])
    assert world.get(21, "--tcp-fastopen") == "odd\n"  # fetches the cookie
    with world.network.capture(world.client, "tcp") as segments:
        assert world.get(21, "--tcp-fastopen") == "odd\n"
    assert segments[0].size > 0 and segments[0].flags == SYN | REDIRECT
    assert (segments[1].announced, set(ports(sent(segments, to_server=True)[1:]))) == (2, {2})
    assert agent_stats(world.client)["confirmed"] == 2


def test_kill_and_restart_during_a_download(world: World) -> None:
    """E2 D1: both agents die with SIGKILL and come back; the connection stays on Y and loses nothing."""
    wanted = world.store("large", 24 * MEGABYTE)
    agents = world.agents()
    digests = []
    with world.network.capture(world.client, "tcp", "and", "greater", "54") as segments:
        download = threading.Thread(target=lambda: digests.append(world.fetch_digest("large", "--limit-rate", "8M")))
        download.start()
        until(lambda: agent_stats(world.client)["confirmed"] == 1, "the download has begun")
        for agent in agents:
            assert end(agent, signal.SIGKILL) == -signal.SIGKILL
        assert agent_stats(world.client)["confirmed"] == 1  # the filters hold programs and maps
        world.agents()
        assert download.is_alive()
        download.join()
    assert digests == [wanted]
    assert set(ports(segments[2:])) == {Y}
    stats = agent_stats(world.client)
    assert (stats["syn_marked"], stats["confirmed"], stats["from_old_port"]) == (1, 1, 0)
    assert agent_stats(world.server)["rebuilt"] == 0
    assert world.get() == "odd\n"


def test_upgrade(world: World) -> None:
    """A second agent takes over from the running one; stopping the first then removes nothing."""
    first, _ = world.agents()
    assert world.get() == "odd\n"
    second = client_agent(world.client, [VIP])
    assert end(first) == 0
    assert world.get() == "odd\n"
    assert agent_stats(world.client)["confirmed"] == 2
    assert end(second) == 0
    assert "no agent" in agent_command(world.client, "stats", "--interface", "eth0").stderr
    assert "clsact" not in world.client.run("tc", "qdisc", "show", "dev", "eth0").stdout


def test_stopping_leaves_other_peoples_filters(world: World) -> None:
    """Other filters on the interface stay when the agent goes."""
    agent = client_agent(world.client, [VIP])
    rule = "protocol ip prio 30000 u32 match u32 0 0 classid 1:1"
    world.client.run("tc", "filter", "add", "dev", "eth0", "ingress", *rule.split())
    assert world.get() == "odd\n"
    assert end(agent) == 0
    assert "u32" in world.client.run("tc", "filter", "show", "dev", "eth0", "ingress").stdout


def test_both_roles_on_one_interface(world: World) -> None:
    """A host can be a client of one VIP and a server of another: packets pass one agent and reach the next."""
    world.agents()
    client_agent(world.server, ["10.0.1.1"])
    assert world.get() == "odd\n"
    done = agent_command(world.server, "stats", "--interface", "eth0")
    assert "client agent on eth0" in done.stdout and "server agent on eth0" in done.stdout
    assert all(name in done.stdout for name in counters.meanings())


def test_lost_third_ack(world: World) -> None:
    """E2: the first ACK to Y is lost; the first data segment carries CONFIRM, and no option, to Y."""
    lose(world, f"tcp dport {Y} tcp flags & (syn|ack|psh|fin|rst) == ack {FIRST} drop")
    world.agents()
    with world.network.capture(world.server, "tcp") as segments:
        assert world.get() == "odd\n"
    first = sent(segments, to_server=True)[1]
    assert (first.dport, first.flags, first.announced) == (Y, ACK | PSH | CONFIRM, None) and first.size > 0
    stats = agent_stats(world.server)
    assert (stats["redirected"], stats["stayed"]) == (1, 0)


def test_lost_entry(world: World) -> None:
    """E2: a server that has forgotten its connections in the middle of a download: the static table answers."""
    agent = world.agents()[1]
    wanted = world.store("large", 16 * MEGABYTE)
    digests = []
    download = threading.Thread(target=lambda: digests.append(world.fetch_digest("large", "--limit-rate", "8M")))
    download.start()
    until(lambda: agent_stats(world.client)["confirmed"] == 1, "the download has begun")
    lose(world, "drop")  # without an agent the server would answer packets to Y with a reset
    assert end(agent) == 0
    server_agent(world.server, VIP, SERVICES, REDIRECTS)
    world.router.nft("delete table ip lose")
    assert download.is_alive()
    download.join()
    assert digests == [wanted]
    assert agent_stats(world.server)["rebuilt"] == 1


def test_lost_syn(world: World) -> None:
    """E2: a retransmitted SYN is marked again and is the same connection."""
    lose(world, f"tcp dport {X} {FIRST} drop")
    world.agents()
    assert world.get() == "odd\n"
    stats = agent_stats(world.client)
    assert (stats["syn_marked"], stats["bound"], stats["second_synack"]) == (2, 1, 0)


def test_lossy_handshakes(world: World) -> None:
    """E2: with 20 % of SYNs, SYN/ACKs and CONFIRMs lost, 200 of 200 connections complete, all on Y."""
    world.agents()
    lose(world, "tcp flags & syn == syn numgen random mod 100 < 20 drop")
    lose(world, f"tcp flags & syn == 0 @th,96,16 & {CONFIRM} == {CONFIRM} numgen random mod 100 < 20 drop")
    done = world.client.run(
        "curl", "-sS", "-m", "60", "-Z", "--parallel-immediate", "--parallel-max", "200", "-H", "Connection: close",
        "-w", "%{http_code} %{num_connects}\\n", "-o", "/dev/null", f"http://{VIP}:{X}/small?[1-200]",
    )  # fmt: skip
    assert done.stdout.splitlines() == ["200 1"] * 200
    stats = agent_stats(world.client)
    assert (stats["bound"], stats["confirmed"], stats["from_old_port"]) == (200, 200, 0)
    assert stats["syn_marked"] > 200
    stats = agent_stats(world.server)
    assert (stats["redirected"], stats["stayed"]) == (200, 0)


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
    upload(world, "up")
    assert hashlib.md5((world.network.directory / "stored").read_bytes()).hexdigest() == wanted
    assert checksum_errors(world.client) == checksum_errors(world.server) == 0
    stats = agent_stats(world.client)
    assert (stats["bound"], stats["confirmed"]) == (2, 2)


def upload(world: World, name: str, patience: int = 60) -> int:
    """PUT a file to port X; return curl's exit code."""
    path = world.network.directory / name
    words = ("curl", "-sS", "-f", "-m", str(patience), "-T", str(path), f"http://{VIP}:{X}/stored")
    return world.client.run(*words, check=False).returncode


@pytest.fixture
def narrow_world() -> Iterator[World]:
    with Network() as network:
        yield World(network, middle_mtu=1300)


def test_path_mtu_of_a_download(narrow_world: World) -> None:
    """I2 E2: over a 1300-byte link 50 MB arrive, because the server's agent translates what the router quotes."""
    narrow_world.agents()
    wanted = narrow_world.store("large", 50 * MEGABYTE)
    assert narrow_world.fetch_digest("large") == wanted
    assert agent_stats(narrow_world.server)["icmp_translated"] > 0
    assert "mtu 1300" in narrow_world.server.run("ip", "route", "get", "10.0.1.1").stdout


def test_path_mtu_of_an_upload(narrow_world: World) -> None:
    """I2 E2: the same in the other direction, for which the client's agent translates."""
    narrow_world.agents()
    wanted = narrow_world.store("large", 50 * MEGABYTE)
    assert upload(narrow_world, "large") == 0
    assert hashlib.md5((narrow_world.network.directory / "stored").read_bytes()).hexdigest() == wanted
    assert agent_stats(narrow_world.client)["icmp_translated"] > 0
    assert "mtu 1300" in narrow_world.client.run("ip", "route", "get", VIP).stdout


def test_path_mtu_needs_the_translation(narrow_world: World) -> None:
    """I2: the same link, but a filter before the agent's lets ICMP errors by untranslated: the upload stalls."""
    narrow_world.agents()
    rule = "protocol ip prio 1 u32 match ip protocol 1 0xff classid 1:1"
    narrow_world.client.run("tc", "filter", "add", "dev", "eth0", "ingress", *rule.split())
    narrow_world.store("large", MEGABYTE)
    assert upload(narrow_world, "large", patience=2) == 28  # timed out
    assert agent_stats(narrow_world.client)["icmp_translated"] == 0


def test_running_agent_ages_entries(world: World) -> None:
    """E2: the process sweeps by itself; here its clock is 70 s ahead and it looks every 50 ms."""
    program = (
        "import ipaddress, sys; from portlb_app.agent import client, loader, process; "
        "process.SWEEP_EVERY = 0.05; sweep = loader.Programs.sweep; "
        "loader.Programs.sweep = lambda programs: sweep(programs, 70); "
        f"sys.exit(client.run('eth0', [ipaddress.IPv4Address('{VIP}')]))"
    )
    world.client.popen_ready(sys.executable, "-c", program, cwd=ROOT)
    server_agent(world.server, VIP, SERVICES, REDIRECTS)
    assert world.get() == "odd\n"
    until(lambda: agent_stats(world.client)["swept_closing"] == 1, "the closed connection is swept")


def test_reset_connection_is_closing(world: World) -> None:
    """E2: both sides forget a connection that was reset; a new one from the same port is served at once."""
    world.agents()
    for _ in range(2):
        program = (
            "import socket, struct; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); "
            f"s.bind(('', 5555)); s.connect(('{VIP}', {X})); s.send(b'GET /small HTTP/1.0\\r\\n\\r\\n'); s.recv(9); "
            "s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()"
        )
        with world.network.capture(world.client, "tcp") as segments:
            world.client.run(sys.executable, "-c", program, timeout=5)
        assert segments[-1].flags & RST and segments[-1].dport == Y
        assert not any(segment.flags & FIN for segment in sent(segments, to_server=True))
    assert agent_stats(world.server)["redirected"] == 2
    assert agent_stats(world.server)["collision"] == 0


REFUSALS = [
    (("client", "--interface", "nothing", "--vip", VIP), 1, "no such interface"),
    (("client", "--interface", "eth0", "--vip", VIP, "--connections", "2048"), 1, "same --connections"),
    (("client", "--interface", "eth0", *["--vip", VIP] * 17), 1, "1 to 16 VIPs"),
    (("client", "--interface", "eth0", "--vip", "nobody"), 2, "not an IPv4 address"),
    (("server", "--interface", "eth0", "--vip", VIP, "--redirect", "20=1"), 1, "none of this server's service ports"),
    (("server", "--interface", "eth0", "--vip", VIP, "--service", "0"), 1, "from 1 to 65535"),
    (("server", "--interface", "eth0", "--vip", VIP, "--service", "many"), 2, "invalid"),
    (("server", "--interface", "eth0"), 1, "--config"),
    (("stats", "--interface", "lo"), 1, "no agent is attached"),
]


def test_refusals(world: World) -> None:
    """What cannot be done is refused with a reason, and disturbs nobody."""
    client_agent(world.client, [VIP])
    for words, code, reason in REFUSALS:
        done = agent_command(world.client, *words)
        assert (done.returncode, reason in done.stderr) == (code, True), done.stderr
        assert "Traceback" not in done.stderr
    assert world.get() == "odd\n"
    assert agent_stats(world.client)["plain"] == 1


def test_missing_object_and_missing_rights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the compiled object, or without root, the error says what to do."""
    monkeypatch.setattr(loader, "OBJECT_FILE", tmp_path / "redirect.bpf.o")
    with pytest.raises(AgentError, match="build it first"):
        loader.Programs("client", b"")
    (tmp_path / "redirect.bpf.o").write_bytes(b"not an object")
    with pytest.raises(AgentError, match="build it again"):
        loader.Programs("client", b"")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(AgentError, match="as root"):
        loader.Programs("client", b"")
    with pytest.raises(AgentError, match="root"):
        loader.stats("lo")


def test_documented_counters() -> None:
    """docs/agents.md lists every counter with the meaning that `stats` prints."""
    rows = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8").splitlines()
    assert [f"| {name} | {meaning} |" for name, meaning in counters.meanings().items() if
            f"| {name} | {meaning} |" not in rows] == []  # fmt: skip
