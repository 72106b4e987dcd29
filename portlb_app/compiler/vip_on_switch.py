"""One VIP on one switch, for the packets that come in by some of its ports: what every table is compiled from."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from portlb_app.compiler.memo import Memo
from portlb_app.compiler.numbering import mark_numbers, server_numbers
from portlb_app.compiler.rates import Rates
from portlb_app.config import Address, Forwarding, Legacy, RedirectPort, Server, Vip, weights_among
from portlb_app.openflow import CopyToController, Flow, Meter, Part, ToMeter
from portlb_app.pipeline import (
    OF_ALL_VIPS,
    REACHABILITY,
    SLOTS,
    Reason,
    Side,
    from_side,
)
from portlb_app.selection import fewest_bits, restrict, shares, slots, slots_among
from portlb_app.topology.conditions import ALL_SERVERS, PoolSlots

PartKey = tuple[int, int, Address, str]
"""What flows of a part are about: table, number and address of a VIP, and server. No other part has any of them."""


class MeteredPart(NamedTuple):
    """A part of a switch's flows, and the numbers of the meters that these use."""

    flows: Part
    meters: frozenset[int]

    @classmethod
    def of(cls, flows: Iterable[Flow]) -> MeteredPart:
        """The part of some flows."""
        part, metered = tuple(flows), (ToMeter, CopyToController)
        meters = (action.meter for each in part for action in each.actions if isinstance(action, metered))
        return cls(part, frozenset(meters))


NO_FLOWS = MeteredPart((), frozenset())


