"""REDIRECT: a packet to a redirect port goes to the server of its slot in the port's pool (rows U2, E2).

For TCP this needs the REDIRECT bit. A client that can be redirected sets it on its SYN and, if the server did not
redirect it, on every packet of the connection. So these packets stay with their slot, whatever LEGACY does with plain
clients.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from portlb_app.compiler.delivery import deliver
from portlb_app.compiler.tables.pool import by_group, pool_groups
from portlb_app.compiler.tables.qos import metered_qos_actions
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, DefaultFor, RedirectPort
from portlb_app.openflow import IP_SCTP, IP_TCP, IP_UDP, Action, Flow, Group, ToGroup, match
from portlb_app.pipeline import (
    REDIRECT,
    REDIRECT_BIT,
    Family,
    Priority,
    Reason,
    family,
    flow,
    make_cookie,
    pool_group,
)

_TRANSPORTS = {
    IP_TCP: ("tcp_dst", "a client that can be redirected, on a redirect port: any server of the pool (E2)"),
    IP_UDP: ("udp_dst", "UDP to a redirect port: any server of the pool (U2)"),
    IP_SCTP: ("sctp_dst", "SCTP to a redirect port: the server of the association's slot (X4)"),
}


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """One flow per redirect port, transport and address, and one for ports that such clients may not use."""
    for address in local.vip.addresses:
        yield from _to_pools(local, address)
        if local.vip.default_for is not DefaultFor.UNKNOWN_PORTS:
            yield flow(
                REDIRECT,
                Priority.GENERAL,
                match(**family(address).to(address), ip_proto=IP_TCP, tcp_flags=(REDIRECT_BIT, REDIRECT_BIT)),
                (),
                make_cookie(Reason.DEFAULT, local.number),
                "an unknown port, and the default server is for clients without REDIRECT only: drop (E5)",
            )


def _to_pools(local: VipOnSwitch, address: Address) -> Iterator[Flow]:
    ip = family(address)
    to_address = {**local.ingress_match, **ip.to(address)}
    for pool in local.pools:
        cookie = make_cookie(Reason.REDIRECT, local.number, pool.port)
        for protocol, (port, reason) in _TRANSPORTS.items():
            to_port: dict[str, Any] = {**to_address, "ip_proto": protocol, port: pool.port}
            if protocol == IP_TCP:
                to_port["tcp_flags"] = (REDIRECT_BIT, REDIRECT_BIT)
            for index, from_ports in by_group(local, pool, protocol):
                actions = to_pool(local, pool, ip, index)
                yield flow(REDIRECT, Priority.SPECIFIC, match(**to_port, **from_ports), actions, cookie, reason)


def groups(local: VipOnSwitch) -> Iterator[Group]:
    """One select group per redirect port and version of IP, or several: a bucket of equal weight for each slot."""
    for address in local.vip.addresses:
        ip = family(address)
        for pool in local.pools:
            number = partial(pool_group, local.pool_number, pool.port, ip.version)
            yield from pool_groups(local, pool.port, number, partial(deliver, local, family=ip), are_marked=True)


def to_pool(local: VipOnSwitch, pool: RedirectPort, ip: Family, index: int) -> tuple[Action, ...]:
    """The actions that send a packet to the server of its slot in one of the pool's groups."""
    to_group = ToGroup(pool_group(local.pool_number, pool.port, ip.version, index))
    return (*metered_qos_actions(local, "redirect", pool.port, pool.qos), to_group)


def to_slot(local: VipOnSwitch, pool: RedirectPort, ip: Family, slot: int) -> tuple[Action, ...]:
    """The actions for a packet whose slot (from 0) is known; the pool must have a server."""
    server = local.slots(pool.port)[slot]
    return (*metered_qos_actions(local, "redirect", pool.port, pool.qos), *deliver(local, server, ip))
