"""Where things are, and the ways between: switches, links, network sides and servers' connectors, as a networkx graph.

Any graph will do in which links lead from every server to a network side; several switches may have one.

*Down*, a packet takes a shortest way to the switch its server is on. Which way depends on the switch it is at and on
the one it shall reach, and on nothing else, so no way runs in a circle and all entrances agree. Of several shortest
ones, the two switches' names decide (rendezvous hashing), which spreads them, and moves no other when one goes.

A switch that chooses a server for a packet must choose one that the packet can reach without turning back. What it may
choose from is its *view* from the port the packet came in by: what lies on the ways that enter there. With several
network sides, the ways of one may enter there for more than the ways of another. Then no switch could tell, so all
packets take the ways of one spanning tree instead, in which a link has the same servers beyond it for everybody.

*Up*, a packet goes towards the nearest network side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from portlb_app.config import Config, Link


@dataclass(frozen=True)
class View:
    """What a switch can reach for packets that come in by these of its OpenFlow ports: the servers of `switches`."""

    entrances: frozenset[int]
    switches: frozenset[str]


@dataclass(frozen=True)
class Topology:
    """Switches (nodes) and the links that work (edges); `network` has the OpenFlow port of each network side.

    `homes` are the switches with servers. `graph` has the links that packets take.
    """

    graph: nx.Graph[str]
    network: Mapping[str, int]
    homes: frozenset[str]
    ports: Mapping[tuple[str, str], int]
    """The OpenFlow port of a switch towards a neighbour."""

    def towards(self, switch: str, target: str) -> int | None:
        """The OpenFlow port by which packets leave a switch for another one; None if no link leads there."""
        hop = self._next(switch, target)
        return None if hop is None else self.ports[switch, hop]

    def views(self, switch: str) -> tuple[View, ...]:
        """What a switch sees from each of its entrances, the widest view first; entrances that see the same are one."""
        by_switches: dict[frozenset[str], set[int]] = {}
        for port, switches in self._beyond.get(switch, {}).items():
            by_switches.setdefault(switches, set()).add(port)
        views = (View(frozenset(entrances), switches) for switches, entrances in by_switches.items())
        return tuple(sorted(views, key=lambda view: (-len(view.switches), sorted(view.entrances))))

    def up(self, switch: str) -> int | None:
        """The OpenFlow port by which servers' packets leave a switch; None where no network side can be reached."""
        if switch in self.network:
            return self.network[switch]
        parent = self._parents.get(switch)
        return None if parent is None else self.ports[switch, parent]

    def rising(self, switch: str) -> frozenset[str]:
        """The other switches whose servers' packets pass this one on their way up."""
        return frozenset(self._risers.get(switch, ()))

    def depth(self, switch: str) -> int:
        """Links between a switch and the nearest network side; past all others where none can be reached."""
        return self._depths.get(switch, len(self.graph))

    # ---- down ----

    def _next(self, switch: str, target: str) -> str | None:
        distances = self._distances.get(target, {})
        if switch not in distances or switch == target:
            return None
        nearer = (each for each in self.graph[switch] if distances[each] == distances[switch] - 1)
        return min(nearer, key=lambda each: _score(target, each))

    @cached_property
    def _distances(self) -> dict[str, dict[str, int]]:
        """From every home, how many links away each switch is."""
        return {home: dict(nx.single_source_shortest_path_length(self.graph, home)) for home in self.homes}

    def ways(self) -> Iterator[tuple[str, str, int, str]]:
        """For every way down: where it begins, each switch and port it enters by (the network side first), its home."""
        for root in self.network:
            for home in self.homes:
                if root not in self._distances[home]:
                    continue
                here, port = root, self.network[root]
                while True:
                    yield root, here, port, home
                    after = self._next(here, home)
                    if after is None:
                        break
                    here, port = after, self.ports[after, here]

    @cached_property
    def _beyond(self) -> dict[str, dict[int, frozenset[str]]]:
        """For each switch and each port that ways enter by: the homes they lead to."""
        found: dict[str, dict[int, set[str]]] = {}
        for _, switch, port, home in self.ways():
            found.setdefault(switch, {}).setdefault(port, set()).add(home)
        return {
            switch: {port: frozenset(homes) for port, homes in by_port.items()} for switch, by_port in found.items()
        }

    def agrees(self) -> bool:
        """Whether the ways that enter a switch by a port lead to the same homes, wherever they begin."""
        found: dict[tuple[str, int], dict[str, set[str]]] = {}
        for root, switch, port, home in self.ways():
            found.setdefault((switch, port), {}).setdefault(root, set()).add(home)
        return all(len(set(map(frozenset, by_root.values()))) == 1 for by_root in found.values())

    # ---- up ----

    @cached_property
    def _depths(self) -> dict[str, int]:
        layers = nx.bfs_layers(self.graph, list(self.network))
        return {switch: depth for depth, layer in enumerate(layers) for switch in layer}

    @cached_property
    def _parents(self) -> dict[str, str]:
        return {
            switch: min(
                (each for each in self.graph[switch] if self._depths[each] == depth - 1),
                key=lambda each: _score(switch, each),
            )
            for switch, depth in self._depths.items()
            if depth > 0
        }

    @cached_property
    def _risers(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for home in self.homes:
            here = self._parents.get(home)
            while here is not None:
                found.setdefault(here, set()).add(home)
                here = self._parents.get(here)
        return found


def of(config: Config, down: Iterable[Link] = ()) -> Topology:
    """The topology a configuration describes, without the links that are down."""
    whole: nx.Graph[str] = nx.Graph()
    whole.add_nodes_from(switch.name for switch in config.switches)
    ports: dict[tuple[str, str], int] = {}
    broken = set(down)
    for link in config.links:
        one, other = link
        if link not in broken and (one.switch, other.switch) not in ports:  # of parallel links, the first
            whole.add_edge(one.switch, other.switch)
            ports[one.switch, other.switch], ports[other.switch, one.switch] = one.port, other.port
    network = {switch.name: switch.network for switch in config.switches if switch.network is not None}
    homes = frozenset(server.connector.switch for server in config.servers)
    topology = Topology(whole, network, homes, ports)
    if topology.agrees():
        return topology
    return Topology(_spanning_forest(whole, sorted(network)), network, homes, ports)


def _spanning_forest(graph: nx.Graph[str], roots: Iterable[str]) -> nx.Graph[str]:
    """Breadth first from the first network side by name, and from the first of those it does not reach, and so on."""
    forest: nx.Graph[str] = nx.Graph()
    forest.add_nodes_from(graph)
    reached: set[str] = set()
    for root in roots:
        if root not in reached:
            tree = list(nx.bfs_edges(graph, root, sort_neighbors=sorted))
            forest.add_edges_from(tree)
            reached.update((root, *(child for _, child in tree)))
    return forest


def _score(target: str, hop: str) -> bytes:
    return hashlib.blake2b(f"{target}\0{hop}".encode(), digest_size=8).digest()
