"""Redirects in the middle of a connection: `portlb agent redirect` and `portlb agent move` (rows D2 to D9).

The eBPF object turns a bare frame of a connection into an announcement; this sends it, again and again until the peer
has followed or time is up.
"""

from __future__ import annotations

import enum
import random
import re
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from portlb_app import packets
from portlb_app.agent import libbpf, loader, sockets, versions
from portlb_app.agent.answer import Answer
from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel.library import messages
from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.kernel.sock_diag import Tcp
from portlb_app.agent.mapping import Address
from portlb_app.agent.record import Record

FIRST_WAIT, WAIT_MAX = 0.2, 1.0
"""Seconds between announcements: the first, then half as much again each time, up to the second."""
TIMEOUT = 30.0
"""Seconds a peer has to follow (row D7)."""


class How(enum.IntFlag):
    """How the peer is to follow: the option's flags (docs/protocol.md)."""

    CLOSE = 0
    """Close the connection by FIN once it is quiet, and open the next one at the port named."""
    IN_PLACE = 1
    """Go on at the port named without a new handshake."""
    RESET = 2
    """As CLOSE, at once and by RST."""
    CONFIRM = 4
    """Not announced: sent from the client's port that has been announced, so that it is answered there."""


_WORDS = {
    Answer.FOLLOWED: "followed",
    Answer.GONE: "closed before",
    Answer.NO_SOCKET: "without a socket in this network namespace",
    Answer.IMPOSSIBLE: "impossible (no agent at the other end, or the port is in use)",
    Answer.TIMED_OUT: "timed out",
}


@dataclass(frozen=True)
class Selection:
    """Which connections: of a client address, of a client port, at a port of the server (the wire's or program's)."""

    client: Address | None = None
    client_port: int | None = None
    port: int | None = None

    def takes(self, connection: Record) -> bool:
        """Tell whether a connection is meant."""
        return (
            self.client in (None, connection.client)
            and self.client_port in (None, connection.client_port, connection.client_wire)
            and self.port in (None, connection.wire, connection.port)
        )


_SELECTION = re.compile(r"(?:\[(?P<six>[^]]*)]|(?P<four>[^:]*))(?::(?P<port>[0-9]{1,5}))?")


def selection(text: str) -> Selection:
    """Read ADDRESS, ADDRESS:PORT (one client's, one connection's; IPv6 in brackets) or :PORT (all at a server's port).

    AgentError if it is none of these.
    """
    found = _SELECTION.fullmatch(text)
    try:
        if not found:
            return Selection(client=ip_address(text))
        host, port = found["six"] or found["four"], int(found["port"]) if found["port"] else None
        if port is not None and not 1 <= port <= 65535:
            raise ValueError(f"a port is a number from 1 to 65535, not {port}")
        if host:
            return Selection(client=ip_address(host), client_port=port)
        if port is None:
            raise ValueError("it is empty")
        return Selection(port=port)
    except ValueError as error:
        raise AgentError(f"'{text}' is not ADDRESS, ADDRESS:PORT, [IPV6]:PORT or :PORT: {error}") from error


@dataclass
class Outcome:
    """What became of the connections, by what is known of each."""

    counts: Counter[Answer] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    """What the kernel refused on the way, each of which was tried again."""
    not_reset: Counter[str] = field(default_factory=Counter)
    """Why connections that have not followed could not be reset either."""

    @property
    def complete(self) -> bool:
        """Whether every connection that was still there has followed."""
        return not set(self.counts) - {Answer.FOLLOWED, Answer.GONE}

    def __str__(self) -> str:
        number = self.counts.total()
        said = ", ".join(f"{count} {_WORDS[answer]}" for answer, count in sorted(self.counts.items()))
        text = f"{number} connection{'s' * (number != 1)}" + (f": {said}" if said else "")
        text += "".join(f"; {count} announcements refused: {why}" for why, count in self.refusals.items())
        return text + "".join(f"; {count} not reset: {why}" for why, count in self.not_reset.items())

    def reset(self, connection: Record) -> None:
        """Reset a connection that has not followed."""
        its = Tcp(connection.vip, connection.port, connection.client, connection.client_port)
        try:
            self.not_reset.update(str(each) for each in sockets.destroy([its]).failures)
        except AgentError as error:
            self.not_reset[str(error)] += 1


