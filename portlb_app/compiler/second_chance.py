"""Who hands what back to whom, and which switches that passes (docs/second-chance.md).

A server of a slot that has moved hands back what it does not know, and the slot's former servers get it, one after the
other: by the path that packets take from the one's switch to the other's. That path depends on the topology alone, not
on a reachability, because such a packet does not come from an entrance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from portlb_app.config import Config, Server, Vip
from portlb_app.topology import Topology
from portlb_app.topology.conditions import Conditions, PoolSlots


@dataclass(frozen=True)
class Chain:
    """The servers that are to be tried for a packet to a redirect port of a VIP, one after the other."""

    vip: Vip
    port: int
    servers: tuple[Server, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of these."""
        return tuple(server.name for server in self.servers)


@dataclass(frozen=True)
class HandBack:
    """The part of one switch.

    `givers`: by name of a VIP, its servers on this switch that may hand back. `chains`: what passes this switch on its
    way to the first server of each, with the OpenFlow port of the link there; None: the server's connector is here.
    `vips`: the VIPs whose packets may have a mark.
    """

    givers: Mapping[str, tuple[Server, ...]] = field(default_factory=dict)
    chains: tuple[tuple[Chain, int | None], ...] = ()
    vips: tuple[Vip, ...] = ()


NOTHING = HandBack()
"""No slot has a former server."""


def hand_backs(config: Config, topology: Topology, conditions: Conditions) -> Mapping[str, HandBack]:
    """By switch, its part; empty if no slot has a former server. Deterministic."""
    givers: dict[tuple[str, str], set[Server]] = {}
    chains: dict[str, dict[Chain, int | None]] = {}
    vips = {vip.name: vip for vip in config.vips}
    for key, slots in sorted(conditions.slots.items()):
        if not slots.formers:
            continue
        vip = vips[key[0]]
        ports = [pool.port for pool in vip.redirect_ports if key[1] in (pool.port, *(when.pool for when in pool.when))]
        steps = {*_steps(config, conditions, key[0], slots), *_astray(config, conditions, key[0], slots)}
        for giver, _ in steps:
            givers.setdefault((giver.connector.switch, vip.name), set()).add(giver)
        for switch, chain in {(giver.connector.switch, tried) for giver, tried in steps}:
            for here, link in _path(topology, switch, chain[0]):
                for port in ports:
                    chains.setdefault(here, {})[Chain(vip, port, chain)] = link
    marked = tuple(vips[name] for name in sorted({name for _, name in givers}))
    if not marked:
        return {}
    return {
        switch.name: HandBack(
            {name: _sorted(some) for (here, name), some in sorted(givers.items()) if here == switch.name},
            tuple(sorted(chains.get(switch.name, {}).items(), key=_order)),
            marked,
        )
        for switch in config.switches
    }


def _steps(
    config: Config, conditions: Conditions, vip: str, slots: PoolSlots
) -> set[tuple[Server, tuple[Server, ...]]]:
    """Who may hand back, each with the servers that are then to be tried: a slot's server, and its former ones.

    Behind a router the mark is lost, so the chain ends there.
    """
    found = set()
    by_name = config.server_by_name
    for names in {(server, *earlier) for server, earlier in zip(slots.servers, slots.formers, strict=True) if earlier}:
        known = [by_name[name] for name in names if name in by_name and by_name[name].vip == vip]
        chain = tuple(server for server in known if server.name not in conditions.closed)
        for at, giver in enumerate(chain[:-1]):
            if giver.routers:
                break
            found.add((giver, chain[at + 1 :]))
    return found


def _astray(
    config: Config, conditions: Conditions, vip: str, slots: PoolSlots
) -> Iterator[tuple[Server, tuple[Server, ...]]]:
    """The same for servers of other switches, which get packets of a slot while a change goes from switch to switch.

    They are given the slot where its own server cannot be reached (`VipOnSwitch.tried`).
    """
    if not config.links:
        return
    known = {server.name: server for server in config.servers if server.vip == vip}
    servers = [known[name] for name in sorted(set(slots.servers)) if name in known]
    for names in {(server, *earlier) for server, earlier in zip(slots.servers, slots.formers, strict=True) if earlier}:
        chain = tuple(known[name] for name in names if name in known and name not in conditions.closed)
        for giver in servers if chain else ():
            if giver not in chain[:1] and not giver.routers and giver.connector.switch != chain[0].connector.switch:
                yield giver, chain


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


def _order(each: tuple[Chain, int | None]) -> tuple[str, int, tuple[str, ...]]:
    chain, _ = each
    return chain.vip.name, chain.port, chain.names
