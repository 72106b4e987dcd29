"""What agents of servers may be told: a service port is announced after the switches forward it, and until it is not.

A server's agent reads its service ports from the configuration, every few seconds. It is told a configuration when the
switches that links join to its server's were seen to have it, so each port of it is forwarded. A port that is not in it
any more is forwarded (`topology.leaving`) until the agent has had the time to read that; then the tables lose it, or
give it to the server that has it next, and only then that one's agent is told.

A switch that is not connected holds what it was last seen to hold. At the start all are taken to hold the file's
configuration, because the controller before has left them so; agents are told nothing until that was seen, or for
`HEARING`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from portlb_app import topology
from portlb_app.config import Config, Server, ServicePort
from portlb_app.reconcile.configuration import Configuration
from portlb_app.reconcile.network import Network
from portlb_app.topology.leaving import NOTHING, Leaving
from portlb_app.topology.links import HEARING

AGENTS_READ = 30.0
"""Seconds in which every agent that can has read what it is told: they ask every 10 s, and wait 5 s for an answer."""


class Announced:
    """Which configuration each server's agent is told, and which ports are forwarded because agents may announce them.

    `expire` comes before the conditions are made in each step, `proceed` after all of it.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._was = network.live
        self._heard_by: float | None = None
        self._told: dict[str, Configuration] = {}
        """The configuration that a server's agent is told, where it is not the live one."""
        self._leaving: dict[tuple[str, ServicePort], float] = {}
        """Ports that an agent may announce which is told the live configuration, that has them not; and until when."""
        self._holds: dict[int, Config] = {}
        """What each switch was last seen to hold of configurations that were live, and of `leaving`."""
        self._made: list[tuple[Config, Leaving]] = []
        self._joined: tuple[Config | None, Mapping[str, frozenset[int]]] = (None, {})

    def text(self, server: str) -> str | None:
        """The text that a server's agent may act on; None if there is none for it yet."""
        network = self._network
        if server in self._told:
            told = self._told[server]
            return told.text if server in told.config.server_by_name else None
        found = network.live.config.server_by_name.get(server)
        is_starting = self._heard_by is None or network.now < self._heard_by
        if found is not None and is_starting and not self._is_held(found):
            return None
        return network.live.text

    def config(self, server: str) -> Config:
        """The configuration that a server's agent is told, or will be if it is told none yet."""
        return self._told.get(server, self._network.live).config

    def leaving(self, config: Config) -> Leaving:
        """The ports that are forwarded beside those of a configuration, live or proposed.

        The same object until something changes: every event asks.
        """
        for known, found in self._made:
            if known is config:
                return found
        found = self.leaving_of(config)
        self._made = [(config, found), *self._made[:1]]
        return found

    def leaving_of(self, config: Config) -> Leaving:
        """The same for a configuration that is only looked at."""
        live = self._network.live.config
        found = {each for each in self._leaving if _may_keep(config, *each)}
        names = self._told.keys() if config is live else (server.name for server in config.servers)
        for name in names:
            before = self._told.get(name, self._network.live).config.server_by_name.get(name)
            after = config.server_by_name.get(name)
            if before is not None and after is not None and before.service_ports != after.service_ports:
                found.update((name, port) for port in before.service_ports if _may_keep(config, name, port))
        return frozenset(found) if found else NOTHING

    def expire(self) -> None:
        """Forget the ports that no agent announces any more; what switches hold is not what is wanted then."""
        over = [each for each, until in self._leaving.items() if self._network.now >= until]
        for each in over:
            del self._leaving[each]
        if over:
            self._holds.clear()
            self._made = []

    def proceed(self) -> None:
        """See which switches hold the live configuration, and which agents are told it."""
        network, live = self._network, self._network.live
        if self._heard_by is None:
            self._heard_by = network.now + HEARING
        if live.config is not self._was.config:
            self._begin(self._was, live)
        self._was = live
        if network.goal.is_for(live):
            for switch in network.members():
                if network.has_goal(switch):
                    self._holds[switch.dpid] = live.config
        if not self._told:
            return
        lent = {(live.config.server_by_name[name].vip, port.port): name for name, port in self.leaving(live.config)}
        for name in list(self._told):
            server = live.config.server_by_name.get(name)
            if server is None:
                del self._told[name]
                self._made = []
            elif self._is_held(server) and not _is_lent(server, lent):
                self._tell(server, self._told.pop(name).config.server_by_name.get(name))

    def _begin(self, before: Configuration, after: Configuration) -> None:
        """Another configuration is live: agents whose servers are others in it hear of it when it is forwarded."""
        for server in after.config.servers:
            known = self._told.get(server.name, before)
            was = known.config.server_by_name.get(server.name)
            if was is None or _named(was) != _named(server):
                self._told[server.name] = known
        self._leaving = {each: until for each, until in self._leaving.items() if _may_keep(after.config, *each)}
        self._made = []

    def _tell(self, server: Server, before: Server | None) -> None:
        """A server's agent is told the live configuration from now on. What that lacks is forwarded for a while."""
        self._made = []
        for port in before.service_ports if before else ():
            if _may_keep(self._network.live.config, server.name, port):
                self._leaving[server.name, port] = self._network.now + AGENTS_READ

    def _is_held(self, server: Server) -> bool:
        """Whether all switches that links join to a server's were seen to hold the live configuration."""
        live = self._network.live.config
        return all(self._holds.get(dpid) is live for dpid in self._switches(server))

    def _switches(self, server: Server) -> Iterable[int]:
        config = self._network.live.config
        if self._joined[0] is not config:
            dpids = {switch.name: switch.dpid for switch in config.switches}
            parts = topology.joined(config)
            known = {part: frozenset(dpids[each] for each in part) for part in set(parts.values())}
            self._joined = config, {name: known[part] for name, part in parts.items()}
        return self._joined[1][server.connector.switch]


def _may_keep(config: Config, name: str, port: ServicePort) -> bool:
    """Whether a port that a server had can be forwarded to it, although a configuration does not say so."""
    server = config.server_by_name.get(name)
    if server is None or any(each.port == port.port for each in server.service_ports):
        return False
    return not any(vip.name == server.vip and vip.pool_on(port.port) for vip in config.vips)


def _is_lent(server: Server, lent: Mapping[tuple[str, int], str]) -> bool:
    """Whether a port of a server is still forwarded to the one that had it before."""
    return any(lent.get((server.vip, port.port), server.name) != server.name for port in server.service_ports)


def _named(server: Server) -> tuple[object, ...]:
    """All that an agent announces of its server."""
    return server.vip, server.service_ports, server.service_addresses, server.service_mac, server.service_label
