"""UPSTREAM: from servers to the network, as the VIP, for packets that the server is allowed to send.

A server may only send as its VIP (or as itself, if that is rewritten), with its MAC address, from ports it owns
(service ports), shares (redirect ports of its pools) or answers for (a redirect port whose plain clients it gets). The
default server may also use every port that no server has. From its service address a server may send anything, and from
its service MAC address TCP from the ports above (rows X1, X2). Fragments show no port, so all fragments of the VIP's
servers pass.

Where addresses are rewritten, the switch cannot rewrite two kinds of packets, and the controller does (`punt`): ICMP
errors, which quote an address that the client never saw, and IPv4 fragments (`delivery.spoils_fragments`).
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.delivery import (
    egress_actions,
    egress_actions_as_named,
    source_address,
    spoils_fragments,
    without,
)
from portlb_app.compiler.tables import log
from portlb_app.compiler.tables.icmp import icmp_targets
from portlb_app.compiler.tables.pin import pinned
from portlb_app.compiler.tables.qos import qos_actions
from portlb_app.compiler.vip_on_switch import MeteredPart, PartKey, VipOnSwitch
from portlb_app.config import Address, Fragments, IcmpPolicy, Legacy, Qos, Rewrite, Server, Vip
from portlb_app.openflow import IP_TCP, Action, Flow, match
from portlb_app.pipeline import (
    FRAGMENTS,
    PEER,
    TRANSPORTS,
    UPSTREAM,
    Family,
    Priority,
    Reason,
    ct_track,
    family,
    flow,
    goto,
    make_cookie,
    punt,
)

Ports = tuple[tuple[int, Qos], ...]
"""Ports, each with its quality of service."""


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """Per server and address: ICMP and fragments; for the default server also the ports that no server has."""
    for server, ip in _answering(local):
        yield from _from_server(local, server, ip)
        yield from _as_named(local, server, ip)
    for server in local.attached:
        if local.vip.rewrite is Rewrite.NOTHING:
            yield from _server_to_server(local, server)


def parts(local: VipOnSwitch) -> Iterator[tuple[PartKey, MeteredPart]]:
    """Per server and address: its ports; for the default server also those that are others'."""
    pinned_ports = frozenset(pool.port for pool in pinned(local))
    for server, ip in _answering(local):
        shared = local.memo.get(_shared_ports, local.vip, server)
        more = tuple(each for each in _tcp_ports(local, server).items() if each not in shared)
        address = source_address(local, server, ip)
        egress = log.logged(local, egress_actions(local, server, ip))
        source = tuple(_source(local, server, ip).items())
        key = UPSTREAM.number, local.number, address, server.name
        yield key, local.memo.get(_from_ports, local.number, server, source, egress, shared, more, pinned_ports)
        if server.name == local.vip.default_server:
            foreign = local.memo.get(_drop_foreign, local.vip, local.all_servers, address)
            yield (*key[:3], ""), foreign


def _answering(local: VipOnSwitch) -> Iterator[tuple[Server, Family]]:
    """The servers whose packets to clients pass here first, in each version of IP."""
    for address in local.vip.addresses:
        for server in local.attached:
            if not local.is_one_armed(server) or local.vip.gateway is not None:  # else it answers its clients directly
                yield server, family(address)


def _source(local: VipOnSwitch, server: Server, ip: Family) -> dict[str, int]:
    source = {
        "in_port": server.connector.port,
        "eth_src": local.mac(server),
        **ip.by(source_address(local, server, ip)),
    }
    if local.is_one_armed(server):
        source["eth_dst"] = local.vip.mac  # not what a learning switch floods
    return source


def _from_ports(
    number: int,
    server: Server,
    source: tuple[tuple[str, int], ...],
    egress: tuple[Action, ...],
    shared_ports: Ports,
    more: Ports,
    pinned_ports: frozenset[int],
) -> MeteredPart:
    """What a server answers from its ports. `more`: redirect ports from which it answers TCP alone."""
    tracked = (*egress[:-1], ct_track(number), egress[-1])
    owned = {each.port: each.qos for each in server.service_ports}
    any_transport = owned | dict(shared_ports)
    ports = any_transport | dict(more)
    return MeteredPart.of(
        flow(
            UPSTREAM,
            Priority.EXCEPTION,
            match(**dict(source), ip_proto=protocol, **{f"{name}_src": port}),
            (*qos_actions(shared), *(tracked if port in pinned_ports else egress))
            if protocol == IP_TCP
            else (*qos_actions(owned.get(port, shared)), *egress),  # as downstream
            make_cookie(Reason.OWN_PORT, number, port),
            "a server answers from a port it owns or shares",
        )
        for port, shared in ports.items()
        for name, protocol in TRANSPORTS
        if protocol == IP_TCP or port in any_transport
    )


