"""One server's static table of ports. A lost connection entry is rebuilt from it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import TYPE_CHECKING

from portlb_app.agent.errors import AgentError
from portlb_app.agent.mptcp.announced import Announced

if TYPE_CHECKING:
    from portlb_app.config import Config, Server, Vip


Address = IPv4Address | IPv6Address
VIPS_MAX = 16  # of each family, as in vips.h


def packed_vips(vips: Sequence[Address]) -> bytes:
    """Return `struct vips` of vips.h; AgentError if there are too many addresses of one family, or none at all."""
    v4 = [vip.packed for vip in vips if vip.version == 4]
    v6 = [vip.packed for vip in vips if vip.version == 6]
    if not vips or max(len(v4), len(v6)) > VIPS_MAX:
        raise AgentError(f"an agent serves 1 to {VIPS_MAX} VIPs of each family, not {len(v4)} IPv4 and {len(v6)} IPv6")
    return struct.pack(f"={4 * VIPS_MAX}s{16 * VIPS_MAX}sII", b"".join(v4), b"".join(v6), len(v4), len(v6))


def unpacked_vips(data: bytes, most: int = VIPS_MAX) -> frozenset[Address]:
    """Return the addresses in a `struct vips` with room for `most` of each family."""
    v4_count, v6_count = struct.unpack_from("=II", data, 20 * most)
    v6_at = 4 * most
    return frozenset(
        [IPv4Address(data[4 * at : 4 * at + 4]) for at in range(min(v4_count, most))]
        + [IPv6Address(data[v6_at + 16 * at : v6_at + 16 * at + 16]) for at in range(min(v6_count, most))]
    )


@dataclass(frozen=True)
class ServerMapping:
    """One server's ports at its VIPs (docs/protocol.md, "The connection").

    `vips`: the addresses it serves, all with the same ports.
    `announced_ports`: port a client opens on -> service port announced to it (the same port is legal).
    `applications`: service port -> port its application listens on.
    `locator_ports`: ports a client opens on to which a locator is announced: the service address of the connection's
    family if there is one, else, over IPv6, the label, else the MAC address (48 bits). `service_addresses` maps each
    service address to its VIP. `mptcp`: what MPTCP clients are told (row B2), by the server's kernel.
    Raises AgentError if a port is out of bounds, if an announced port leads to another application, or for a faulty
    locator.
    """

    vips: tuple[Address, ...]
    announced_ports: Mapping[int, int] = field(default_factory=dict)
    applications: Mapping[int, int] = field(default_factory=dict)
    locator_ports: frozenset[int] = frozenset()
    service_addresses: Mapping[Address, Address] = field(default_factory=dict)
    service_mac: int | None = None
    service_label: int | None = None
    mptcp: tuple[Announced, ...] = ()
    known_as: tuple[Address, ...] = ()
    """The addresses by which clients know it: the VIP's, whatever the load balancer rewrites."""

    def __post_init__(self) -> None:
        """Check every port and freeze the tables."""
        for name in ("announced_ports", "applications"):
            table = dict(getattr(self, name))
            for key, value in table.items():
                for port in (key, value):
                    if not 1 <= port <= 65535:
                        raise AgentError(f"{name} {key}={value}: a port is a number from 1 to 65535, not {port}")
            object.__setattr__(self, name, MappingProxyType(table))
        for opened, announced in self.announced_ports.items():
            if announced not in self.applications:
                raise AgentError(f"redirect {opened}={announced}: {announced} is none of this server's service ports")
            if self.application_of(opened) != self.application_of(announced):
                raise AgentError(
                    f"redirect {opened}={announced}: port {opened} is answered by the application on "
                    f"{self.application_of(opened)}, service port {announced} by the one on "
                    f"{self.application_of(announced)}; both must be the same"
                )
        self._check_locators()

    def _check_locators(self) -> None:
        object.__setattr__(self, "service_addresses", MappingProxyType(dict(self.service_addresses)))
        for port in self.locator_ports:
            if not 1 <= port <= 65535:
                raise AgentError(f"a port is a number from 1 to 65535, not {port}")
            if port in self.announced_ports:
                announced = self.announced_ports[port]
                raise AgentError(f"port {port} announces service port {announced} and a locator: choose one")
        has_locator = self.service_addresses or self.service_mac is not None or self.service_label is not None
        if self.locator_ports and not has_locator:
            port = min(self.locator_ports)
            raise AgentError(f"port {port} has nothing to announce: give a service address, MAC address or label")
        if len({address.version for address in self.service_addresses}) < len(self.service_addresses):
            raise AgentError("a server has one service address of each family at most")
        for address, vip in self.service_addresses.items():
            if vip not in self.vips or vip.version != address.version or address in self.vips:
                raise AgentError(f"service address {address} must stand for a served address, and must not be one")
        if self.service_label is not None and not 1 <= self.service_label <= 0xFFFFF:
            raise AgentError(f"a label is a number from 1 to {0xFFFFF:#x}, not {self.service_label:#x}")

    def application_of(self, port: int) -> int:
        """Return the port that the application behind a port of the wire listens on."""
        return self.applications.get(port, port)


def mapping_of(config: Config, name: str) -> ServerMapping:
    """Return the ports and locators of the server `name` of a configuration.

    For a redirect port without a service port that it announces it announces its locator, if it has one.
    """
    from portlb_app.config.serving import served

    server = config.server_by_name.get(name)
    if server is None:
        raise AgentError(f"there is no server {name} in the configuration; it has {', '.join(config.server_by_name)}")
    vip = next(vip for vip in config.vips if vip.name == server.vip)
    found = served(vip, server)
    has_locator = bool(server.service_addresses) or server.service_mac is not None or server.service_label is not None
    return ServerMapping(
        found.addresses,
        found.announced,
        found.applications,
        locator_ports=found.others if has_locator else frozenset(),
        service_addresses={
            address: next(each for each in found.addresses if each.version == address.version)
            for address in server.service_addresses
        },
        service_mac=server.service_mac,
        service_label=server.service_label,
        mptcp=_announced(vip, server),
        known_as=vip.addresses,
    )


def _announced(vip: Vip, server: Server) -> tuple[Announced, ...]:
    if server.mptcp is None:
        return ()
    own = {address.version: address for address in vip.addresses_of(server)}
    return tuple(Announced(address, own[address.version], server.mptcp) for address in vip.addresses)
