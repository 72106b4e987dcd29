"""NEIGHBOUR: ARP (RFC 826) and neighbour discovery (RFC 4861), and the fork between the directions.

The switch itself answers who asks for the VIP, so a load balancer without servers answers too (row L5), and no server's
answer can differ. Servers that share the VIP's address ask as the VIP; the answers go to every one of them, because
nothing in them tells who asked. Servers with addresses of their own are asked, and answered, by themselves. No server's
question reaches another, but for those that have further addresses to talk with one another (row N4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from portlb_app.compiler.delivery import output, over_links
from portlb_app.compiler.tables import log
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, Rewrite, Server
from portlb_app.openflow import ETH_ARP, IN_PORT, IP_ICMPV6, Action, Flow, Match, Output, SetField, match
from portlb_app.pipeline import (
    ADVERTISE,
    FAMILIES,
    FRAGMENT,
    LINK_GROUPS,
    LINK_LOCAL,
    MLD_QUERY,
    ND_ADVERTISE,
    ND_HOPS,
    ND_OTHERS,
    ND_SOLICIT,
    NEIGHBOUR,
    PEER,
    SERVICE,
    SHARE,
    SIDE,
    UPSTREAM,
    Family,
    Priority,
    Reason,
    Side,
    answer_arp,
    answer_nd,
    family,
    flow,
    from_side,
    goto,
    make_cookie,
    punt,
)

_ASKS = "a server or router asks and answers by addresses of its own"
_ASKED = "a question or an answer to an address of a server or router of its own"
_ICMPV6 = {"eth_type": FAMILIES[6].eth_type, "ip_proto": IP_ICMPV6}


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """ARP and neighbour discovery both ways, then IP to the VIP on its way down and from the servers on its way up."""
    for address in local.vip.addresses:
        if local.is_entrance:
            yield from answers(address, local.vip.mac, local.number, from_side(Side.NETWORK))
        yield from (_arp_to_all if address.version == 4 else _nd_to_all)(local, address)
        for down in local.from_clients:
            yield flow(
                NEIGHBOUR,
                Priority.GENERAL,
                match(**down, **family(address).to(address)),
                log.seen(local, (goto(FRAGMENT),)) if down[SIDE] is Side.NETWORK else (goto(FRAGMENT),),
                make_cookie(Reason.TO_VIP, local.number),
                "IP to the VIP",
            )
        yield from _named(local, address)
        for server in local.servers:
            if local.vip.rewrite is Rewrite.ADDRESS:
                yield from _own(local, server, address)
            elif local.vip.rewrite is Rewrite.MAC and address.version == 6 and not local.is_one_armed(server):
                yield from _asked_nd(local, server, [])  # with the VIP on its loopback, a kernel is link-local
        for server in local.attached:
            if local.vip.rewrite is not Rewrite.ADDRESS and not local.is_one_armed(server):
                yield from (_asks_arp if address.version == 4 else _asks_nd)(local, server, address)
    if local.vip.rewrite is Rewrite.NOTHING:
        for server in local.attached:
            yield from _peers(local, server)
    for version in _versions(local):
        yield from _rest(FAMILIES[version])


def _named(local: VipOnSwitch, vip: Address) -> Iterator[Flow]:
    """A service address is answered for as the VIP is; what comes to it goes to SERVICE, fragments as well (X1)."""
    ip, cookie = family(vip), make_cookie(Reason.NAMED, local.number)
    to_service = log.seen(local, (goto(SERVICE),))
    for server in local.servers:
        for address in server.service_addresses:
            if address.version != ip.version:
                continue
            if local.is_entrance:
                yield from answers(address, local.vip.mac, local.number, from_side(Side.NETWORK))
            for down in local.from_clients:
                to_address = match(**down, **ip.to(address))
                actions = to_service if down[SIDE] is Side.NETWORK else (goto(SERVICE),)
                yield flow(NEIGHBOUR, Priority.GENERAL, to_address, actions, cookie, "IP to a service address (X1)")


def _versions(local: VipOnSwitch) -> set[int]:
    """The versions of IP that anybody here speaks."""
    own = (address for server in local.attached for address in server.addresses)
    return {address.version for address in (*local.vip.addresses, *own)}


def _rest(ip: Family) -> Iterator[Flow]:
    yield flow(
        NEIGHBOUR,
        Priority.GENERAL,
        match(**from_side(Side.SERVER), eth_type=ip.eth_type),
        (goto(UPSTREAM),),
        make_cookie(Reason.FROM_SERVER),
        "IP from a server",
    )
    if ip.version == 4:
        return
    cookie = make_cookie(Reason.NEIGHBOUR_DISCOVERY)
    for icmpv6_type in (ND_SOLICIT, ND_ADVERTISE, *ND_OTHERS):
        others = match(**_ICMPV6, icmpv6_type=icmpv6_type)
        yield flow(NEIGHBOUR, Priority.SPECIFIC, others, (), cookie, "neighbour discovery that nobody here needs: drop")


def answers(address: Address, mac: int, vip: int, asked: Mapping[str, int]) -> Iterator[Flow]:
    """Who asks there for an address of a VIP, by its number, gets its MAC address."""
    actions: tuple[Action, ...]
    reason = "who asks for the VIP's MAC address gets it from the switch"
    if address.version == 4:
        question = match(**asked, eth_type=ETH_ARP, arp_op=1, arp_tpa=address)
        actions, cookie = (*answer_arp(mac, int(address)), Output(IN_PORT)), make_cookie(Reason.ANSWER_ARP, vip)
    else:
        question = match(**asked, **_ICMPV6, icmpv6_type=ND_SOLICIT, nd_target=address)
        actions, cookie = (*answer_nd(mac, int(address)), goto(ADVERTISE)), make_cookie(Reason.ANSWER_ND, vip)
    yield flow(NEIGHBOUR, Priority.OVERRIDE, question, actions, cookie, reason)


def _sharing(local: VipOnSwitch) -> tuple[Server, ...]:
    """The servers that ask as the VIP; those on the network side ask there."""
    if local.vip.rewrite is Rewrite.ADDRESS:
        return ()
    return tuple(server for server in local.servers if not local.is_one_armed(server))


def _share(local: VipOnSwitch, target_field: str | None) -> tuple[Action, ...]:
    """Actions that bring an answer to every server that asks as the VIP; `target_field` has the asker's MAC address."""
    sharing = _sharing(local)
    actions: list[Action] = [*over_links(local, sharing)]
    for server in sharing:
        if server not in local.attached:
            continue
        if local.vip.rewrite is Rewrite.MAC:
            actions.append(SetField("eth_dst", local.mac(server)))
            if target_field is not None:
                actions.append(SetField(target_field, local.mac(server)))
        actions.append(output(local, server.name))
    return tuple(actions)


