"""Redirects in the middle of a connection: `portlb agent redirect` and `portlb agent move` (rows D2 to D9).

Selects connections and counts the results; announcer.py announces.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from portlb_app.agent import sockets
from portlb_app.agent.announcer import Announcer, How, announcer
from portlb_app.agent.call_result import CallResult
from portlb_app.agent.errors import AgentError
from portlb_app.agent.mapping import Address
from portlb_app.agent.record import Record, tcp_of
from portlb_app.agent.server import application_of

TIMEOUT = 30.0
"""Seconds within which the other end has to follow (row D7)."""

_WORDS = {
    CallResult.FOLLOWED: "followed",
    CallResult.GONE: "closed before",
    CallResult.NO_SOCKET: "without a socket in this network namespace",
    CallResult.IMPOSSIBLE: "impossible (no agent at the other end, the port is in use, or it is MPTCP's)",
    CallResult.TIMED_OUT: "timed out",
}


@dataclass(frozen=True)
class Selection:
    """Selects connections by client address, client port, or port of the server (the wire's or the program's)."""

    client: Address | None = None
    client_port: int | None = None
    port: int | None = None

    def takes(self, connection: Record) -> bool:
        """Tell whether a connection is selected."""
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
    """Results of a redirect."""

    counts: Counter[CallResult] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    """Announcements that the kernel refused; each was tried again."""
    not_reset: Counter[str] = field(default_factory=Counter)
    """Why connections that have not followed could not be reset either."""

    @property
    def complete(self) -> bool:
        """Whether every connection that was still there has followed."""
        return not set(self.counts) - {CallResult.FOLLOWED, CallResult.GONE}

    def __str__(self) -> str:
        number = self.counts.total()
        said = ", ".join(f"{count} {_WORDS[answer]}" for answer, count in sorted(self.counts.items()))
        text = f"{number} connection{'s' * (number != 1)}" + (f": {said}" if said else "")
        text += "".join(f"; {count} announcements refused: {why}" for why, count in self.refusals.items())
        return text + "".join(f"; {count} not reset: {why}" for why, count in self.not_reset.items())

    def reset(self, connection: Record) -> None:
        """Reset a connection that has not followed."""
        try:
            self.not_reset.update(str(each) for each in sockets.destroy([tcp_of(connection)]).failures)
        except AgentError as error:
            self.not_reset[str(error)] += 1


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
            _check_in_place(made, port, chosen)
        if how is not How.IN_PLACE:
            chosen = _without_mptcp(chosen, outcome)
        for connection, answer in made.until_followed(chosen, port, how, timeout):
            outcome.counts[answer] += 1
            if answer is CallResult.TIMED_OUT and how is not How.IN_PLACE:
                outcome.reset(connection)
        outcome.refusals = made.refusals
    return outcome


def _without_mptcp(chosen: Sequence[Record], outcome: Outcome) -> list[Record]:
    """Leave out subflows of MPTCP: the program of one that ends reads no end, and opens no other connection."""
    subflows = sockets.mptcp(map(tcp_of, chosen))
    others = [each for each in chosen if tcp_of(each) not in subflows]
    if subflows:
        outcome.counts[CallResult.IMPOSSIBLE] += len(chosen) - len(others)
    return others


def _check_in_place(made: Announcer, port: int, connections: Sequence[Record]) -> None:
    """AgentError unless `port` is a service port of its server for the application of each connection."""
    others = sorted({each.port for each in connections if application_of(made.settings_for(each), port) != each.port})
    if others:
        raise AgentError(
            f"port {port} is no service port of this server for the application on "
            f"{', '.join(map(str, others))}: a redirect in place needs one"
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