class Announcer:
    """Makes and sends announcements for the connections of the agent attached to an interface."""

    def __init__(self, role: str, agent: loader.Running) -> None:
        """Load the program that makes them, with the running agent's maps and constants."""
        self._role = role
        self._agent = agent
        self.refusals: Counter[str] = Counter()
        constants = f".rodata.{role}"
        self.settings = _constants(agent, constants)
        self._object = libbpf.Object(str(versions.OBJECT_FILE))
        try:
            self._object.keep_only({f"{role}_announce"}, {*agent.maps, constants, loader.CLOCK})
            self._object.set_initial_value(constants, self.settings)
            for name, each in agent.maps.items():
                self._object.set_max_entries(name, each.layout.max_entries)
                self._object.reuse(name, each.fd)
            self._object.load()
        except OSError as error:
            self._object.close()
            raise AgentError(f"the kernel refused the announcements: {error}\n{messages()}") from error
        self._program = self._object.program_fd(f"{role}_announce")
        self._senders = {
            4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
            6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW),
        }

    def close(self) -> None:
        """Let go of everything."""
        for sender in self._senders.values():
            sender.close()
        self._object.close()

    def connections(self) -> list[Record]:
        """Return the connections the agent knows that are not over."""
        return [each for each in self._agent.connections() if each.state in ("plain", "bound")]

    def announce(self, connection: Record, port: int, how: How) -> Answer:
        """Tell the connection's peer once to go on at `port`; MADE means that it was told."""
        source, sport = connection.vip, connection.port
        destination, dport = connection.client, connection.client_port
        if self._role == "client":
            source, sport, destination, dport = destination, dport, source, sport
        frame = packets.bare_ack(source, destination, sport, dport)
        if self._role == "client":
            # What comes last decides where the server sends, and the way to the port in use is known.
            self._send(frame, source, destination, port, How.CONFIRM)
        return self._send(frame, source, destination, port, how)

    def _send(self, frame: bytes, source: Address, destination: Address, port: int, how: How) -> Answer:
        """Make a frame an announcement, and send it; BUSY if the kernel refuses either, which may pass."""
        target = int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)
        try:
            result = libbpf.run(self._program, frame, struct.pack("=48xII", target, how))
            answer = Answer(result.verdict)
            if answer is Answer.MADE:
                self._senders[source.version].sendto(result.packet[packets.ETHERNET :], (str(destination), 0))
        except OSError as error:
            self.refusals[str(error)] += 1
            return Answer.BUSY
        return answer

    def until_followed(
        self, connections: Iterable[Record], port: int, how: How, timeout: float
    ) -> Iterator[tuple[Record, Answer]]:
        """Announce until each peer has followed; yield what became of each connection, TIMED_OUT after `timeout` s."""
        pending, wait, told = list(connections), FIRST_WAIT, set()
        deadline = time.monotonic() + timeout
        while pending:
            left = []
            for connection in pending:
                answer = self.announce(connection, port, how)
                if answer in (Answer.MADE, Answer.BUSY):
                    left.append(connection)
                    told.update([connection] if answer is Answer.MADE else [])
                elif answer is Answer.GONE and connection in told and how is not How.IN_PLACE:
                    yield connection, Answer.FOLLOWED  # closed, and forgotten already
                else:
                    yield connection, answer
            pending, now = left, time.monotonic()
            if now >= deadline:
                for connection in pending:
                    yield connection, Answer.TIMED_OUT
                return
            if pending:
                time.sleep(min(wait * random.uniform(0.8, 1.2), deadline - now))
                wait = min(wait * 1.5, WAIT_MAX)


def _constants(agent: loader.Running, name: str) -> bytes:
    for prog_id in agent.programs.values():
        for map_id in libbpf.program(prog_id)[1]:
            with closing(Map.by_id(map_id)) as opened:
                if opened.name != name:
                    continue
                if difference := versions.this_version().difference({name: opened}):
                    raise AgentError(f"the running agent is of another version than this command: {difference}")
                value = opened.lookup(struct.pack("=I", 0))
            if value is not None:
                return value
    raise AgentError("the running agent's constants cannot be read: it is of another version")


@contextmanager
def announcer(name: str, role: str) -> Iterator[Announcer]:
    """Yield what announces for the agent of `role` on the interface `name`; AgentError if there is none."""
    with loader.agents(name) as found:
        if role not in found:
            raise AgentError(f"no {role} agent is attached to {name} in this network namespace")
        made = Announcer(role, found[role])
        try:
            yield made
        finally:
            made.close()


def redirect(name: str, wanted: Selection, port: int, how: How, timeout: float = TIMEOUT) -> Outcome:
    """Redirect the server's connections in `wanted` to `port` of the same VIP (rows D2 to D8).

    Connections that do not follow in `timeout` seconds are reset by this host (row D7), except in place, where they
    stay as they are. AgentError if there is no such connection, or if this server cannot go on at `port` in place.
    """
    outcome = Outcome()
    with announcer(name, "server") as made:
        chosen = [each for each in made.connections() if wanted.takes(each) and (each.wire != port or each.name)]
        if not chosen:
            raise AgentError("no connection of that kind; see 'portlb agent connections'")
        if how is How.IN_PLACE:
            _check_in_place(made.settings, port, chosen)
        for connection, answer in made.until_followed(chosen, port, how, timeout):
            outcome.counts[answer] += 1
            if answer is Answer.TIMED_OUT and how is not How.IN_PLACE:
                outcome.reset(connection)
        outcome.refusals = made.refusals
    return outcome


def _check_in_place(settings: bytes, port: int, connections: Sequence[Record]) -> None:
    """AgentError unless `port` is a service port of this server for the application of each connection."""
    at = len(settings) - 2 * 65536 + 2 * int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)
    application = int.from_bytes(settings[at : at + 2], "big")
    others = sorted({each.port for each in connections} - {application})
    if others:
        raise AgentError(
            f"port {port} is no service port of this server for the application on "
            f"{', '.join(map(str, others))}: only such a port can be gone on at in place"
        )


def move(name: str, local_port: int, port: int, timeout: float = TIMEOUT) -> Outcome:
    """Move the client's end of this host's connections from `local_port` to another port, in place (row D9).

    AgentError if there is no such connection, or if programs may use `port`.
    """
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split())
    if first <= port <= last:
        raise AgentError(f"programs may get port {port} from the kernel: choose one outside {first} to {last}")
    outcome = Outcome()
    with announcer(name, "client") as made:
        wanted = Selection(client_port=local_port)
        chosen = [each for each in made.connections() if wanted.takes(each) and each.client_wire != port]
        if not chosen:
            raise AgentError(f"no redirected connection leaves from port {local_port}")
        for connection in chosen:
            _check_free(connection.client, port)
        for _, answer in made.until_followed(chosen, port, How.IN_PLACE, timeout):
            outcome.counts[answer] += 1
        outcome.refusals = made.refusals
    return outcome


def _check_free(address: Address, port: int) -> None:
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((str(address), port))
        except OSError as error:
            raise AgentError(f"port {port} cannot be used: {error}") from error