def _arp_to_all(local: VipOnSwitch, address: Address) -> Iterator[Flow]:
    actions = _share(local, "arp_tha")
    for down in local.from_clients if actions else ():
        yield flow(
            NEIGHBOUR,
            _asked_priority(down),
            match(**down, eth_type=ETH_ARP, arp_op=2, arp_tpa=address),
            actions,
            make_cookie(Reason.SHARE_ARP, local.number),
            "an ARP answer for the VIP goes to every server: any of them may have asked",
        )


def _nd_to_all(local: VipOnSwitch, address: Address) -> Iterator[Flow]:
    """In a table of its own, because a hop limit in NEIGHBOUR would make a datapath flow for every one there is."""
    actions, cookie = _share(local, None), make_cookie(Reason.SHARE_ARP, local.number)
    for down in local.from_clients if actions else ():
        advertised = {**down, **_ICMPV6, "icmpv6_type": ND_ADVERTISE, "ipv6_dst": int(address)}
        reason = "an advertisement for the VIP goes to every server: any of them may have asked"
        yield flow(NEIGHBOUR, _asked_priority(down), match(**advertised), (goto(SHARE),), cookie, reason)
        reason = "it comes from this link: to every server"
        yield flow(SHARE, Priority.SPECIFIC, match(**advertised, nw_ttl=ND_HOPS), actions, cookie, reason)


def _asked_priority(down: Mapping[str, int]) -> Priority:
    """On a link, what goes up by its sender's MAC address comes first (`transit`)."""
    return Priority.PASSING if down[SIDE] is Side.LINK else Priority.EXCEPTION


def _asks_arp(local: VipOnSwitch, server: Server, vip: Address) -> Iterator[Flow]:
    mac = local.mac(server)
    actions: tuple[Action, ...] = (Output(local.uplink),)
    if mac != local.vip.mac:
        actions = (SetField("eth_src", local.vip.mac), SetField("arp_sha", local.vip.mac), *actions)
    yield flow(
        NEIGHBOUR,
        Priority.EXCEPTION,
        match(
            **from_side(Side.SERVER),
            in_port=server.connector.port,
            eth_src=mac,
            eth_type=ETH_ARP,
            arp_op=1,
            arp_spa=vip,
            arp_sha=mac,
        ),
        actions,
        make_cookie(Reason.SERVER_ARP, local.number),
        "a server may ask for its clients' and gateways' MAC addresses, as the VIP only",
    )


