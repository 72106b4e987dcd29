"""Where things are: switches, their network side and their servers' connectors, as a networkx graph.

Today every VIP lives on one switch, so a path is one hop; the graph is what trees of switches will walk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx

from portlb_app.config import Config

_NETWORK = ("network", "")


@dataclass(frozen=True)
class Topology:
    """The graph: nodes are ``("network", "")``, ``("switch", name)`` and ``("server", name)``.

    An edge carries, as ``port``, the OpenFlow port by which its switch reaches the other end.
    """

    graph: nx.Graph[tuple[str, str]]

    def reaches(self, switch: str) -> Mapping[str, int]:
        """The servers a switch can reach, and the OpenFlow port towards each."""
        return {
            name: data["port"]
            for _, (kind, name), data in self.graph.edges(("switch", switch), data=True)
            if kind == "server"
        }

    def network_port(self, switch: str) -> int:
        """The OpenFlow port of a switch towards its network side."""
        port: int = self.graph.edges[_NETWORK, ("switch", switch)]["port"]
        return port


def of(config: Config) -> Topology:
    """The topology a configuration describes."""
    graph: nx.Graph[tuple[str, str]] = nx.Graph()
    for switch in config.switches:
        graph.add_edge(_NETWORK, ("switch", switch.name), port=switch.network)
    for server in config.servers:
        graph.add_edge(("switch", server.connector.switch), ("server", server.name), port=server.connector.port)
    return Topology(graph)
