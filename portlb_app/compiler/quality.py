"""Quality of service: what a service's packets get on their way (row Q1).

A client's packet passes the service's meter, if it has a rate, and is marked; a server's is marked. Queues are those of
the port a packet leaves by, as somebody has set them up; Open vSwitch's userspace datapath has none.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Literal

from portlb_app.compiler.place import Place
from portlb_app.config import Config, Quality
from portlb_app.config.values import MAX_RATES
from portlb_app.openflow import Action, Meter, SetField, SetQueue, ToMeter
from portlb_app.pipeline import rate_meter

Kind = Literal["redirect", "service"]
Service = tuple[str, int]
"""A service of a VIP: the kind of port, and the port."""


def treat(place: Place, kind: Kind, port: int, quality: Quality) -> tuple[Action, ...]:
    """The actions for a client's packet of a service, before it is delivered."""
    meter = place.rates.get((kind, port))
    metered = () if meter is None else (ToMeter(meter.number),)
    return (*metered, *mark(quality))


def mark(quality: Quality) -> tuple[Action, ...]:
    """The actions that mark a packet of a service, either way."""
    actions: list[Action] = []
    if quality.dscp is not None:
        actions.append(SetField("ip_dscp", quality.dscp))
    if quality.queue is not None:
        actions.append(SetQueue(quality.queue))
    return tuple(actions)


def meters(config: Config) -> dict[str, dict[Service, Meter]]:
    """The meters of all services with a rate, by VIP.

    A number is made from the service, so that it stays when others go.
    """
    taken: set[int] = set()
    found: dict[str, dict[Service, Meter]] = {}
    for vip, kind, port, rate in sorted(_rates(config)):
        number = zlib.crc32(f"{vip}/{kind}/{port}".encode()) % MAX_RATES
        while number in taken:
            number = (number + 1) % MAX_RATES
        taken.add(number)
        found.setdefault(vip, {})[kind, port] = rate_meter(number, rate)
    return found


def _rates(config: Config) -> Iterator[tuple[str, Kind, int, int]]:
    """VIP, kind of port, port, and rate."""
    for vip in config.vips:
        for pool in vip.redirect_ports:
            if pool.quality.rate is not None:
                yield vip.name, "redirect", pool.port, pool.quality.rate
    for server in config.servers:
        for owned in server.service_ports:
            if owned.quality.rate is not None:
                yield server.vip, "service", owned.port, owned.quality.rate
