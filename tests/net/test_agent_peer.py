"""Each agent, with a real socket behind it, against a peer that sends what it likes: windows, resets, fallback, D5, D9.

What the wire carries is seen by the peer; the ports in front of the other end are the agent's work.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from portlb_app.agent import client, running, server
from portlb_app.agent.call_result import CallResult
from portlb_app.agent.kernel import prog
from portlb_app.agent.loader import Programs
from portlb_app.agent.mapping import ServerMapping
from portlb_app.net.packets import Segment, bare_ack
from tests.net.frames import MSS, bare_option, ethernet, ip, option, tcp_segment
from tests.net.inside import on
from tests.net.network import ACK, CONFIRM, FIN, REDIRECT, RST, SYN, agent_command, agent_stats, end, until
from tests.net.one_sided import FAR, P2, PORT, SERVICE, Opened, P, Served, connecting, opened, served
from tests.net.peer import Peer
from tests.net.world import VIPS, World, X, Y, Z
from tests.net.world import world as make_world
from tests.support.helper import Helper


def is_reset(segment: Segment) -> bool:
    return bool(segment.flags & RST)


def has_data(segment: Segment) -> bool:
    return segment.size > 0


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The hosts, over IPv4, then over IPv6."""
    with make_world(family=request.param) as made:
        yield made


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """What is to be closed in the end."""
    with contextlib.ExitStack() as made:
        yield made


# ---- the server's agent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [RST, RST | ACK, FIN | ACK], ids=["RST", "RST with ACK", "FIN"])
def test_a_forged_end_ends_nothing_on_the_server(world: World, stack: contextlib.ExitStack, flags: int) -> None:
    """E2: a reset or a FIN far from the window leaves the entry as it was; the client's own counts."""
    made = served(world, stack)
    made.program.shutdown(socket.SHUT_WR)  # so that a FIN from the client would be the second
    made.peer.hear(lambda segment: segment.flags & FIN)
    made.peer.ack += 1
    made.peer.send(flags, seq=made.peer.seq + FAR)
    made.peer.send(ACK)
    assert made.state() == "bound"
    made.peer.send(flags)
    until(lambda: made.state() == "closing", "the client's own end is noted")


def test_a_forged_segment_settles_nothing(world: World, stack: contextlib.ExitStack) -> None:
    """E7: one on the service port without CONFIRM does not keep a client there that cannot hear it."""
    made = served(world, stack)
    made.peer.send(ACK, seq=made.peer.seq + FAR)
    made.peer.send(ACK, ack=made.peer.ack + FAR)
    for its_port in (SERVICE, PORT, SERVICE, PORT):
        made.peer.send(ACK | CONFIRM, b"a", its_port=its_port)
    assert made.answer()[0] == PORT


def test_copies_are_of_one_segment(world: World, stack: contextlib.ExitStack) -> None:
    """E7: two segments of which each came once on the port left lead nowhere; the first one a second time does."""
    made = served(world, stack)
    for data in (b"a", b"b"):
        for its_port in (SERVICE, PORT):
            made.peer.send(ACK | CONFIRM, data, its_port=its_port)
        made.peer.seq += 1
    for _ in range(3):
        made.peer.send(ACK, its_port=PORT)
    assert made.answer()[0] == SERVICE
    made.peer.send(ACK, b"a", its_port=PORT, seq=made.peer.seq - 2)
    assert made.answer()[0] == PORT
    assert agent_stats(world.server)["stayed"] == 1


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "not heard"])
def test_a_client_that_asked_by_option_settles(world: World, stack: contextlib.ExitStack, heard: bool) -> None:
    """E7 with `--signal option`: an acknowledgement without the option says that the port is heard; data does not."""
    made = served(world, stack, by_option=True)
    made.peer.say(b"data")
    made.peer.send(ACK, options=b"" if heard else option(PORT))
    for _ in range(2):
        made.peer.send(ACK, b"a", its_port=PORT)
    assert made.answer()[0] == (SERVICE if heard else PORT)


