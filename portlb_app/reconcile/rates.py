"""How much passes the ports of switches: what each port has counted, and how much more that is a second later.

A switch tells it at each read. Counters that have gone down began anew with the switch or the port.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from portlb_app.openflow.messages import PortCounts

LEAST = 1.0
"""Seconds between two looks from which a rate is made, at least: a switch that was changed is read again at once."""


class Rate(NamedTuple):
    """What a port receives and sends, each second: bytes and packets; `lost`: packets dropped or in error."""

    received: float
    sent: float
    packets_received: float
    packets_sent: float
    lost: float


class Rates:
    """The rates of all ports, by datapath id and OpenFlow port."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[float, Mapping[int, PortCounts]]] = {}
        self._rates: dict[int, Mapping[int, Rate]] = {}

    def count(self, dpid: int, counts: Mapping[int, PortCounts], now: float) -> None:
        """A switch has told what its ports have counted by now."""
        known = self._counts.get(dpid)
        if known is not None and now < known[0] + LEAST:
            return
        self._counts[dpid] = now, counts
        if known is not None:
            at, before = known
            self._rates[dpid] = {
                port: _rate(before[port], each, now - at) for port, each in counts.items() if port in before
            }

    def forget(self, dpid: int) -> None:
        """A switch has gone: it counts anew when it is back."""
        self._counts.pop(dpid, None)
        self._rates.pop(dpid, None)

    def keep(self, dpids: Collection[int]) -> None:
        """Forget all other switches."""
        for dpid in self._counts.keys() - dpids:
            self.forget(dpid)

    def counted(self, dpid: int) -> tuple[float, Mapping[int, PortCounts]] | None:
        """When the ports of a switch were looked at, and what each had counted; None if that is not known."""
        return self._counts.get(dpid)

    def of(self, dpid: int, port: int) -> Rate | None:
        """The rate of a port; None if it is not known."""
        return self._rates.get(dpid, {}).get(port)


def _rate(before: PortCounts, now: PortCounts, seconds: float) -> Rate:
    pairs = zip(before, now, strict=True)
    received, sent, packets_received, packets_sent, lost = (
        (new - old if new >= old else new) / seconds for old, new in pairs
    )
    return Rate(received, sent, packets_received, packets_sent, lost)
