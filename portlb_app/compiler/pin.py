"""PINNED and PIN: a plain client's connection to a redirect port keeps its server, because the switch remembers it.

The one place where the switch has memory, for who asks for it (``legacy: pin``): what a connection-tracking load
balancer does for every client. PINNED has a flow per remembered connection, which the switch adds itself when the
pool's rows have decided (`learn`, ovs-actions(7)); it goes when it is idle. When as many are remembered as may be, the
rows go on deciding, without memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
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
    selection,
    set_row,
)
from portlb_app.selection import rows


def flows(place: Place) -> Iterator[Flow]:
    """Per pinned redirect port and address: one flow for connections not remembered, one per server to remember."""
    for address in place.vip.addresses:
        ip = family(address)
        for pool in _pinned(place):
            mark = cookie(Reason.PIN, place.number, pool.port)
            to_port = {**ip.to(address), "ip_proto": IP_TCP, "tcp_dst": pool.port}
            group = ToGroup(pin_group(place.number, pool.port, ip.version))
            unknown = "a plain client's connection that is not remembered: the pool's rows"
            yield flow(PINNED, Priority.GENERAL, match(**to_port), (group,), mark, unknown)
            for server in pool.servers:
                yield flow(
                    PIN,
                    Priority.SPECIFIC,
                    match(**to_port, reg1=_number(place, server)),
                    _remember(place, pool, server, ip),
                    mark,
                    "a row has decided: remember it, and deliver",
                )


def groups(place: Place) -> Iterator[Group]:
    """One select group per pinned redirect port and address: a row names its server, and PIN remembers it."""
    for address in place.vip.addresses:
        ip = family(address)
        for pool in _pinned(place):
            yield Group(
                pin_group(place.number, pool.port, ip.version),
                "select",
                tuple((set_row(_number(place, server)), look_up(PIN)) for server in rows(pool.servers)),
                selection(level=0),
            )


def _pinned(place: Place) -> tuple[RedirectPort, ...]:
    return tuple(pool for pool in place.vip.redirect_ports if pool.legacy is Legacy.PIN)


def _number(place: Place, server: str) -> int:
    """A server's number, from 1, among those of its VIP."""
    return 1 + [each.name for each in place.servers].index(server)


def _remember(place: Place, pool: RedirectPort, server: str, ip: Family) -> tuple[Action, ...]:
    assert pool.pin is not None, "a pinned port says how much is remembered"
    mark = learned_cookie(place.number, pool.port, ip.version)
    return learn(ip, mark, pool.pin.idle, pool.pin.connections, place.deliver(server, ip))
