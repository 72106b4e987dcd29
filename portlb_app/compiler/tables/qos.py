"""Quality of service: DSCP, queue and rate of a service's packets (row Q1).

DSCP and queue apply to both directions, the rate to clients' packets. The administrator sets up the queues of the port
that a packet leaves by; Open vSwitch's userspace datapath has none.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeVar

from portlb_app.compiler.rates import Rates
from portlb_app.config import Config, Legacy, Qos, RedirectPort, Signal, Turns
from portlb_app.openflow import Action, Meter, SetField, SetQueue, ToMeter
from portlb_app.openflow.limits import METERS_OF_A_KIND
from portlb_app.pipeline import HANDED_UP, OF_ALL_VIPS, TOO_LARGE_METER, Reason, hand_back_meter, punt_meter, rate_meter

Kind = Literal["redirect", "service"]


def metered_qos_actions(rates: Rates, kind: Kind, port: int, qos: Qos) -> tuple[Action, ...]:
    """The meter, DSCP and queue of a client's packet, before it is delivered."""
    meter = rates.get((kind, port))
    metered = () if meter is None else (ToMeter(meter.number),)
    return (*metered, *qos_actions(qos))


def qos_actions(qos: Qos) -> tuple[Action, ...]:
    """The DSCP and queue of a packet, in either direction."""
    actions: list[Action] = []
    if qos.dscp is not None:
        actions.append(SetField("ip_dscp", qos.dscp))
    if qos.queue is not None:
        actions.append(SetQueue(qos.queue))
    return tuple(actions)


def meters(config: Config) -> dict[str, Rates]:
    """The meters of all services with a rate, by VIP, kind of port and port."""
    found: dict[str, Rates] = {}
    rates = {(vip, kind, port): rate for vip, kind, port, rate in rates_of(config)}
    for (vip, kind, port), index in meter_indexes(rates).items():
        found.setdefault(vip, Rates())[kind, port] = rate_meter(index, rates[vip, kind, port])
    return found


def punt_meters(config: Config) -> dict[tuple[Reason, str, int], Meter]:
    """The meters of packets handed up, by reason, VIP and port, and of frames too large for it.

    The port is a redirect port for SYNs, a connector's OpenFlow port for answers to checks, and else 0.
    """
    names = [(vip.name, 0) for vip in config.vips]
    ports = [(vip.name, pool.port) for vip in config.vips for pool in vip.redirect_ports if may_be_read(pool)]
    found = {(Reason.TOO_LARGE, "", 0): TOO_LARGE_METER}
    checked = {name for vip in config.vips for name in vip.checked}
    connectors = {("", config.server_by_name[name].connector.port) for name in checked}
    of = {Reason.SIGNAL: ports, Reason.TO_CHECKER: connectors}
    found[Reason.ASKED, "", 0] = HANDED_UP[Reason.ASKED]
    for reason in HANDED_UP.keys() - {Reason.HEARTBEAT, Reason.ASKED}:
        metered = of.get(reason, [("", 0)] if reason in OF_ALL_VIPS else names)
        found.update({(reason, *key): punt_meter(reason, index) for key, index in meter_indexes(metered).items()})
    return found


def hand_back_meters(config: Config) -> dict[str, Meter]:
    """The meters of what servers hand back, by VIP."""
    indexes = meter_indexes((vip.name, 0) for vip in config.vips)
    return {name: hand_back_meter(index) for (name, _), index in indexes.items()}


def is_option_read(pool: RedirectPort) -> bool:
    """Whether the controller reads SYNs without the bit: not where the pool's slots decide in any case."""
    return pool.signal is Signal.OPTION and pool.legacy not in (Legacy.BALANCE, Legacy.PIN)


def may_be_read(pool: RedirectPort) -> bool:
    """Whether the controller reads SYNs to a port, with the bit or without."""
    return is_option_read(pool) or pool.selecting.turns is Turns.CONTROLLER


Key = TypeVar("Key", bound=tuple[Any, ...])


def meter_indexes(keys: Iterable[Key]) -> dict[Key, int]:
    """A slot among the meters of a kind for each key; ValueError for more keys than slots.

    It is made from the key, so that it stays when others come and go. Of keys whose slots meet the later in order takes
    the next free one, and may change its slot when the other goes: a meter remembers nothing but the last second.
    """
    taken: dict[int, Key] = {}
    for key in sorted(keys):
        if len(taken) == METERS_OF_A_KIND:
            raise ValueError(f"there are {METERS_OF_A_KIND} meters of a kind")
        index = zlib.crc32("/".join(map(str, key)).encode()) % METERS_OF_A_KIND
        while index in taken:
            index = (index + 1) % METERS_OF_A_KIND
        taken[index] = key
    return {key: index for index, key in taken.items()}


def rates_of(config: Config) -> Iterator[tuple[str, Kind, int, int]]:
    """The VIP, kind of port, port and rate of every service with a rate."""
    for vip in config.vips:
        for pool in vip.redirect_ports:
            if pool.qos.rate is not None:
                yield vip.name, "redirect", pool.port, pool.qos.rate
    for server in config.servers:
        for owned in server.service_ports:
            if owned.qos.rate is not None:
                yield server.vip, "service", owned.port, owned.qos.rate
