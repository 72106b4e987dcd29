"""Which flows count the packets that a server sends to clients: to find out whether connections are still open at it.

They are those of UPSTREAM by which it answers from its ports and names. What it sends to the controller (answers to
checks, heartbeats), to its neighbours and to other servers passes others, and so do answers to pings.
"""

from __future__ import annotations

from portlb_app.config import Config, Rewrite, Server
from portlb_app.openflow import FlowFilter, match
from portlb_app.pipeline import OF_ANY_PORT, UPSTREAM, Reason, family, make_cookie


def packets_from(config: Config, server: Server) -> tuple[FlowFilter, ...]:
    """The flows of a server's own switch; none for one that answers its clients past the switch."""
    vip = next(vip for vip in config.vips if vip.name == server.vip)
    switch = next(switch for switch in config.switches if switch.name == server.connector.switch)
    if switch.network == server.connector.port and vip.gateway is None:
        return ()
    own = {"in_port": server.connector.port, "eth_src": vip.mac_of(server)}
    sources = [own]
    if vip.rewrite is Rewrite.ADDRESS:  # a router's MAC address may be several servers'
        sources = [{**own, **family(address).by(address)} for address in server.addresses]
    filters = [_filter(Reason.OWN_PORT, vip.number, source) for source in sources]
    for address in server.service_addresses:
        filters.append(_filter(Reason.NAMED, vip.number, {**own, **family(address).by(address)}))
    if server.service_mac is not None:
        filters.append(_filter(Reason.NAMED, vip.number, {**own, "eth_src": server.service_mac}))
    return tuple(filters)


def _filter(reason: Reason, vip: int, fields: dict[str, int]) -> FlowFilter:
    return FlowFilter(UPSTREAM.number, make_cookie(reason, vip), OF_ANY_PORT, match(**fields))
