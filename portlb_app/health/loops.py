"""Whether the way of the answers works: packets like answers, which the controller has a switch take from a connector.

They pass the same tables and meter as a server's answer, and come back to the controller.
"""

from __future__ import annotations

from collections.abc import Callable

from portlb_app.health.probe import Draw, draw_port
from portlb_app.health.targets import Line
from portlb_app.net.packets import Datagram
from portlb_app.pipeline import CLASSIFY, resubmit
from portlb_app.punt.packet import Send

EVERY = 1.0
"""Seconds between two packets by the same switch."""
_FORGOTTEN = 5.0
_MOST = 4096


class Loops:
    """Packets on their way, and when one last arrived by each switch."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._sent: dict[int, tuple[int, int, float]] = {}
        """By port: the switch, the connector, and when."""
        self._arrived: dict[int, float] = {}
        self._last = float("-inf")
        self._of: float | None = None

    def __contains__(self, port: int) -> bool:
        return port in self._sent

    def is_due(self, now: float) -> bool:
        """Whether it is time for the next packets."""
        if now - self._last < EVERY:
            return False
        self._last = now
        self._sent = {port: each for port, each in self._sent.items() if now - each[2] < _FORGOTTEN}
        return len(self._sent) < _MOST

    def is_first(self, since: float | None) -> bool:
        """Whether these are the first of what began then."""
        is_first = self._of != since
        self._of = since
        return is_first

    def send(self, line: Line, now: float, taken: Callable[[int], bool]) -> Send:
        """A packet as if the server of this line had sent it."""
        port = draw_port(self._draw, lambda each: each in self._sent or taken(each))
        self._sent[port] = line.way.dpid, line.origin.port, now
        ends = line.way.target.ends
        source = min(line.way.target.answers_from)
        datagram = Datagram(min(line.origin.macs), ends.source_mac, source, ends.source, port, port, b"")
        return Send(line.way.dpid, line.origin.port, (resubmit(CLASSIFY),), datagram.pack())

    def take(self, dpid: int, in_port: int, port: int, now: float) -> bool:
        """Whether what came to this port is one of them."""
        sent = self._sent.get(port)
        if sent is None or sent[:2] != (dpid, in_port):
            return False
        del self._sent[port]
        self._arrived[dpid] = now
        return True

    def works(self, dpid: int, since: float) -> bool:
        """Whether one arrived by this switch since then."""
        return self._arrived.get(dpid, float("-inf")) >= since
