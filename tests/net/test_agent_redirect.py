"""Redirects in the middle of a connection (rows D2 to D10), with programs that know nothing of them.

nginx, Redis and an SSH server on one side, curl, wrk, redis-cli and ssh on the other; ports, bits and options are read
from the wire.
"""

from __future__ import annotations

import hashlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from tests.net.network import (
    ACK,
    CONFIRM,
    FIN,
    PATIENCE,
    REDIRECT,
    RST,
    SYN,
    Namespace,
    agent_command,
    agent_here,
    agent_stats,
    end,
    until,
)
from tests.net.world import MEGABYTE, OWN, VIP, World, X, Y, Z, slow_path
from tests.net.world import world as make_world

REDIRECT_PORT, W = 21, 3
"""Another redirect port of the server, and the service port it announces for it; both lead to X's application."""


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The hosts, over IPv4, then over IPv6."""
    with make_world(family=request.param) as made:
        yield made


@pytest.fixture
def world4() -> Iterator[World]:
    """The hosts, over IPv4: for what does not depend on the family."""
    with make_world() as made:
        yield made


class Echo:
    """A program on the client that keeps connections to VIP:X and says on each, when told, whether it still works."""

    PROGRAM = """
import socket, sys
connections = []
print("ready", flush=True)
for line in sys.stdin:
    word, *arguments = line.split()
    try:
        if word == "open":
            connections.append(socket.create_connection((arguments[0], int(arguments[1])), 5))
            connections[-1].settimeout(5)
            print(connections[-1].getsockname()[1], flush=True)
        elif word == "ask":
            connection = connections[int(arguments[0])]
            connection.sendall(b"GET /small HTTP/1.1\\r\\nHost: vip\\r\\n\\r\\n")
            answer = b""
            while not answer.endswith(b"odd\\n") and (more := connection.recv(65536)):
                answer += more
            print("yes" if b"200 OK" in answer else "no", flush=True)
        elif word == "listen":
            print("end" if connections[int(arguments[0])].recv(65536) == b"" else "data", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""

    def __init__(self, host: Namespace, address: str) -> None:
        self._address = address
        self._process = host.popen_ready(sys.executable, "-c", self.PROGRAM)

    def tell(self, line: str) -> str:
        """Send one command, return the answer."""
        return self._process.tell(line)

    def open(self, port: int = X) -> int:
        """Open one more connection; return its local port."""
        answer = self.tell(f"open {self._address} {port}")
        assert answer.isdigit(), answer
        return int(answer)

    def ask(self, number: int = 0) -> str:
        """Ask for a file on a connection: "yes" if it came."""
        return self.tell(f"ask {number}")


def opened(world: World, number: int = 1, port: int = X) -> tuple[Echo, list[int]]:
    """Connections that have been redirected to Y (or opened at an own service port), and their local ports."""
    echo = Echo(world.client, world.vip)
    ports = [echo.open(port) for _ in range(number)]
    assert [echo.ask(each) for each in range(number)] == ["yes"] * number
    return echo, ports


# ---- D2, D3, D4: a new connection -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "flag"), [("--close", FIN), ("--reset", RST)], ids=["D5 FIN", "D6 RST"])
def test_d2_d5_d6_to_another_service_port(world: World, how: str, flag: int) -> None:
    """D2 D5 D6: the idle connection on Y is closed by the client, the next one goes to Z with REDIRECT, OPT=Y."""
    world.agents()
    echo, _ = opened(world)
    with world.network.capture(world.client, "tcp") as segments:
        done = world.redirect("--from", world.client_address, "--to", str(Z), how)
        assert (done.returncode, done.stdout) == (0, "1 connection: 1 followed\n"), done.stderr
        echo.open()
        assert echo.ask(1) == "yes"
    announcement = next(s for s in world.sent(segments, to_server=False))
    assert (announcement.sport, announcement.flags, announcement.announced) == (Y, ACK | REDIRECT, Z)
    old = [s for s in world.sent(segments, to_server=True) if s.dport == Y]
    assert old[0].flags & flag and not old[0].flags & SYN
    syn, synack, third = [s for s in segments if s.dport == Z or s.sport == Z][:3]
    assert (syn.dport, syn.flags, syn.announced) == (Z, SYN | REDIRECT, Y)
    assert (synack.sport, synack.flags, synack.announced) == (Z, SYN | ACK | CONFIRM, None)
    assert (third.dport, third.flags & ~REDIRECT, third.announced) == (Z, ACK, None)
    stats = agent_stats(world.client)
    assert (stats["reopen"], stats["steered"], stats["forged_announcement"]) == (1, 1, 0)
    assert agent_stats(world.server)["arrived"] == 1


STRICT = """table inet strict {
 chain in { type filter hook input priority 0; policy drop; iif lo accept; ct state established,related accept;
            meta l4proto {icmp, ipv6-icmp} accept; tcp dport {20, 9} tcp flags syn ct state new accept; }
 chain out { type filter hook output priority 0; policy drop; oif lo accept; ct state established,related accept;
             meta l4proto {icmp, ipv6-icmp} accept; }
}"""


@pytest.mark.parametrize("how", ["--close", "--reset", "--in-place"])
def test_d2_through_the_servers_own_firewall(world4: World, how: str) -> None:
    """D2: what the server announces is part of the program's connection to a firewall that lets nothing else out."""
    world4.server.nft(STRICT)
    world4.agents()
    echo, _ = opened(world4)
    done = world4.redirect("--from", world4.client_address, "--to", str(Z), how, "--timeout", "5")
    assert (done.returncode, done.stdout) == (0, "1 connection: 1 followed\n"), done.stderr
    if how != "--in-place":
        echo.open()
    assert echo.ask(0 if how == "--in-place" else 1) == "yes"


def test_d4_to_a_redirect_port(world: World) -> None:
    """D4: the next SYN goes to a redirect port and is answered with W, like step 2; the third ACK goes to W."""
    world.client_agent()
    world.server_agent([f"{Y}={X}", f"{W}={X}", f"{REDIRECT_PORT}={X}"], [f"{X}={Y}", f"{REDIRECT_PORT}={W}"])
    echo, _ = opened(world)
    with world.network.capture(world.client, "tcp") as segments:
        assert world.redirect("--from", f":{Y}", "--to", str(REDIRECT_PORT)).returncode == 0
        echo.open()
        assert echo.ask(1) == "yes"
    syn, synack, third = [s for s in segments if {s.dport, s.sport} & {REDIRECT_PORT, W}][:3]
    assert (syn.dport, syn.flags, syn.announced) == (REDIRECT_PORT, SYN | REDIRECT, Y)
    assert (synack.sport, synack.flags, synack.announced) == (REDIRECT_PORT, SYN | ACK | CONFIRM, W)
    assert (third.dport, third.flags, third.announced) == (W, ACK | CONFIRM, REDIRECT_PORT)


def test_an_own_service_port_can_be_redirected_too(world4: World) -> None:
    """D2: a connection opened at service port 9 by a client with an agent is told to open at 20 and ends up at Y."""
    world4.agents()
    echo, _ = opened(world4, port=OWN)
    assert world4.redirect("--from", f":{OWN}", "--to", str(X)).returncode == 0
    with world4.network.capture(world4.client, "tcp") as segments:
        echo.open(OWN)
        assert echo.ask(1) == "yes"
    assert (segments[0].dport, segments[0].announced) == (X, OWN)
    assert set(world4.ports(segments[2:])) == {Y}


def test_many_connections_at_once(world4: World) -> None:
    """D2 D10: 300 idle connections of one client; each is closed once, and as many SYNs are steered."""
    world4.agents()
    echo, _ = opened(world4, 300)
    assert len([each for each in world4.record(world4.server) if each["state"] == "bound"]) == 300
    done = world4.redirect("--from", world4.client_address, "--to", str(Z))
    assert (done.returncode, done.stdout) == (0, "300 connections: 300 followed\n")
    for _ in range(301):
        echo.open()
    stats = agent_stats(world4.client)
    assert (stats["reopen"], stats["steered"]) == (300, 300)
    assert echo.ask(300) == echo.ask(600) == "yes"


def test_a_busy_connection_is_closed_when_its_answer_has_come(world4: World) -> None:
    """D5: a download in progress arrives whole; the connection is closed behind it, and curl's next one goes to Z."""
    world4.agents()
    wanted = world4.store("large", 50 * MEGABYTE)
    second = world4.network.directory / "second"
    words = ("-w", "%{stderr}%{local_port}\\n", "-o", "-", world4.url(), "-o", str(second))
    with (world4.network.directory / "ports").open("w+") as ports, ThreadPoolExecutor() as side:
        download = world4.download("large", 8 * MEGABYTE, *words, stderr=ports)
        until(lambda: agent_stats(world4.client)["confirmed"] == 1, "the download has begun")
        redirect = side.submit(world4.redirect, "--from", f":{Y}", "--to", str(Z))
        until(lambda: agent_stats(world4.client)["reopen"] == 1, "the client is told")
        assert not redirect.done()
        assert download.finish() == wanted
        assert redirect.result().returncode == 0, redirect.result().stdout
        ports.seek(0)
        first, other = ports.read().split()
    assert second.read_text() == "odd\n"
    assert agent_stats(world4.client)["steered"] == (first != other)


def test_an_answer_that_comes_in_flights_is_whole() -> None:
    """D5: with 800 ms of round trip TCP pauses between its first flights; the download is not cut short at one."""
    with slow_path(0.4) as (network, client, server):
        (network.directory / "large").write_bytes(os.urandom(600_000))
        words = ("curl", "-sS", "-m", "30", "-o", "/dev/null", "-w", "%{size_download}", f"http://{VIP}:{X}/large")
        curl = client.popen(*words, stdout=subprocess.PIPE, text=True)
        until(lambda: agent_stats(client)["confirmed"] == 1, "the download has begun")
        done = agent_command(server, "redirect", "--interface", "eth0", "--from", f":{Y}", "--to", str(X))
        assert done.returncode == 0, done.stdout + done.stderr
        assert curl.stdout is not None and curl.stdout.read() == "600000"
        assert end(curl) == 0


def test_d7_a_client_that_never_follows_is_timed_out(world4: World) -> None:
    """D7: a client whose agent is gone is reset by the server when time is up."""
    client, _ = world4.agents()
    echo, _ = opened(world4)
    world4.lose(f"tcp sport {Y} @th,96,16 & {REDIRECT} == {REDIRECT} drop")  # no announcement arrives
    done = world4.redirect("--from", f":{Y}", "--to", str(Z), "--timeout", "2")
    assert (done.returncode, done.stdout) == (1, "1 connection: 1 timed out\n")
    assert echo.tell("listen 0") == "ConnectionResetError"
    assert client.poll() is None


# ---- D8: in place ---------------------------------------------------------------------------------------------------


def test_d8_in_place(world: World) -> None:
    """D8: an idle connection goes on at Z without a handshake; the program's next request leaves for Z."""
    world.agents()
    echo, _ = opened(world)
    with world.network.capture(world.client, "tcp") as segments:
        done = world.redirect("--from", world.client_address, "--to", str(Z), "--in-place")
        assert (done.returncode, done.stdout) == (0, "1 connection: 1 followed\n"), done.stderr
        assert echo.ask() == "yes"
    assert not any(segment.flags & (SYN | FIN | RST) for segment in segments)
    assert (segments[0].sport, segments[0].flags, segments[0].announced) == (Y, ACK | REDIRECT, Z)
    up = world.sent(segments, to_server=True)
    assert (up[0].flags, up[0].announced) == (ACK | CONFIRM, Y) and {s.dport for s in up} == {Z}
    assert {s.sport for s in world.sent(segments, to_server=False)[1:]} == {Z}
    assert (agent_stats(world.client)["moved"], agent_stats(world.server)["server_moved"]) == (1, 1)
    assert [(each["wire"], each["state"]) for each in world.record(world.server)] == [(Z, "bound")]
    back = world.redirect("--from", f":{Z}", "--to", str(Y), "--in-place")
    assert (back.returncode, echo.ask()) == (0, "yes")


def test_d8_in_place_while_nothing_else_is_sent(world: World) -> None:
    """D8: an idle connection is moved again and again: what is announced on the last port has been heard there."""
    world.agents()
    echo, _ = opened(world)
    for here, there in ((Y, Z), (Z, Y), (Y, Z)):
        done = world.redirect("--from", f":{here}", "--to", str(there), "--in-place", "--timeout", "5")
        assert (done.returncode, done.stdout) == (0, "1 connection: 1 followed\n"), done.stderr
    assert echo.ask() == "yes"
    client, server = agent_stats(world.client), agent_stats(world.server)
    assert (client["moved"], client["refused_announcement"], server["server_moved"]) == (3, 0, 3)


@pytest.mark.parametrize("direction", ["down", "up"])
def test_d8_in_place_during_a_transfer(world: World, direction: str) -> None:
    """D8: five moves during a transfer of 100 MB change no byte."""
    world.agents()
    wanted = world.store("large", 100 * MEGABYTE)
    begin = world.download if direction == "down" else world.slow_upload
    transfer = begin("large", 20 * MEGABYTE)
    until(lambda: agent_stats(world.client)["confirmed"] == 1, "the transfer has begun")
    for number in range(5):
        here, there = (Y, Z) if number % 2 == 0 else (Z, Y)
        done = world.redirect("--from", f":{here}", "--to", str(there), "--in-place")
        assert (done.returncode, done.stdout) == (0, "1 connection: 1 followed\n"), done.stderr
    hosts = (world.client, world.server)
    (on_client,), (on_server,) = ([each["wire"] for each in world.record(host)] for host in hosts)
    counted = agent_stats(world.client)
    assert transfer.finish() == wanted
    if direction == "up":
        assert hashlib.md5((world.network.directory / "stored").read_bytes()).hexdigest() == wanted
    # What is on its way from the port before may lead the client back there, and a server that repeats itself may find
    # the client there: each end counts the moves that it makes, and is told again until both have moved.
    assert on_client == (Z if (counted["moved"] - counted["fallen_back"]) % 2 else Y)
    assert on_server == Z and counted["moved"] and agent_stats(world.server)["server_moved"]


def test_d8_needs_a_port_of_this_server_for_the_application(world4: World) -> None:
    """D8: another application's port, or nobody's, is refused before anything is announced."""
    world4.agents()
    echo, _ = opened(world4)
    for port in (OWN, 4444):
        done = world4.redirect("--from", f":{Y}", "--to", str(port), "--in-place")
        assert done.returncode == 1 and "no service port of this server for the application" in done.stderr
    assert echo.ask() == "yes"


def test_d8_to_a_port_the_path_does_not_let_through(world4: World) -> None:
    """D8: packets to Z are dropped: the connection goes back to Y and nothing is lost."""
    world4.agents()
    echo, _ = opened(world4)
    world4.lose(f"tcp dport {Z} drop")
    done = world4.redirect("--from", f":{Y}", "--to", str(Z), "--in-place", "--timeout", "1")
    assert (done.returncode, done.stdout) == (1, "1 connection: 1 timed out\n")
    assert (echo.ask(), echo.ask()) == ("yes", "yes")
    assert agent_stats(world4.client)["fallen_back"] == 1


def test_d8_twice_to_ports_the_path_does_not_let_through(world4: World) -> None:
    """D8: told 2, then 3, before it knows that neither can be reached, the client still finds back to Y."""
    world4.client_agent()
    world4.server_agent([f"{Y}={X}", f"{Z}={X}", f"{W}={X}"], [f"{X}={Y}"])
    echo, _ = opened(world4)
    world4.lose(f"tcp dport {{ {Z}, {W} }} drop")
    for port in (Z, W):
        assert world4.redirect("--from", f":{Y}", "--to", str(port), "--in-place", "--timeout", "0.5").returncode == 1
    assert (echo.ask(), echo.ask()) == ("yes", "yes")
    assert agent_stats(world4.client)["refused_announcement"] > 0


# ---- D9: the client moves -------------------------------------------------------------------------------------------


def test_d9_the_client_moves_to_another_port(world: World) -> None:
    """D9: the client announces its port 999; the server goes on there, both programs notice nothing."""
    world.agents()
    echo, (local,) = opened(world)
    with world.network.capture(world.client, "tcp") as segments:
        done = agent_command(world.client, "move", "--interface", "eth0", "--local-port", str(local), "--to", "999")
        assert (done.returncode, done.stdout) == (0, "1 connection: 1 followed\n"), done.stderr
        assert echo.ask() == "yes"
    assert (segments[0].sport, segments[0].dport, segments[0].announced) == (local, Y, 999)
    assert segments[0].flags == ACK | REDIRECT
    probe = next(s for s in segments if s.sport == 999)
    assert (probe.flags, probe.announced, probe.size) == (ACK | CONFIRM, local, 0)
    assert {s.sport for s in world.sent(segments, to_server=True) if s.size} == {999}
    assert {s.dport for s in world.sent(segments, to_server=False) if s.size} == {999}
    assert (agent_stats(world.client)["own_port_moved"], agent_stats(world.server)["client_moved"]) == (1, 1)
    # and the server's port, with the client's moved
    assert world.redirect("--from", f":{Y}", "--to", str(Z), "--in-place").returncode == 0
    assert (echo.ask(), agent_stats(world.server)["wrong_port"]) == ("yes", 0)


SHUT = {
    "drops what leaves from it": "tcp sport 998-999 drop",
    "drops what goes to it": "tcp dport 998-999 drop",
    "resets": "tcp sport 998-999 reject with tcp reset",
}


@pytest.mark.parametrize("rule", SHUT.values(), ids=SHUT)
def test_d9_to_a_port_the_path_does_not_let_through(world: World, rule: str) -> None:
    """D9: nothing is lost, neither of a download nor of an idle connection; both stay on the port they have."""
    world.agents()
    echo, (local,) = opened(world)
    wanted = world.store("large", 40 * MEGABYTE)
    world.lose(rule)
    download = world.download("large", 5 * MEGABYTE, "--local-port", "5000")
    until(lambda: agent_stats(world.client)["confirmed"] == 2, "the download has begun")
    words = ("move", "--interface", "eth0", "--timeout", "2")
    began = time.monotonic()
    with ThreadPoolExecutor() as aside:
        moves = [
            aside.submit(agent_command, world.client, *words, "--local-port", str(port), "--to", to)
            for port, to in ((local, "999"), (5000, "998"))
        ]
        while wait(moves, timeout=0.1).not_done:
            assert echo.ask() == "yes"
    for done in (move.result() for move in moves):
        assert (done.returncode, done.stdout) == (1, "1 connection: 1 timed out\n"), done.stderr
    assert download.finish() == wanted and time.monotonic() - began < 18
    assert echo.ask() == "yes"
    assert agent_stats(world.client)["own_port_moved"] == 0
    assert {each["client_wire"] for each in world.record(world.client) if each["state"] == "bound"} == {local}


def test_d9_behind_an_address_translator(world4: World) -> None:
    """D9: the router makes another port of it, which the server does not know: the connection stays where it is."""
    world4.agents()
    echo, (local,) = opened(world4)
    world4.router.nft("add table ip nat")
    world4.router.nft("add chain ip nat out { type nat hook postrouting priority 100; }")
    world4.router.nft("add rule ip nat out tcp sport 999 snat to 10.0.1.1:5999")
    words = ("move", "--interface", "eth0", "--local-port", str(local), "--to", "999", "--timeout", "2")
    with world4.network.capture(world4.server, "tcp") as segments:
        assert agent_command(world4.client, *words).returncode == 1
        assert (echo.ask(), echo.ask()) == ("yes", "yes")
    assert 5999 in {s.sport for s in segments} and 999 not in {s.sport for s in segments}


def test_d9_during_a_transfer(world4: World) -> None:
    """D9: an upload and a download each move from port to port, and no byte is lost."""
    world4.agents()
    wanted = world4.store("large", 50 * MEGABYTE)
    download = world4.download("large", 10 * MEGABYTE, "--local-port", "5000")
    until(lambda: agent_stats(world4.client)["confirmed"] == 1, "the download has begun")
    for port in (999, 998, 997):
        done = agent_command(world4.client, "move", "--interface", "eth0", "--local-port", "5000", "--to", str(port))
        assert (done.returncode, done.stdout) == (0, "1 connection: 1 followed\n"), done.stderr
    assert download.finish() == wanted
    assert agent_stats(world4.server)["client_moved"] >= 3


def test_d9_refuses_ports_programs_may_get(world4: World) -> None:
    """D9: a port of the range the kernel gives out, or one that is used, cannot be moved to."""
    world4.agents()
    _, (local,) = opened(world4)
    words = ("move", "--interface", "eth0", "--local-port", str(local))
    assert "choose one outside" in agent_command(world4.client, *words, "--to", "40000").stderr
    with_listener = world4.client.popen_ready(
        sys.executable, "-c",
        "import socket, time; s = socket.create_server(('10.0.1.1', 998)); print('ready', flush=True); time.sleep(60)",
    )  # fmt: skip
    assert "cannot be used" in agent_command(world4.client, *words, "--to", "998").stderr
    end(with_listener)


# ---- D10: the record ------------------------------------------------------------------------------------------------


def test_d10_connections_are_recorded(world: World) -> None:
    """D10: both agents list the connection, redirected or not, with the ports of programs and wire."""
    world.agents()
    _, (first,) = opened(world)
    _, (second,) = opened(world, port=OWN)
    wanted = {
        (world.client_address, first, world.vip, X, X, Y, "bound"),
        (world.client_address, second, world.vip, OWN, OWN, OWN, "plain"),
    }
    names = ("client", "client_port", "vip", "port", "opened", "wire", "state")
    for host in (world.client, world.server):
        assert {tuple(each[name] for name in names) for each in world.record(host)} == wanted
    text = agent_command(world.server, "connections", "--interface", "eth0").stdout
    assert re.search(rf"{re.escape(world.client_address)}\S*{first}\b.*\b{Y}\b.*bound", text), text


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--from", "nobody", "--to", "2"), "is not ADDRESS"),
        (("--from", ":70000", "--to", "2"), "from 1 to 65535"),
        (("--from", ":1", "--to", "0"), "from 1 to 65535"),
        (("--from", "192.0.2.1", "--to", "2"), "no connection of that kind"),
        (("--from", ":1", "--to", "2", "--close", "--reset"), "not allowed with"),
    ],
)
def test_redirect_refuses(world4: World, words: tuple[str, ...], reason: str) -> None:
    """What cannot be meant is an error that says so."""
    world4.agents()
    done = world4.redirect(*words)
    assert done.returncode and reason in done.stderr and "Traceback" not in done.stderr