@pytest.mark.parametrize("by_option", [False, True], ids=["bit", "option"])
def test_the_servers_own_reset_says_so(world: World, stack: contextlib.ExitStack, by_option: bool) -> None:
    """E7: before the client has heard the service port, a reset from there carries CONFIRM."""
    made = served(world, stack, by_option)
    made.peer.forget()
    made.program.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    made.program.close()
    reset = made.peer.hear(is_reset)
    assert reset.sport == SERVICE and bool(reset.flags & CONFIRM) == (not by_option)
    assert reset.options == bare_option(4)


def unconfirmed(world: World, stack: contextlib.ExitStack) -> Served:
    """A connection whose client has lost its entry before it confirmed the service port, and has asked once more."""
    made = served(world, stack)
    made.peer.say(b"ask", its_port=PORT)
    assert made.program.recv(9) == b"ask"
    made.peer.forget()
    made.program.sendall(b"answer")
    made.peer.hear(lambda segment: segment.size and segment.sport == SERVICE)
    made.peer.send(RST)
    return made


def test_copies_to_a_client_without_an_entry_end_nothing(world: World, stack: contextlib.ExitStack) -> None:
    """E7: once the client repeats itself on the port left, a reset of what comes from the other one is no end."""
    made = unconfirmed(world, stack)
    made.peer.send(ACK, b"ask", its_port=PORT, seq=made.peer.seq - 3)
    made.peer.hear(lambda segment: segment.sport == PORT)
    for _ in range(2):
        made.peer.send(RST)
    made.peer.forget()
    repeated = made.peer.hear(has_data)
    assert (repeated.sport, repeated.size) == (PORT, 6)
    made.peer.send(ACK, its_port=PORT, ack=made.peer.ack + 6)
    made.peer.say(b"more", its_port=PORT, ack=made.peer.ack + 6)
    assert made.program.recv(9) == b"more"


def test_what_has_just_been_sent_may_be_acknowledged(world: World, stack: contextlib.ExitStack) -> None:
    """E7: a segment leaves before its socket counts it as sent; it may be acknowledged before, and confirm the port."""
    made = served(world, stack)
    segment = tcp_segment(
        made.peer.its_address, made.peer.address, PORT, made.peer.port, ACK, made.peer.ack, made.peer.seq, data=b"news"
    )
    frame = ethernet(ip(made.peer.its_address, made.peer.address, 6, segment))
    mapping = ServerMapping([ip_address(vip) for vip in VIPS.values()], {PORT: SERVICE}, {SERVICE: PORT, 4: PORT})
    with on(world.server), running.agents("eth0") as ((_, found),):
        programs = Programs("server", server.settings(mapping), inherited=found.descriptors())
        with contextlib.closing(programs):
            prog.run(programs.fd("egress"), frame)
    made.peer.send(ACK, ack=made.peer.ack + 4)
    for _ in range(2):
        made.peer.send(ACK, b"a", its_port=PORT)
    assert made.answer()[0] == SERVICE


def moving(made: Served) -> Helper:
    """Begin `portlb agent redirect` in place, to port 4, and follow once."""
    words = ("--interface", "eth0", "--from", f":{SERVICE}", "--to", "4", "--in-place")
    command = made.world.server.popen_piped(sys.executable, "-m", "portlb_app.agent", "redirect", *words)
    made.peer.hear(lambda segment: segment.announced == 4)
    made.peer.its_port = 4
    made.peer.send(ACK | CONFIRM)
    return command


def test_d8_a_client_that_goes_back_is_told_again(world: World, stack: contextlib.ExitStack) -> None:
    """D8: what was on its way from the port before has led it back there: it has not followed yet."""
    made = served(world, stack)
    made.peer.send(ACK)
    command = moving(made)
    made.peer.send(ACK, its_port=SERVICE)
    made.peer.hear(lambda segment: (segment.sport, segment.announced) == (4, 4))
    assert command.poll() is None
    made.peer.send(ACK | CONFIRM)
    assert command.finish() == "1 connection: 1 followed\n"
    assert agent_stats(world.server)["server_moved"] == 1


