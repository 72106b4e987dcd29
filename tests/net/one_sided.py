"""A connection of which one end is made packet by packet and the other is a real program behind its agent."""

from __future__ import annotations

import contextlib
import socket
from typing import NamedTuple

from tests.net.frames import MSS, bare_option, option
from tests.net.inside import on
from tests.net.network import ACK, CONFIRM, REDIRECT, SYN
from tests.net.peer import Peer
from tests.net.world import World, X, Y
from tests.support.helper import Helper

P, P2 = 999, 998
"""Ports a client moves to."""
LOCAL = 40000
"""The client's port before."""
PORT = 7
"""Where the program under test listens, with service port 3."""
SERVICE = 3
NOWHERE = {4: "11.0.0.1", 6: "fd00:11::1"}
"""A client's address that is routed to the router, and answered for by nobody."""
FAR = 1 << 30
"""Far from every sequence number that is due."""
BLACKHOLE = {4: "11.0.0.0/8", 6: "fd00:11::/64"}


class Served(NamedTuple):
    """A connection of a made-up client, bound to the service port, and the server's socket."""

    world: World
    peer: Peer
    program: socket.socket

    def answer(self, data: bytes = b"news") -> tuple[int, int]:
        """Have the program send; return the ports that leaves from and goes to."""
        self.peer.forget()
        self.program.sendall(data)
        heard = self.peer.hear(lambda segment: segment.size and segment.seq == self.peer.ack)
        self.peer.ack = heard.seq + heard.size
        self.peer.send(ACK | CONFIRM, port=heard.dport, its_port=heard.sport)
        return heard.sport, heard.dport

    def state(self) -> str:
        (known,) = self.world.record(self.world.server)
        return str(known["state"])


def served(world: World, stack: contextlib.ExitStack, by_option: bool = False) -> Served:
    """Open one, up to the third packet."""
    world.router.run("ip", "route", "add", "blackhole", BLACKHOLE[world.family])
    world.server_agent([f"{SERVICE}={PORT}", f"4={PORT}"], [f"{PORT}={SERVICE}"])
    with on(world.server):
        server = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    stack.enter_context(server)
    server.settimeout(10)
    peer = Peer(world.router, "right", world.server, NOWHERE[world.family], world.vip, 40000)
    stack.callback(peer.close)
    peer.its_port = PORT
    peer.send(SYN if by_option else SYN | REDIRECT, options=MSS + (bare_option(8) if by_option else b""))
    synack = peer.hear(lambda segment: segment.flags & SYN)
    assert (synack.sport, synack.announced) == (PORT, SERVICE)
    peer.seq, peer.ack, peer.its_port = peer.seq + 1, synack.seq + 1, SERVICE
    peer.send(ACK if by_option else ACK | CONFIRM, options=option(PORT))
    program = stack.enter_context(server.accept()[0])
    program.settimeout(10)
    program.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Served(world, peer, program)


class Opened(NamedTuple):
    """A connection of a program on the client to a made-up server, bound to Y, and the program's socket."""

    world: World
    peer: Peer
    program: socket.socket
    local: int
    agent: Helper

    def send(self, data: bytes = b"ask") -> tuple[int, int]:
        """Have the program send; return the ports that leaves from and goes to."""
        self.peer.forget()
        self.program.sendall(data)
        heard = self.peer.hear(lambda segment: segment.size and segment.seq == self.peer.ack)
        self.peer.ack = heard.seq + heard.size
        self.peer.port = heard.dport
        self.peer.its_port = heard.sport
        return heard.sport, heard.dport

    def state(self) -> str:
        (known,) = self.world.record(self.world.client)
        return str(known["state"])


def connecting(world: World, port: int) -> socket.socket:
    """A socket of the client, with port LOCAL, that begins to connect."""
    made = socket.socket(socket.AF_INET if world.family == 4 else socket.AF_INET6)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("", LOCAL))
    made.setblocking(False)
    made.connect_ex((world.vip, port))
    return made


def opened(world: World, stack: contextlib.ExitStack, by_option: bool = False, heard: bool = True) -> Opened:
    """Open one; `heard`: the server has spoken on Y."""
    agent = world.client_agent(*(("--signal", "option") if by_option else ()))
    world.router.run("ip", "route", "add", "blackhole", f"{world.vip}/{32 if world.family == 4 else 128}")
    peer = Peer(world.router, "left", world.client, world.vip, world.client_address, X)
    stack.callback(peer.close)
    with on(world.client):
        program = stack.enter_context(connecting(world, X))
    syn = peer.hear(lambda segment: segment.flags & SYN)
    peer.its_port, peer.ack = syn.sport, syn.seq + 1
    peer.send(SYN | ACK if by_option else SYN | ACK | CONFIRM, options=MSS + option(Y))
    third = peer.hear()
    assert (third.dport, third.announced) == (Y, X)
    peer.seq += 1
    peer.port = Y
    program.settimeout(10)
    program.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made = Opened(world, peer, program, syn.sport, agent)
    if heard:
        peer.send(ACK)
        assert made.send() == (syn.sport, Y)
        peer.say(b"answer")
        assert program.recv(9) == b"answer"
        peer.forget()
    return made
