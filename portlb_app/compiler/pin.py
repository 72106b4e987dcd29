"""PINNED and PIN: a plain client's connection to a redirect port keeps its server, because the switch remembers it.

The one place where the switch has memory, for who asks for it (``legacy: pin``): what a connection-tracking load
balancer does for every client. PINNED has a flow per remembered connection, which the switch adds itself when the
pool's rows have decided (`learn`, ovs-actions(7)); it goes when it is idle. When as many are remembered as may be, the
rows go on deciding, without memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.compiler.pool import group
from portlb_app.config import Legacy, RedirectPort
from portlb_app.openflow import IP_TCP, Action, Flow, Group, ToGroup, match
from portlb_app.pipeline import (
    PIN,
    PINNED,
    Family,
    Priority,
    Reason,
    cookie,
    family,
    flow,
    learn,
    learned_cookie,
    look_up,
    pin_group,
    set_row,
)


def flows(place: Place) -> Iterator[Flow]:
    """Per pinned redirect port and address: one flow for connections not remembered, one per server to remember."""
    for address in place.vip.addresses:
        ip = family(address)
        for pool in _pinned(place):
            mark = cookie(Reason.PIN, place.number, pool.port)
            to_port = {**place.seen, **ip.to(address), "ip_proto": IP_TCP, "tcp_dst": pool.port}
            decide = ToGroup(pin_group(place.pool_number, pool.port, ip.version))
            unknown = "a plain client's connection that is not remembered: the pool's rows"
            yield flow(PINNED, Priority.GENERAL, match(**to_port), (decide,), mark, unknown)
            for server in place.reachable(pool.servers):
                yield flow(
                    PIN,
                    Priority.SPECIFIC,
                    match(**to_port, reg1=place.numbers[server]),
                    _remember(place, pool, server, ip),
                    mark,
                    "a row has decided: remember it, and deliver",
                )


def groups(place: Place) -> Iterator[Group]:
    """One select group per pinned redirect port and address: a row names its server, and PIN remembers it."""
    for address in place.vip.addresses:
        ip = family(address)
        for pool in _pinned(place):
            number = pin_group(place.pool_number, pool.port, ip.version)
            yield group(place, number, pool.servers, lambda server: (set_row(place.numbers[server]), look_up(PIN)))


def _pinned(place: Place) -> tuple[RedirectPort, ...]:
    return tuple(pool for pool in place.pools if pool.legacy is Legacy.PIN)


def _remember(place: Place, pool: RedirectPort, server: str, ip: Family) -> tuple[Action, ...]:
    assert pool.pin is not None, "a pinned port says how much is remembered"
    mark = learned_cookie(place.number, pool.port, ip.version)
    return learn(ip, mark, pool.pin.idle, pool.pin.connections, place.deliver(server, ip))
