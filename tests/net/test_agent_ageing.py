"""What an agent's programs forget and when, packet by packet in the kernel; a flood makes them forget nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.loader import Programs
from tests.net.frames import CPORT, IN, OUT, PASS, V4, Packet, Side, X, Y, option
from tests.net.network import ACK, CONFIRM, FIN, REDIRECT, RST
from tests.net.programs import send

s = Side(V4, IN, OUT)
s_answered = (s.syn(X, REDIRECT), s.synack(X))
s_bound = (*s_answered, s.from_client(Y, ACK | CONFIRM, options=option(X)))
S_CLOSE = (s.from_client(Y, FIN | ACK), s.from_server(X, FIN | ACK))
SWEEPS = [
    ("closed, 59 s silent", (*s_bound, *S_CLOSE), 50, {}),
    ("closed, 70 s silent", (*s_bound, *S_CLOSE), 70, {"swept_closing": 1}),
    ("reset, 70 s silent", (*s_bound, s.from_client(Y, RST | CONFIRM)), 70, {"swept_closing": 1}),
    ("half-closed (one may still send), an hour silent", (*s_bound, S_CLOSE[0]), 3600, {}),
    ("established, 4 days silent", s_bound, 4 * 86400, {}),
    ("established, 6 days silent", s_bound, 6 * 86400, {"swept_idle": 1}),
]


@pytest.mark.parametrize(("before", "ahead", "counters"), [row[1:] for row in SWEEPS], ids=[row[0] for row in SWEEPS])
def test_ageing(server_programs: Programs, before: tuple[Packet, ...], ahead: float, counters: dict[str, int]) -> None:
    """E2: closed connections are remembered for 60 s, established ones for 5 days."""
    for packet in before:
        assert send(server_programs, packet).verdict == PASS
    # the half-open one goes by its own clock (below)
    server_programs.sweep(time.monotonic_ns() + int(ahead * 1e9))
    after = server_programs.counters()
    swept = {name: value for name, value in after.items() if name in ("swept_closing", "swept_idle") and value}
    assert swept == counters
    known = send(server_programs, s.from_server(X, ACK, data=b"x")).packet == s.from_server(Y, ACK, data=b"x").frame
    assert known == (not counters)


@pytest.mark.parametrize(("ahead", "swept"), [(170, 0), (190, 1)])
def test_ageing_of_half_open_connections(server_programs: Programs, ahead: float, swept: int) -> None:
    """E2: half-open connections are remembered for 180 s."""
    for packet in s_answered:
        assert send(server_programs, packet).verdict == PASS
    server_programs.sweep(time.monotonic_ns() + int(ahead * 1e9))
    assert server_programs.counters()["swept_opening"] == swept
    confirmed = s.synack(X, CONFIRM, options=option(Y))
    assert send(server_programs, s.synack(X)).packet == (s.synack(X) if swept else confirmed).frame


def test_traffic_keeps_an_entry(server_programs: Programs) -> None:
    """E2: 60 s count from the last packet, so a closed connection that still repeats its FIN is remembered."""
    others = Side(V4, IN, OUT, cport=CPORT + 1)
    silent = (others.syn(X, REDIRECT), others.synack(X), others.from_client(Y, ACK), others.from_server(X, RST))
    for packet in (*s_bound, *S_CLOSE, *silent):
        assert send(server_programs, packet).verdict == PASS
    time.sleep(3)  # of the kernel's clock, which no test can set: two ticks of 1.07 s at least
    send(server_programs, S_CLOSE[0])
    server_programs.sweep(time.monotonic_ns() + 58_400_000_000)
    assert server_programs.counters()["swept_closing"] == 1
    assert send(server_programs, s.from_server(X, ACK)).packet == s.from_server(Y, ACK).frame


def test_ageing_of_a_client_connection_takes_its_alias_along(client_programs: Programs) -> None:
    """E2: after the sweep neither X nor Y means anything."""
    c = Side(V4, OUT, IN)
    opening = (c.syn(X), c.synack(X, CONFIRM, options=option(Y)), c.from_server(Y, ACK))
    for packet in (*opening, c.from_client(X, FIN | ACK), c.from_server(Y, FIN | ACK)):
        assert send(client_programs, packet).verdict == PASS
    now = time.monotonic_ns()
    client_programs.sweep(now + 30_000_000_000)
    assert send(client_programs, c.from_client(X, ACK)).packet == c.from_client(Y, ACK).frame
    for _ in range(2):  # the alias goes with its entry or, seen first, one sweep later
        client_programs.sweep(now + 70_000_000_000)
    assert client_programs.counters()["swept_closing"] == 1
    for packet in (c.from_client(X, ACK), c.from_server(Y, ACK)):
        assert send(client_programs, packet).packet == packet.frame


def flood(programs: Programs, number: int, *packets: Callable[[Side], Packet]) -> None:
    """Send the same packets of as many clients."""
    for index in range(number):
        side = Side(V4, IN, OUT, client=IPv4Address(0x0B000000 + index))
        for packet in packets:
            send(programs, packet(side))


def test_a_flood_of_syns_takes_nothing_from_open_connections(server_programs: Programs) -> None:
    """E2: 70,000 half-open connections in 16,384 places: the newest is served, the open one has kept its entry."""
    for packet in s_bound:
        assert send(server_programs, packet).verdict == PASS
    flood(server_programs, 70_000, lambda side: side.syn(X, REDIRECT))
    assert send(server_programs, s.from_server(X, ACK, data=b"x")).packet == s.from_server(Y, ACK, data=b"x").frame
    newest = Side(V4, IN, OUT, cport=CPORT + 1)
    for packet in (newest.syn(X, REDIRECT), newest.synack(X), newest.from_client(Y, ACK | CONFIRM)):
        assert send(server_programs, packet).verdict == PASS
    wanted = newest.from_server(Y, ACK, data=b"x")
    assert send(server_programs, newest.from_server(X, ACK, data=b"x")).packet == wanted.frame
    assert server_programs.counters()["map_full"] == 0


def test_a_syn_that_is_not_answered_changes_nothing(server_programs: Programs) -> None:
    """E2: a forged SYN to a service port moves no plain connection that the kernel has and the agent need not know."""
    assert send(server_programs, s.syn(Y, REDIRECT)).verdict == PASS
    for packet in (s.from_client(X, ACK, data=b"x"), s.from_server(X, ACK, data=b"x"), s.from_server(X, FIN | ACK)):
        result = send(server_programs, packet)
        assert (result.verdict, result.packet) == (PASS, packet.frame)
    assert send(server_programs, s.synack(X)).packet == s.synack(Y, CONFIRM).frame


def test_a_flood_of_acknowledgements_is_not_remembered(server_programs: Programs) -> None:
    """E2: segments to service ports that no socket knows take no room at all."""
    flood(server_programs, 1000, lambda side: side.from_client(Y, ACK))
    assert not list(Map.copy_of(server_programs.map_fd("connections")).entries())


def test_closed_connections_make_room_for_open_ones(client_programs: Programs) -> None:
    """E2: a full map gives up closed connections; one that is open and idle stays, for the sweep keeps it in use."""
    c = Side(V4, OUT, IN)
    for packet in (c.syn(X), c.synack(X, CONFIRM, options=option(Y)), c.from_server(Y, ACK)):
        assert send(client_programs, packet).verdict == PASS
    for index in range(100_000):
        if index % 10_000 == 0:
            client_programs.sweep(time.monotonic_ns())
        side = Side(V4, OUT, IN, client=IPv4Address(0x0B000000 + index))
        for packet in (side.syn(X), side.synack(X), side.from_client(X, RST)):
            send(client_programs, packet)
    assert send(client_programs, c.from_client(X, ACK)).packet == c.from_client(Y, ACK).frame
    assert send(client_programs, c.from_server(Y, ACK)).packet == c.from_server(X, ACK).frame
