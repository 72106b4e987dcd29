"""Slots as the buckets of OpenFlow groups, and which packets get which group.

A bucket says whose slot it is by a number that it writes into a register (`pipeline.SERVER`): the slot's server in the
whole pool's table, also on a switch that must give the slot to another server because it cannot reach that one. So any
switch tells the whole table when it is read, whatever it can reach, and also where two servers share a connector.

It also watches the server's connector, if that is on this switch: while the port is down, the switch gives its packets
to other buckets by itself, and those of other buckets stay (Open vSwitch 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from portlb_app.compiler.delivery import marked
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import MAX_WHEN, Address, Algorithm, RedirectPort, When
from portlb_app.openflow import Action, Group, Selection
from portlb_app.pipeline import (
    PRIORITY_TAGGED,
    SELECTION,
    SLOTS,
    Family,
    by_source,
    from_group,
    group_of,
    load_formers,
    load_server,
)


def pool_groups(
    local: VipOnSwitch,
    port: int,
    number: Callable[[int], int],
    bucket: Callable[[str], tuple[Action, ...]],
    selection: Selection = SELECTION,
    are_marked: bool = False,
) -> Iterator[Group]:
    """The groups of the pool of a redirect port, or of `ALL_SERVERS`: each has 256 of its slots.

    `number` makes the number of each, `bucket` the actions for a server. With `are_marked`, the packets of slots that
    have moved name the slots' former servers.
    """
    given, table = local.slots(port), local.table(port)
    numbers = tuple(map(number, range(1 << local.group_bits(port))))
    made = tuple((server, bucket(server), local.watched_port(server)) for server in dict.fromkeys(given))
    slots = (table.servers, given, table.formers if are_marked else ()) if given else ((), (), ())
    yield from local.memo.get(_groups, _Servers(local), slots, made, numbers, selection)


class _Servers:
    """What is to be known of a VIP's servers: two are equal if all of that is."""

    def __init__(self, local: VipOnSwitch) -> None:
        self.local = local
        self._known = local.number, local.all_servers, local.closed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Servers) and self._known == other._known

    def __hash__(self) -> int:
        return self.local.number


def _groups(
    known: _Servers,
    slots: tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, ...], ...]],
    made: tuple[tuple[str, tuple[Action, ...], int], ...],
    numbers: tuple[int, ...],
    selection: Selection,
) -> tuple[Group, ...]:
    """`slots`: owners, who is given each here, former servers. `made`: server, its bucket, and the port it watches."""
    local, (owners, given, earlier) = known.local, slots
    formers: Iterable[tuple[str, ...]] = earlier or repeat((), len(given))
    of_slots = list(zip(owners, given, map(local.open_formers, formers), strict=True))
    delivered = {server: actions for server, actions, _ in made}
    buckets = {
        (owner, server, earlier): (
            load_server(local.numbers[owner]),
            *load_formers([local.mark_numbers[name] for name in earlier]),
            *marked(local, delivered[server], server, local.tried(owner, server, earlier)),
        )
        for owner, server, earlier in set(of_slots)
    }
    ports = {server: port for server, _, port in made}
    watched = tuple(map(ports.__getitem__, given)) if any(ports.values()) else ()
    groups = []
    for index, number in enumerate(numbers):
        own = slice(SLOTS * index, SLOTS * (index + 1))
        chosen = tuple(map(buckets.__getitem__, of_slots[own]))
        groups.append(Group(number, "select", chosen, selection, watched[own] if any(watched[own]) else ()))
    return tuple(groups)


def selection(pool: RedirectPort, ip: Family) -> Selection:
    """How the groups of a pool hash."""
    if pool.selecting.algorithm is not Algorithm.SOURCE:
        return SELECTION
    return by_source(ip.version, pool.selecting.prefix4 if ip.version == 4 else pool.selecting.prefix6)


@dataclass(frozen=True)
class Way:
    """Packets to a redirect port that one group gets: their match, and which group of which pool.

    `ahead`: how far the flow for them is ahead of the one for all other packets to the port.
    """

    ahead: int
    fields: Mapping[str, Any]
    pool: RedirectPort
    index: int


def ways(local: VipOnSwitch, pool: RedirectPort, ip: Family, protocol: int) -> Iterator[Way]:
    """All packets of a transport to a redirect port, by the group that they get: those of ``when``, and the others."""
    for position, when in enumerate(pool.when):
        if when.source is None or when.source.version == ip.version:
            yield from _of_pool(local, _led_to(local, when), protocol, MAX_WHEN - position, _match(when, ip))
    yield from _of_pool(local, pool, protocol, 0, {})


def way_of(local: VipOnSwitch, pool: RedirectPort, source: Address, dscp: int, source_port: int) -> Way:
    """Which of these a packet without a VLAN tag has."""
    chosen = next((_led_to(local, when) for when in pool.when if _is_of(when, source, dscp)), pool)
    return Way(0, {}, chosen, group_of(source_port, local.group_bits(chosen.port)))


def _led_to(local: VipOnSwitch, when: When) -> RedirectPort:
    other = local.vip.pool_on(when.pool)
    assert other is not None, "a configuration without one was refused"
    return other


def _is_of(when: When, source: Address, dscp: int) -> bool:
    is_from = when.source is None or (when.source.version == source.version and source in when.source)
    return is_from and when.dscp in (None, dscp) and when.vlan is None


def receivers(local: VipOnSwitch, pool: RedirectPort) -> tuple[RedirectPort, ...]:
    """The pools that packets to a redirect port may get, as far as they can be reached from here."""
    ports = {pool.port, *(when.pool for when in pool.when)}
    return tuple(each for each in local.pools if each.port in ports)


def _of_pool(
    local: VipOnSwitch, pool: RedirectPort, protocol: int, ahead: int, fields: Mapping[str, Any]
) -> Iterator[Way]:
    bits = local.group_bits(pool.port)
    for index in range(1 << bits):
        yield Way(ahead, {**fields, **from_group(protocol, index, bits)}, pool, index)


def _match(when: When, ip: Family) -> Mapping[str, Any]:
    fields: dict[str, Any] = {}
    if when.source is not None:
        fields[ip.source] = int(when.source.network_address), int(when.source.netmask)
    if when.dscp is not None:
        fields["ip_dscp"] = when.dscp
    if when.vlan is not None:
        fields["vlan_vid"] = PRIORITY_TAGGED | when.vlan
    return fields
