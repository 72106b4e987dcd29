"""The hosts and links around a load balancer, made from its configuration: what each way of rewriting asks of them.

::

    client ──┐
             ├─ router ── [ Open vSwitch, controller ] ── a, b, c, …
    plain  ──┘
      10.1.0.0/24   10.0.0.0/24, fd00::/64          nothing    every server has the VIP's IP and MAC address on eth0,
      10.3.0.0/24                                              and, if it has further addresses, these on "peer"
      fd00:1::/64                                   mac        the VIP on lo; several on one connector are behind a
      fd00:3::/64                                              Linux bridge
                                                    address    its own address on eth0, or behind a router of its own

If servers are on the network side (one-armed), router, client, servers and the load balancer are on one Linux bridge.

The load balancer may be several switches, linked by veth pairs in its namespace. If several have a network side, the
router has an interface for each, all with the same addresses, and spreads connections over them by their ports.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from ipaddress import ip_interface

from portlb_app.config import Address, Config, Connector, Rewrite, Server, Vip
from portlb_app.openflow import mac_text
from tests.net.network import Namespace, Network

ROUTERS = ("10.0.0.1", "fd00::1")
"""The router's addresses on the load balancer's side."""
ROUTER_MAC = 0x020000000001
"""The router's MAC address, where it is in several places."""
LAN_CLIENTS = ("10.0.0.7", "fd00::7")
"""The client's, where it is on the same LAN as the load balancer."""


def with_prefix(address: Address | str) -> str:
    """An address with the length of its network's prefix: 24 or 64."""
    return f"{address}/{24 if ip_interface(address).version == 4 else 64}"


def of_versions(vip: Vip, addresses: Iterable[str]) -> list[str]:
    """Those of some addresses that are of a version of IP that a VIP has."""
    versions = {address.version for address in vip.addresses}
    return [address for address in addresses if ip_interface(address).version in versions]


def first_of(address: Address | str) -> str:
    """The first address in the network of another one."""
    return str(ip_interface(with_prefix(address)).network[1])


def routed(host: Namespace, *routers: str, interface: str = "eth0") -> None:
    """Give a host its default routes, by routers on the link."""
    for router in routers:
        host.run("ip", "route", "add", "default", "via", router, "dev", interface)


def forwards(host: Namespace) -> None:
    """Make a host a router."""
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


def hardware(host: Namespace, mac: int, interface: str = "eth0") -> None:
    """Give an interface its MAC address; its link-local address is made of it when it comes up."""
    host.run("ip", "link", "set", interface, "down")
    host.run("ip", "link", "set", interface, "address", mac_text(mac))
    host.run("ip", "link", "set", interface, "up")


class Segment:
    """An Ethernet switch: a Linux bridge in a namespace of its own."""

    def __init__(self, network: Network, label: str) -> None:
        self.network = network
        self.host = network.host(label)
        self._ports = itertools.count()
        self.host.run("ip", "link", "add", "name", "br0", "type", "bridge", "mcast_snooping", "0")
        self.host.run("ip", "link", "set", "br0", "up")

    def join(self, host: Namespace, interface: str = "eth0") -> None:
        """Plug a host in."""
        port = f"port{next(self._ports)}"
        self.network.link(self.host, host, None, (port, interface))
        self.host.run("ip", "link", "set", port, "master", "br0")


def inside(connector: Connector) -> str:
    """The interface behind a port of a switch, in the load balancer's namespace."""
    return f"{connector.switch}-{connector.port}"


