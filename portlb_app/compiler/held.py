"""From the groups that a switch holds to the slots of pools: the reverse of `tables.pool`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from portlb_app.compiler.numbering import mark_numbers, server_numbers
from portlb_app.config import Algorithm, Config, Switch, Vip, weights_among
from portlb_app.openflow import Action, Group, SetField
from portlb_app.pipeline import MAX_GROUP_BITS, SERVER, SLOTS, parse_formers, pool_group, pool_number
from portlb_app.selection import fewest_bits, slots
from portlb_app.topology.conditions import ALL_SERVERS, HeldSlots, PoolKey


def held_slots(config: Config, switch: Switch, groups: Mapping[int, Group]) -> dict[PoolKey, HeldSlots]:
    """The slots of every pool that a switch holds groups of; it may be another configuration that they are of.

    All groups of a pool, for every reachability and version of IP, name the same servers, so the first one decides.
    """
    reachabilities = _reachabilities(config, switch)
    found = {}
    for vip in config.vips:
        names: dict[int, str] = {}
        marks: dict[int, str] = {}
        for port, servers, weights, bits in _pools(config, vip):
            buckets = _buckets(vip, port, reachabilities, groups)
            if buckets is None:
                continue
            if not names:
                every = _all_servers(config, vip)
                names = {number: name for name, number in server_numbers(every).items()}
                marks = {number: name for name, number in mark_numbers(every).items()}
            table = tuple(_owner(bucket, names) for bucket in buckets)
            formers = tuple(_formers(bucket, marks) for bucket in buckets)
            is_default = table == slots(servers, weights, bits)
            found[vip.name, port] = HeldSlots(table, formers if any(formers) else (), is_default)
    return found


def counted_groups(config: Config, switch: Switch) -> dict[int, tuple[PoolKey, int]]:
    """The groups of which an entrance tells what their buckets have counted (``selection: least-packets``).

    Each with its pool and its place there; for every reachability and version of IP there may be some.
    """
    if switch.network is None:
        return {}
    reachabilities = _reachabilities(config, switch)
    return {
        pool_group(pool_number(vip.number, reachability), pool.port, address.version, index): (
            (vip.name, pool.port),
            index,
        )
        for vip in config.vips
        for pool in vip.redirect_ports
        if pool.selecting.algorithm is Algorithm.LEAST_PACKETS
        for reachability in range(reachabilities)
        for address in vip.addresses
        for index in range(1 << pool.group_bits)
    }


def _reachabilities(config: Config, switch: Switch) -> int:
    """How many reachabilities a switch has, at most: one for each of its ports that packets to VIPs come in by."""
    return 1 + sum(end.switch == switch.name for link in config.links for end in link)


def _pools(config: Config, vip: Vip) -> Iterator[tuple[int, tuple[str, ...], tuple[int, ...], int]]:
    """The redirect port, servers, shares and k of every pool of a VIP that has groups."""
    pools = [(pool.port, pool.servers, pool.group_bits) for pool in vip.redirect_ports]
    if vip.spreads_icmp:
        every = _all_servers(config, vip)
        pools.append((ALL_SERVERS, every, fewest_bits(len(every))))
    for port, servers, bits in pools:
        yield port, servers, weights_among(config.server_by_name[name] for name in servers), bits


def _all_servers(config: Config, vip: Vip) -> tuple[str, ...]:
    return tuple(server.name for server in config.servers_of(vip))


def _buckets(
    vip: Vip, port: int, reachabilities: int, groups: Mapping[int, Group]
) -> list[tuple[Action, ...]] | None:
    """The buckets of all groups of a pool, for the first reachability and version of IP that has any."""
    for reachability in range(reachabilities):
        number = pool_number(vip.number, reachability)
        for address in vip.addresses:
            held: list[tuple[Action, ...]] = []
            for index in range(1 << MAX_GROUP_BITS):
                group = groups.get(pool_group(number, port, address.version, index))
                if group is None or len(group.buckets) != SLOTS:
                    break
                held.extend(group.buckets)
            if held:
                return held[: SLOTS << (len(held) // SLOTS).bit_length() - 1]
    return None


def _owner(bucket: tuple[Action, ...], names: Mapping[int, str]) -> str | None:
    """The server that a bucket says its slot has; None if it says nothing, or names one that is not configured."""
    mark = bucket[0] if bucket else None
    return names.get(mark.value) if isinstance(mark, SetField) and mark.name == SERVER else None


def _formers(bucket: tuple[Action, ...], names: Mapping[int, str]) -> tuple[str, ...]:
    """The servers that a bucket says its slot had before, latest first."""
    return tuple(names[number] for number in parse_formers(bucket) if number in names)
