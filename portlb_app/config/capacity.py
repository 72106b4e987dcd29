"""Whether the tables a configuration compiles to can be installed, and read back: counted before any flow is made.

What a switch has room for is in `limits`. Flows are counted from above, as if every server could be reached from every
switch. The true number is within a tenth of that on a large configuration's one switch, or entrance.

The flows of FORMER are not counted, because they follow from how slots move: `backends.formers.LISTS` bounds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from portlb_app.config.policies import Fragments, IcmpErrors, Legacy, Rewrite, Signal
from portlb_app.config.problems import Problem
from portlb_app.config.selection_values import Algorithm, Turns
from portlb_app.config.values import Config, RedirectPort, Server, Vip
from portlb_app.net.packets import Address
from portlb_app.openflow.limits import FLOWS, GROUPS, MAX_VIPS, MESSAGE, METERS_OF_A_KIND
from portlb_app.pipeline import (
    MAX_GROUP_BITS,
    SELECTION,
    by_source,
    icmp_group,
    pin_group,
    pool_group,
    pool_number,
    slot_group,
)
from portlb_app.selection import group_bits

_TRANSPORTS = 3
_OF_CHECKS = 3
"""Flows for an address of a VIP and a server that is checked: its answers, and what it asks for."""
_OF_TURNS = 7
"""Flows for an address of a VIP and a port whose turns the controller takes, beside those of its groups."""
_OF_SWITCH = 128
"""Flows that are no VIP's: misses, sides, the switch's own addresses; links and connectors are counted with VIPs."""
_ACTION = 16
"""Bytes of an action that outputs, or sets a MAC address."""
_ADDRESS = 24
"""Bytes of an action that sets an IPv6 address."""
_AROUND = 512
"""Bytes around the actions of a flow: headers of the flow-mod, its match, its instructions, and of the bundle."""


def problems(config: Config) -> Iterator[Problem]:
    """What there is no room for, each with the path of what to change."""
    if len(config.vips) > MAX_VIPS:
        yield Problem("vips", f"has {len(config.vips)} entries; {MAX_VIPS} are the most")
        return
    yield from _numbers(config)
    yield from _meters(config)
    yield from _messages(config)
    loads = [_Load.of(config, vip) for vip in config.vips]
    views = _views(config)
    for name, (flows, groups) in usage(config).items():
        by_vip = {load.vip: (load.flows(name, views[name]), load.groups * views[name]) for load in loads}
        for position, what, total, most in ((0, "flows", flows, FLOWS), (1, "groups", groups, GROUPS)):
            if total > most:
                largest = max(by_vip, key=lambda vip: by_vip[vip][position])
                message = f"the tables of switch {name} would have up to {total} {what}, "
                message += f"{by_vip[largest][position]} of them for this VIP; {most} are the most"
                yield Problem(f"vips.{largest}", message)


def with_groups(config: Config) -> Config:
    """The configuration with as many groups for each pool as its servers need, or as switches have room for.

    Where room lacks, every pool has at most the number that all can have.
    """
    for most in range(MAX_GROUP_BITS, -1, -1):
        sized = replace(config, vips=tuple(_sized(config, vip, most) for vip in config.vips))
        if sized == config or all(flows <= FLOWS and groups <= GROUPS for flows, groups in usage(sized).values()):
            break
    return sized


def _sized(config: Config, vip: Vip, most: int) -> Vip:
    pools = []
    for pool in vip.redirect_ports:
        weights = {name: config.server_by_name[name].weight for name in pool.servers}
        is_split = pool.selecting.algorithm is not Algorithm.SOURCE  # a client has many source ports
        pools.append(replace(pool, group_bits=group_bits(weights, most) if is_split else 0))
    return replace(vip, redirect_ports=tuple(pools))


def usage(config: Config) -> dict[str, tuple[int, int]]:
    """How many flows and groups every switch has, at most."""
    loads, views = [_Load.of(config, vip) for vip in config.vips], _views(config)
    return {
        switch.name: (
            _OF_SWITCH + sum(load.flows(switch.name, views[switch.name]) for load in loads),
            len(_slot_groups(config)) + sum(load.groups * views[switch.name] for load in loads),
        )
        for switch in config.switches
    }


def _slot_groups(config: Config) -> set[int]:
    """The groups that find slots: one, and one for each length of prefix by which pools hash."""
    chosen = [pool.selecting for vip in config.vips for pool in vip.redirect_ports]
    prefixes = {
        (version, each.prefix4 if version == 4 else each.prefix6)
        for each in chosen
        if each.algorithm is Algorithm.SOURCE
        for version in (4, 6)
    }
    return {slot_group(SELECTION), *(slot_group(by_source(*each)) for each in prefixes)}


def _views(config: Config) -> dict[str, int]:
    """How many reachabilities (`topology.Reachability`) each switch has, at most.

    With several network sides packets take one spanning tree, and come from as many sides as there are network sides
    beyond; with one they come from neighbours that are nearer to it.
    """
    neighbours: dict[str, list[str]] = {switch.name: [] for switch in config.switches}
    for link in config.links:
        neighbours[link.one.switch].append(link.other.switch)
        neighbours[link.other.switch].append(link.one.switch)
    entered = [switch.name for switch in config.switches if switch.network is not None]
    if len(entered) != 1:
        return {name: 1 + min(len(others), len(entered)) for name, others in neighbours.items()}
    depth = {entered[0]: 0}
    for name in entered:  # grows on the way
        nearer = [other for other in neighbours[name] if other not in depth]
        depth.update(dict.fromkeys(nearer, depth[name] + 1))
        entered.extend(dict.fromkeys(nearer))
    return {
        name: 1 + sum(depth.get(other, 0) <= depth.get(name, 0) for other in others)
        for name, others in neighbours.items()
    }


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _numbers(config: Config) -> Iterator[Problem]:
    """VIPs and groups have numbers that do not depend on each other, so two may be equal."""
    views = max(_views(config).values(), default=1)
    vips: dict[int, str] = {}
    groups: dict[int, str] = {}
    slot_groups = _slot_groups(config)
    for vip in config.vips:
        path = f"vips.{vip.name}.number"
        other = vips.setdefault(vip.number, vip.name)
        if other != vip.name:
            yield Problem(path, f"{vip.number} is already the number of {other}: give one of them another")
            continue
        own = list(_groups(vip, views))
        if not slot_groups.isdisjoint(own):
            yield Problem(path, f"with {vip.number}, one of its groups has a number that finds slots: give it another")
        met = {groups.setdefault(group, vip.name) for group in own} - {vip.name}
        if met:
            yield Problem(path, f"with {vip.number}, groups have the numbers of {min(met)}'s: give one VIP another")
        if len(set(own)) < len(own):
            yield Problem(path, f"with {vip.number}, two of its own groups have one number: give it another")


def _groups(vip: Vip, views: int) -> Iterator[int]:
    for address in vip.addresses:
        for view in range(views):
            number = pool_number(vip.number, view)
            if vip.spreads_icmp:
                yield icmp_group(number, address.version)
            for pools, make in ((vip.redirect_ports, pool_group), (_pinned(vip), pin_group)):
                for pool in pools:
                    yield from (make(number, pool.port, address.version, each) for each in range(1 << pool.group_bits))


def _pinned(vip: Vip) -> list[RedirectPort]:
    """The pools that get plain clients who are remembered: of pinned ports, and of ports that those lead to."""
    pinned = [pool for pool in vip.redirect_ports if pool.legacy is Legacy.PIN]
    ports = {port for pool in pinned for port in (pool.port, *(when.pool for when in pool.when))}
    return [pool for pool in vip.redirect_ports if pool.port in ports]


def _meters(config: Config) -> Iterator[Problem]:
    redirects = [pool for vip in config.vips for pool in vip.redirect_ports]
    rates = sum(pool.qos.rate is not None for pool in redirects)
    rates += sum(owned.qos.rate is not None for server in config.servers for owned in server.service_ports)
    signals = sum(pool.signal is Signal.OPTION or pool.selecting.turns is Turns.CONTROLLER for pool in redirects)
    checked = {config.server_by_name[name].connector.port for vip in config.vips for name in vip.checked}
    kinds = (
        (rates, "services have a rate"),
        (signals, "redirect ports have signal: option or turns: controller"),
        (len(checked), "OpenFlow ports lead to servers that are checked"),
    )
    for count, what in kinds:
        if count > METERS_OF_A_KIND:
            yield Problem("vips", f"{count} {what}, each with a meter; {METERS_OF_A_KIND} are the most")


# ---- sizes of messages -----------------------------------------------------------------------------------------------


def _messages(config: Config) -> Iterator[Problem]:
    """A flow that reaches every server names each of them, and goes to the switch in one message."""
    for vip in config.vips:
        servers = config.servers_of(vip)
        each = {Rewrite.NOTHING: _ACTION, Rewrite.MAC: 3 * _ACTION, Rewrite.ADDRESS: 0}[vip.rewrite]
        if Fragments.REPLICATE is vip.fragments or IcmpErrors.REPLICATE is vip.icmp_errors:
            rewritten = {Rewrite.NOTHING: 0, Rewrite.MAC: 2 * _ACTION, Rewrite.ADDRESS: 2 * _ACTION + _ADDRESS}
            each = max(each, _ACTION + rewritten[vip.rewrite])
        most = (MESSAGE - _AROUND) // each if each else len(servers)
        if len(servers) > most:
            yield Problem(
                f"vips.{vip.name}",
                f"has {len(servers)} servers, each of which gets ARP answers or copies; a message to a switch has room "
                f"for {most}",
            )


# ---- flows -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Load:
    """What a VIP brings to the tables of every switch: flows in any case, for each view, for each way down a packet
    comes, and, by switch, for the servers that are attached there; and groups for each view."""

    vip: str
    always: int
    of_view: int
    of_way: int
    attached: Mapping[str, int]
    groups: int

    @classmethod
    def of(cls, config: Config, vip: Vip) -> _Load:
        """What this VIP brings."""
        servers, families, pools = config.servers_of(vip), len(vip.addresses), vip.redirect_ports
        owned = sum(len(server.service_ports) for server in servers)
        pinned = [pool for pool in pools if pool.legacy is Legacy.PIN]
        remembered = sum(2 * len(servers) + len(vip.receivers(pool)) for pool in pinned)
        of_port = {pool.port: 1 << pool.group_bits for pool in pools}
        further = {pool.port: of_port[pool.port] - 1 + sum(of_port[when.pool] for when in pool.when) for pool in pools}
        remembered += sum((1 + len(servers) - len(pool.servers)) * further[pool.port] for pool in pinned)
        remembered += 4 * sum(further.values())
        remembered += sum(_OF_TURNS + further[pool.port] for pool in pools if pool.selecting.turns is Turns.CONTROLLER)
        of_plain = [pool for pool in pools if pool.legacy in (Legacy.PIN, Legacy.DEFAULT)]
        shared = Counter(name for pool in pools for name in vip.receivers(pool))
        of_pool = Counter(name for pool in of_plain for name in pool.servers)
        names = sum(len(server.service_addresses) for server in servers)
        attached: Counter[str] = Counter()
        for server in servers:
            mine, is_named = shared[server.name], server.service_mac is not None or server.service_label is not None
            of_tcp = len(pools) - mine if is_named else len(of_plain) - of_pool[server.name]
            ports = _TRANSPORTS * (len(server.service_ports) + mine) + of_tcp
            if server.service_mac is not None:
                ports += len(server.service_ports) + mine + of_tcp
            if server.name in vip.checked:
                ports += _OF_CHECKS
            if server.name == vip.default_server:
                ports += _TRANSPORTS * (owned + len(pools)) + 1
            here = sum(ports + _upstream(vip, server, ip) for ip in vip.addresses) + 3
            attached[server.connector.switch] += here
        names += sum(server.service_label is not None for server in servers)
        macs = sum((server.mac is not None) + 2 * (server.service_mac is not None) for server in servers)
        peers = sum(5 if own.version == 4 else 12 for server in servers for own in server.addresses)
        return cls(
            vip=vip.name,
            always=families * (_TRANSPORTS * owned + 12) + 9 * names + 2 * macs + peers + 12,
            of_view=families * (17 + len(vip.icmp_types) + 8 * len(pools) + remembered),
            of_way=families * 5 + 2 * names + sum(_asked(vip, server) for server in servers),
            attached=attached,
            groups=families * (1 + sum(1 << pool.group_bits for pool in (*pools, *_pinned(vip)))),
        )

    def flows(self, switch: str, views: int) -> int:
        """How many flows the VIP has on a switch, at most."""
        ways = 1 if views == 1 else 1 + views
        return self.always + self.of_view * views + self.of_way * ways + self.attached.get(switch, 0)


def _asked(vip: Vip, server: Server) -> int:
    """Flows for each way down, for questions about a server's own addresses and answers to them."""
    if vip.rewrite is Rewrite.NOTHING:
        return 0
    own = server.routers or server.addresses
    return sum(1 if each.version == 4 else 2 for each in own) + 2 * (vip.addresses[-1].version == 6)


def _upstream(vip: Vip, server: Server, ip: Address) -> int:
    """Flows for an address of the VIP, for what an attached server sends beside its ports, and what it asks."""
    asks = {Rewrite.NOTHING: 2, Rewrite.MAC: 3, Rewrite.ADDRESS: 2 if ip.version == 4 else 5}[vip.rewrite]
    of_icmp = 5 if ip.version == 4 else 6
    return of_icmp + 2 + asks + of_icmp * len(server.routers) + len(server.service_addresses)
