"""Whose packets the flows and groups of a switch count: the reverse of what the tables deliver.

A server's traffic is counted on its own switch alone, which all of it passes. To a server: what its service ports and
names, the slots of pools, conntrack and the policies for plain clients and unknown ports deliver. From it: what
UPSTREAM lets out. Not counted are copies (ICMP errors go to every server, ARP), what servers hand back and say to each
other, and what the controller has sent past these tables: fragments, checks by the connector. Checks by a service port
are counted there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

from portlb_app.compiler.numbering import server_numbers
from portlb_app.config import Config, Legacy, Server, Switch, Vip
from portlb_app.openflow import IP_UDP, Action, Flow, Group, Output, SetField
from portlb_app.pipeline import (
    CT_MARK,
    MAX_GROUP_BITS,
    SERVER,
    Reason,
    family,
    parse_cookie,
    pool_group,
    pool_number,
)
from portlb_app.topology.conditions import ALL_SERVERS, PoolKey


class Direction(str, enum.Enum):
    """The way of a server's packets, as its switch sees it."""

    TO_SERVER = "to_server"
    FROM_SERVER = "from_server"

    __hash__ = str.__hash__  # that of an enumeration is ten times as slow, and each flow's counter needs one


Way = tuple[str, Direction]
"""A server, and a direction."""


class Account(NamedTuple):
    """What packets count for. `pool`: by the slots of which pool they were delivered; None for all others.

    `is_ipv6`: they are a server's, and all of IPv6.
    `datagrams`: whether they are UDP to a service port, such as those of QUIC clients that have moved (row B2).
    """

    way: Way
    pool: PoolKey | None = None
    is_ipv6: bool = False
    datagrams: bool = False


Parts = tuple[tuple[Account, list[int]], ...]
"""Accounts, and the buckets of a group that count for each."""
_FROM = frozenset(
    {Reason.OWN_PORT, Reason.NAMED, Reason.SERVER_ICMP, Reason.SERVER_FRAGMENT, Reason.UNKNOWN_PORT}
)
"""Why a flow lets a server's packets out to clients."""
_TO = frozenset({Reason.SERVICE, Reason.NAMED, Reason.LEGACY, Reason.PIN, Reason.DEFAULT})
COUNTED = _FROM | _TO
"""Why a flow exists whose packets count for a server."""


