"""Who hands what back to whom, and which switches that passes (docs/second-chance.md).

A server of a slot that has moved hands back what it does not know, and the slot's former server gets it: by the path
that packets take from the one's switch to the other's. That path depends on the topology alone, not on a reachability,
because such a packet does not come from an entrance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from portlb_app.config import Config, Server, Vip
from portlb_app.topology import Topology
from portlb_app.topology.conditions import Conditions


@dataclass(frozen=True)
class HandBack:
    """The part of one switch.

    `givers`: by name of a VIP, its servers on this switch that may hand back. `takers`: by name of a VIP and redirect
    port, the servers that such packets go to by way of this switch, each with the OpenFlow port of the link; None: the
    server's connector is here. `vips`: the VIPs whose packets may have a mark.
    """

    givers: Mapping[str, tuple[Server, ...]] = field(default_factory=dict)
    takers: Mapping[tuple[str, int], tuple[tuple[Server, int | None], ...]] = field(default_factory=dict)
    vips: tuple[Vip, ...] = ()


NOTHING = HandBack()
"""No slot has a former server."""


def hand_backs(config: Config, topology: Topology, conditions: Conditions) -> Mapping[str, HandBack]:
    """By switch, its part; empty if no slot has a former server. Deterministic."""
    givers: dict[tuple[str, str], set[Server]] = {}
    takers: dict[str, dict[tuple[str, int], dict[Server, int | None]]] = {}
    vips = {vip.name: vip for vip in config.vips}
    for key, pairs in _pairs(config, conditions).items():
        switches: set[tuple[str, Server]] = set()
        vip = vips[key[0]]
        ports = [pool.port for pool in vip.redirect_ports if key[1] in (pool.port, *(when.pool for when in pool.when))]
        for giver, taker in pairs:
            givers.setdefault((giver.connector.switch, key[0]), set()).add(giver)
            switches.add((giver.connector.switch, taker))
        for switch, taker in switches:
            for here, link in _path(topology, switch, taker):
                for port in ports:
                    takers.setdefault(here, {}).setdefault((vip.name, port), {})[taker] = link
    marked = tuple(vips[name] for name in sorted({name for _, name in givers}))
    if not marked:
        return {}
    return {
        switch.name: HandBack(
            {name: _sorted(some) for (here, name), some in sorted(givers.items()) if here == switch.name},
            {key: _ports(ports) for key, ports in sorted(takers.get(switch.name, {}).items())},
            marked,
        )
        for switch in config.switches
    }


def _pairs(config: Config, conditions: Conditions) -> Mapping[tuple[str, int], set[tuple[Server, Server]]]:
    """By pool, who may hand back to whom: a slot's server to its latest former one, that to the one before."""
    found: dict[tuple[str, int], set[tuple[Server, Server]]] = {}
    by_name = config.server_by_name
    for key, slots in sorted(conditions.slots.items()):
        chains = {(server, *earlier) for server, earlier in zip(slots.servers, slots.formers) if earlier}
        for chain in chains:
            known = [by_name[name] for name in chain if name in by_name and by_name[name].vip == key[0]]
            open_ones = [server for server in known if server.name not in conditions.closed]
            found.setdefault(key, set()).update(
                (one, next_one) for one, next_one in zip(open_ones, open_ones[1:]) if not one.routers
            )
    return found


def _path(topology: Topology, switch: str, taker: Server) -> Iterator[tuple[str, int | None]]:
    """The switches from one to the taker's, each with the port of the next link; None where the taker is."""
    here, target = switch, taker.connector.switch
    steps: list[tuple[str, int | None]] = []
    while here != target:
        port, after = topology.next_hop(here, target), topology.next_switch(here, target)
        if port is None or after is None:
            return
        steps.append((here, port))
        here = after
    yield from (*steps, (here, None))


def _sorted(servers: set[Server]) -> tuple[Server, ...]:
    return tuple(sorted(servers, key=lambda server: server.name))


def _ports(by_server: Mapping[Server, int | None]) -> tuple[tuple[Server, int | None], ...]:
    return tuple((server, by_server[server]) for server in _sorted(set(by_server)))