@dataclass(frozen=True)
class VipOnSwitch:
    """A VIP on one switch, for the packets that come in by `ingress_ports`.

    `all_servers`: those of the VIP. `port_of`: by server, the OpenFlow port towards it, which is the server's connector
    or a link; a server that these packets cannot reach is not in it. `attached`: the servers whose connector is on this
    switch. `transit_upstream`: the servers of other switches whose packets pass this one on their way to the network.
    `uplink`: the port by which servers' packets leave. `network`: the port of the switch's network side, if it has one.
    """

    vip: Vip
    number: int
    pool_number: int
    """What the numbers of the VIP's groups are made from: one for each reachability."""
    uplink: int
    network: int | None
    all_servers: tuple[Server, ...]
    attached: tuple[Server, ...]
    transit_upstream: tuple[Server, ...]
    port_of: Mapping[str, int]
    ingress_ports: frozenset[int]
    reachability: int | None = None
    """The number of the reachability; None where all ports of the switch have the same one."""
    is_linked: bool = False
    """Whether the load balancer has several switches."""
    datapath: Forwarding = Forwarding.USERSPACE
    rates: Rates = field(default_factory=Rates)
    """The meters of the VIP's services with a rate, by kind of port and port."""
    meters: Mapping[tuple[Reason, str, int], Meter] = field(default_factory=dict)
    """The meters of what is handed up, by reason, VIP and port."""
    explicit: Mapping[int, PoolSlots] = field(default_factory=dict)
    """The slots of pools, by redirect port, that do not follow from servers and weights alone (`Conditions.slots`)."""
    closed: frozenset[str] = frozenset()
    """The servers that get nothing from clients."""
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)

    # ---- servers and ports ----

    @cached_property
    def reachable_servers(self) -> tuple[Server, ...]:
        """The servers that these packets can reach."""
        return tuple(server for server in self.all_servers if server.name in self.port_of)

    @cached_property
    def by_name(self) -> Mapping[str, Server]:
        """All servers of the VIP by name."""
        return {server.name: server for server in self.all_servers}

    @cached_property
    def attached_names(self) -> frozenset[str]:
        """The names of the attached servers."""
        return frozenset(server.name for server in self.attached)

    @cached_property
    def checked(self) -> tuple[Server, ...]:
        """The attached servers that are checked."""
        return tuple(server for server in self.attached if server.name in self.vip.checked)

    @property
    def checked_ports(self) -> tuple[int, ...]:
        """The connectors of these."""
        return tuple(sorted({server.connector.port for server in self.checked}))

    @cached_property
    def owners(self) -> Mapping[int, str]:
        """The owner of each service port of the VIP."""
        return {owned.port: server.name for server in self.all_servers for owned in server.service_ports}

    @cached_property
    def applications(self) -> Mapping[int, int]:
        """By service port, the port on which connections open that are redirected to it."""
        return {owned.port: owned.application for server in self.all_servers for owned in server.service_ports}

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """By server, its number: in the buckets of pools, and the mark by which conntrack remembers its connections."""
        return server_numbers(server.name for server in self.all_servers)

    @cached_property
    def mark_numbers(self) -> Mapping[str, int]:
        """By server, its number as a former one, in the buckets of pools."""
        return mark_numbers(server.name for server in self.all_servers)

    @cached_property
    def by_service_address(self) -> Mapping[Address, Server]:
        """The servers by their service addresses (row X1)."""
        return {address: server for server in self.reachable_servers for address in server.service_addresses}

    @cached_property
    def pools(self) -> tuple[RedirectPort, ...]:
        """The VIP's redirect ports: all of them at an entrance; elsewhere those with a reachable receiver."""
        pools = self.vip.redirect_ports
        return tuple(pool for pool in pools if self.is_entrance or self.reachable(self._receivers(pool)))

    def _receivers(self, pool: RedirectPort) -> tuple[str, ...]:
        """The servers that may get a packet to a redirect port: its pool, and the one that gets its plain clients."""
        if pool.legacy is Legacy.OWNER:
            return (*self.vip.receivers(pool), self.owners[pool.port])
        if pool.legacy is Legacy.DEFAULT and self.vip.default_server is not None:
            return (*self.vip.receivers(pool), self.vip.default_server)
        return self.vip.receivers(pool)

    def reachable(self, servers: tuple[str, ...]) -> tuple[str, ...]:
        """Those of some servers of the VIP that these packets can reach."""
        return tuple(name for name in servers if name in self.port_of)

    def table(self, port: int) -> PoolSlots:
        """The slots of the pool of a redirect port, or of `ALL_SERVERS`: the same on every switch."""
        return self.explicit.get(port) or PoolSlots(slots(*self._members(port)))

    def slots(self, port: int) -> tuple[str, ...]:
        """The same, shared among the servers that can be reached: 256 for each of its groups; empty if none can."""
        if port not in self._shared:
            names, weights, bits = self._members(port)
            if port not in self.explicit:
                self._shared[port] = slots_among(names, weights, self._open, bits)
            else:
                table = self.explicit[port].servers
                weight_of = shares(table, dict(zip(names, weights, strict=True)))
                self._shared[port] = restrict(table, weight_of, self._open)
        return self._shared[port]

    def turns(self, port: int) -> Mapping[str, int]:
        """The servers among which the controller takes turns for a redirect port, with their weights."""
        explicit = self.explicit.get(port)
        if explicit is not None and explicit.turns is not None:
            return dict(explicit.turns)
        names, weights, _ = self._members(port)
        return {name: weight for name, weight in zip(names, weights, strict=True) if weight and name not in self.closed}

    def formers(self, port: int) -> frozenset[str]:
        """The servers that some slots had before of which packets to a redirect port may get one."""
        if port not in self._formers:
            pool = self.vip.pool_on(port)
            ports = {port, *(when.pool for when in pool.when)} if pool else {port}
            explicit = (self.explicit[each] for each in ports if each in self.explicit)
            formers = {names for slots in explicit for names in slots.formers}
            self._formers[port] = frozenset(itertools.chain.from_iterable(formers))
        return self._formers[port]

    def open_formers(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those former servers of a slot that may get something."""
        return tuple(name for name in names if name in self.by_name and name not in self.closed)

    def tried(self, owner: str, server: str, formers: tuple[str, ...]) -> tuple[str, ...]:
        """The servers to be tried for what a server does not know that gets the packets of a slot.

        A switch that cannot reach the slot's own server gives the slot to another one. While a change goes from switch
        to switch it gets such packets, and the slot's own server may know them.
        """
        return (*self.open_formers((owner,)), *formers) if formers and owner != server else formers

    def group_bits(self, port: int) -> int:
        """How many bits of a packet's source port choose among the groups of a pool."""
        return max(0, (len(self.slots(port)) // SLOTS).bit_length() - 1)

    def _members(self, port: int) -> tuple[tuple[str, ...], tuple[int, ...], int]:
        """The servers of a pool and their weights, and the bits of a pool that has the slots of its configuration."""
        pool = None if port == ALL_SERVERS else self.vip.pool_on(port)
        names = pool.servers if pool else tuple(server.name for server in self.all_servers)
        weights = weights_among(self.by_name[name] for name in names)
        return names, weights, pool.group_bits if pool else fewest_bits(len(names))

    @cached_property
    def _open(self) -> frozenset[str]:
        return frozenset(self.port_of) - self.closed

    @cached_property
    def _formers(self) -> dict[int, frozenset[str]]:
        return {}

    @cached_property
    def _shared(self) -> dict[int, tuple[str, ...]]:
        return {}

    # ---- packets ----

    @property
    def is_entrance(self) -> bool:
        """Whether clients' packets enter here from the network side."""
        return self.network in self.ingress_ports

    @property
    def is_on_the_way(self) -> bool:
        """Whether packets to the VIP come by here; if not, only servers' packets do."""
        return self.is_entrance or bool(self.port_of)

    @property
    def ingress_match(self) -> Mapping[str, int]:
        """The match of packets that came in by `ingress_ports`; empty where the switch has only one reachability."""
        return {} if self.reachability is None else {REACHABILITY: self.reachability}

    @property
    def from_clients(self) -> Iterator[Mapping[str, int]]:
        """The matches of packets on their way to servers: from the network side, and from links."""
        if self.is_entrance:
            yield from_side(Side.NETWORK)
        if self.ingress_ports - {self.network}:
            yield {**from_side(Side.LINK), **self.ingress_match}

    def meter(self, reason: Reason, port: int = 0) -> int:
        """The number of the meter for what is handed up of this VIP (and port) for a reason.

        A reason that is not about one VIP (`OF_ALL_VIPS`) has one meter, or one for each connector.
        """
        vip = "" if reason in OF_ALL_VIPS else self.vip.name
        return self.meters[reason, vip, port].number

    def is_one_armed(self, server: Server) -> bool:
        """Whether a server is on the network side (row N5)."""
        return server.name in self.attached_names and server.connector.port == self.network

    def watched_port(self, server: str) -> int:
        """The port of this switch without which a server gets nothing, 0 if it is none: only an own connector is."""
        is_own = server in self.attached_names and not self.is_one_armed(self.by_name[server])
        return self.port_of[server] if is_own else 0

    def mac(self, server: Server) -> int:
        """The MAC address a server's packets come from."""
        return self.vip.mac_of(server)