# ---- programs -------------------------------------------------------------------------------------------------------


def test_wrk_goes_on(world4: World) -> None:
    """D2: keep-alive connections under full load are reset and come back at Z; requests go on."""
    world4.agents()
    wrk = world4.client.popen(
        "wrk", "-t", "1", "-c", "8", "-d", "60s", world4.url(), stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    until(lambda: agent_stats(world4.client)["confirmed"] == 9, "wrk has its connections, after one for trial")
    until(lambda: sum(each["state"] == "bound" for each in world4.record(world4.server)) == 8, "that one is closed")
    done = world4.redirect("--from", world4.client_address, "--to", str(Z), "--reset")
    assert (done.returncode, done.stdout) == (0, "8 connections: 8 followed\n")
    until(lambda: agent_stats(world4.client)["steered"] == 8, "they have come back")
    time.sleep(1)  # requests are to go on for a while
    wrk.send_signal(signal.SIGINT)
    assert wrk.stdout is not None
    report = wrk.stdout.read()
    assert end(wrk) == 0
    assert agent_stats(world4.client)["steered"] == 8, report
    assert int(re.findall(r"(\d+) requests in", report)[0]) > 100
    assert {each["wire"] for each in world4.record(world4.server) if each["state"] in ("plain", "bound")} <= {Z, Y}


def test_curl_with_several_urls(world4: World) -> None:
    """D2: curl fetches ten files over one connection, is redirected between two of them, and fetches them all."""
    world4.agents()
    urls = [world4.url() for _ in range(10)]
    curl = world4.client.popen("curl", "-sS", "-m", "20", "--rate", "5/s", *urls, stdout=subprocess.PIPE, text=True)
    until(lambda: agent_stats(world4.client)["confirmed"] == 1, "curl has begun")
    words = ("redirect", "--interface", "eth0", "--from", f":{Y}", "--to", str(Z))
    assert agent_here(world4.server, *words) == (0, "1 connection: 1 followed\n")
    assert curl.stdout is not None and curl.stdout.read() == "odd\n" * 10
    assert end(curl) == 0
    assert agent_stats(world4.client)["steered"] == 1


def test_redis_reconnects(world4: World) -> None:
    """D2: redis-cli, idle at its prompt, loses its connection, and with its next command reconnects at the new port."""
    directory = world4.network.directory
    (directory / "redis-server").symlink_to("/usr/bin/redis-check-rdb")  # one program, told by its name
    words = ("--port", "6379", "--bind", VIP, "--save", "", "--dir", str(directory), "--protected-mode", "no")
    world4.server.popen(str(directory / "redis-server"), *words, stdout=subprocess.DEVNULL)
    until(lambda: world4.server.listens(6379), "Redis listens")
    world4.client_agent()
    world4.server_agent(["71=6379", "72=6379"], ["6379=71"])
    ours, its = pty.openpty()
    client = world4.client.popen(
        "redis-cli", "-h", VIP, stdin=its, stdout=its, stderr=its, env={**os.environ, "TERM": "dumb"}
    )  # fmt: skip
    os.close(its)

    def ask() -> str:
        """What redis-cli prints up to its next prompt."""
        os.write(ours, b"incr n\n")
        seen = b""
        while not seen.endswith(b"> "):
            assert select.select([ours], [], [], PATIENCE)[0], seen
            seen += os.read(ours, 4096)  # OSError when redis-cli has ended
        return seen.decode()

    select.select([ours], [], [], PATIENCE)
    os.read(ours, 4096)  # the first prompt
    answers = [ask() for _ in range(3)]
    assert world4.redirect("--from", ":71", "--to", "72").returncode == 0
    assert "Server closed the connection" in ask()  # what redis-cli says whenever that happens
    answers += [ask() for _ in range(3)]
    numbers = [int(number) for answer in answers for number in re.findall(r"\(integer\) (\d+)", answer)]
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert agent_stats(world4.client)["steered"] == 1
    wires = {each["wire"] for each in world4.record(world4.server) if each["state"] != "closing"}
    assert wires == {72}
    end(client)
    os.close(ours)


def test_ssh_session_in_place(world4: World) -> None:
    """D8: an SSH session moves to another port while a command runs in it; its output is whole."""
    directory = world4.network.directory
    for kind, name in (("ed25519", "host"), ("ed25519", "user")):
        words = ("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(directory / name))
        world4.client.run(*words)
    world4.client.run("dropbearconvert", "openssh", "dropbear", str(directory / "host"), str(directory / "key"))
    home = directory / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "authorized_keys").write_text((directory / "user.pub").read_text())
    for path in (home, home / ".ssh"):
        path.chmod(0o700)
    server = f"mount --bind {home} /root && exec dropbear -F -r {directory / 'key'} -p 22"  # (a mount only it sees)
    world4.server.popen("sh", "-c", server)
    until(lambda: world4.server.listens(22), "dropbear listens")
    world4.client_agent()
    world4.server_agent(["81=22", "82=22"], ["22=81"])
    ssh = world4.client.popen(
        "ssh", "-F", "none",
        "-i", str(directory / "user"), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
        "-o", "LogLevel=ERROR", f"root@{VIP}", "for i in $(seq 30); do echo $i; sleep 0.1; done",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: agent_stats(world4.client)["confirmed"] == 1, "ssh is connected")
    time.sleep(0.5)  # the command has begun to print; it goes on for three seconds
    assert world4.redirect("--from", ":81", "--to", "82", "--in-place").returncode == 0
    assert ssh.stdout is not None and ssh.stderr is not None
    assert ssh.stdout.read().split() == [str(number) for number in range(1, 31)], ssh.stderr.read()
    assert [each["wire"] for each in world4.record(world4.server) if each["port"] == 22] == [82]