@pytest.mark.parametrize("confirmed", [True, False], ids=["confirmed", "not confirmed"])
def test_d8_a_client_that_has_lost_its_entry_is_told(
    world: World, stack: contextlib.ExitStack, confirmed: bool
) -> None:
    """D8: after a move it knows only the port it opened on; what it sends there is heard, and it is reset there."""
    made = served(world, stack)
    made.peer.send(ACK)
    command = moving(made)
    if confirmed:
        made.peer.send(ACK)
    assert command.finish() == "1 connection: 1 followed\n"
    made.peer.say(b"ask", its_port=PORT)
    assert made.program.recv(9) == b"ask"
    made.peer.forget()
    made.program.sendall(b"answer")
    while not is_reset(heard := made.peer.hear(lambda segment: segment.size or is_reset(segment))):
        made.peer.send(RST, its_port=heard.sport)
    assert (heard.sport, heard.seq) == (PORT, made.peer.ack)


def announce_own(peer: Peer, port: int = P) -> None:
    """The client's announcement of another port of its own: a keep-alive probe (row D9)."""
    peer.send(ACK | REDIRECT, options=option(port, 9), seq=peer.seq - 1)


def test_d9_the_server_waits_for_the_clients_new_port(world: World, stack: contextlib.ExitStack) -> None:
    """D9: announced, the port is not sent to; from where the client was heard last, there it is answered."""
    made = served(world, stack)
    peer = made.peer
    peer.send(ACK)
    announce_own(peer)
    assert made.answer() == (SERVICE, 40000)
    peer.send(ACK | CONFIRM, options=option(40000), seq=peer.seq - 1 + FAR, port=P)
    assert made.answer() == (SERVICE, 40000)
    time.sleep(0.6)  # the kernel answers what is out of order once in 0.5 s
    peer.forget()
    peer.send(ACK | CONFIRM, options=option(40000), seq=peer.seq - 1, port=P)
    assert peer.hear().dport == P
    announce_own(peer)  # the client has not heard it
    assert made.answer() == (SERVICE, 40000)
    peer.say(b"more", port=P)
    assert made.answer() == (SERVICE, P) and made.program.recv(9) == b"more"
    peer.say(b"late")
    assert made.answer() == (SERVICE, 40000) and made.program.recv(9) == b"late"
    peer.say(b"and", port=P)
    assert made.answer() == (SERVICE, P) and made.program.recv(9) == b"and"
    time.sleep(1.1)  # one announcement a second counts
    announce_own(peer, P2)
    peer.say(b"on", port=P2)
    assert made.answer() == (SERVICE, P2) and made.program.recv(9) == b"on"
    stats = agent_stats(world.server)
    assert (stats["wrong_port"], stats["forged_announcement"], stats["refused_announcement"]) == (0, 0, 0)


def test_d9_one_connection_takes_few_places(world: World, stack: contextlib.ExitStack) -> None:
    """D9: 500 announced ports take one place: one a second counts, and what is announced next takes its place."""
    made = served(world, stack)
    made.peer.send(ACK)
    for port in range(50000, 50500):
        announce_own(made.peer, port)
    assert made.answer() == (SERVICE, 40000)
    time.sleep(1.1)  # one announcement a second counts
    announce_own(made.peer, P)
    made.peer.say(b"on", port=P)
    assert made.answer() == (SERVICE, P) and made.program.recv(9) == b"on"
    said = agent_command(world.server, "stats", "--interface", "eth0", "--format", "prometheus").stdout
    (places,) = re.findall(r'portlb_agent_entries\{[^}]*map="aliases"[^}]*\} (\d+)', said)
    assert int(places) <= 2 and agent_stats(world.server)["refused_announcement"] >= 490


