"""What is in an agent's table: what is open stays, what is closed gives way, what finds no room opens plainly."""

from __future__ import annotations

import time

import pytest

from portlb_app.agent import client, server
from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.loader import Programs
from portlb_app.agent.paths import silent
from tests.net.frames import IN, ISN, MAPPING, OUT, PASS, SERVER_ISN, V4, VIPS, Packet, Side, X, Y, option
from tests.net.network import ACK, CONFIRM, FIN, REDIRECT, RST
from tests.net.programs import Loaded, send

SIZE = 256


@pytest.fixture
def clients(loaded: Loaded) -> Programs:
    """A client's programs with a small table."""
    return loaded("client", client.settings(VIPS), SIZE)


@pytest.fixture
def servers(loaded: Loaded) -> Programs:
    """A server's programs with a small table."""
    return loaded("server", server.settings(MAPPING), SIZE)


def client_side(number: int) -> Side:
    return Side(V4, OUT, IN, cport=1024 + number)


def opened(side: Side) -> tuple[Packet, ...]:
    return side.syn(X), side.synack(X, CONFIRM, options=option(Y)), side.from_server(Y, ACK)


def closed(side: Side) -> tuple[Packet, ...]:
    return side.from_client(X, FIN | ACK), side.from_server(Y, FIN | ACK)


def pass_all(programs: Programs, *packets: Packet) -> None:
    for packet in packets:
        assert send(programs, packet).verdict == PASS


def is_redirected(programs: Programs, side: Side) -> bool:
    """Whether both directions of a connection are translated."""
    out, back = side.from_client(X, ACK, data=b"x"), side.from_server(Y, ACK, data=b"x")
    there = send(programs, out).packet == side.from_client(Y, ACK, data=b"x").frame
    return there and send(programs, back).packet == side.from_server(X, ACK, data=b"x").frame


def places(programs: Programs, name: str) -> int:
    """How many entries a map has."""
    return sum(1 for _ in Map.copy_of(programs.map_fd(name)).entries())


def test_every_place_is_for_a_live_connection(clients: Programs) -> None:
    """E2: 256 of 256 live at once, each with what leads to it; one more opens plainly, is counted, and harms none."""
    for number in range(SIZE):
        pass_all(clients, *opened(client_side(number)))
    late = client_side(SIZE)
    assert send(clients, late.syn(X)).packet == late.syn(X).frame
    assert clients.counters()["map_full"] == 1
    assert all(is_redirected(clients, client_side(number)) for number in range(SIZE))
    assert clients.sweep(time.monotonic_ns()) == SIZE


def test_what_is_closed_gives_way_to_what_begins(clients: Programs) -> None:
    """E2: 20 times as many connections as places, a quarter open for long: none begins plainly, none is lost."""
    kept = [client_side(number) for number in range(SIZE // 4)]
    for side in kept:
        pass_all(clients, *opened(side))
    begun: list[Side] = []
    for number in range(SIZE, 21 * SIZE):
        begun.append(client_side(number))
        pass_all(clients, *opened(begun[-1]))
        if len(begun) > SIZE // 4:
            pass_all(clients, *closed(begun.pop(0)))
    assert clients.counters()["map_full"] == 0
    assert all(is_redirected(clients, side) for side in (*kept, *begun))
    assert places(clients, "aliases") <= places(clients, "connections") <= SIZE


def test_what_is_closed_before_the_third_packet_gives_way(servers: Programs) -> None:
    """E2: a server that answers a SYN with data (Fast Open), and closes, before the client has said more."""
    for number in range(SIZE + 20):
        side = Side(V4, IN, OUT, cport=1024 + number)
        pass_all(servers, side.syn(X, REDIRECT, data=b"GET"), side.synack(X, ack=ISN + 4))
        pass_all(servers, side.from_server(X, FIN | ACK, ack=ISN + 4, data=b"odd"))
        pass_all(servers, side.from_client(Y, FIN | ACK | CONFIRM, seq=ISN + 4, ack=SERVER_ISN + 5))
    counted = servers.counters()
    assert (counted["redirected"], counted["map_full"]) == (SIZE + 20, 0) and counted["made_room"] >= 20


def test_refused_connections_give_way(clients: Programs) -> None:
    """E2: connections that are reset at once, 20 times as many as places."""
    kept = client_side(0)
    pass_all(clients, *opened(kept))
    for number in range(1, 20 * SIZE):
        side = client_side(number)
        pass_all(clients, side.syn(X), side.from_server(X, RST | ACK, seq=0))
    assert clients.counters()["map_full"] == 0 and is_redirected(clients, kept)


def test_a_full_server_announces_nothing(servers: Programs) -> None:
    """E2 E7: where a connection has found no room, the next ones are told to stay where they open, for a while."""
    sides = [Side(V4, IN, OUT, cport=1024 + number) for number in range(SIZE + 2)]
    last = sides.pop()
    for side in sides:
        pass_all(servers, side.syn(X, REDIRECT), side.synack(X))
        pass_all(servers, side.from_client(Y, ACK | CONFIRM, options=option(X)))
    assert servers.counters()["map_full"] == 1
    pass_all(servers, last.syn(X, REDIRECT))
    assert send(servers, last.synack(X)).packet == last.synack(X, CONFIRM).frame


def test_an_entry_takes_what_leads_to_it_along(clients: Programs) -> None:
    """E2: nothing is left of a connection but its entry while it is closed, and nothing at all afterwards."""
    side = client_side(0)
    pass_all(clients, *opened(side), *closed(side))
    clients.sweep(time.monotonic_ns() + 70_000_000_000)
    assert (places(clients, "connections"), places(clients, "aliases")) == (0, 0)


def test_one_stall_is_one_piece_of_evidence(clients: Programs) -> None:
    """E7: a hundred connections fall back in the same moment on a path where others are heard: it is not silent."""
    pass_all(clients, *opened(client_side(0)))
    sides = [client_side(number) for number in range(1, 101)]
    for side in sides:
        pass_all(clients, *opened(side)[:2])
    for side in sides:
        pass_all(clients, side.from_server(X, ACK, data=b"x"))
    assert clients.counters()["fallen_back"] == len(sides)
    late = client_side(200)
    pass_all(clients, *opened(late))
    assert clients.counters()["remembered"] == 0 and is_redirected(clients, late)


def test_a_path_where_nothing_was_ever_heard(clients: Programs) -> None:
    """E7: one connection that fell back is enough there; the process and `health` say it in words."""
    first, second = client_side(0), client_side(1)
    pass_all(clients, *opened(first)[:2], first.from_server(X, ACK, data=b"x"))
    pass_all(clients, *opened(second)[:2])
    assert clients.counters()["remembered"] == 1
    assert [str(each.vip) for each in silent(Map.copy_of(clients.map_fd("paths")))] == [str(V4.vip)]


def test_a_sweep_counts(servers: Programs) -> None:
    """E2: a sweep counts the connections that are open."""
    side = Side(V4, IN, OUT)
    pass_all(servers, side.syn(X, REDIRECT), side.synack(X), side.from_client(Y, ACK | CONFIRM, options=option(X)))
    assert servers.sweep(time.monotonic_ns()) == 1
    pass_all(servers, side.from_client(Y, FIN | ACK), side.from_server(X, FIN | ACK))
    assert servers.sweep(time.monotonic_ns()) == 0
