"""The configuration as values: frozen, and valid by construction (only `loading.load` makes a `Config`)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from portlb_app.config.problems import Notice
from portlb_app.net.packets import Address

MAX_SWITCHES = 512
"""Switches of a configuration: as many connections as the controller takes."""
MAX_SERVERS = 1 << 16
MAX_LINKS = 1 << 16


class Legacy(str, enum.Enum):
    """What happens to a client without REDIRECT that opens on a redirect port (rows E3, E4)."""

    OWNER = "owner"
    """The server that owns the port as its service port gets it (E3)."""
    DEFAULT = "default"
    """The default server gets it (E4)."""
    BALANCE = "balance"
    """The pool's slots decide, without memory: a connection breaks if its slot moves (beyond the source)."""
    PIN = "pin"
    """The pool's slots decide once, and the switch remembers, within limits (beyond the source)."""
    DROP = "drop"
    """Nobody gets it (E4)."""


class DefaultFor(str, enum.Enum):
    """Which packets the default server gets (row E5)."""

    UNKNOWN_PORTS = "unknown_ports"
    """Every packet to a port nobody has."""
    PLAIN_UNKNOWN_PORTS = "plain_unknown_ports"
    """Packets without REDIRECT to a port nobody has."""
    PLAIN_CLIENTS = "plain_clients"
    """Packets without REDIRECT to a port nobody has, or to a redirect port that names no policy of its own."""


class IcmpErrors(str, enum.Enum):
    """Who gets an ICMP error about a packet of a server (rows I2, I3)."""

    OWNER = "owner"
    """The controller reads what the error quotes: the owner of the quoted port gets it."""
    REPLICATE = "replicate"
    """Every server gets a copy, and the one that knows the quoted connection acts on it; needs no controller."""
    DEFAULT = "default"
    """The default server gets it."""
    DROP = "drop"
    """Nobody gets it: path-MTU discovery does not work."""


class IcmpPolicy(str, enum.Enum):
    """Who gets ICMP that quotes nothing, pings above all (row I1)."""

    ANSWER = "answer"
    """The switch itself answers; pings only."""
    BALANCE = "balance"
    """A server of the VIP, by a hash of the packet's addresses."""
    DEFAULT = "default"
    """The default server."""
    DROP = "drop"
    """Nobody."""


@dataclass(frozen=True, order=True)
class IcmpRule:
    """Who gets ICMP of one type of one version of IP (RFC 792, RFC 4443): by policy, or a server by its name."""

    version: int
    type: int
    target: IcmpPolicy | str


class UnknownErrors(str, enum.Enum):
    """Who gets an ICMP error about a port nobody has, where the controller reads errors (row I3)."""

    DROP = "drop"
    DEFAULT = "default"
    """The default server."""
    ANY = "any"
    """One server, chosen by a hash of what is quoted."""


class Fragments(str, enum.Enum):
    """Who gets the fragments of a packet to the VIP (rows F1, F2, F3)."""

    TRACK = "track"
    """They follow their first: who its ports name gets them all (F1)."""
    REPLICATE = "replicate"
    """Every server gets a copy of each; needs no controller (beyond the source)."""
    DEFAULT = "default"
    """The default server gets them, whatever their ports (F3)."""
    DROP = "drop"
    """Nobody gets them (F3)."""


class UnknownFragments(str, enum.Enum):
    """Who gets a fragment whose first does not come, where fragments are tracked (row F2)."""

    DEFAULT = "default"
    """The default server."""
    DROP = "drop"


class Signal(str, enum.Enum):
    """How a SYN on a redirect port says that its client can be redirected."""

    FLAG = "flag"
    """By the REDIRECT bit of its header: the switch decides alone."""
    OPTION = "option"
    """By the bit, or by REDIRECT_OPT alone, for paths that clear the bit: the controller reads SYNs without it."""


class Forwarding(str, enum.Enum):
    """Open vSwitch's datapath below a bridge: where its packets are forwarded."""

    USERSPACE = "userspace"
    KERNEL = "kernel"


class Rewrite(str, enum.Enum):
    """What the load balancer rewrites in a packet to a VIP's server, and back in the server's packets."""

    NOTHING = "nothing"
    """All servers share the VIP's IP and MAC address (rows N3, N4)."""
    MAC = "mac"
    """Servers share the VIP's IP address; each has a MAC address of its own (row N2)."""
    ADDRESS = "address"
    """Each server has an IP address of its own, and may be behind a router (row N1)."""


class Connector(NamedTuple):
    """Where a server is attached: an OpenFlow port of a switch."""

    switch: str
    port: int

    def __str__(self) -> str:
        return f"{self.switch}:{self.port}"


class Link(NamedTuple):
    """A link between two switches: an OpenFlow port of each, the smaller connector first."""

    one: Connector
    other: Connector

    def __str__(self) -> str:
        return f"{self.one} - {self.other}"


