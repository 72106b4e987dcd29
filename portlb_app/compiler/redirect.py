"""REDIRECT: a redirect port's pool decides, by the rows of its group (rows U2, E2).

TCP comes here with the REDIRECT bit: a client that can be redirected. It sets the bit on its SYN and, where the server
did not redirect it, on every packet of the connection: those stay on the rows whatever LEGACY does with plain clients.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.config import DefaultFor, RedirectPort
from portlb_app.openflow import ETH_IPV4, IP_TCP, IP_UDP, Flow, Group, ToGroup, match
from portlb_app.pipeline import (
    REDIRECT,
    REDIRECT_BIT,
    Priority,
    Reason,
    cookie,
    flow,
    pool_group,
    selection,
)
from portlb_app.selection import rows


def flows(place: Place) -> Iterator[Flow]:
    """One flow per redirect port and transport, and one for what such clients may not have."""
    for pool in place.vip.redirect_ports:
        mark = cookie(Reason.REDIRECT, place.number, pool.port)
        yield flow(
            REDIRECT,
            Priority.SPECIFIC,
            match(
                eth_type=ETH_IPV4,
                ip_proto=IP_TCP,
                ip_dst=place.address,
                tcp_dst=pool.port,
                tcp_flags=(REDIRECT_BIT, REDIRECT_BIT),
            ),
            (to_pool(place, pool),),
            mark,
            "a client that can be redirected, on a redirect port: any server of the pool (E2)",
        )
        yield flow(
            REDIRECT,
            Priority.SPECIFIC,
            match(eth_type=ETH_IPV4, ip_proto=IP_UDP, ip_dst=place.address, udp_dst=pool.port),
            (to_pool(place, pool),),
            mark,
            "UDP to a redirect port: any server of the pool (U2)",
        )
    if place.vip.default_for is not DefaultFor.UNKNOWN_PORTS:
        yield flow(
            REDIRECT,
            Priority.GENERAL,
            match(
                eth_type=ETH_IPV4,
                ip_proto=IP_TCP,
                ip_dst=place.address,
                tcp_flags=(REDIRECT_BIT, REDIRECT_BIT),
            ),
            (),
            cookie(Reason.DEFAULT, place.number),
            "an unknown port, and the default server is for clients without REDIRECT only: drop (E5)",
        )


def groups(place: Place) -> Iterator[Group]:
    """One select group per redirect port: its rows as buckets of equal weight."""
    for pool in place.vip.redirect_ports:
        yield Group(
            pool_group(place.number, pool.port),
            "select",
            tuple(place.deliver(server) for server in rows(pool.servers)),
            selection(level=0),
        )


def to_pool(place: Place, pool: RedirectPort) -> ToGroup:
    """The action that lets the pool's rows decide."""
    return ToGroup(pool_group(place.number, pool.port))
