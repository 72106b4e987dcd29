"""Whether servers' connectors work, as switches report it about their ports.

A connector is down as soon as its switch reports that the port is down, has no carrier, or is missing. One that comes
back must stay up for a while before its servers are used again, twice as long with each time that it went down shortly
before (`topology.damping`), so that a cable that flaps does not move connections to and fro. A switch that is not
connected reports nothing, and what it said last still counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from portlb_app.backends.states import PORT, Evidence
from portlb_app.config import Config, Connector
from portlb_app.openflow.messages import Port
from portlb_app.topology.damping import Downs

End = tuple[int, int]
"""A datapath id and an OpenFlow port."""


class Connectors:
    """What was said last about every connector, and since when those are up again that were down."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._servers: dict[End, list[str]] = {}
        self._named: dict[End, Connector] = {}
        self._ends: dict[int, list[End]] = {}
        self._ports: dict[int, Mapping[int, Port]] = {}
        self._problems: dict[End, str] = {}
        """What is wrong with a connector, empty for nothing; nothing for one that was never reported."""
        self._downs: dict[End, Downs] = {}
        self._waiting: dict[End, float] = {}
        """Since when a connector is up again that is not used yet."""
        self._news: list[End] = []

    def adopt(self, config: Config, now: float) -> None:
        """Tell about the connectors of this configuration from now on."""
        if config is self._config:
            return
        self._config = config
        dpids = {switch.name: switch.dpid for switch in config.switches}
        self._servers, self._named, self._ends = {}, {}, {}
        for server in config.servers:
            end = dpids[server.connector.switch], server.connector.port
            self._servers.setdefault(end, []).append(server.name)
            self._named[end] = server.connector
        for end in self._servers:
            self._ends.setdefault(end[0], []).append(end)
        for known in (self._problems, self._downs, self._waiting):
            for end in known.keys() - self._servers.keys():
                known.pop(end, None)
        self._news = list(self._problems)
        for dpid, ports in self._ports.items():
            self._look(dpid, ports, now)

    def see(self, dpid: int, ports: Mapping[int, Port], now: float) -> None:
        """A switch tells which ports it has."""
        self._ports[dpid] = ports
        self._look(dpid, ports, now)

    def _look(self, dpid: int, ports: Mapping[int, Port], now: float) -> None:
        for end in self._ends.get(dpid, ()):
            problem, before = _problem(ports.get(end[1])), self._problems.get(end)
            if problem:
                self._waiting.pop(end, None)
                self._downs.setdefault(end, Downs()).report(True, now)
                if problem != before:
                    self._problems[end] = problem
                    self._news.append(end)
            elif before is None:
                self._problems[end] = ""
                self._news.append(end)
            elif before and end not in self._waiting:
                self._downs.setdefault(end, Downs()).report(False, now)
                self._waiting[end] = now

    def news(self, now: float) -> Iterator[tuple[str, Evidence]]:
        """What is to be said about servers that was not said before."""
        for end in [end for end, since in self._waiting.items() if now - since >= self._downs[end].hold(now)]:
            del self._waiting[end]
            self._problems[end] = ""
            self._news.append(end)
        news, self._news = dict.fromkeys(self._news), []
        for end in news:
            problem = self._problems[end]
            reason = f"port {self._named[end]} {problem or 'is up'}"
            for server in self._servers[end]:
                yield server, Evidence(PORT, not problem, reason, now)


def _problem(port: Port | None) -> str:
    """What is wrong with a port, as the end of a sentence; empty for nothing."""
    if port is None:
        return "is missing"
    if not port.is_enabled:
        return "is set down"
    return "" if port.has_carrier else "has no carrier"
