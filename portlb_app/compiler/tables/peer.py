"""PEER: from one server's further address to another's (row N4). Every packet here comes from such an address."""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Rewrite, Server
from portlb_app.openflow import ETH_ARP, Flow, Output, match
from portlb_app.pipeline import (
    FAMILIES,
    LINK_LOCAL,
    ND_SOLICIT,
    PEER,
    Priority,
    Reason,
    family,
    flow,
    make_cookie,
)


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """IP to each further address, and the questions and answers that find it; other packets leave by the uplink."""
    if local.vip.rewrite is not Rewrite.NOTHING:
        return
    cookie = make_cookie(Reason.PEER)
    for server in local.reachable_servers:
        to_server = (Output(local.port_of[server.name]),)
        for priority, wanted in addressed(server):
            yield flow(PEER, priority, match(**wanted), to_server, cookie, "to a server's further address (N4)")
    if local.is_linked and local.network is None and any(server.addresses for server in local.attached):
        elsewhere = "to a further address that no server here has: another switch's (N4)"
        for eth_type in (ETH_ARP, *(ip.eth_type for ip in FAMILIES.values())):
            yield flow(PEER, Priority.GENERAL, match(eth_type=eth_type), (Output(local.uplink),), cookie, elsewhere)


def addressed(server: Server) -> Iterator[tuple[Priority, dict[str, int | tuple[int, int]]]]:
    """The matches of packets to a server's further addresses: IP, and the questions and answers that find it."""
    for own in server.addresses:
        yield Priority.SPECIFIC, {**family(own).to(own)}
        if own.version == 4:
            yield Priority.SPECIFIC, {"eth_type": ETH_ARP, "arp_tpa": int(own)}
            continue
        assert server.mac is not None, "a configuration without one was refused"
        yield (
            Priority.SPECIFIC,
            {"eth_type": FAMILIES[6].eth_type, "eth_dst": server.mac, "ipv6_dst": LINK_LOCAL},
        )
        discovery = {"eth_type": FAMILIES[6].eth_type, "ip_proto": FAMILIES[6].icmp, "icmpv6_type": ND_SOLICIT}
        yield Priority.EXCEPTION, {**discovery, "nd_target": int(own)}
        yield Priority.EXCEPTION, {**discovery, "eth_dst": server.mac, "nd_target": LINK_LOCAL}
