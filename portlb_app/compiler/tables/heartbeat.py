"""Heartbeats of servers' agents go up to the controller: flows of NEIGHBOUR and PUNT.

The port that one came in by says whose it is, so only servers' connectors have a flow that lets heartbeats up, each
behind a meter of its own: no server can keep the others' from the controller. A server on the network side (N5) shares
its port with clients, which could speak for it; it has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.net import heartbeat
from portlb_app.openflow import IP_UDP, Flow, Meter, ToController, ToMeter, match
from portlb_app.pipeline import (
    NEIGHBOUR,
    PUNT,
    PUNT_KEY,
    Priority,
    Reason,
    Side,
    family,
    flow,
    from_side,
    heartbeat_meter,
    make_cookie,
    punt,
    punt_key,
)


def flows(here: Iterable[VipOnSwitch]) -> Iterator[Flow]:
    """The flows for a switch with servers; none without."""
    here, cookie = tuple(here), make_cookie(Reason.HEARTBEAT)
    connectors = _connectors(here)
    versions = {min(address.version for address in local.vip.addresses) for local in here if connectors}
    for address in (heartbeat.ADDRESSES[version] for version in sorted(versions)):
        to_us = {**from_side(Side.SERVER), **family(address).to(address), "ip_proto": IP_UDP, "udp_dst": heartbeat.PORT}
        reason = "a heartbeat of a server's agent"
        yield flow(NEIGHBOUR, Priority.OVERRIDE, match(**to_us), punt(Reason.HEARTBEAT), cookie, reason)
    for port in connectors:
        yield flow(
            PUNT,
            Priority.SPECIFIC,
            match(**{PUNT_KEY: punt_key(Reason.HEARTBEAT, 0)}, in_port=port),
            (ToMeter(heartbeat_meter(port).number), ToController()),
            cookie,
            "a heartbeat from a server's connector: to the controller, within its meter's rate",
        )


def meters(here: Iterable[VipOnSwitch]) -> Iterator[Meter]:
    """The meters of these flows."""
    yield from map(heartbeat_meter, _connectors(tuple(here)))


def _connectors(here: tuple[VipOnSwitch, ...]) -> list[int]:
    return sorted(
        {server.connector.port for local in here for server in local.attached if not local.is_one_armed(server)}
    )