@dataclass(frozen=True, order=True)
class Qos:
    """What a service's packets get on their way (row Q1); None: nothing.

    `dscp`: their code point (RFC 2474), both ways; `queue`: the queue of the port they leave by, both ways; `rate`:
    kbit/s that its clients may send, more is dropped.
    """

    dscp: int | None = None
    queue: int | None = None
    rate: int | None = None


@dataclass(frozen=True, order=True)
class ServicePort:
    """A port one server owns, and the port its program listens on (the same, or one the host's agent maps to)."""

    port: int
    application: int
    qos: Qos = Qos()


@dataclass(frozen=True, order=True)
class RedirectPort:
    """A port a pool of servers shares, and what plain clients get there."""

    port: int
    servers: tuple[str, ...]
    legacy: Legacy
    signal: Signal = Signal.FLAG
    qos: Qos = Qos()


@dataclass(frozen=True)
class Server:
    """A recipient server: a host that answers as one VIP, on a connector of its own.

    `weight` is its share of new connections against the others'.

    Its service ports are in the order of the file: of several with one application, the first is announced.
    `addresses` and `mac` (48-bit number) are its own: what is rewritten to, or, where nothing is, what it talks to
    other servers with. `routers` are the addresses of the router its MAC address is, if it is behind one.
    `service_addresses` (one of each family at most), `service_mac` (48 bits) and `service_label` (20 bits) name it in
    the packets of redirected connections, as service ports do (rows X1, X2, X3).
    """

    name: str
    vip: str
    connector: Connector
    service_ports: tuple[ServicePort, ...]
    addresses: tuple[Address, ...] = ()
    mac: int | None = None
    routers: tuple[Address, ...] = ()
    weight: int = 1
    service_addresses: tuple[Address, ...] = ()
    service_mac: int | None = None
    service_label: int | None = None


@dataclass(frozen=True)
class Vip:
    """A virtual IP: the addresses (one of each family at most) and MAC address its servers share, and their ports.

    `gateway` is the MAC address of the router that servers' packets go to, where their own gateway is the VIP.
    `log`: the controller keeps a log of its connections (row C2).
    """

    name: str
    addresses: tuple[Address, ...]
    mac: int
    redirect_ports: tuple[RedirectPort, ...]
    default_server: str | None
    default_for: DefaultFor
    rewrite: Rewrite = Rewrite.NOTHING
    gateway: int | None = None
    icmp_errors: IcmpErrors = IcmpErrors.REPLICATE
    unknown_errors: UnknownErrors = UnknownErrors.DROP
    icmp_types: tuple[IcmpRule, ...] = ()
    icmp_rest: IcmpPolicy | str = IcmpPolicy.DEFAULT
    fragments: Fragments = Fragments.DROP
    unknown_fragments: UnknownFragments = UnknownFragments.DROP
    log: bool = False
    number: int = 0
    """What it is called in cookies and, by a hash, in the numbers of groups: 24 bits."""

    @property
    def address(self) -> Address:
        """The first of its addresses."""
        return self.addresses[0]

    def pool_on(self, port: int) -> RedirectPort | None:
        """The pool of a redirect port; None if the port is none."""
        return next((pool for pool in self.redirect_ports if pool.port == port), None)


@dataclass(frozen=True)
class Switch:
    """An Open vSwitch bridge: its datapath id, the OpenFlow port of its network side, and addresses of its own.

    Without a network side, it is reached by links from switches that have one. Its own addresses are those of the
    bridge's interface on its host, where an administrator logs in (row A1).
    """

    name: str
    dpid: int
    network: int | None
    addresses: tuple[Address, ...] = ()
    datapath: Forwarding = Forwarding.USERSPACE


@dataclass(frozen=True)
class Config:
    """A valid configuration; its VIPs, servers, switches and links are sorted, whatever the order of the file."""

    vips: tuple[Vip, ...]
    servers: tuple[Server, ...]
    switches: tuple[Switch, ...]
    links: tuple[Link, ...] = ()
    notices: tuple[Notice, ...] = field(default=(), compare=False)
    """What its file gives reason to say; no part of what it means."""

    @cached_property
    def server_by_name(self) -> dict[str, Server]:
        """Every server by its name."""
        return {server.name: server for server in self.servers}

    def servers_of(self, vip: Vip) -> tuple[Server, ...]:
        """The servers behind a VIP, by name."""
        return self._servers_by_vip.get(vip.name, ())

    def owners(self, vip: Vip) -> Mapping[int, Server]:
        """The owner of every service port of a VIP."""
        return self._owners_by_vip[vip.name]

    @cached_property
    def _servers_by_vip(self) -> dict[str, tuple[Server, ...]]:
        found: dict[str, list[Server]] = {}
        for server in self.servers:
            found.setdefault(server.vip, []).append(server)
        return {name: tuple(servers) for name, servers in found.items()}

    @cached_property
    def _owners_by_vip(self) -> dict[str, dict[int, Server]]:
        return {
            vip.name: {owned.port: server for server in self.servers_of(vip) for owned in server.service_ports}
            for vip in self.vips
        }
