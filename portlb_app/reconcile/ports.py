"""Whether the ports that a configuration names are there: what a switch holds is of no use without them.

A port is known to a switch by its number; what is behind that is the interface with the name that was seen first under
the live configuration. Another name may be another wire: that is said until the next configuration becomes live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from portlb_app.config import Config
from portlb_app.openflow.messages import Port


@dataclass(frozen=True)
class PortProblem:
    """A port of the configuration that is not as it should be. `name` is the interface's, if there is one."""

    number: int
    name: str
    use: str
    problem: str

    def __str__(self) -> str:
        named = f" ({self.name})" if self.name else ""
        return f"port {self.number}{named}, {self.use}: {self.problem}"


def uses(config: Config) -> dict[int, dict[int, str]]:
    """What each switch, by datapath id, needs each of its ports for."""
    dpids = {switch.name: switch.dpid for switch in config.switches}
    found: dict[int, dict[int, str]] = {switch.dpid: {} for switch in config.switches}
    for switch in config.switches:
        if switch.network is not None:
            found[switch.dpid][switch.network] = "network side"
    for link in config.links:
        for end, other in ((link.one, link.other), (link.other, link.one)):
            found[dpids[end.switch]][end.port] = f"link to {other.switch}"
    for server in config.servers:
        ports = found[dpids[server.connector.switch]]
        known = ports.get(server.connector.port)
        ports[server.connector.port] = f"{known}, {server.name}" if known else f"connector of {server.name}"
    return found


class Ports:
    """What is wrong with the ports of the switches that are connected, by the live configuration."""

    def __init__(self) -> None:
        self._seen: dict[int, Mapping[int, Port]] = {}
        self._names: dict[tuple[int, int], str] = {}
        self._config: Config | None = None
        self._uses: dict[int, dict[int, str]] = {}
        self._problems: dict[int, tuple[PortProblem, ...]] = {}

    def see(self, dpid: int, ports: Mapping[int, Port]) -> None:
        """A switch tells which ports it has."""
        self._seen[dpid] = ports
        self._problems.pop(dpid, None)

    def forget(self, dpid: int) -> None:
        """A switch does not tell anything any more."""
        self._seen.pop(dpid, None)
        self._problems.pop(dpid, None)

    def adopt(self, config: Config) -> None:
        """Judge by this configuration from now on."""
        if config is not self._config:
            self._config, self._uses = config, uses(config)
            self._names, self._problems = {}, {}

    def problems(self, dpid: int) -> tuple[PortProblem, ...]:
        """What is wrong with a switch's ports, in the order of their numbers; nothing if it has told nothing."""
        if dpid not in self._seen:
            return ()
        if dpid not in self._problems:
            needed = sorted(self._uses.get(dpid, {}).items())
            found = (self._problem(dpid, number, use) for number, use in needed)
            self._problems[dpid] = tuple(each for each in found if each)
        return self._problems[dpid]

    def _problem(self, dpid: int, number: int, use: str) -> PortProblem | None:
        port = self._seen[dpid].get(number)
        if port is None:
            return PortProblem(number, "", use, "there is no such port")
        first = self._names.setdefault((dpid, number), port.name)
        if port.name != first:
            return PortProblem(number, port.name, use, f"it is another interface: {first} was here before")
        if not port.is_enabled:
            return PortProblem(number, port.name, use, "it is set down")
        if not port.has_carrier:
            return PortProblem(number, port.name, use, "it has no carrier")
        return None
