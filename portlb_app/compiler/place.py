"""One VIP on one switch, from some of its entrances: what the files of the compiler look at."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from portlb_app import topology as topologies
from portlb_app.compiler.memo import Memo
from portlb_app.config import Address, Config, Forwarding, Legacy, Link, RedirectPort, Rewrite, Server, Switch, Vip
from portlb_app.openflow import IN_PORT, Action, Meter, Output, SetField
from portlb_app.pipeline import OF_ALL_VIPS, VIEW, Family, Reason, Side, pool_number
from portlb_app.selection import rows_among
from portlb_app.topology import Topology, View


@dataclass(frozen=True)
class Place:
    """A VIP as one switch sees it from some of its entrances.

    `every`: all servers of the VIP. `port_of`: the OpenFlow port towards each that can be reached from here, be it the
    server's connector or a link. `attached`: those whose connector is here. `rising`: those elsewhere whose packets
    come by here on their way up, to the port `up`. `network`: the port of the switch's own network side, if it has one.
    """

    vip: Vip
    number: int
    pool_number: int
    """The VIP's number in the numbers of groups: one for each view."""
    up: int
    network: int | None
    every: tuple[Server, ...]
    attached: tuple[Server, ...]
    rising: tuple[Server, ...]
    port_of: Mapping[str, int]
    entrances: frozenset[int]
    view: int | None = None
    """The number of the view, where the switch has several."""
    is_linked: bool = False
    """Whether it is one of several switches."""
    datapath: Forwarding = Forwarding.USERSPACE
    rates: Mapping[tuple[str, int], Meter] = field(default_factory=dict)
    """The meters of its services with a rate, by kind of port and port."""
    meters: Mapping[tuple[Reason, str, int], Meter] = field(default_factory=dict)
    """The meters of what is handed up, by reason, VIP and port."""
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)

    @cached_property
    def servers(self) -> tuple[Server, ...]:
        """The servers that can be reached from here."""
        return tuple(server for server in self.every if server.name in self.port_of)

    @cached_property
    def by_name(self) -> Mapping[str, Server]:
        """Its servers by name."""
        return {server.name: server for server in self.every}

    @cached_property
    def owners(self) -> Mapping[int, str]:
        """Who owns each service port of the VIP."""
        return {owned.port: server.name for server in self.every for owned in server.service_ports}

    @cached_property
    def applications(self) -> Mapping[int, int]:
        """The port on which connections open that go on, redirected, on each service port."""
        return {owned.port: owned.application for server in self.every for owned in server.service_ports}

    @cached_property
    def marks(self) -> Mapping[str, int]:
        """A number of 32 bits for each of its servers, from 1, by which connections are remembered.

        It is made from the name, so that it stays when other servers come and go; where two meet (once in millions of
        VIPs), the later name in the alphabet takes the next one.
        """
        taken: dict[int, str] = {}
        for name in sorted(server.name for server in self.every):
            number = zlib.crc32(name.encode())
            while number in taken or number == 0:
                number = (number + 1) % (1 << 32)
            taken[number] = name
        return {name: number for number, name in taken.items()}

    @cached_property
    def pools(self) -> tuple[RedirectPort, ...]:
        """The VIP's redirect ports: at an entrance all of them, else those that bring anybody's packets here."""
        pools = self.vip.redirect_ports
        return tuple(pool for pool in pools if self.is_entrance or self.reachable(self._answering(pool)))

    def _answering(self, pool: RedirectPort) -> tuple[str, ...]:
        """Who may get a packet to a redirect port: its pool, and who gets its plain clients."""
        if pool.legacy is Legacy.OWNER:
            return (*pool.servers, self.owners[pool.port])
        if pool.legacy is Legacy.DEFAULT and self.vip.default_server is not None:
            return (*pool.servers, self.vip.default_server)
        return pool.servers

    @property
    def is_entrance(self) -> bool:
        """Whether clients' packets enter here from the network side."""
        return self.network in self.entrances

    @property
    def seen(self) -> Mapping[str, int]:
        """What packets match that came in by these entrances, where others see something else."""
        return {} if self.view is None else {VIEW: self.view}

    @property
    def is_on_the_way(self) -> bool:
        """Whether packets to the VIP come by here; if not, only servers' packets do."""
        return self.is_entrance or bool(self.port_of)

    @property
    def from_clients(self) -> Iterator[Mapping[str, int]]:
        """What packets on their way down match: from the network side, and from links."""
        if self.is_entrance:
            yield {"reg0": Side.NETWORK}
        if self.entrances - {self.network}:
            yield {"reg0": Side.LINK, **self.seen}

    def meter(self, reason: Reason, port: int = 0) -> int:
        """The number of the meter for what is handed up of this VIP (and port) for a reason.

        For what may be about several VIPs there is one meter: errors of a router before their servers, and queries.
        """
        vip = "" if reason in OF_ALL_VIPS else self.vip.name
        return self.meters[reason, vip, port].number

    def reachable(self, servers: tuple[str, ...]) -> tuple[str, ...]:
        """Those of some servers of the VIP that can be reached from here."""
        return tuple(name for name in servers if name in self.port_of)

    def rows(self, servers: tuple[str, ...]) -> tuple[str, ...]:
        """The rows of some servers of the VIP, as far as they can be reached from here; none for nobody."""
        weights = tuple(self.by_name[name].weight for name in servers)
        return rows_among(servers, weights, frozenset(self.reachable(servers)))

    @cached_property
    def named(self) -> Mapping[Address, Server]:
        """Its servers by their service addresses (row X1)."""
        return {address: server for server in self.servers for address in server.service_addresses}

    def deliver(self, server: str, family: Family) -> tuple[Action, ...]:
        """The actions that bring a packet to a server, with what the VIP has rewritten (rows N1, N2, N3).

        The switch that the server is attached to rewrites; those before pass the packet on as it is (rows T1 to T3).
        Nothing (drop) for a server that cannot be reached.
        """
        if server not in self.port_of:
            return ()
        return (*self._rewrite(self.by_name[server], family), self.output(server))

    def deliver_as_named(self, server: str, family: Family) -> tuple[Action, ...]:
        """The same for a packet to the server's service address, which stays: it is nobody else's (row X1)."""
        return without(self.deliver(server, family), family.destination)

    def replicate(self, family: Family) -> tuple[Action, ...]:
        """The actions that bring a packet to every server that can be reached: over links before it is rewritten."""
        if self.vip.rewrite is Rewrite.NOTHING:
            return tuple(Output(port) for port in sorted({self.port_of[server.name] for server in self.servers}))
        attached = (action for server in self.attached for action in self.deliver(server.name, family))
        return (*self.over_links(self.servers), *attached)

    def over_links(self, servers: Iterable[Server]) -> tuple[Output, ...]:
        """The actions that bring a packet to the switches of servers that are elsewhere: over each link once."""
        ports = {self.port_of[server.name] for server in servers if server.name not in self._attached_names}
        return tuple(Output(port) for port in sorted(ports))

    def output(self, server: str) -> Output:
        """The action that sends a packet out towards a server: back where it came from, if that is there (row N5)."""
        one_armed = self.is_one_armed(self.by_name[server])
        return Output(IN_PORT if one_armed else self.port_of[server])

    def ascend(self, server: Server, family: Family) -> tuple[Action, ...]:
        """The actions that bring an attached server's packet on its way to the network: it leaves as the VIP."""
        actions: list[Action] = []
        if self.vip.rewrite is not Rewrite.NOTHING:
            actions.append(SetField("eth_src", self.vip.mac))
        if self.vip.gateway is not None:
            actions.append(SetField("eth_dst", self.vip.gateway))
        if self.vip.rewrite is Rewrite.ADDRESS:
            actions.append(SetField(family.source, int(address_in(self.vip.addresses, family))))
        return (*actions, Output(IN_PORT if self.is_one_armed(server) else self.up))

    def ascend_as_named(self, server: Server, family: Family) -> tuple[Action, ...]:
        """The same for a packet from its service address, which stays (row X1)."""
        return without(self.ascend(server, family), family.source)

    def is_one_armed(self, server: Server) -> bool:
        """Whether a server is on the network side (row N5)."""
        return server.name in self._attached_names and server.connector.port == self.network

    @cached_property
    def _attached_names(self) -> frozenset[str]:
        return frozenset(server.name for server in self.attached)

    def spoils_fragments(self, family: Family) -> bool:
        """Whether the switch cannot rewrite fragments: where it rewrites an IPv4 address, Open vSwitch's userspace
        datapath "corrects" a checksum that later fragments do not have (seen in 3.1), which changes their data. The
        kernel's leaves later fragments alone (seen in Linux 6.1).
        """
        rewrites = self.vip.rewrite is Rewrite.ADDRESS and family.version == 4
        return rewrites and self.datapath is Forwarding.USERSPACE

    def mac(self, server: Server) -> int:
        """The MAC address a server's packets come from."""
        if self.vip.rewrite is Rewrite.NOTHING:
            return self.vip.mac
        assert server.mac is not None, "a configuration without one was refused"
        return server.mac

    def source(self, server: Server, family: Family) -> Address:
        """The address a server's packets to clients come from."""
        return address_in(server.addresses if self.vip.rewrite is Rewrite.ADDRESS else self.vip.addresses, family)

    def _rewrite(self, server: Server, family: Family) -> Iterator[Action]:
        if self.vip.rewrite is Rewrite.NOTHING or server.name not in self._attached_names:
            return
        yield SetField("eth_dst", self.mac(server))
        if self.is_one_armed(server):
            yield SetField("eth_src", self.vip.mac)  # or the LAN's switch looks for the sender here from now on
        if self.vip.rewrite is Rewrite.ADDRESS:
            yield SetField(family.destination, int(address_in(server.addresses, family)))


