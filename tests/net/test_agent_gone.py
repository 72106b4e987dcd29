"""Ends that nobody says, and ends that are said with the wrong number: real sockets against a peer packet by packet.

The agents' clock is set ahead instead of waited for: the test takes over the running agent and sweeps by itself.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from portlb_app.agent.attachment import Agent
from portlb_app.agent.running import agents
from tests.net.inside import on
from tests.net.network import ACK, RST, Namespace, agent_stats, until
from tests.net.one_sided import opened, served
from tests.net.peer import Peer
from tests.net.world import World, Y
from tests.net.world import world as make_world

MINUTE = 70_000_000_000
"""Nanoseconds ahead: an entry has been silent for longer than a minute."""
ROUND = 16
"""Sweeps until each connection has had its turn."""
SERVICE_PORT = 3


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """What is to be closed in the end."""
    with contextlib.ExitStack() as made:
        yield made


def on_the_server(stack: contextlib.ExitStack, family: int) -> tuple[World, Peer, socket.socket, Namespace]:
    """A connection of a made-up client to a program."""
    world = stack.enter_context(make_world(family=family))
    made = served(world, stack)
    made.peer.send(ACK)  # without CONFIRM: it hears the service port
    return world, made.peer, made.program, world.server


def on_the_client(stack: contextlib.ExitStack, family: int) -> tuple[World, Peer, socket.socket, Namespace]:
    """A connection of a program to a made-up server."""
    world = stack.enter_context(make_world(family=family))
    made = opened(world, stack)
    return world, made.peer, made.program, world.client


Made = Callable[[contextlib.ExitStack, int], tuple[World, Peer, socket.socket, Namespace]]
ROLES = pytest.mark.parametrize(("make", "family"), [(on_the_server, 4), (on_the_client, 6)], ids=["server", "client"])


def take_over(host: Namespace, stack: contextlib.ExitStack) -> Agent:
    """Go on with the agent of a host in this process."""
    with on(host):
        with agents("eth0") as ((role, running),):
            (settings,) = set(running.constants(role))
        agent = Agent("eth0", role, settings)
    stack.callback(agent.release)
    return agent


def state(world: World, host: Namespace) -> list[object]:
    return [known["state"] for known in world.record(host)]


@ROLES
def test_a_peer_that_vanishes(stack: contextlib.ExitStack, make: Made, family: int) -> None:
    """E2: without FIN or reset: the entry stays for as long as the kernel has the socket, and not longer."""
    world, _, program, host = make(stack, family)
    agent = take_over(host, stack)

    def sweep() -> None:
        with on(host):
            for _ in range(ROUND):
                agent.programs.sweep(time.monotonic_ns() + MINUTE)

    sweep()
    assert state(world, host) == ["bound"]
    program.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 200)
    program.sendall(b"news")
    with pytest.raises(TimeoutError) as raised:
        program.recv(9)
    assert raised.value.errno == errno.ETIMEDOUT  # the kernel's word, not the test's impatience
    sweep()
    assert state(world, host) == []
    assert agent.programs.counters()["swept_gone"] == 1


@ROLES
@pytest.mark.parametrize("held", [b"", b"later"], ids=["nothing", "data behind a gap"])
def test_a_reset_ahead_of_what_is_expected(stack: contextlib.ExitStack, make: Made, family: int, held: bytes) -> None:
    """E2: it is the kernel's to judge (RFC 5961, 3.2): it challenges one in its window, and the entry stays."""
    world, peer, program, host = make(stack, family)
    if held:
        peer.send(ACK, held, seq=peer.seq + 100)
        peer.hear()
    peer.send(RST, seq=peer.seq + 50)
    challenge = peer.hear(lambda segment: segment.flags & ACK)
    port = challenge.sport if host is world.server else challenge.dport
    assert (challenge.ack, port) == (peer.seq, SERVICE_PORT if host is world.server else Y)
    assert state(world, host) == ["bound"]
    peer.send(RST)
    with pytest.raises(ConnectionResetError):
        program.recv(9)
    until(lambda: state(world, host) == ["closing"], "the exact one is noted")
    assert agent_stats(host)["wrong_port"] == 0
