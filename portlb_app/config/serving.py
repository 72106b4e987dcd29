"""What a server serves, by its configuration: its addresses, its service ports, and what is announced for which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from portlb_app.config.policies import Legacy, Rewrite
from portlb_app.config.values import Server, Vip
from portlb_app.net.packets import Address


@dataclass(frozen=True)
class Served:
    """`addresses`: those of the packets that reach it. `applications`: the port of its program, by service port.

    `announced`: by redirect port, the service port that clients are told; `others`: the redirect ports without one.
    """

    addresses: tuple[Address, ...]
    applications: Mapping[int, int]
    announced: Mapping[int, int]
    others: frozenset[int]


def served(vip: Vip, server: Server) -> Served:
    """What a server of a VIP serves.

    For a redirect port it announces its first service port whose application listens there, whether it is in the port's
    pool or not: the load balancer chooses the server, and a pool can change before the agent reads it. A service port
    that is also a redirect port is announced only if plain packets to it reach its owner. Its addresses are its own
    where the load balancer rewrites them.
    """
    legacy = {pool.port: pool.legacy for pool in vip.redirect_ports}
    announced: dict[int, int] = {}
    for owned in server.service_ports:
        if owned.application in legacy and legacy.get(owned.port, Legacy.OWNER) is Legacy.OWNER:
            announced.setdefault(owned.application, owned.port)
    own = server.addresses if vip.rewrite is Rewrite.ADDRESS else vip.addresses
    applications = {owned.port: owned.application for owned in server.service_ports}
    return Served(own, applications, announced, frozenset(legacy) - announced.keys())
