"""PINNED and PIN: a plain client's connection to a redirect port keeps its server, because conntrack remembers it.

The only stateful tables; opt-in by ``legacy: pin``. LEGACY sends every packet through conntrack, and PINNED matches the
mark of the connection's server. A connection without a mark goes to the server of its slot; PIN delivers, and has
conntrack remember the server if the packet is a SYN. A SYN of a remembered connection whose server has left the pool is
a new connection from a reused port: it also goes by its slot.

A mark names a server, not a place: a server that moves to another connector keeps its connections, and the slots take
over those of a server that has left the configuration. Conntrack remembers SYNs only, so the entries of a flood are
those that it forgets first.

Conntrack must see both directions; otherwise a connection stays half-open for it and is soon forgotten. So UPSTREAM and
`transit` show it what servers send from a pinned port.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from portlb_app.compiler.delivery import deliver
from portlb_app.compiler.tables.pool import Way, pool_groups, receivers, selection, ways
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Legacy, RedirectPort
from portlb_app.openflow import IP_TCP, Action, Flow, Group, ToGroup, match
from portlb_app.pipeline import (
    ACK,
    CT_MARK,
    PIN,
    PINNED,
    SYN,
    Family,
    Priority,
    Reason,
    ct_commit,
    family,
    flow,
    load_ct_mark,
    make_cookie,
    pin_group,
    resubmit,
)


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """Per pinned redirect port and address: a flow for unknown connections, and some for each server."""
    for address in local.vip.addresses:
        ip = family(address)
        for pool in pinned(local):
            cookie = make_cookie(Reason.PIN, local.number, pool.port)
            to_port = {**local.ingress_match, **ip.to(address), "ip_proto": IP_TCP, "tcp_dst": pool.port}
            opening = {"tcp_flags": (SYN, SYN | ACK)}
            led_to = receivers(local, pool)
            chosen = {server for each in led_to for server in local.table(each.port).servers}
            gone = [server for server in local.reachable_servers if server.name not in chosen]
            for way in ways(local, pool, ip, IP_TCP):
                decide = _decide(local, ip, way)
                unknown = "a plain client's connection that is not remembered: the pool's slots"
                here = match(**to_port, **way.fields)
                yield flow(PINNED, Priority.GENERAL + way.ahead, here, decide, cookie, unknown)
                for server in gone:
                    again = match(**to_port, **way.fields, ct_mark=local.numbers[server.name], **opening)
                    anew = "a new connection from a port remembered with a server that has no slots now: the slots"
                    yield flow(PINNED, Priority.EXCEPTION + way.ahead, again, decide, cookie, anew)
            for server in local.reachable_servers:
                remembered = match(**to_port, ct_mark=local.numbers[server.name])
                kept = "a connection that is remembered: its server"
                yield flow(PINNED, Priority.SPECIFIC, remembered, deliver(local, server.name, ip), cookie, kept)
            for name in local.reachable(local.vip.receivers(pool)):
                decided, delivered = {**to_port, CT_MARK: local.numbers[name]}, deliver(local, name, ip)
                new = (ct_commit(local.number, local.numbers[name]), *delivered)
                reason = "a slot has decided about a new connection: remember it, and deliver"
                yield flow(PIN, Priority.EXCEPTION, match(**decided, **opening), new, cookie, reason)
                reason = "a slot has decided about a packet of an unknown connection: deliver"
                yield flow(PIN, Priority.SPECIFIC, match(**decided), delivered, cookie, reason)


def groups(local: VipOnSwitch) -> Iterator[Group]:
    """One select group per pinned redirect port and address, or several; a slot names its server to PIN."""
    for address in local.vip.addresses:
        ip = family(address)
        for pool in dict.fromkeys(led_to for each in pinned(local) for led_to in receivers(local, each)):
            number = partial(pin_group, local.pool_number, pool.port, ip.version)
            bucket = partial(_to_pin, local.numbers)
            yield from pool_groups(local, pool.port, number, bucket, selection(pool, ip))


def _decide(local: VipOnSwitch, ip: Family, way: Way) -> tuple[Action, ...]:
    if way.pool not in local.pools:
        return ()
    return (ToGroup(pin_group(local.pool_number, way.pool.port, ip.version, way.index)),)


def _to_pin(marks: Mapping[str, int], server: str) -> tuple[Action, ...]:
    return (load_ct_mark(marks[server]), resubmit(PIN))


def pinned(local: VipOnSwitch) -> tuple[RedirectPort, ...]:
    """The redirect ports of a VIP whose plain clients' connections are remembered."""
    return tuple(pool for pool in local.pools if pool.legacy is Legacy.PIN)
