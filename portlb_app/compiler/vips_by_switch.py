"""From a configuration and its topology to the VIPs that each switch serves."""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app import topology as topologies
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Config, Switch
from portlb_app.pipeline import pool_number
from portlb_app.topology import Reachability, Topology
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions, PoolSlots
from portlb_app.topology.leaving import with_leaving


def vips_on_switch(
    config: Config, topology: Topology, switch: Switch, conditions: Conditions = AS_CONFIGURED
) -> Iterator[VipOnSwitch]:
    """The VIPs a switch serves, one for each reachability; `topology` is that of the links that work.

    A switch serves a VIP with servers it can reach, or whose servers' packets pass it; an entrance also serves VIPs
    without servers (row L5).
    """
    here, uplink = switch.name, topology.uplink(switch.name)
    if uplink is None:
        return
    every = topology.reachabilities(here)
    if switch.network is not None and not any(switch.network in each.ingress_ports for each in every):
        every = (*every, Reachability(frozenset({switch.network}), frozenset()))
    elif not every:
        every = (Reachability(frozenset(), frozenset()),)
    transit = topology.transit_upstream(here)
    next_hops = {target: topology.next_hop(here, target) for target in topology.server_switches}
    explicit: dict[str, dict[int, PoolSlots]] = {}
    for (name, port), slots in conditions.slots.items():
        explicit.setdefault(name, {})[port] = slots
    closed = conditions.closed | config.closed
    for vip in config.vips:
        servers = config.servers_of(vip)
        for number, reachability in enumerate(every):
            port_of = {
                server.name: next_hops[server.connector.switch] or server.connector.port
                for server in servers
                if server.connector.switch in reachability.switches
            }
            is_entrance = switch.network in reachability.ingress_ports
            passing = tuple(server for server in servers if server.connector.switch in transit)
            if not port_of and not (is_entrance and not servers) and not passing:
                continue
            yield VipOnSwitch(
                vip=vip,
                number=vip.number,
                pool_number=pool_number(vip.number, number),
                uplink=uplink,
                network=switch.network,
                all_servers=servers,
                attached=tuple(server for server in servers if server.connector.switch == here),
                transit_upstream=passing,
                port_of=port_of,
                ingress_ports=reachability.ingress_ports,
                reachability=number if len(every) > 1 else None,
                is_linked=bool(config.links),
                datapath=switch.datapath,
                explicit=explicit.get(vip.name, {}),
                closed=closed,
            )


class VipsBySwitch:
    """The VIPs on every switch of a configuration under some conditions, computed a few switches at a time.

    One switch of a large network takes about a millisecond, so all of them at once would delay other work.
    """

    def __init__(self, config: Config, conditions: Conditions, before: VipsBySwitch | None = None) -> None:
        self.config, self.conditions = config, conditions
        self._compiled = with_leaving(config, conditions.leaving)
        self._topology: Topology
        if before is not None and before.has_paths_of(config, conditions):
            self._topology = before._topology
        else:
            self._topology = topologies.of(config, conditions.links_down)
        self._pending = {switch.dpid: switch for switch in config.switches}
        self._known: dict[int, tuple[VipOnSwitch, ...]] = {}

    def is_for(self, config: Config, conditions: Conditions) -> bool:
        """Whether this is about the same object of a configuration; comparing two of 10,000 ports would take long."""
        return config is self.config and conditions == self.conditions

    def has_paths_of(self, config: Config, conditions: Conditions) -> bool:
        """Whether packets take the same paths, whichever servers get them."""
        return config is self.config and conditions.of_paths == self.conditions.of_paths

    def on(self, dpid: int) -> tuple[VipOnSwitch, ...]:
        """The VIPs on one switch; empty if the configuration does not name the switch."""
        if (switch := self._pending.pop(dpid, None)) is not None:
            self._known[dpid] = tuple(vips_on_switch(self._compiled, self._topology, switch, self.conditions))
        return self._known.get(dpid, ())

    def compute(self, most: int) -> bool:
        """Compute up to `most` more switches. Returns whether all are known."""
        for dpid in list(self._pending)[:most]:
            self.on(dpid)
        return not self._pending