def test_d9_a_port_that_was_only_announced_may_be_anothers(world: World, stack: contextlib.ExitStack) -> None:
    """D9: a new connection from the port announced, which another client behind the same address opens, is opened."""
    made = served(world, stack)
    made.peer.send(ACK)
    announce_own(made.peer)
    made.peer.forget()
    made.peer.send(SYN | REDIRECT, port=P, its_port=PORT, seq=5)
    synack = made.peer.hear(lambda segment: segment.flags & SYN)
    assert (synack.dport, synack.ack) == (P, 6)
    assert made.answer() == (SERVICE, 40000)


def test_d9_a_bare_reset_from_a_port_not_in_use_ends_nothing(world: World, stack: contextlib.ExitStack) -> None:
    """D9: the client's kernel, or a router, resets what comes to a port that the client's agent has given up."""
    made = served(world, stack)
    made.peer.send(ACK)
    announce_own(made.peer)
    made.peer.send(RST, port=P)
    assert made.answer() == (SERVICE, 40000)
    made.peer.send(ACK | CONFIRM, options=option(40000), seq=made.peer.seq - 1, port=P)
    assert made.answer() == (SERVICE, P)
    made.peer.send(RST)
    assert made.answer() == (SERVICE, P)
    made.peer.send(RST | ACK | CONFIRM, port=P)
    with pytest.raises(ConnectionResetError):
        made.program.recv(9)


# ---- the client's agent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [RST, RST | ACK, FIN | ACK], ids=["RST", "RST with ACK", "FIN"])
def test_a_forged_end_ends_nothing_on_the_client(world: World, stack: contextlib.ExitStack, flags: int) -> None:
    """E2: a reset or a FIN far from the window leaves the entry as it was; the server's own counts."""
    made = opened(world, stack)
    made.program.shutdown(socket.SHUT_WR)
    made.peer.hear(lambda segment: segment.flags & FIN)
    made.peer.ack += 1
    made.peer.send(ACK)
    made.peer.send(flags, seq=made.peer.seq + FAR)
    made.peer.send(ACK)
    time.sleep(0.1)  # nothing may come of it
    assert made.state() == "bound"
    made.peer.send(flags)
    until(lambda: made.state() == "closing", "the server's own end is noted")


@pytest.mark.parametrize("by_option", [False, True], ids=["bit", "option"])
def test_a_middleboxs_reset_leads_back(world: World, stack: contextlib.ExitStack, by_option: bool) -> None:
    """E7: a bare reset from Y before anything was heard from there: data comes on X, too, and X answers."""
    made = opened(world, stack, by_option, heard=False)
    made.peer.send(RST | ACK)
    made.peer.forget()
    made.program.sendall(b"ask")
    ports = {made.peer.hear(has_data).dport, made.peer.hear(has_data).dport}
    assert ports == {X, Y}
    made.peer.ack += 3
    made.peer.say(b"answer", port=X)
    assert made.program.recv(9) == b"answer"
    assert made.send()[1] == X
    assert agent_stats(world.client)["fallen_back"] == 1


@pytest.mark.parametrize("by_option", [False, True], ids=["bit", "option"])
def test_the_servers_own_reset_is_heard(world: World, stack: contextlib.ExitStack, by_option: bool) -> None:
    """E7: one that carries CONFIRM, in the option where the bits are cleared, ends the connection."""
    made = opened(world, stack, by_option, heard=False)
    made.peer.send(RST | ACK, options=bare_option(4))
    with pytest.raises(ConnectionResetError):
        made.program.recv(9)


def test_who_tries_both_ports_by_option_says_that_it_hears_neither(world: World, stack: contextlib.ExitStack) -> None:
    """E7 with `--signal option`: acknowledgements to a silent port carry the option, or the server would settle."""
    made = opened(world, stack, by_option=True, heard=False)
    made.peer.send(RST | ACK)
    made.peer.forget()
    made.peer.send(SYN | ACK, options=MSS + option(Y), port=X, seq=made.peer.seq - 1)  # the first ACK was lost
    tried = made.peer.hear(), made.peer.hear()
    assert [segment.dport for segment in tried] == [Y, X] and tried[0].announced == X


