"""Between switches: what comes over a link from another switch of ours goes on as it is (rows T1 to T3).

Flows of NEIGHBOUR. On its way up a packet is known by its source MAC address, which the server's own switch has checked
or written: the VIP's, or a server's that speaks by addresses of its own. So none with such an address may come from the
network side. A server's further address (row N4) is looked for on the way up, and at an entrance at last; a packet for
one that nobody has ends there.

Packets on their way down meet the same tables as at an entrance, but for what an entrance does once and for all:
answers to who asks for the VIP, the log, services' rates.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.tables.peer import addressed
from portlb_app.compiler.tables.pin import pinned
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Rewrite, Server
from portlb_app.openflow import IP_TCP, Flow, Output, match
from portlb_app.pipeline import (
    NEIGHBOUR,
    Priority,
    Reason,
    Side,
    ct_track,
    family,
    flow,
    from_side,
    make_cookie,
)


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """Nothing where there is but one switch."""
    if not local.is_linked:
        return
    is_peers = local.vip.rewrite is Rewrite.NOTHING
    if local.is_entrance:
        yield _forged(local.vip.mac)
        for mac in (mac for server in local.every if server not in local.attached for mac in _macs(server)):
            yield _forged(mac)
    if local.transit_upstream:
        yield _up(local.vip.mac, Priority.FIRST, local.uplink)
        yield from _tracked(local)
    for server in local.transit_upstream:
        if server.service_mac is not None:
            yield _up(server.service_mac, Priority.FIRST, local.uplink)
        if server.mac is not None and not is_peers:
            yield _up(server.mac, Priority.FIRST, local.uplink)
        elif server.mac is not None:
            yield _up(server.mac, Priority.EXCEPTION, None if local.network is not None else local.uplink)
    for server in local.servers if is_peers else ():
        for _, wanted in addressed(server):
            yield flow(
                NEIGHBOUR,
                Priority.OVERRIDE,
                match(**from_side(Side.LINK), **wanted),
                (Output(local.port_of[server.name]),),
                make_cookie(Reason.PEER),
                "over a link, to a server's further address (N4)",
            )


def _macs(server: Server) -> Iterator[int]:
    """The MAC addresses that only this server sends from."""
    yield from (mac for mac in (server.mac, server.service_mac) if mac is not None)


def _up(mac: int, priority: Priority, port: int | None) -> Flow:
    actions = () if port is None else (Output(port),)
    reason = "from a server below, on its way up" if actions else "from a further address to one that nobody has: drop"
    source = match(**from_side(Side.LINK), eth_src=mac)
    return flow(NEIGHBOUR, priority, source, actions, make_cookie(Reason.TRANSIT), reason)


def _tracked(local: VipOnSwitch) -> Iterator[Flow]:
    """What conntrack has to see where connections are remembered (`pin`): TCP of the VIP's on its way up."""
    for address in local.vip.addresses if pinned(local) else ():
        source = match(**from_side(Side.LINK), eth_src=local.vip.mac, **family(address).by(address), ip_proto=IP_TCP)
        actions = (ct_track(local.number), Output(local.uplink))
        reason = "from a server below, on its way up, of a VIP that remembers connections"
        yield flow(NEIGHBOUR, Priority.TRACKED, source, actions, make_cookie(Reason.TRANSIT, local.number), reason)


def _forged(mac: int) -> Flow:
    reason = "from the network, as if a server had sent it: what another entrance sent, or a forger: drop"
    source = match(**from_side(Side.NETWORK), eth_src=mac)
    return flow(NEIGHBOUR, Priority.FIRST, source, (), make_cookie(Reason.TRANSIT), reason)
