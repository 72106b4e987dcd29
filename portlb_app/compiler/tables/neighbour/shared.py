"""Servers that share the VIP's address: they ask as the VIP, and every one of them gets the answers."""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.delivery import output, over_links
from portlb_app.compiler.tables.neighbour.discovery import ICMPV6, asked_priority, soliciting
from portlb_app.compiler.tables.neighbour.own import asks_own_nd
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, Rewrite, Server
from portlb_app.openflow import ETH_ARP, Action, Flow, Output, SetField, match
from portlb_app.pipeline import (
    ND_ADVERTISE,
    ND_HOPS,
    NEIGHBOUR,
    SHARE,
    Priority,
    Reason,
    Side,
    flow,
    from_side,
    goto,
    make_cookie,
)


def arp_to_all(local: VipOnSwitch, address: Address) -> Iterator[Flow]:
    """An ARP answer for the VIP goes to every server that shares its address."""
    actions = _share(local, "arp_tha")
    for inbound in local.from_clients if actions else ():
        yield flow(
            NEIGHBOUR,
            asked_priority(inbound),
            match(**inbound, eth_type=ETH_ARP, arp_op=2, arp_tpa=address),
            actions,
            make_cookie(Reason.SHARE_ARP, local.number),
            "an ARP answer for the VIP goes to every server: any of them may have asked",
        )


def nd_to_all(local: VipOnSwitch, address: Address) -> Iterator[Flow]:
    """An advertisement for the VIP goes to every server that shares its address, by way of SHARE.

    SHARE is a table of its own: with the hop limit in NEIGHBOUR, every hop limit would be a datapath flow.
    """
    actions, cookie = _share(local, None), make_cookie(Reason.SHARE_ARP, local.number)
    for inbound in local.from_clients if actions else ():
        advertised = {**inbound, **ICMPV6, "icmpv6_type": ND_ADVERTISE, "ipv6_dst": int(address)}
        reason = "an advertisement for the VIP goes to every server: any of them may have asked"
        yield flow(NEIGHBOUR, asked_priority(inbound), match(**advertised), (goto(SHARE),), cookie, reason)
        reason = "from this link: to every server"
        yield flow(SHARE, Priority.SPECIFIC, match(**advertised, nw_ttl=ND_HOPS), actions, cookie, reason)


def asks_arp(local: VipOnSwitch, server: Server, vip: Address) -> Iterator[Flow]:
    """A server's ARP request leaves as the VIP's."""
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


def asks_nd(local: VipOnSwitch, server: Server, vip: Address) -> Iterator[Flow]:
    """A server's neighbour solicitation leaves as the VIP's."""
    mac = local.mac(server)
    actions: tuple[Action, ...] = (Output(local.uplink),)
    if mac != local.vip.mac:
        actions = (SetField("eth_src", local.vip.mac), SetField("nd_sll", local.vip.mac), *actions)
    yield flow(
        NEIGHBOUR,
        Priority.EXCEPTION,
        match(**soliciting(server.connector.port, mac), ipv6_src=vip),
        actions,
        make_cookie(Reason.SERVER_ARP, local.number),
        "a server may ask for its clients' and gateways' MAC addresses, as the VIP only",
    )
    if mac != local.vip.mac:  # a kernel with the VIP on its loopback asks from a link-local address
        yield from asks_own_nd(local, server, [])


def _share(local: VipOnSwitch, target_field: str | None) -> tuple[Action, ...]:
    """The actions that bring an answer to every server that shares the VIP's address; `target_field` is the field with
    the asking host's MAC address.
    """
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


def _sharing(local: VipOnSwitch) -> tuple[Server, ...]:
    """The servers that ask as the VIP; one-armed servers ask on the network side."""
    if local.vip.rewrite is Rewrite.ADDRESS:
        return ()
    return tuple(server for server in local.reachable_servers if not local.is_one_armed(server))
