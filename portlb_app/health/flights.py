"""The checks that are on their way, and which of them an answer is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from portlb_app.config import CheckKind
from portlb_app.health.datagrams import DatagramProbe
from portlb_app.health.line_state import LineState
from portlb_app.health.probe import Draw, Probe
from portlb_app.health.targets import Way
from portlb_app.health.tcp import TcpProbe
from portlb_app.net import packets
from portlb_app.punt.packet import Send


@dataclass
class Flight:
    """A probe on its way: whose it is, and whether it is the one by the connector beside one by the tables."""

    state: LineState
    probe: Probe
    way: Way
    is_direct: bool = False

    def sends(self, frames: list[bytes]) -> list[Send]:
        """Have the switch send these frames."""
        way = self.way
        return [Send(way.dpid, way.in_port, way.actions, frame, way.side) for frame in frames]


class Flights:
    """All of them. `taken`: the ports that something else has."""

    def __init__(self, draw: Draw, taken: Callable[[int], bool]) -> None:
        self._draw, self._taken = draw, taken
        self._flights: dict[int, Flight] = {}
        self._by_port: dict[int, Flight] = {}

    def __iter__(self) -> Iterator[Flight]:
        return iter(tuple(self._flights.values()))

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, port: int) -> bool:
        return port in self._by_port

    def to(self, port: int) -> Flight | None:
        """The one whose answers come to this port."""
        return self._by_port.get(port)

    def begin(self, state: LineState, way: Way, now: float, is_direct: bool = False) -> tuple[Flight, list[Send]]:
        """Send a new one off."""
        check = state.line.check
        kind = TcpProbe if check.kind in (CheckKind.TCP, CheckKind.HTTP) else DatagramProbe
        probe: Probe = kind(check, way.target, self._draw, lambda port: port in self._by_port or self._taken(port))
        flight = self._flights[id(probe)] = Flight(state, probe, way, is_direct)
        return flight, self._sends(flight, probe.begin(now))

    def take(self, flight: Flight, frame: bytes, now: float) -> list[Send]:
        """An answer for it."""
        return self._sends(flight, flight.probe.take(frame, now))

    def wake(self, flight: Flight, now: float) -> list[Send]:
        """Its time has come."""
        return self._sends(flight, flight.probe.wake(now))

    def land(self, flight: Flight) -> bool:
        """It is over. Whether it was on its way."""
        if self._flights.pop(id(flight.probe), None) is None:
            return False
        for port in flight.probe.ports:
            if self._by_port.get(port) is flight:
                del self._by_port[port]
        return True

    def _sends(self, flight: Flight, frames: list[bytes]) -> list[Send]:
        for port in flight.probe.ports:
            self._by_port.setdefault(port, flight)
        return flight.sends(frames)


def port_of(frame: bytes) -> int | None:
    """The port, or the identifier of a ping, that a frame is for; None for one that is for none."""
    segment = packets.parse_tcp(frame)
    if segment is not None:
        return segment.dport
    datagram = packets.parse_datagram(frame)
    if datagram is not None:
        return datagram.dport
    reply = packets.parse_echo_reply(frame)
    if reply is not None:
        return reply.identifier
    quote = packets.parse_quote(frame)
    return None if quote is None or quote.ports is None else quote.ports[0]
