"""The configuration as values: frozen, and valid by construction (only `loading.load` makes a `Config`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from portlb_app.config.check_values import CHECK_ADDRESSES, Check, FailOpen
from portlb_app.config.policies import (
    DefaultFor,
    Forwarding,
    Fragments,
    IcmpErrors,
    IcmpPolicy,
    Legacy,
    Rewrite,
    Signal,
    UnknownErrors,
    UnknownFragments,
    Wanted,
)
from portlb_app.config.problems import Notice
from portlb_app.config.selection_values import Moves, Selecting, Turns, When
from portlb_app.net.packets import Address

MAX_SWITCHES = 512
"""Switches of a configuration: as many connections as the controller takes."""
MAX_SERVERS = 1 << 16
SECOND_CHANCE = 24 * 3600
"""Seconds for which a slot remembers the server that it had before, where the configuration does not say."""
MAX_SECOND_CHANCE = 30 * 24 * 3600
MAX_LINKS = 1 << 16
MAX_WEIGHT = 256


@dataclass(frozen=True, order=True)
class IcmpRule:
    """Where ICMP of one type of one version of IP goes (RFC 792, RFC 4443): by a policy, or to a server by its name."""

    version: int
    type: int
    target: IcmpPolicy | str


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
    """A port a pool of servers shares, and what plain clients get there.

    `group_bits`: bits of a packet's source port that choose among its groups of 256 slots (`selection.group_bits`).
    `second_chance`: for how many seconds a slot remembers the server that it had before; 0: not at all.
    `checks`: how each of `servers` is checked, in their order; empty if none is.
    """

    port: int
    servers: tuple[str, ...]
    legacy: Legacy
    signal: Signal = Signal.FLAG
    qos: Qos = Qos()
    group_bits: int = 0
    selecting: Selecting = Selecting()
    moves: Moves | None = None
    """How fast slots may move that need not, if it says so."""
    slow_start: int = 0
    """Seconds in which a server that is back gets its slots one by one."""
    when: tuple[When, ...] = ()
    """Packets that other pools get, the first one that matches first."""
    checks: tuple[Check | None, ...] = ()
    fail_open: FailOpen = FailOpen()
    second_chance: int = 0

    @property
    def checked(self) -> Mapping[str, Check]:
        """How its servers are checked, by their names; those that are not checked are not in it."""
        pairs = zip(self.servers, self.checks, strict=bool(self.checks))
        return {server: check for server, check in pairs if check is not None}


@dataclass(frozen=True)
class Server:
    """A recipient server: a host that answers as one VIP, on a connector of its own.

    `weight` is its share of new connections against the others'; with 0 it gets none. `state`: what is wanted of it.

    Its service ports are in the order of the file: of several with one application, the first is announced.
    `addresses` and `mac` (48-bit number) are its own: what is rewritten to, or, where nothing is, what it talks to
    other servers with. `routers` are the addresses of the router its MAC address is, if it is behind one.
    `service_addresses` (one of each family at most), `service_mac` (48 bits) and `service_label` (20 bits) name it in
    the packets of redirected connections, as service ports do (rows X1, X2, X3).
    `mptcp` is the one of its service ports at which its MPTCP connections go on (row B2); None if they do not.
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
    mptcp: int | None = None
    priority: int = 0
    """Servers of a pool with the lowest number that work get its connections; the others are backups."""
    state: Wanted = Wanted.READY

    def __hash__(self) -> int:
        """That of its name, which no other has: a server may have thousands of ports."""
        return hash(self.name)

    @property
    def wanted(self) -> Wanted:
        """What is wanted of it in the end: one without weight drains."""
        return Wanted.DRAIN if self.state is Wanted.READY and self.weight == 0 else self.state

    @property
    def share(self) -> int:
        """The weight by which it gets new connections; 0 for none."""
        return self.weight if self.wanted is Wanted.READY else 0


def weights_among(servers: Iterable[Server]) -> tuple[int, ...]:
    """The weights by which the servers of a pool have its slots if all of them work; 0 for backups."""
    given = tuple(servers)
    first = min((server.priority for server in given if server.share), default=0)
    return tuple(server.share if server.priority == first else 0 for server in given)


@dataclass(frozen=True)
class Vip:
    """A virtual IP: the addresses (one of each family at most) and MAC address its servers share, and their ports.

    `gateway` is the MAC address of the router that servers' packets go to, where their own gateway is the VIP.
    `log`: the controller keeps a log of its connections (row C2). `check_addresses`: where checks of its servers come
    from, where that is not the default.
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
    check_addresses: tuple[Address, ...] = ()
    passive: bool = True
    """Whether its servers without a check are taken out for what switches count (`backends.passive`)."""

    def __hash__(self) -> int:
        """That of its name, which no other has."""
        return hash(self.name)

    @property
    def address(self) -> Address:
        """The first of its addresses."""
        return self.addresses[0]

    def check_address(self, version: int) -> Address:
        """Where checks of its servers by a version of IP come from."""
        return next(each for each in (*self.check_addresses, *CHECK_ADDRESSES) if each.version == version)

    @cached_property
    def checked(self) -> frozenset[str]:
        """The servers that are checked, for whichever redirect port."""
        return frozenset(name for pool in self.redirect_ports if pool.checks for name in pool.checked)

    @cached_property
    def turning(self) -> tuple[RedirectPort, ...]:
        """The redirect ports whose turns the controller takes."""
        return tuple(pool for pool in self.redirect_ports if pool.selecting.turns is Turns.CONTROLLER)

    @cached_property
    def spreads_icmp(self) -> bool:
        """Whether ICMP of some type is spread over the pool of all its servers."""
        return IcmpPolicy.BALANCE in {self.icmp_rest, *(rule.target for rule in self.icmp_types)}

    def mac_of(self, server: Server) -> int:
        """The MAC address that a server of it has."""
        mac = self.mac if self.rewrite is Rewrite.NOTHING else server.mac
        assert mac is not None, "a configuration without one was refused"
        return mac

    def addresses_of(self, server: Server) -> tuple[Address, ...]:
        """The addresses by which a server of it answers clients, before they are rewritten."""
        return server.addresses if self.rewrite is Rewrite.ADDRESS else self.addresses

    def receivers(self, pool: RedirectPort) -> tuple[str, ...]:
        """The servers that get connections to a redirect port: its pool, and those of pools it may lead to instead."""
        others = (self.pool_on(when.pool) for when in pool.when)
        return tuple(dict.fromkeys((*pool.servers, *(name for other in others if other for name in other.servers))))

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

    @cached_property
    def closed(self) -> frozenset[str]:
        """The servers that get nothing, at their service ports either."""
        return frozenset(server.name for server in self.servers if server.wanted is Wanted.MAINT)

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
