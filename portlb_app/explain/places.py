"""What is behind a port of a switch: a server, the network, another switch, the switch's own host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from portlb_app.config import Config, Connector, Rewrite, Server
from portlb_app.explain.headers import Fields
from portlb_app.openflow import LOCAL


def port_text(port: int) -> str:
    """A port's number, or the name of the bridge's own interface."""
    return "LOCAL" if port == LOCAL else str(port)


@dataclass(frozen=True)
class Place:
    """`kind` is one of server, network, link, host, unknown; `name` that of the server or the other switch."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        words = {"network": "the network side", "host": "the switch's own host", "unknown": "no known place"}
        named = "switch" if self.kind == "link" else self.kind
        return words.get(self.kind, f"{named} {self.name}")


@dataclass
class Places:
    """Those of a configuration."""

    config: Config
    links: dict[Connector, Connector] = field(init=False)
    """The other end of each link, whether it works or not."""

    def __post_init__(self) -> None:
        self.links = {end: link[1 - position] for link in self.config.links for position, end in enumerate(link)}
        self._network = {each.name: each.network for each in self.config.switches}
        self._vips = {vip.name: vip for vip in self.config.vips}

    def of(self, switch: str, port: int, fields: Fields | None = None) -> Place:
        """What is there; of several servers the one that a packet with these fields is for."""
        here = Connector(switch, port)
        if port == LOCAL:
            return Place("host", switch)
        if here in self.links:
            return Place("link", self.links[here].switch)
        servers = [each for each in self.config.servers if each.connector == here]
        if fields is not None:
            servers = [each for each in servers if len(servers) == 1 or self._is_for(each, fields)]
        is_network = self._network.get(switch) == port
        if is_network:
            servers = [each for each in servers if fields is not None and self._is_for(each, fields)]
        if servers:
            return Place("server", _names(servers))
        return Place("network", switch) if is_network else Place("unknown")

    def _is_for(self, server: Server, fields: Fields) -> bool:
        """Whether a packet is for a server that shares its connector: by its own MAC address, and its own address."""
        vip = self._vips[server.vip]
        if vip.rewrite is Rewrite.NOTHING or fields.get("eth_dst") != server.mac:
            return False
        own = {*server.addresses, *server.service_addresses} if vip.rewrite is Rewrite.ADDRESS else {*vip.addresses}
        to = {fields.get("ip_dst"), fields.get("ipv6_dst")}
        return not own or bool(to & set(map(int, own))) or vip.rewrite is Rewrite.MAC


def _names(servers: Iterable[Server]) -> str:
    return " or ".join(server.name for server in servers)