def address_in(addresses: tuple[Address, ...], family: Family) -> Address:
    """The address of a family; a configuration that lacks it was refused."""
    return next(address for address in addresses if address.version == family.version)


def without(actions: tuple[Action, ...], field: str) -> tuple[Action, ...]:
    """Actions without those that set a field."""
    return tuple(action for action in actions if not (isinstance(action, SetField) and action.name == field))


def places(config: Config, topology: Topology, switch: Switch) -> Iterator[Place]:
    """The VIPs a switch serves, by view: those with servers that way, and at entrances those without any (row L5)."""
    here, up = switch.name, topology.up(switch.name)
    if up is None:
        return
    views = topology.views(here)
    if switch.network is not None and not any(switch.network in view.entrances for view in views):
        views = (*views, View(frozenset({switch.network}), frozenset()))
    elif not views:
        views = (View(frozenset(), frozenset()),)
    rising = topology.rising(here)
    ways = {home: topology.towards(here, home) for home in topology.homes}
    for vip in config.vips:
        servers = config.servers_of(vip)
        for index, view in enumerate(views):
            port_of = {
                server.name: ways[server.connector.switch] or server.connector.port
                for server in servers
                if server.connector.switch in view.switches
            }
            is_entrance = switch.network in view.entrances
            through = tuple(server for server in servers if server.connector.switch in rising)
            if not port_of and not (is_entrance and not servers) and not through:
                continue
            yield Place(
                vip=vip,
                number=vip.number,
                pool_number=pool_number(vip.number, index),
                up=up,
                network=switch.network,
                every=servers,
                attached=tuple(server for server in servers if server.connector.switch == here),
                rising=through,
                port_of=port_of,
                entrances=view.entrances,
                view=index if len(views) > 1 else None,
                is_linked=bool(config.links),
                datapath=switch.datapath,
            )


class Placement:
    """The VIPs on every switch of a configuration while these links are down, worked out a few switches at a time.

    A switch takes about a millisecond in a large network, so all of them at once would be felt.
    """

    def __init__(self, config: Config, down: frozenset[Link]) -> None:
        self.config, self.down = config, down
        self._topology = topologies.of(config, down)
        self._left = {switch.dpid: switch for switch in config.switches}
        self._known: dict[int, tuple[Place, ...]] = {}

    def is_for(self, config: Config, down: frozenset[Link]) -> bool:
        """Whether it is about this object of a configuration: to compare two of 10,000 ports takes a while."""
        return config is self.config and down == self.down

    def on(self, dpid: int) -> tuple[Place, ...]:
        """The VIPs on one switch; none if the configuration does not name it."""
        if (switch := self._left.pop(dpid, None)) is not None:
            self._known[dpid] = tuple(places(self.config, self._topology, switch))
        return self._known.get(dpid, ())

    def go_on(self, most: int) -> bool:
        """Work out at most so many more switches. Whether all are known."""
        for dpid in list(self._left)[:most]:
            self.on(dpid)
        return not self._left