def leave(made: Opened) -> int:
    """Have the client told to close and open at Z; return the number of its FIN."""
    made.peer.send(ACK | REDIRECT, options=option(Z, 8), seq=made.peer.seq - 1)
    fin = made.peer.hear(lambda segment: segment.flags & FIN)
    made.peer.ack = fin.seq + 1
    return fin.seq


@pytest.mark.parametrize("sends", ["data", "probes"])
def test_a_server_that_does_not_close_is_reset(world: World, stack: contextlib.ExitStack, sends: str) -> None:
    """D5: the program has closed, the server acknowledges the FIN and goes on: it hears a reset, as from any host."""
    made = opened(world, stack)
    time.sleep(0.2)  # it is quiet by then, so it is closed at the first look
    leave(made)
    made.peer.send(ACK)
    assert made.program.recv(9) == b""
    made.peer.forget()
    data = b"more" if sends == "data" else b""
    made.peer.send(ACK, data, seq=made.peer.seq - (not data))
    answer = made.peer.hear()
    assert (answer.flags, answer.ack) == (ACK, made.peer.seq + len(data))  # the program could still read
    made.program.close()
    time.sleep(0.1)  # of its FIN nothing is to be heard
    made.peer.seq += len(data)
    made.peer.forget()
    made.peer.send(ACK, data, seq=made.peer.seq - (not data))
    reset = made.peer.hear(is_reset)
    assert (reset.seq, reset.ack, reset.dport) == (made.peer.ack, made.peer.seq + len(data), Y)
    assert made.state() == "closing"


def test_a_server_that_closes_is_not_reset(world: World, stack: contextlib.ExitStack) -> None:
    """D5: it acknowledges the FIN and sends its own: that is acknowledged, however the program closes."""
    made = opened(world, stack)
    time.sleep(0.2)  # it is quiet by then, so it is closed at the first look
    leave(made)
    made.peer.send(ACK)
    made.program.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    made.program.close()
    made.peer.forget()
    made.peer.send(FIN | ACK)
    last = made.peer.hear()
    assert (last.flags, last.ack) == (ACK, made.peer.seq + 1)
    assert made.peer.listen(is_reset) is None
    assert made.state() == "closing"


def test_what_passes_while_a_connection_is_ended(world: World, stack: contextlib.ExitStack) -> None:
    """D5: between the two looks that end it the program asks once more: asked and answered, then it ends."""
    made = opened(world, stack)
    made.agent.send_signal(signal.SIGSTOP)  # its work is done here, step by step
    made.peer.send(ACK | REDIRECT, options=option(Z, 8), seq=made.peer.seq - 1)
    until(lambda: agent_stats(world.client)["reopen"] == 1, "it is to be closed")
    frame = bytes.fromhex("020000000101")
    frame += bare_ack(made.peer.address, made.peer.its_address, X, made.local)[6:]
    with on(world.client):
        index = socket.if_nametoindex("eth0")
        with running.agents("eth0") as ((_, found),):
            settings = client.settings([ip_address(vip) for vip in VIPS.values()])
            loaded = Programs("client", settings, inherited=found.descriptors())
            programs = stack.enter_context(contextlib.closing(loaded))

        def step() -> CallResult:
            with on(world.client):
                return programs.end(frame, index)

        assert step() is CallResult.CALL_AGAIN
        assert made.send() == (made.local, Y)  # passes
        assert step() is CallResult.BUSY
        made.peer.send(ACK)
        until(lambda: step() is CallResult.CALL_AGAIN, "the socket has the acknowledgement")
        made.peer.say(b"answer")
        assert made.program.recv(9) == b"answer"
        assert step() is CallResult.CALL_AGAIN
        assert step() is CallResult.MADE
    fin = made.peer.hear(lambda segment: segment.flags & FIN)
    assert (fin.seq, fin.ack) == (made.peer.ack, made.peer.seq)
    assert made.program.recv(9) == b""
    made.agent.send_signal(signal.SIGCONT)