class Traffic:
    """The accounts of the flows and groups of one switch, for the servers that are attached to it."""

    def __init__(self, config: Config, switch: Switch) -> None:
        self.config = config
        self._sources: dict[tuple[int, int, int], str] = {}
        """By connector, MAC address and IP address that a server sends from."""
        self._names: dict[tuple[str, int], str] = {}
        """By field and value that name one server."""
        self._owners: dict[tuple[Reason, int, int], str] = {}
        """By the parts of a cookie: the server that gets all packets."""
        self._numbers: dict[tuple[int, int], str] = {}
        """By number of the VIP, and of the server in its slots and for conntrack."""
        self._name_of = {vip.number: vip.name for vip in config.vips}
        self._known: dict[int, tuple[Group, Parts]] = {}
        """What was found out about groups, by their numbers."""
        self._vips: list[Vip] = []
        """Those with servers here."""
        self._reachabilities = 1 + sum(end.switch == switch.name for link in config.links for end in link)
        for vip in config.vips:
            every = config.servers_of(vip)
            here = {server.name: server for server in every if server.connector.switch == switch.name}
            if here:
                for name, number in server_numbers(server.name for server in every).items():
                    if name in here:
                        self._numbers[vip.number, number] = name
                        self._add_server(vip, here[name])
                self._add_vip(config, vip, here)
                self._vips.append(vip)

    def of_flow(self, flow: Flow) -> Account | None:
        """What the packets of a flow count for; None if for nothing, or if a group decides."""
        reason, vip, port = parse_cookie(flow.cookie)
        if reason not in COUNTED or Output not in map(type, flow.actions):
            return None
        fields = {name: value for name, value, mask in flow.match if mask is None}
        source = fields.get("in_port"), fields.get("eth_src"), fields.get("ip_src", fields.get("ipv6_src"))
        if reason in _FROM and (sender := self._sources.get(source)):  # type: ignore[arg-type]
            return Account((sender, Direction.FROM_SERVER), is_ipv6="ipv6_src" in fields)
        if reason is Reason.PIN:
            pinned = self._numbers.get((vip, fields.get(CT_MARK, 0)))
            return None if pinned is None else Account((pinned, Direction.TO_SERVER), (self._name_of[vip], port))
        taker = next((self._names[each] for each in fields.items() if each in self._names), None)
        if reason in _TO and reason is not Reason.NAMED:
            taker = self._owners.get((reason, vip, port))
        is_datagram = reason is Reason.SERVICE and fields.get("ip_proto") == IP_UDP
        return None if taker is None else Account((taker, Direction.TO_SERVER), datagrams=is_datagram)

    def of_groups(self, groups: Mapping[int, Group]) -> Iterator[tuple[Group, Parts]]:
        """Those of some groups, by number, that pools have, and what the packets of their buckets count for."""
        for vip in self._vips:
            ports = [pool.port for pool in vip.redirect_ports] + [ALL_SERVERS] * vip.spreads_icmp
            for reachability, port, address in product(range(self._reachabilities), ports, vip.addresses):
                number = pool_number(vip.number, reachability)
                for index in range(1 << MAX_GROUP_BITS):
                    group = groups.get(pool_group(number, port, address.version, index))
                    if group is None:
                        break
                    known = self._known.get(group.number)
                    if known is None or (known[0] is not group and known[0] != group):
                        known = self._known[group.number] = group, self._of_group(vip, port, group)
                    yield group, known[1]

    def _of_group(self, vip: Vip, port: int, group: Group) -> Parts:
        found: dict[Account, list[int]] = {}
        for position, bucket in enumerate(group.buckets):
            if (account := self._of_bucket(vip, port, bucket)) is not None:
                found.setdefault(account, []).append(position)
        return tuple(found.items())

    def _of_bucket(self, vip: Vip, port: int, bucket: tuple[Action, ...]) -> Account | None:
        mark = bucket[0] if bucket else None
        if not isinstance(mark, SetField) or mark.name != SERVER:
            return None
        name = self._numbers.get((vip.number, mark.value))
        return None if name is None else Account((name, Direction.TO_SERVER), (vip.name, port))

    def _add_server(self, vip: Vip, server: Server) -> None:
        at, mac = server.connector.port, vip.mac_of(server)
        for address in (*vip.addresses_of(server), *server.service_addresses):
            self._sources[at, mac, int(address)] = server.name
        for address in server.service_addresses:
            self._names[family(address).destination, int(address)] = server.name
        if server.service_mac is not None:
            self._names["eth_dst", server.service_mac] = server.name
            for address in vip.addresses_of(server):
                self._sources[at, server.service_mac, int(address)] = server.name
        if server.service_label is not None:
            self._names["ipv6_label", server.service_label] = server.name
        for owned in server.service_ports:
            self._owners[Reason.SERVICE, vip.number, owned.port] = server.name

    def _add_vip(self, config: Config, vip: Vip, here: Mapping[str, Server]) -> None:
        owners = config.owners(vip)
        if vip.default_server in here and vip.default_server is not None:
            self._owners[Reason.DEFAULT, vip.number, 0] = vip.default_server
        for pool in vip.redirect_ports:
            taker = None
            if pool.legacy is Legacy.OWNER and pool.port in owners:
                taker = owners[pool.port].name
            elif pool.legacy is Legacy.DEFAULT:
                taker = vip.default_server
            if taker is not None and taker in here:
                self._owners[Reason.LEGACY, vip.number, pool.port] = taker