def _from_server(local: VipOnSwitch, server: Server, ip: Family) -> Iterator[Flow]:
    source, egress = _source(local, server, ip), log.logged(local, egress_actions(local, server, ip))
    for icmp_type in ip.from_servers:
        yield flow(
            UPSTREAM,
            Priority.EXCEPTION,
            match(**source, ip_proto=ip.icmp, **{ip.icmp_type: icmp_type}),
            punt(Reason.SERVER_ICMP) if icmp_type in ip.errors and local.vip.rewrite is Rewrite.ADDRESS else egress,
            make_cookie(Reason.SERVER_ICMP, local.number),
            "a server's ICMP errors and answers to pings",
        )
    targets = icmp_targets(local.vip, ip)
    if server.name in targets or IcmpPolicy.BALANCE in targets:
        yield flow(
            UPSTREAM,
            Priority.GENERAL,
            match(**source, ip_proto=ip.icmp),
            egress,
            make_cookie(Reason.SERVER_ICMP, local.number),
            "a server that gets ICMP of some type answers it (I1)",
        )
    if local.vip.rewrite is Rewrite.ADDRESS:
        for router in server.routers:
            if router.version == ip.version:
                yield from _router_errors(source | ip.by(router), ip)
    for part in FRAGMENTS:
        yield flow(
            UPSTREAM,
            Priority.OVERRIDE,  # a fragment's ICMP type reads as 0
            match(**source, ip_frag=part),
            _fragments(local, ip, egress),
            make_cookie(Reason.SERVER_FRAGMENT, local.number),
            "a server's fragments, which show no port",
        )
    if server.name == local.vip.default_server:
        yield flow(
            UPSTREAM,
            Priority.GENERAL,
            match(**source),
            egress,
            make_cookie(Reason.UNKNOWN_PORT, local.number),
            "the default server answers from ports without an owner",
        )


def _as_named(local: VipOnSwitch, server: Server, ip: Family) -> Iterator[Flow]:
    """Packets from a server's service address and service MAC address."""
    source = {"in_port": server.connector.port}
    if local.is_one_armed(server):
        source["eth_dst"] = local.vip.mac
    cookie = make_cookie(Reason.NAMED, local.number)
    for address in server.service_addresses:
        if address.version == ip.version:
            yield flow(
                UPSTREAM,
                Priority.EXCEPTION,
                match(**source, eth_src=local.mac(server), **ip.by(address)),
                log.logged(local, egress_actions_as_named(local, server, ip)),
                cookie,
                "a server answers from its service address (X1)",
            )
    if server.service_mac is None:
        return
    source |= {"eth_src": server.service_mac, **ip.by(source_address(local, server, ip))}
    egress = log.logged(local, without(egress_actions(local, server, ip), "eth_src"))
    for port in _ports(local.vip, server) | _tcp_ports(local, server):
        yield flow(
            UPSTREAM,
            Priority.EXCEPTION,
            match(**source, ip_proto=IP_TCP, tcp_src=port),
            egress,
            cookie,
            "a server answers from its service MAC address (X2)",
        )


def _router_errors(source: dict[str, int], ip: Family) -> Iterator[Flow]:
    """A router before servers, of one VIP or of several, may report errors about clients' packets (row N1)."""
    for icmp_type in ip.errors:
        yield flow(
            UPSTREAM,
            Priority.EXCEPTION,
            match(**source, ip_proto=ip.icmp, **{ip.icmp_type: icmp_type}),
            punt(Reason.SERVER_ICMP),
            make_cookie(Reason.SERVER_ICMP),
            "a router's ICMP errors about packets to the servers behind it",
        )


def _fragments(local: VipOnSwitch, ip: Family, egress: tuple[Action, ...]) -> tuple[Action, ...]:
    if not spoils_fragments(local, ip):
        return egress
    return punt(Reason.SERVER_FRAGMENT, local.number) if local.vip.fragments is Fragments.TRACK else ()


def _drop_foreign(vip: Vip, servers: tuple[Server, ...], own: Address) -> MeteredPart:
    """The default server may not answer from other servers' ports."""
    owned = {each.port for server in servers for each in server.service_ports}
    source = family(own).by(own)
    return MeteredPart.of(
        flow(
            UPSTREAM,
            Priority.SPECIFIC,
            match(**source, ip_proto=protocol, **{f"{name}_src": port}),
            (),
            make_cookie(Reason.FOREIGN_PORT, vip.number, port),
            "a known port, and not this server's: drop",
        )
        for port in sorted(owned | {pool.port for pool in vip.redirect_ports})
        for name, protocol in TRANSPORTS
    )


def _server_to_server(local: VipOnSwitch, server: Server) -> Iterator[Flow]:
    for own in server.addresses:
        assert server.mac is not None, "a configuration without one was refused"
        yield flow(
            UPSTREAM,
            Priority.EXCEPTION,
            match(in_port=server.connector.port, eth_src=server.mac, **family(own).by(own)),
            (goto(PEER),),
            make_cookie(Reason.PEER),
            "a server's further address talks to other servers (N4)",
        )


def _ports(vip: Vip, server: Server) -> dict[int, Qos]:
    """The ports a server answers from, with their QoS; that of the redirect port if it is a service port, too."""
    return {owned.port: owned.qos for owned in server.service_ports} | dict(_shared_ports(vip, server))


def _shared_ports(vip: Vip, server: Server) -> Ports:
    return tuple((pool.port, pool.qos) for pool in vip.redirect_ports if server.name in vip.receivers(pool))


def _tcp_ports(local: VipOnSwitch, server: Server) -> dict[int, Qos]:
    """The redirect ports from which a server answers TCP without being in their pools.

    It may be the default server for plain clients. A connection that conntrack remembers, or that has a service MAC
    address or label, also outlives its server's time in the pool; so do
    those of a slot that has moved, for as long as the slot remembers the server.
    """
    is_named = server.service_mac is not None or server.service_label is not None
    is_default = server.name == local.vip.default_server
    return {
        pool.port: pool.qos
        for pool in local.vip.redirect_ports
        if is_named
        or pool.legacy is Legacy.PIN
        or (pool.legacy is Legacy.DEFAULT and is_default)
        or server.name in local.formers(pool.port)
    }
