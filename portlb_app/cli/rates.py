"""Rates of servers and pools, from counters that are read now and then. Pure.

The controller knows counters as its switches were last read. So a rate is that between the last two reads, and not
between the last two looks, most of which see the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from portlb_app.cli.scrape import Sample

OF_SERVER, OF_POOL, READ_AT = (
    "portlb_server_packets_total", "portlb_pool_packets_total", "portlb_switch_last_read_timestamp_seconds"
)  # fmt: skip
SERVER_BYTES = "portlb_server_bytes_total"
Key = tuple[str, ...]


@dataclass
class _Counter:
    value: float
    read_at: float
    rate: float | None = None


@dataclass
class Rates:
    """Take samples by `take`; a rate (a second) is known from the second read of its switch on."""

    _counters: dict[Key, _Counter] = field(default_factory=dict)
    read_at: dict[str, float] = field(default_factory=dict)
    """When each switch was last read, Unix seconds."""

    def take(self, samples: Iterable[Sample], switch_of: Mapping[str, str]) -> None:
        """Look at one scrape. `switch_of`: the switch of each server."""
        kept = [each for each in samples if each.name in (OF_SERVER, SERVER_BYTES, OF_POOL, READ_AT)]
        self.read_at = {each.labels["switch"]: each.value for each in kept if each.name == READ_AT}
        newest = max(self.read_at.values(), default=0.0)
        for sample in kept:
            if sample.name in (OF_SERVER, SERVER_BYTES):
                at = self.read_at.get(switch_of.get(sample.labels["server"], ""), 0.0)
                self._count((sample.name, sample.labels["server"], sample.labels["direction"]), sample.value, at)
            elif sample.name == OF_POOL:
                self._count((sample.name, sample.labels["vip"], sample.labels["port"]), sample.value, newest)

    def of_server(self, name: str, direction: str) -> float | None:
        """Packets a second."""
        return self._rate((OF_SERVER, name, direction))

    def bits_of_server(self, name: str, direction: str) -> float | None:
        """Bits of frames a second."""
        rate = self._rate((SERVER_BYTES, name, direction))
        return None if rate is None else 8 * rate

    def of_pool(self, vip: str, port: int) -> float | None:
        """Packets a second."""
        return self._rate((OF_POOL, vip, str(port)))

    def _rate(self, key: Key) -> float | None:
        found = self._counters.get(key)
        return None if found is None else found.rate

    def _count(self, key: Key, value: float, at: float) -> None:
        known = self._counters.get(key)
        if known is None or value < known.value:  # the controller was started anew
            self._counters[key] = _Counter(value, at)
        elif at > known.read_at:
            known.rate = (value - known.value) / (at - known.read_at)
            known.value, known.read_at = value, at


def share(part: float | None, total: float) -> float | None:
    """A part in per cent; None if there is nothing to have a part of."""
    return None if part is None or total <= 0 else 100 * part / total


def slot_share(server: dict[str, Any]) -> float | None:
    """A server's slots, in per cent of those of all pools that it is in."""
    return share(server["held"]["slots"], sum(pool["of"] for pool in server["held"]["pools"]))