def _asks_nd(local: VipOnSwitch, server: Server, vip: Address) -> Iterator[Flow]:
    mac = local.mac(server)
    actions: tuple[Action, ...] = (Output(local.uplink),)
    if mac != local.vip.mac:
        actions = (SetField("eth_src", local.vip.mac), SetField("nd_sll", local.vip.mac), *actions)
    yield flow(
        NEIGHBOUR,
        Priority.EXCEPTION,
        match(**_solicits(server.connector.port, mac), ipv6_src=vip),
        actions,
        make_cookie(Reason.SERVER_ARP, local.number),
        "a server may ask for its clients' and gateways' MAC addresses, as the VIP only",
    )
    if mac != local.vip.mac:  # with the VIP on its loopback, a kernel asks by its link-local address
        yield from _asks_own_nd(local, server, [])


def _solicits(port: int, mac: int) -> dict[str, int]:
    """The match of neighbour solicitations from a connector and a MAC address."""
    return {
        **from_side(Side.SERVER),
        "in_port": port,
        "eth_src": mac,
        **_ICMPV6,
        "icmpv6_type": ND_SOLICIT,
        "nd_sll": mac,
    }


def query_flows(here: tuple[VipOnSwitch, ...]) -> Iterator[Flow]:
    """Who asks which multicast groups have listeners is told so by the controller (`announce`)."""
    if any(local.is_entrance and any(address.version == 6 for address in local.vip.addresses) for local in here):
        query = match(**from_side(Side.NETWORK), **_ICMPV6, ipv6_dst=LINK_GROUPS, icmpv6_type=MLD_QUERY)
        reason = "a querier that asks who listens to which group: the VIPs listen to their solicited-node groups"
        yield flow(NEIGHBOUR, Priority.SPECIFIC, query, punt(Reason.QUERY), make_cookie(Reason.QUERY), reason)


def link_local_flows(here: tuple[VipOnSwitch, ...]) -> Iterator[Flow]:
    """What servers that share a MAC address, of one VIP or of several, ask from a link-local address.

    A kernel that checks whether a neighbour is still there asks so (RFC 4861, 7.3.3). What is asked about the
    link-local address of a server with a MAC address of its own, to a group, reaches all of these: only it knows.
    """
    yield from _solicited_flows(here)
    reason = "a server asks from a link-local address, with the MAC address it shares"
    answered: dict[tuple[Priority, Match], set[int]] = {}
    for local in here:
        if local.vip.rewrite is not Rewrite.NOTHING or all(address.version == 4 for address in local.vip.addresses):
            continue
        mac = local.vip.mac
        for server in local.attached:
            asks = match(**_solicits(server.connector.port, mac), ipv6_src=LINK_LOCAL)
            up = (Output(local.uplink),)
            yield flow(NEIGHBOUR, Priority.EXCEPTION, asks, up, make_cookie(Reason.SERVER_ARP), reason)
        for down in local.from_clients:
            answer = match(**down, **_ICMPV6, eth_dst=mac, icmpv6_type=ND_ADVERTISE, ipv6_dst=LINK_LOCAL)
            answered.setdefault((_asked_priority(down), answer), set()).update(local.port_of.values())
    for (priority, answer), ports in answered.items():
        to_all = tuple(Output(port) for port in sorted(ports))
        if to_all:
            yield flow(NEIGHBOUR, priority, answer, to_all, make_cookie(Reason.SHARE_ARP), reason)


def _solicited_flows(here: tuple[VipOnSwitch, ...]) -> Iterator[Flow]:
    questions: dict[Match, set[int]] = {}
    for local in here:
        if local.vip.rewrite is Rewrite.NOTHING or all(address.version == 4 for address in local.vip.addresses):
            continue
        asked = {local.port_of[server.name] for server in local.servers if not local.is_one_armed(server)}
        for down in local.from_clients if asked else ():
            about = match(**down, **_ICMPV6, ipv6_dst=LINK_GROUPS, icmpv6_type=ND_SOLICIT, nd_target=LINK_LOCAL)
            questions.setdefault(about, set()).update(asked)
    reason = "a question about a link-local address: every server that may have it"
    for about, ports in questions.items():
        to_all = tuple(Output(port) for port in sorted(ports))
        yield flow(NEIGHBOUR, Priority.FLOODED, about, to_all, make_cookie(Reason.GATEWAY_ARP), reason)