def move(made: Opened, port: int = P, timeout: str = "") -> Helper:
    """Begin `portlb agent move` of the connection."""
    words = ("--timeout", timeout) if timeout else ()
    return made.world.client.popen_piped(
        sys.executable, "-m", "portlb_app.agent", "move", "--interface", "eth0", "--local-port", str(made.local),
        "--to", str(port), *words,
    )  # fmt: skip


def test_d9_the_client_waits_for_its_new_port(world: World, stack: contextlib.ExitStack) -> None:
    """D9: it announces the port, sends a probe from there, and goes on there when it has heard something there."""
    made = opened(world, stack)
    process = move(made)
    announcement = made.peer.hear(lambda segment: segment.announced == P)
    assert (announcement.sport, announcement.flags) == (made.local, ACK | REDIRECT)
    probe = made.peer.hear(lambda segment: segment.sport == P)
    assert (probe.dport, probe.flags, probe.announced) == (Y, ACK | CONFIRM, made.local)
    assert (probe.seq, probe.ack) == (made.peer.ack - 1, made.peer.seq)
    assert made.send() == (made.local, Y)
    made.peer.send(RST | ACK, its_port=P)  # a middlebox that knows no such connection
    made.peer.send(ACK, its_port=P, seq=made.peer.seq + FAR)  # forged
    assert made.send() == (made.local, Y)
    made.peer.say(b"here", its_port=P)
    assert made.program.recv(9) == b"here"
    assert made.send() == (P, Y)
    made.peer.say(b"late", its_port=made.local)
    assert made.program.recv(9) == b"late"
    assert made.send() == (P, Y)
    assert process.finish() == "1 connection: 1 followed\n"
    assert agent_stats(world.client)["own_port_moved"] == 1


def test_d8_before_the_clients_new_port_is_heard(world: World, stack: contextlib.ExitStack) -> None:
    """D8 D9: the server moves to Z between the client's announcement and the first packet to its new port."""
    made = opened(world, stack)
    process = move(made)
    made.peer.hear(lambda segment: segment.announced == P)
    process.send_signal(signal.SIGSTOP)  # it announces no more
    made.peer.send(ACK | REDIRECT, options=option(Z, 9), seq=made.peer.seq - 1)
    made.peer.hear(lambda segment: segment.dport == Z)
    made.peer.say(b"at Z", port=Z, its_port=P)
    assert made.program.recv(9) == b"at Z"
    assert made.send() == (P, Z)
    made.peer.say(b"late", port=Z, its_port=made.local)
    assert made.program.recv(9) == b"late"
    end(process, signal.SIGKILL)


@pytest.fixture(scope="module", autouse=True)
def silent() -> Iterator[tuple[Opened, float]]:
    """A connection that was opened before all other tests of this file, and when: its minute passes meanwhile."""
    with contextlib.ExitStack() as stack:
        yield opened(stack.enter_context(make_world()), stack), time.monotonic()


SILENCE = 62.0
"""Seconds after which an entry has not been used for longer than a closed one is kept."""


def test_a_silent_connection_keeps_its_ports(silent: tuple[Opened, float], stack: contextlib.ExitStack) -> None:
    """E2: who opens on Y from the port of a redirected connection, silent for a minute, waits for its end."""
    made, since = silent
    time.sleep(max(0.0, since + SILENCE - time.monotonic()))  # most of it has passed during the tests before
    with on(made.world.client):
        stack.enter_context(connecting(made.world, Y))
    until(lambda: agent_stats(made.world.client)["collision"], "it has tried")
    made.peer.say(b"news")
    assert made.program.recv(9) == b"news"
    made.program.close()
    made.peer.hear(lambda segment: segment.flags & FIN)
    made.peer.ack += 1
    made.peer.send(FIN | ACK)
    made.peer.hear(lambda segment: segment.flags & SYN and segment.dport == Y)
