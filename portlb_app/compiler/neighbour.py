"""NEIGHBOUR: ARP (RFC 826) and neighbour discovery (RFC 4861), and the fork between the directions.

The switch itself answers who asks for the VIP, so a load balancer without servers answers too (row L5), and no server's
answer can differ. Servers that share the VIP's address ask as the VIP; the answers go to every one of them, because
nothing in them tells who asked. Servers with addresses of their own are asked, and answered, by themselves. No server's
question reaches another, but for those that have further addresses to talk with one another (row N4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from portlb_app.compiler import log
from portlb_app.compiler.place import Place
from portlb_app.config import Address, Rewrite, Server
from portlb_app.openflow import ETH_ARP, IN_PORT, IP_ICMPV6, Action, Flow, Match, Output, SetField, match
from portlb_app.pipeline import (
    ADVERTISE,
    FAMILIES,
    FRAGMENT,
    ND_ADVERTISE,
    ND_OTHERS,
    ND_SOLICIT,
    NEIGHBOUR,
    PEER,
    SERVICE,
    UPSTREAM,
    Family,
    Priority,
    Reason,
    Side,
    answer_arp,
    answer_nd,
    cookie,
    family,
    flow,
    goto,
    link_local,
)

_ASKS = "a server or router asks and answers by addresses of its own"
_ASKED = "a question or an answer to an address of a server or router of its own"
_ICMPV6 = {"eth_type": FAMILIES[6].eth_type, "ip_proto": IP_ICMPV6}


def flows(place: Place) -> Iterator[Flow]:
    """ARP and neighbour discovery both ways, then IP to the VIP on its way down and from the servers on its way up."""
    for address in place.vip.addresses:
        yield from _answers(place, address, {"reg0": Side.NETWORK})
        yield from (_arp_to_all if address.version == 4 else _nd_to_all)(place, address)
        yield flow(
            NEIGHBOUR,
            Priority.GENERAL,
            match(reg0=Side.NETWORK, **family(address).to(address)),
            log.seen(place, (goto(FRAGMENT),)),
            cookie(Reason.TO_VIP, place.number),
            "IP to the VIP",
        )
        yield from _named(place, address)
        for server in place.servers:
            if place.vip.rewrite is Rewrite.ADDRESS:
                yield from _own(place, server, address)
            elif not place.is_one_armed(server):
                yield from (_asks_arp if address.version == 4 else _asks_nd)(place, server, address)
    if place.vip.rewrite is Rewrite.NOTHING:
        for server in place.servers:
            yield from _peers(place, server)
    for version in _versions(place):
        yield from _rest(FAMILIES[version])


def _named(place: Place, vip: Address) -> Iterator[Flow]:
    """A service address is answered for as the VIP is; what comes to it goes to SERVICE, fragments as well (X1)."""
    ip, mark = family(vip), cookie(Reason.NAMED, place.number)
    to_service = log.seen(place, (goto(SERVICE),))
    for server in place.servers:
        for address in server.service_addresses:
            if address.version != ip.version:
                continue
            asked = {"reg0": Side.NETWORK}
            yield from _answers(place, address, asked)
            to_address = match(**asked, **ip.to(address))
            yield flow(NEIGHBOUR, Priority.GENERAL, to_address, to_service, mark, "IP to a service address (X1)")


def _versions(place: Place) -> set[int]:
    """The versions of IP that anybody here speaks."""
    own = (address for server in place.servers for address in server.addresses)
    return {address.version for address in (*place.vip.addresses, *own)}


def _rest(ip: Family) -> Iterator[Flow]:
    yield flow(
        NEIGHBOUR,
        Priority.GENERAL,
        match(reg0=Side.SERVER, eth_type=ip.eth_type),
        (goto(UPSTREAM),),
        cookie(Reason.FROM_SERVER),
        "IP from a server",
    )
    if ip.version == 4:
        return
    mark = cookie(Reason.NEIGHBOUR_DISCOVERY)
    for icmpv6_type in (ND_SOLICIT, ND_ADVERTISE, *ND_OTHERS):
        others = match(**_ICMPV6, icmpv6_type=icmpv6_type)
        yield flow(NEIGHBOUR, Priority.SPECIFIC, others, (), mark, "neighbour discovery that nobody here needs: drop")
    yield no_answer_to_probes()


def no_answer_to_probes() -> Flow:
    """Solicitations from the unspecified address: who probes for an address has none to be answered at (RFC 4862)."""
    return flow(
        NEIGHBOUR,
        Priority.FIRST,
        match(**_ICMPV6, icmpv6_type=ND_SOLICIT, ipv6_src=0),
        (),
        cookie(Reason.NEIGHBOUR_DISCOVERY),
        "who has no address yet cannot be answered: drop",
    )


def _answers(place: Place, address: Address, asked: Mapping[str, int]) -> Iterator[Flow]:
    """Who asks for the VIP there gets its MAC address."""
    actions: tuple[Action, ...]
    mac, reason = place.vip.mac, "who asks for the VIP's MAC address gets it from the switch"
    if address.version == 4:
        question = match(**asked, eth_type=ETH_ARP, arp_op=1, arp_tpa=address)
        actions, mark = (*answer_arp(mac, int(address)), Output(IN_PORT)), cookie(Reason.ANSWER_ARP, place.number)
    else:
        question = match(**asked, **_ICMPV6, icmpv6_type=ND_SOLICIT, nd_target=address)
        actions, mark = (*answer_nd(mac, int(address)), goto(ADVERTISE)), cookie(Reason.ANSWER_ND, place.number)
    yield flow(NEIGHBOUR, Priority.OVERRIDE, question, actions, mark, reason)


def _sharing(place: Place) -> tuple[Server, ...]:
    """The servers that ask as the VIP; those on the network side ask there."""
    if place.vip.rewrite is Rewrite.ADDRESS:
        return ()
    return tuple(server for server in place.servers if not place.is_one_armed(server))


def _arp_to_all(place: Place, address: Address) -> Iterator[Flow]:
    actions: list[Action] = []
    for server in _sharing(place):
        if place.vip.rewrite is Rewrite.MAC:
            actions += [SetField("eth_dst", place.mac(server)), SetField("arp_tha", place.mac(server))]
        actions.append(place.output(server.name))
    if actions:
        yield flow(
            NEIGHBOUR,
            Priority.EXCEPTION,
            match(reg0=Side.NETWORK, eth_type=ETH_ARP, arp_op=2, arp_tpa=address),
            tuple(actions),
            cookie(Reason.SHARE_ARP, place.number),
            "an ARP answer for the VIP goes to every server: any of them may have asked",
        )


def _nd_to_all(place: Place, address: Address) -> Iterator[Flow]:
    actions: list[Action] = []
    for server in _sharing(place):
        if place.vip.rewrite is Rewrite.MAC:
            actions.append(SetField("eth_dst", place.mac(server)))
        actions.append(place.output(server.name))
    if actions:
        yield flow(
            NEIGHBOUR,
            Priority.EXCEPTION,
            match(reg0=Side.NETWORK, **_ICMPV6, icmpv6_type=ND_ADVERTISE, ipv6_dst=address),
            tuple(actions),
            cookie(Reason.SHARE_ARP, place.number),
            "an advertisement for the VIP goes to every server: any of them may have asked",
        )


def _asks_arp(place: Place, server: Server, vip: Address) -> Iterator[Flow]:
    mac = place.mac(server)
    actions: tuple[Action, ...] = (Output(place.network),)
    if mac != place.vip.mac:
        actions = (SetField("eth_src", place.vip.mac), SetField("arp_sha", place.vip.mac), *actions)
    yield flow(
        NEIGHBOUR,
        Priority.EXCEPTION,
        match(
            reg0=Side.SERVER,
            in_port=place.port_of[server.name],
            eth_src=mac,
            eth_type=ETH_ARP,
            arp_op=1,
            arp_spa=vip,
            arp_sha=mac,
        ),
        actions,
        cookie(Reason.SERVER_ARP, place.number),
        "a server may ask for its clients' and gateways' MAC addresses, as the VIP only",
    )


def _asks_nd(place: Place, server: Server, vip: Address) -> Iterator[Flow]:
    mac = place.mac(server)
    actions: tuple[Action, ...] = (Output(place.network),)
    if mac != place.vip.mac:
        actions = (SetField("eth_src", place.vip.mac), SetField("nd_sll", place.vip.mac), *actions)
    yield flow(
        NEIGHBOUR,
        Priority.EXCEPTION,
        match(**_solicits(place.port_of[server.name], mac), ipv6_src=vip),
        actions,
        cookie(Reason.SERVER_ARP, place.number),
        "a server may ask for its clients' and gateways' MAC addresses, as the VIP only",
    )
    if mac != place.vip.mac:  # with the VIP on its loopback, a kernel asks by its link-local address
        yield from _own_nd(place, server, [])


def _solicits(port: int, mac: int) -> dict[str, int]:
    """The match of neighbour solicitations from a connector and a MAC address."""
    return {
        "reg0": Side.SERVER,
        "in_port": port,
        "eth_src": mac,
        **_ICMPV6,
        "icmpv6_type": ND_SOLICIT,
        "nd_sll": mac,
    }


def link_local_flows(here: tuple[Place, ...]) -> Iterator[Flow]:
    """What servers that share a MAC address, of one VIP or of several, ask from the link-local address made of it.

    A kernel that checks whether a neighbour is still there asks so (RFC 4861, 7.3.3).
    """
    ports: dict[int, set[int]] = {}
    for place in here:
        if place.vip.rewrite is Rewrite.NOTHING and any(address.version == 6 for address in place.vip.addresses):
            ports.setdefault(place.vip.mac, set()).update(place.port_of.values())
    reason = "a server asks from the link-local address of the MAC address it shares"
    for mac, connectors in ports.items():
        for port in connectors:
            asks = match(**_solicits(port, mac), ipv6_src=link_local(mac))
            up = (Output(here[0].network),)
            yield flow(NEIGHBOUR, Priority.EXCEPTION, asks, up, cookie(Reason.SERVER_ARP), reason)
        answered = match(reg0=Side.NETWORK, **_ICMPV6, icmpv6_type=ND_ADVERTISE, ipv6_dst=link_local(mac))
        to_all = tuple(Output(port) for port in sorted(connectors))
        if to_all:
            yield flow(NEIGHBOUR, Priority.EXCEPTION, answered, to_all, cookie(Reason.SHARE_ARP), reason)


def _own(place: Place, server: Server, vip: Address) -> Iterator[Flow]:
    """A server with an IP address of its own, or the router before it, asks and is asked; its gateway may be the VIP.

    Servers of several VIPs may be behind one router: then their flows are the same ones.
    """
    mac, port, mark = place.mac(server), place.port_of[server.name], cookie(Reason.GATEWAY_ARP)
    yield from _answers(place, vip, {"reg0": Side.SERVER, "in_port": port})
    if place.is_one_armed(server):
        return
    names = [address for address in server.routers or server.addresses if address.version == vip.version]
    if vip.version == 4:
        for name in names:
            own = match(
                reg0=Side.SERVER, in_port=port, eth_src=mac, eth_type=ETH_ARP, arp_spa=name, arp_sha=mac
            )
            yield flow(NEIGHBOUR, Priority.EXCEPTION, own, (Output(place.network),), mark, _ASKS)
            to_name = match(reg0=Side.NETWORK, eth_type=ETH_ARP, arp_tpa=name)
            yield flow(NEIGHBOUR, Priority.EXCEPTION, to_name, (Output(port),), mark, _ASKED)
        return
    yield from _own_nd(place, server, names)


def _own_nd(place: Place, server: Server, names: list[Address]) -> Iterator[Flow]:
    """Neighbour discovery by addresses that only this server has, among them the link-local one of its MAC address."""
    mac, port, mark = place.mac(server), place.port_of[server.name], cookie(Reason.GATEWAY_ARP)
    for name in (*names, link_local(mac)):
        for own in _speaks_nd({"reg0": Side.SERVER, "in_port": port, "eth_src": mac}, name):
            yield flow(NEIGHBOUR, Priority.EXCEPTION, own, (Output(place.network),), mark, _ASKS)
        solicited = match(reg0=Side.NETWORK, **_ICMPV6, icmpv6_type=ND_SOLICIT, nd_target=name)
        yield flow(NEIGHBOUR, Priority.EXCEPTION, solicited, (Output(port),), mark, _ASKED)
        advertised = match(reg0=Side.NETWORK, **_ICMPV6, icmpv6_type=ND_ADVERTISE, ipv6_dst=name)
        yield flow(NEIGHBOUR, Priority.EXCEPTION, advertised, (Output(port),), mark, _ASKED)


def _speaks_nd(source: Mapping[str, int], name: Address) -> tuple[Match, Match]:
    """Solicitations by an address, and advertisements of it and of no other one."""
    kind = {**source, **_ICMPV6, "ipv6_src": int(name)}
    return match(**kind, icmpv6_type=ND_SOLICIT), match(**kind, icmpv6_type=ND_ADVERTISE, nd_target=name)


def _peers(place: Place, server: Server) -> Iterator[Flow]:
    """A server with a further address may talk to the others of its kind (row N4)."""
    for own in server.addresses:
        assert server.mac is not None, "a configuration without one was refused"
        source = {"reg0": Side.SERVER, "in_port": place.port_of[server.name], "eth_src": server.mac}
        mark, reason = cookie(Reason.PEER), "a server's further address asks and answers other servers"
        if own.version == 4:
            arp = match(**source, eth_type=ETH_ARP, arp_spa=own, arp_sha=server.mac)
            yield flow(NEIGHBOUR, Priority.EXCEPTION, arp, (goto(PEER),), mark, reason)
            continue
        for name in (own, link_local(server.mac)):
            for nd in _speaks_nd(source, name):
                yield flow(NEIGHBOUR, Priority.EXCEPTION, nd, (goto(PEER),), mark, reason)