def _own(local: VipOnSwitch, server: Server, vip: Address) -> Iterator[Flow]:
    """A server with an IP address of its own, or the router before it, asks and is asked.

    Servers of several VIPs may be behind one router: then their flows are the same ones.
    """
    if local.is_one_armed(server):
        return
    names = [address for address in server.routers or server.addresses if address.version == vip.version]
    if vip.version == 6:
        yield from _asked_nd(local, server, names)
        if server in local.attached:
            yield from _asks_own_nd(local, server, names)
        return
    mac, port, cookie = local.mac(server), local.port_of[server.name], make_cookie(Reason.GATEWAY_ARP)
    for name in names:
        if server in local.attached:
            own = match(
                **from_side(Side.SERVER), in_port=port, eth_src=mac, eth_type=ETH_ARP, arp_spa=name, arp_sha=mac
            )
            yield flow(NEIGHBOUR, Priority.EXCEPTION, own, (Output(local.uplink),), cookie, _ASKS)
        for down in local.from_clients:
            to_name = match(**down, eth_type=ETH_ARP, arp_tpa=name)
            yield flow(NEIGHBOUR, _asked_priority(down), to_name, (Output(port),), cookie, _ASKED)


def _asks_own_nd(local: VipOnSwitch, server: Server, names: list[Address]) -> Iterator[Flow]:
    """Neighbour discovery by addresses that only this server has, and link-local ones."""
    mac, port, cookie = local.mac(server), server.connector.port, make_cookie(Reason.GATEWAY_ARP)
    sources: list[int | tuple[int, int]] = [*map(int, names), LINK_LOCAL]
    for name in sources:
        for own in _speaks_nd({**from_side(Side.SERVER), "in_port": port, "eth_src": mac}, name):
            yield flow(NEIGHBOUR, Priority.EXCEPTION, own, (Output(local.uplink),), cookie, _ASKS)


def _asked_nd(local: VipOnSwitch, server: Server, names: list[Address]) -> Iterator[Flow]:
    """What comes for these addresses, and for link-local ones to its MAC address."""
    port, cookie, by_mac = local.port_of[server.name], make_cookie(Reason.GATEWAY_ARP), {"eth_dst": local.mac(server)}
    wanted: list[tuple[int | tuple[int, int], dict[str, int]]] = [(int(name), {}) for name in names]
    for name, to in (*wanted, (LINK_LOCAL, by_mac)):
        for down in local.from_clients:
            priority = _asked_priority(down)
            solicited = match(**down, **to, **_ICMPV6, icmpv6_type=ND_SOLICIT, nd_target=name)
            yield flow(NEIGHBOUR, priority, solicited, (Output(port),), cookie, _ASKED)
            advertised = match(**down, **to, **_ICMPV6, icmpv6_type=ND_ADVERTISE, ipv6_dst=name)
            yield flow(NEIGHBOUR, priority, advertised, (Output(port),), cookie, _ASKED)


def _speaks_nd(source: Mapping[str, int], name: int | tuple[int, int]) -> tuple[Match, Match]:
    """Solicitations by an address (or some, with a mask), and advertisements of it and of no other one."""
    kind: dict[str, int | tuple[int, int]] = {**source, **_ICMPV6, "ipv6_src": name}
    return match(**kind, icmpv6_type=ND_SOLICIT), match(**kind, icmpv6_type=ND_ADVERTISE, nd_target=name)


def _peers(local: VipOnSwitch, server: Server) -> Iterator[Flow]:
    """A server with a further address may talk to the others of its kind (row N4)."""
    for own in server.addresses:
        assert server.mac is not None, "a configuration without one was refused"
        source = {**from_side(Side.SERVER), "in_port": server.connector.port, "eth_src": server.mac}
        cookie, reason = make_cookie(Reason.PEER), "a server's further address asks and answers other servers"
        if own.version == 4:
            arp = match(**source, eth_type=ETH_ARP, arp_spa=own, arp_sha=server.mac)
            yield flow(NEIGHBOUR, Priority.EXCEPTION, arp, (goto(PEER),), cookie, reason)
            continue
        names: tuple[int | tuple[int, int], ...] = (int(own), LINK_LOCAL)
        for name in names:
            for nd in _speaks_nd(source, name):
                yield flow(NEIGHBOUR, Priority.EXCEPTION, nd, (goto(PEER),), cookie, reason)
