"""One VIP on one switch: what the files of the compiler look at."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from portlb_app.config import Address, Config, Forwarding, Rewrite, Server, Vip
from portlb_app.config.values import MAX_VIPS
from portlb_app.openflow import IN_PORT, Action, Meter, Output, SetField
from portlb_app.pipeline import Family
from portlb_app.topology import Topology


@dataclass(frozen=True)
class Place:
    """A VIP as one switch sees it: its servers, the OpenFlow port towards each, and the network side's."""

    vip: Vip
    number: int
    network: int
    servers: tuple[Server, ...]
    port_of: Mapping[str, int]
    owners: Mapping[int, str]
    datapath: Forwarding = Forwarding.USERSPACE
    rates: Mapping[tuple[str, int], Meter] = field(default_factory=dict)
    """The meters of its services with a rate, by kind of port and port."""

    @cached_property
    def by_name(self) -> Mapping[str, Server]:
        """Its servers by name."""
        return {server.name: server for server in self.servers}

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """A number for each of its servers, from 1."""
        return {server.name: number for number, server in enumerate(self.servers, 1)}

    @cached_property
    def named(self) -> Mapping[Address, Server]:
        """Its servers by their service addresses (row X1)."""
        return {address: server for server in self.servers for address in server.service_addresses}

    def deliver(self, server: str, family: Family) -> tuple[Action, ...]:
        """The actions that bring a packet to a server, with what the VIP has rewritten (rows N1, N2, N3)."""
        return (*self._rewrite(self.by_name[server], family), self.output(server))

    def deliver_as_named(self, server: str, family: Family) -> tuple[Action, ...]:
        """The same for a packet to the server's service address, which stays: it is nobody else's (row X1)."""
        return without(self.deliver(server, family), family.destination)

    def replicate(self, family: Family) -> tuple[Action, ...]:
        """The actions that bring a packet to every server."""
        if self.vip.rewrite is Rewrite.NOTHING:
            return tuple(Output(port) for port in sorted({self.port_of[server.name] for server in self.servers}))
        return tuple(action for server in self.servers for action in self.deliver(server.name, family))

    def output(self, server: str) -> Output:
        """The action that sends a packet out towards a server: back where it came from, if that is there (row N5)."""
        port = self.port_of[server]
        return Output(IN_PORT if port == self.network else port)

    def up(self, server: Server, family: Family) -> tuple[Action, ...]:
        """The actions that bring a server's packet to the network: it leaves as the VIP."""
        actions: list[Action] = []
        if self.vip.rewrite is not Rewrite.NOTHING:
            actions.append(SetField("eth_src", self.vip.mac))
        if self.vip.gateway is not None:
            actions.append(SetField("eth_dst", self.vip.gateway))
        if self.vip.rewrite is Rewrite.ADDRESS:
            actions.append(SetField(family.source, int(address_in(self.vip.addresses, family))))
        return (*actions, Output(IN_PORT if self.is_one_armed(server) else self.network))

    def up_as_named(self, server: Server, family: Family) -> tuple[Action, ...]:
        """The same for a packet from its service address, which stays (row X1)."""
        return without(self.up(server, family), family.source)

    def is_one_armed(self, server: Server) -> bool:
        """Whether a server is on the network side (row N5)."""
        return self.port_of[server.name] == self.network

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
        if self.vip.rewrite is Rewrite.NOTHING:
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


def places(config: Config, topology: Topology, switch: str) -> Iterator[Place]:
    """The VIPs a switch serves: those with a server on it, and those with no server at all (row L5)."""
    reachable = topology.reaches(switch)
    numbers = vip_numbers(tuple(vip.name for vip in config.vips))
    datapath = next(each.datapath for each in config.switches if each.name == switch)
    for vip in config.vips:
        servers = config.servers_of(vip)
        here = tuple(server for server in servers if server.name in reachable)
        if here or not servers:
            yield Place(
                vip=vip,
                number=numbers[vip.name],
                network=topology.network_port(switch),
                servers=here,
                port_of={server.name: reachable[server.name] for server in here},
                owners={port: server.name for port, server in config.owners(vip).items()},
                datapath=datapath,
            )


def vip_numbers(names: tuple[str, ...]) -> dict[str, int]:
    """A number of 12 bits for every VIP, made from its name, so that it stays when other VIPs come and go.

    Names whose numbers meet take the next free one in alphabetical order. ValueError for more VIPs than numbers.
    """
    if len(names) > MAX_VIPS:
        raise ValueError(f"there are numbers for {MAX_VIPS} VIPs")
    taken: dict[int, str] = {}
    for name in sorted(names):
        number = zlib.crc32(name.encode()) % MAX_VIPS
        while number in taken:
            number = (number + 1) % MAX_VIPS
        taken[number] = name
    return {name: number for number, name in taken.items()}
