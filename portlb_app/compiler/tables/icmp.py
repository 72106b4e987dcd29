"""ICMP: errors about servers' packets by the VIP's policy (rows I2, I3), all other ICMP by its type (rows I1, E6).

OpenFlow cannot match what an error quotes. Under ``replicate`` every server gets a copy; a host checks it against its
own sockets (RFC 5927, 4), so a copy for the wrong host is harmless. Under ``owner`` the controller reads the quote.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from portlb_app.compiler.delivery import deliver, replicate
from portlb_app.compiler.tables.pool import pool_groups
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, IcmpErrors, IcmpPolicy, Vip
from portlb_app.openflow import IN_PORT, Action, Flow, Group, Output, ToGroup, ToMeter, match
from portlb_app.pipeline import (
    DEFAULT,
    ICMP,
    Family,
    Priority,
    Reason,
    answer_echo,
    family,
    flow,
    goto,
    icmp_group,
    make_cookie,
    pool_group,
    punt,
)
from portlb_app.topology.conditions import ALL_SERVERS

_REASONS = {
    IcmpErrors.OWNER: "an ICMP error about a server's packet: the owner of the quoted port gets it (I2, I3)",
    IcmpErrors.REPLICATE: "an ICMP error about a server's packet: every server sees it, the one it quotes acts on it",
    IcmpErrors.DEFAULT: "an ICMP error: the default server gets it",
    IcmpErrors.DROP: "an ICMP error: drop",
}


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """The VIP's policies for errors, for single types, and for all other ICMP."""
    for address in local.vip.addresses:
        ip = family(address)
        for icmp_type in ip.errors:
            yield flow(
                ICMP,
                Priority.SPECIFIC,
                match(**local.ingress_match, **ip.to(address), ip_proto=ip.icmp, **{ip.icmp_type: icmp_type}),
                _target(local, ip),
                make_cookie(Reason.ICMP_ERROR, local.number),
                _REASONS[local.vip.icmp_errors],
            )
        cookie = make_cookie(Reason.NO_PORTS, local.number)
        for rule in local.vip.icmp_types:
            if rule.version == ip.version:
                yield flow(
                    ICMP,
                    Priority.SPECIFIC,
                    match(**local.ingress_match, **ip.to(address), ip_proto=ip.icmp, **{ip.icmp_type: rule.type}),
                    _without_ports(local, address, rule.target),
                    cookie,
                    "ICMP of a type with a server of its own (I1)",
                )
        yield flow(
            ICMP,
            Priority.GENERAL,
            match(**local.ingress_match, **ip.to(address), ip_proto=ip.icmp),
            _without_ports(local, address, local.vip.icmp_rest),
            cookie,
            "ICMP without a quote has no port to judge it by (I1, E6)",
        )


def groups(local: VipOnSwitch) -> Iterator[Group]:
    """One select group of all servers per address, where ICMP is balanced."""
    for address in local.vip.addresses:
        ip = family(address)
        if IcmpPolicy.BALANCE in icmp_targets(local.vip, ip):
            number = partial(pool_group, local.pool_number, ALL_SERVERS, ip.version)
            yield from pool_groups(local, ALL_SERVERS, number, partial(deliver, local, family=ip))


def icmp_targets(vip: Vip, ip: Family) -> set[IcmpPolicy | str]:
    """All receivers of ICMP of a family, over all types."""
    return {rule.target for rule in vip.icmp_types if rule.version == ip.version} | {vip.icmp_rest}


def _without_ports(local: VipOnSwitch, address: Address, target: IcmpPolicy | str) -> tuple[Action, ...]:
    ip = family(address)
    match target:
        case IcmpPolicy.ANSWER:
            return (*answer_echo(local.vip.mac, address), Output(IN_PORT))
        case IcmpPolicy.BALANCE:
            return (ToGroup(icmp_group(local.pool_number, ip.version)),)
        case IcmpPolicy.DEFAULT:
            return (goto(DEFAULT),)
        case IcmpPolicy.DROP:
            return ()
        case _:
            return deliver(local, target, ip)


def _target(local: VipOnSwitch, ip: Family) -> tuple[Action, ...]:
    match local.vip.icmp_errors:
        case IcmpErrors.OWNER:
            return punt(Reason.ICMP_ERROR, local.number)
        case IcmpErrors.REPLICATE:  # one packet becomes as many as there are servers
            return (ToMeter(local.meter(Reason.ICMP_ERROR)), *replicate(local, ip)) if local.reachable_servers else ()
        case IcmpErrors.DEFAULT:
            return (goto(DEFAULT),)
        case IcmpErrors.DROP:
            return ()
