"""UPSTREAM: from the servers to the network, unchanged, if it is theirs to send.

A server may only send as its VIP, with the VIP's MAC address, from ports it owns (service ports), shares (redirect
ports of its pools) or answers for (a redirect port whose plain clients it gets). The default server may use every port
that nobody has. Fragments show no port, so they pass from every server of the VIP.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.config import Legacy, Server
from portlb_app.openflow import ETH_IPV4, IP_ICMP, IP_TCP, IP_UDP, Flow, Output, match
from portlb_app.pipeline import (
    FRAGMENTS,
    ICMP_FROM_SERVERS,
    UPSTREAM,
    Priority,
    Reason,
    cookie,
    flow,
)


def flows(place: Place) -> Iterator[Flow]:
    """Per server its ports, its ICMP and its fragments; for the default server the ports of nobody."""
    known = set(place.owners) | {pool.port for pool in place.vip.redirect_ports}
    for server in place.servers:
        source = {
            "in_port": place.port_of[server.name],
            "eth_src": place.vip.mac,
            "eth_type": ETH_IPV4,
            "ip_src": place.address,
        }
        up = (Output(place.network),)
        for port in _ports(place, server):
            mark = cookie(Reason.OWN_PORT, place.number, port)
            reason = "a server answers from a port it owns or shares"
            yield flow(
                UPSTREAM, Priority.EXCEPTION, match(**source, ip_proto=IP_TCP, tcp_src=port), up, mark, reason
            )
            yield flow(
                UPSTREAM, Priority.EXCEPTION, match(**source, ip_proto=IP_UDP, udp_src=port), up, mark, reason
            )
        for icmp_type in ICMP_FROM_SERVERS:
            yield flow(
                UPSTREAM,
                Priority.EXCEPTION,
                match(**source, ip_proto=IP_ICMP, icmp_type=icmp_type),
                up,
                cookie(Reason.SERVER_ICMP, place.number),
                "a server's ICMP errors and answers to pings",
            )
        for part in FRAGMENTS:
            yield flow(
                UPSTREAM,
                Priority.EXCEPTION,
                match(**source, ip_frag=part),
                up,
                cookie(Reason.SERVER_FRAGMENT, place.number),
                "a server's fragments: they show no port",
            )
        if server.name == place.vip.default_server:
            yield flow(
                UPSTREAM,
                Priority.GENERAL,
                match(**source),
                up,
                cookie(Reason.UNKNOWN_PORT, place.number),
                "the default server answers from ports nobody has",
            )
    if place.vip.default_server is None:
        return
    for port in known:
        foreign = {"eth_type": ETH_IPV4, "ip_src": place.address}
        mark = cookie(Reason.FOREIGN_PORT, place.number, port)
        reason = "a known port, and not this server's: drop"
        yield flow(UPSTREAM, Priority.SPECIFIC, match(**foreign, ip_proto=IP_TCP, tcp_src=port), (), mark, reason)
        yield flow(UPSTREAM, Priority.SPECIFIC, match(**foreign, ip_proto=IP_UDP, udp_src=port), (), mark, reason)


def _ports(place: Place, server: Server) -> list[int]:
    ports = {owned.port for owned in server.service_ports}
    for pool in place.vip.redirect_ports:
        answers_plain = pool.legacy is Legacy.DEFAULT and server.name == place.vip.default_server
        if server.name in pool.servers or answers_plain:
            ports.add(pool.port)
    return sorted(ports)