class Hosts:
    """All hosts of a configuration, linked; Open vSwitch is not there yet.

    `ports` has for every switch the interfaces that are its ports, with their OpenFlow numbers; `sides` are those on
    the network side, `links` one end of every link. Connectors in `others` get no link: somebody else makes the
    server's ``eth0`` for it.
    """

    def __init__(self, network: Network, config: Config, mtu: int, others: frozenset[Connector] = frozenset()) -> None:
        self.network, self.config = network, config
        self.lb, self.router, self.client, self.plain = map(network.host, ("lb", "router", "client", "plain"))
        self.servers = {server.name: network.host(server.name) for server in config.servers}
        self.ports: dict[str, dict[str, int]] = {switch.name: {} for switch in config.switches}
        sides = [Connector(each.name, each.network) for each in config.switches if each.network is not None]
        self.sides = tuple(map(self._port, sides))
        lan = None
        if any(server.connector in sides for server in config.servers):
            lan = Segment(network, "lan")
        self._network_side(lan, mtu)
        self.links = tuple(inside(link[0]) for link in config.links)
        for link in config.links:
            network.link(self.lb, self.lb, None, (self._port(link[0]), self._port(link[1])))
        groups: dict[Connector, list[Server]] = {}
        for server in config.servers:
            groups.setdefault(server.connector, []).append(server)
        for connector, group in groups.items():
            if connector in sides and lan is not None:
                for server in group:
                    lan.join(self.servers[server.name])
            elif connector not in others:
                self._connect(self._port(connector), group)
        for server in config.servers:
            if server.connector not in others:
                self.settle(server)

    def _port(self, connector: Connector) -> str:
        self.ports[connector.switch][inside(connector)] = connector.port
        return inside(connector)

    def vip_of(self, server: Server) -> Vip:
        """The VIP a server answers as."""
        return next(vip for vip in self.config.vips if vip.name == server.vip)

    # ---- the network side ----

    def _network_side(self, lan: Segment | None, mtu: int) -> None:
        if lan is None:
            for number, side in enumerate(self.sides):
                self.network.link(self.router, self.lb, None, (f"eth{number}", side))
            self._client(self.client, 1, mtu)
        else:
            (side,) = self.sides
            for host, interface in ((self.router, "eth0"), (self.client, "eth0"), (self.lb, side)):
                lan.join(host, interface)
            self._addresses(self.client, *LAN_CLIENTS)
            routed(self.client, *ROUTERS)
        self._client(self.plain, 3, mtu)
        gateway = next((vip.gateway for vip in self.config.vips if vip.gateway is not None), None)
        for number in range(len(self.sides)):
            if gateway is not None or len(self.sides) > 1:
                hardware(self.router, gateway or ROUTER_MAC, f"eth{number}")
            self._addresses(self.router, *ROUTERS, interface=f"eth{number}")
        forwards(self.router)
        if len(self.sides) > 1:
            self._spread()

    def _spread(self) -> None:
        """Have the router send to the VIPs by all network sides, and take what comes back by any."""
        names = [f"eth{number}" for number in range(len(self.sides))]
        hashed = (f"net.ipv{version}.fib_multipath_hash_policy=1" for version in (4, 6))
        filters = (f"net.ipv4.conf.{name}.rp_filter=0" for name in ("all", *names))
        self.router.run("sysctl", "-qw", *hashed, *filters)
        for vip in self.config.vips:
            for address in map(str, vip.addresses):
                ways = [word for name in names for word in ("nexthop", "via", address, "dev", name, "onlink")]
                self.router.run("ip", "route", "add", address, *ways)

    def _client(self, host: Namespace, number: int, mtu: int) -> None:
        interface = f"clients{number}"
        self.network.link(host, self.router, None, ("eth0", interface))
        self.router.run("ip", "link", "set", interface, "mtu", str(mtu))
        self._addresses(self.router, f"10.{number}.0.1", f"fd00:{number}::1", interface=interface)
        self._addresses(host, f"10.{number}.0.2", f"fd00:{number}::2")
        routed(host, f"10.{number}.0.1", f"fd00:{number}::1")

    def _addresses(self, host: Namespace, *addresses: Address | str, interface: str = "eth0") -> None:
        """Addresses of an interface, whose checksums the host makes itself: Open vSwitch here makes none."""
        for address in addresses:
            host.run("ip", "address", "add", with_prefix(address), "dev", interface)
        host.run("ethtool", "-K", interface, "tx", "off")

    # ---- the servers' side ----

    def _connect(self, inside: str, group: list[Server]) -> None:
        """Link the servers of a connector to the load balancer, or what is before them."""
        if group[0].routers:
            self._behind_router(inside, group)
        elif len(group) == 1:
            self.network.link(self.servers[group[0].name], self.lb, None, ("eth0", inside))
        else:
            segment = Segment(self.network, f"switch-{inside}")
            segment.join(self.lb, inside)
            for server in group:
                segment.join(self.servers[server.name])

    def _behind_router(self, inside: str, group: list[Server]) -> None:
        segment = Segment(self.network, f"behind-{inside}")
        router = segment.host
        self.network.link(router, self.lb, None, ("eth0", inside))
        assert group[0].mac is not None
        hardware(router, group[0].mac)
        self._addresses(router, *group[0].routers)
        self._addresses(router, *map(first_of, group[0].addresses), interface="br0")
        routed(router, *ROUTERS)
        forwards(router)
        for server in group:
            segment.join(self.servers[server.name])

    def settle(self, server: Server) -> None:
        """Give a server's ``eth0`` its addresses and its gateway."""
        vip, host = self.vip_of(server), self.servers[server.name]
        if vip.rewrite is Rewrite.NOTHING:
            hardware(host, vip.mac)
            self._addresses(host, *vip.addresses)
            routed(host, *of_versions(vip, ROUTERS))
            self._further(host, server)
            return
        assert server.mac is not None
        if vip.rewrite is Rewrite.MAC:
            hardware(host, server.mac)
            self._on_loopback(host, server, vip)
        elif server.routers:
            self._addresses(host, *server.addresses)
            routed(host, *map(first_of, server.addresses))
        else:
            hardware(host, server.mac)
            if vip.gateway is None:
                self._addresses(host, *server.addresses)
                routed(host, *of_versions(vip, ROUTERS))
            else:  # everything goes by the VIP, to neighbours too
                for address in server.addresses:
                    host.run("ip", "address", "add", str(address), "dev", "eth0")
                self._addresses(host)
                for address in vip.addresses:
                    host.run("ip", "route", "add", str(address), "dev", "eth0")
                routed(host, *map(str, vip.addresses))

    def _further(self, host: Namespace, server: Server) -> None:
        """Row N4: an interface of its own, because it has a MAC address of its own."""
        if server.mac is None:
            return
        host.run("ip", "link", "add", "peer", "link", "eth0", "type", "macvlan", "mode", "bridge")
        hardware(host, server.mac, "peer")
        self._addresses(host, *server.addresses, interface="peer")

    def _on_loopback(self, host: Namespace, server: Server, vip: Vip) -> None:
        """Row N2: the VIP where nobody is told of it; on a LAN with its clients a server asks as somebody else."""
        host.run("sysctl", "-qw", "net.ipv4.conf.eth0.arp_ignore=1", "net.ipv4.conf.eth0.arp_announce=2")
        one_armed = inside(server.connector) in self.sides
        assert server.mac is not None
        own = [f"10.0.0.{server.mac & 255}", f"fd00::{server.mac & 255:x}"] if one_armed else []
        self._addresses(host, *of_versions(vip, own))
        for address, router in zip(vip.addresses, of_versions(vip, ROUTERS), strict=True):
            host.run("ip", "address", "add", str(address), "dev", "lo")
            if not one_armed:
                network = str(ip_interface(with_prefix(address)).network)
                host.run("ip", "route", "add", network, "dev", "eth0")
            routed(host, router)
