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
from portlb_app.compiler.tables.pool import Way, pool_groups, selection, ways
from portlb_app.compiler.tables.qos import metered_qos_actions
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, DefaultFor, RedirectPort, Turns
from portlb_app.openflow import IP_SCTP, IP_TCP, IP_UDP, Action, Flow, Group, ToGroup, match
from portlb_app.pipeline import (
    ACK,
    PRESENCE,
    REDIRECT,
    REDIRECT_BIT,
    SLOTS,
    SYN,
    TURNS,
    Family,
    Priority,
    Reason,
    family,
    flow,
    goto,
    make_cookie,
    pool_group,
    resubmit,
)

_TRANSPORTS = {
    IP_TCP: ("tcp_dst", "a client that can be redirected, on a redirect port: any server of the pool (E2)"),
    IP_UDP: ("udp_dst", "UDP to a redirect port: any server of the pool (U2)"),
    IP_SCTP: ("sctp_dst", "SCTP to a redirect port: the server of the association's slot (X4)"),
}


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """One flow per redirect port, transport and address; one more for SYNs where the controller takes turns; and one
    for ports that such clients may not use.
    """
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
                if takes_turns(local, pool):
                    yield flow(
                        REDIRECT,
                        Priority.PASSING,
                        match(**to_port | {"tcp_flags": (REDIRECT_BIT | SYN, REDIRECT_BIT | SYN | ACK)}),
                        (resubmit(PRESENCE), goto(TURNS)),
                        make_cookie(Reason.TURNS, local.number, pool.port),
                        "a client that can be redirected, on a port whose turns the controller takes: if it is there",
                    )
            for way in ways(local, pool, ip, protocol):
                actions = to_way(local, pool, ip, way)
                why = f"{reason}; by what it says of itself (L4)" if way.ahead else reason
                yield flow(
                    REDIRECT, Priority.SPECIFIC + way.ahead, match(**to_port, **way.fields), actions, cookie, why
                )


def groups(local: VipOnSwitch) -> Iterator[Group]:
    """One select group per redirect port and version of IP, or several: a bucket of equal weight for each slot."""
    for address in local.vip.addresses:
        ip = family(address)
        for pool in local.pools:
            number = partial(pool_group, local.pool_number, pool.port, ip.version)
            bucket, hashing = partial(deliver, local, family=ip), selection(pool, ip)
            yield from pool_groups(local, pool.port, number, bucket, hashing, are_marked=True)


def takes_turns(local: VipOnSwitch, pool: RedirectPort) -> bool:
    """Whether the controller may decide which server gets a SYN that enters here."""
    return local.is_entrance and pool.selecting.turns is Turns.CONTROLLER and bool(local.slots(pool.port))


def to_way(local: VipOnSwitch, pool: RedirectPort, ip: Family, way: Way) -> tuple[Action, ...]:
    """The actions that send a packet to a redirect port to the server of its slot in a group of its pool.

    No actions (drop) if no server of that pool can be reached from here.
    """
    if way.pool not in local.pools:
        return ()
    to_group = ToGroup(pool_group(local.pool_number, way.pool.port, ip.version, way.index))
    return (*metered_qos_actions(local.rates, "redirect", pool.port, pool.qos), to_group)


def to_slot(local: VipOnSwitch, pool: RedirectPort, ip: Family, way: Way, slot: int) -> tuple[Action, ...]:
    """The actions for a packet whose slot in its group (from 0) is known; its pool must have a server."""
    server = local.slots(way.pool.port)[SLOTS * way.index + slot]
    return (*metered_qos_actions(local.rates, "redirect", pool.port, pool.qos), *deliver(local, server, ip))
