"""Announces in open connections (rows D2 to D9).

An eBPF program turns a bare frame of a connection into an announcement. The announcer sends it repeatedly until the
other end has followed or time is up.
"""

from __future__ import annotations

import enum
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager

from portlb_app.agent import loader, running, versions
from portlb_app.agent.call_result import CallResult
from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel import object_file, prog
from portlb_app.agent.kernel.library import messages
from portlb_app.agent.mapping import Address
from portlb_app.agent.record import Record
from portlb_app.net import packets

FIRST_WAIT, WAIT_MAX = 0.2, 1.0
"""Seconds between announcements: the first, then half as much again each time, up to the second."""


class How(enum.IntFlag):
    """How the peer is to follow: the option's flags (docs/protocol.md)."""

    CLOSE = 0
    """Close the connection by FIN once it is quiet, and open the next one at the port named."""
    IN_PLACE = 1
    """Go on at the port named without a new handshake."""
    RESET = 2
    """As CLOSE, at once and by RST."""
    CONFIRM = 4
    """No announcement: a probe from the announced port of the client, so that the server answers there."""


class _Maker:
    """The program that makes announcements, with a running agent's maps and constants."""

    def __init__(self, role: str, agent: running.Running) -> None:
        """Load it; AgentError if the kernel refuses, or the agent is of another version."""
        self.agent = agent
        constants = f".rodata.{role}"
        self.settings = next(agent.constants(role), b"")
        if not self.settings:
            raise AgentError("the running agent's constants cannot be read: it is of another version")
        self._object = object_file.Object(str(versions.OBJECT_FILE))
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

    def close(self) -> None:
        """Close it."""
        self._object.close()

    def make(self, frame: bytes, port: int, how: How) -> prog.RunResult:
        """Turn a frame into an announcement; OSError if the kernel refuses."""
        target = int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)
        return prog.run(self._program, frame, struct.pack("=48xII", target, how))


class Announcer:
    """Announces for the connections of the agents of one role on an interface."""

    def __init__(self, role: str, makers: list[_Maker]) -> None:
        self._role, self._makers = role, makers
        self._by_vip = {vip: maker for maker in makers for vip in maker.agent.vips}
        self.refusals: Counter[str] = Counter()
        """What the kernel refused, each of which was tried again."""
        self._senders = {
            4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
            6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW),
        }

    def close(self) -> None:
        """Close the sockets."""
        for sender in self._senders.values():
            sender.close()

    def connections(self) -> list[Record]:
        """Return the connections the agents know that are not over."""
        return [
            each
            for maker in self._makers
            for each in maker.agent.connections()
            if each.state in ("plain", "bound") and each.vip in self._by_vip
        ]

    def settings_for(self, connection: Record) -> bytes:
        """Return the constants of the agent that has a connection."""
        return self._by_vip[connection.vip].settings

    def announce(self, connection: Record, port: int, how: How) -> CallResult:
        """Announce `port` to the other end once; MADE: the announcement is sent."""
        source, sport = connection.vip, connection.port
        destination, dport = connection.client, connection.client_port
        if self._role == "client":
            source, sport, destination, dport = destination, dport, source, sport
        frame = packets.bare_ack(source, destination, sport, dport)
        if self._role == "client":
            # The segment that comes last decides where the server sends; the port in use is known to work.
            self._send(connection.vip, frame, source, destination, port, How.CONFIRM)
        return self._send(connection.vip, frame, source, destination, port, how)

    def _send(
        self, vip: Address, frame: bytes, source: Address, destination: Address, port: int, how: How
    ) -> CallResult:  # fmt: skip
        """Make a frame an announcement, and send it; BUSY if the kernel refuses either, which may pass."""
        try:
            result = self._by_vip[vip].make(frame, port, how)
            answer = CallResult(result.verdict)
            if answer is CallResult.MADE:
                self._senders[source.version].sendto(result.packet[packets.ETHERNET :], (str(destination), 0))
        except OSError as error:
            self.refusals[str(error)] += 1
            return CallResult.BUSY
        return answer

    def until_followed(
        self, connections: Iterable[Record], port: int, how: How, timeout: float
    ) -> Iterator[tuple[Record, CallResult]]:
        """Announce until each peer has followed; yield what became of each connection, TIMED_OUT after `timeout` s."""
        pending, wait, told = list(connections), FIRST_WAIT, set()
        deadline = time.monotonic() + timeout
        while pending:
            left = []
            for connection in pending:
                answer = self.announce(connection, port, how)
                if answer in (CallResult.MADE, CallResult.BUSY):
                    left.append(connection)
                    told.update([connection] if answer is CallResult.MADE else [])
                elif answer is CallResult.GONE and connection in told and how is not How.IN_PLACE:
                    yield connection, CallResult.FOLLOWED  # closed, and its entry is gone
                else:
                    yield connection, answer
            pending, now = left, time.monotonic()
            if now >= deadline:
                for connection in pending:
                    yield connection, CallResult.TIMED_OUT
                return
            if pending:
                time.sleep(min(wait * random.uniform(0.8, 1.2), deadline - now))
                wait = min(wait * 1.5, WAIT_MAX)


@contextmanager
def announcer(name: str, role: str) -> Iterator[Announcer]:
    """Yield what announces for the agents of `role` on the interface `name`; AgentError if there is none."""
    with running.agents(name) as found, ExitStack() as stack:
        makers = [stack.enter_context(closing(_Maker(role, agent))) for its_role, agent in found if its_role == role]
        if not makers:
            raise AgentError(f"no {role} agent is attached to {name} in this network namespace")
        yield stack.enter_context(closing(Announcer(role, makers)))
