"""What servers' agents report of them, as long as it counts: three heartbeats may be missing. Pure.

A report is no evidence that a server is up: its programs may be broken while its agent works. A server whose agent is
silent is not down either, but unknown to this source. What an agent has said ends with its heartbeats.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Set
from dataclasses import dataclass

from portlb_app.config import Config
from portlb_app.net.heartbeat import UNKNOWN, VALID, Heartbeat, State
from portlb_app.selection import least
from portlb_app.topology.conditions import PoolKey

FAILING = 0.2
"""How much larger a part of a server's openings may end at once than of the pool's other servers', before it counts."""
PRESSED = 500
"""Per mille of the time that a host's work may wait before that counts as load."""


@dataclass(frozen=True)
class Report:
    """A server's last heartbeat, when it came, and until when it counts; `first`: since when there are any."""

    heartbeat: Heartbeat
    at: float
    until: float
    first: float


class Reports:
    """The reports of all servers that have an agent."""

    def __init__(self) -> None:
        self._reports: dict[str, Report] = {}

    def keep(self, servers: Collection[str]) -> None:
        """Forget all servers but these."""
        self._reports = {name: each for name, each in self._reports.items() if name in servers}

    def hear(self, server: str, heartbeat: Heartbeat, now: float) -> None:
        """A server's agent has said this."""
        known = self._reports.get(server)
        first = known.first if known is not None and now < known.until else now
        self._reports[server] = Report(heartbeat, now, now + (heartbeat.valid or VALID), first)

    def expire(self, now: float) -> list[str]:
        """The servers whose agents have become silent; they are forgotten."""
        silent = [name for name, each in self._reports.items() if now >= each.until]
        for name in silent:
            del self._reports[name]
        return silent

    @property
    def names(self) -> Set[str]:
        """The servers that have a report."""
        return self._reports.keys()

    def of(self, server: str) -> Report | None:
        """A server's report, if one counts."""
        return self._reports.get(server)

    def state(self, server: str) -> State | None:
        """What a server's agent says of it; None: it says nothing."""
        report = self._reports.get(server)
        return None if report is None else report.heartbeat.state

    def open(self, server: str) -> int | None:
        """A server's open connections in all; None if nothing is known of them."""
        report = self._reports.get(server)
        return None if report is None else report.heartbeat.open

    def loads(self, config: Config, key: PoolKey, servers: Iterable[str], now: float) -> dict[str, least.Report]:
        """What is known of the load of a pool's servers, for `selection: least`."""
        found = {name: report for name in servers if (report := self._reports.get(name)) is not None}
        held = {name: open_in_pool(config, key, name, each.heartbeat) for name, each in found.items()}
        rates = {name: _of_pool(each.heartbeat, held[name]) for name, each in found.items()}
        shares = {name: _failing(each.heartbeat) for name, each in found.items()}
        usual = statistics.median_low(shares.values()) if shares else 0.0
        plain = {name: least.Report(0.0, held[name], rates[name]) for name in found}
        lives = least.lifetime(plain)
        return {
            name: least.Report(
                least.load_of(
                    held[name],
                    max(0.0, shares[name] - usual - FAILING) * (rates[name] + each.heartbeat.resets),
                    lives,
                    config.server_by_name[name].weight,
                    _pressure(each.heartbeat),
                ),
                held[name],
                rates[name],
                now - each.at,
                now - each.first,
            )
            for name, each in found.items()
        }


def open_in_pool(config: Config, key: PoolKey, server: str, heartbeat: Heartbeat) -> int:
    """Open connections of a pool at a server: at the redirect port, and at the service ports they continue on."""
    _, port = key
    owned = {each.port for each in config.server_by_name[server].service_ports if each.application == port}
    return sum(heartbeat.by_port.get(each, 0) for each in owned | {port})


def _of_pool(heartbeat: Heartbeat, held: int) -> float:
    """Openings a second of a pool: as many of the host's as of its open connections."""
    return heartbeat.openings * held / heartbeat.open if heartbeat.open else heartbeat.openings


def _failing(heartbeat: Heartbeat) -> float:
    """The part of the attempts to open that ended at once."""
    attempts = heartbeat.openings + heartbeat.resets
    return (heartbeat.short + heartbeat.resets) / attempts if attempts else 0.0


def _pressure(heartbeat: Heartbeat) -> float:
    """How much of the time beyond `PRESSED` the host's work waits, from 0 to 1."""
    known = [each for each in (heartbeat.cpu, heartbeat.io) if each != UNKNOWN]
    return max(0, max(known, default=0) - PRESSED) / (1000 - PRESSED)
