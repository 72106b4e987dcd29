"""One VIP on one switch: what the files of the compiler look at."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from portlb_app.config import Config, Forwarding, Server, Vip
from portlb_app.config.values import MAX_VIPS
from portlb_app.openflow import Action, Output
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

    @property
    def address(self) -> int:
        """The VIP's address as the number a match holds."""
        return int(self.vip.address)

    def deliver(self, server: str) -> tuple[Action, ...]:
        """The actions that bring a packet to a server: nothing is rewritten (row N3)."""
        return (Output(self.port_of[server]),)

    def replicate(self) -> tuple[Action, ...]:
        """The actions that bring a packet to every server."""
        return tuple(Output(port) for port in sorted({self.port_of[server.name] for server in self.servers}))


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
