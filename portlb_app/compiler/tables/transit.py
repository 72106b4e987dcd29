"""Between switches: a packet that comes over a link goes on unchanged (rows T1 to T3).

Flows of NEIGHBOUR. An upstream packet has a source MAC address that the server's own switch has checked or written: the
VIP's, or that of a server with addresses of its own. So no packet with such a source may come in from the network side.
Every switch on the way up looks for a server's further address (row N4); the entrance drops a packet to one that no
server has.

Downstream packets pass the same tables as at an entrance. Only an entrance answers questions for the VIP, logs, and
meters services' rates.
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
    """The flows for packets over links; none for a single switch."""
    if not local.is_linked:
        return
    has_peers = local.vip.rewrite is Rewrite.NOTHING
    if local.is_entrance:
        yield _drop_forged(local.vip.mac)
        for mac in (mac for server in local.all_servers if server not in local.attached for mac in _macs(server)):
            yield _drop_forged(mac)
    if local.transit_upstream:
        yield _upstream(local.vip.mac, Priority.FIRST, local.uplink)
        yield from _tracked(local)
    for server in local.transit_upstream:
        if server.service_mac is not None:
            yield _upstream(server.service_mac, Priority.FIRST, local.uplink)
        if server.mac is not None and not has_peers:
            yield _upstream(server.mac, Priority.FIRST, local.uplink)
        elif server.mac is not None:
            yield _upstream(server.mac, Priority.EXCEPTION, None if local.network is not None else local.uplink)
    for server in local.reachable_servers if has_peers else ():
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


def _upstream(mac: int, priority: Priority, port: int | None) -> Flow:
    actions = () if port is None else (Output(port),)
    reason = "from a server below, upstream" if actions else "from a further address to an unknown one: drop"
    source = match(**from_side(Side.LINK), eth_src=mac)
    return flow(NEIGHBOUR, priority, source, actions, make_cookie(Reason.TRANSIT), reason)


def _tracked(local: VipOnSwitch) -> Iterator[Flow]:
    """Conntrack must see the VIP's upstream TCP, where it remembers connections (`pin`)."""
    for address in local.vip.addresses if pinned(local) else ():
        source = match(**from_side(Side.LINK), eth_src=local.vip.mac, **family(address).by(address), ip_proto=IP_TCP)
        actions = (ct_track(local.number), Output(local.uplink))
        reason = "from a server below, upstream, of a VIP that remembers connections"
        yield flow(NEIGHBOUR, Priority.TRACKED, source, actions, make_cookie(Reason.TRANSIT, local.number), reason)


def _drop_forged(mac: int) -> Flow:
    reason = "from the network, with a server's source: from another entrance, or forged: drop"
    source = match(**from_side(Side.NETWORK), eth_src=mac)
    return flow(NEIGHBOUR, Priority.FIRST, source, (), make_cookie(Reason.TRANSIT), reason)
