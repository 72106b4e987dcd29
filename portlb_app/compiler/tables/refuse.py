"""Refuses a server's connection to a VIP of its own load balancer at once.

Flows of NEIGHBOUR. The switch cannot carry such a connection. Servers that share the VIP's address connect as the VIP,
and nothing in an answer says which of them it is for; where addresses are rewritten, the answer would not pass the
switch. So the switch answers the question for the VIP's MAC address, and the controller refuses what follows (`punt`).
Without the two, the server would wait for minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

from portlb_app import topology
from portlb_app.compiler.tables import advertise
from portlb_app.compiler.tables.neighbour import answers
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, Config, Rewrite
from portlb_app.openflow import ETH_ARP, Flow, match
from portlb_app.pipeline import (
    NEIGHBOUR,
    Priority,
    Reason,
    Side,
    family,
    flow,
    from_side,
    make_cookie,
    punt,
)


@dataclass(frozen=True)
class VipAddress:
    """An address of a VIP (also a service address), and the VIP's MAC address and number."""

    address: Address
    mac: int
    vip: int


def vip_addresses(config: Config) -> Mapping[str, tuple[VipAddress, ...]]:
    """By switch, the addresses of all VIPs of its load balancer, which is the switch and all it is linked with.

    Switches without links between them are load balancers of their own, which reach each other by the network.
    """
    of_vip: dict[str, tuple[set[str], tuple[VipAddress, ...]]] = {}
    for vip in config.vips:
        servers = config.servers_of(vip)
        known = (*vip.addresses, *(address for server in servers for address in server.service_addresses))
        server_switches = {server.connector.switch for server in servers}
        of_vip[vip.name] = server_switches, tuple(VipAddress(address, vip.mac, vip.number) for address in known)
    found: dict[str, tuple[VipAddress, ...]] = {}
    for part in set(topology.joined(config).values()):
        here = (known for server_switches, known in of_vip.values() if not server_switches or server_switches & part)
        found.update(dict.fromkeys(part, tuple(each for known in here for each in known)))
    return found


def flows(known: tuple[VipAddress, ...], here: tuple[VipOnSwitch, ...]) -> Iterator[Flow]:
    """The flows for a switch with servers; none without."""
    if not any(local.attached for local in here):
        return
    for each in known:
        yield from answers(each.address, each.mac, each.vip, from_side(Side.SERVER))
        if isinstance(each.address, IPv6Address):
            yield from (advertise.answer(each.address, each.mac, each.vip), *advertise.probes())
        yield flow(
            NEIGHBOUR,
            Priority.NARROW,
            match(**from_side(Side.SERVER), **family(each.address).to(each.address)),
            punt(Reason.REFUSED),
            make_cookie(Reason.REFUSED),
            "a server that talks to a VIP: the controller refuses it",
        )
    for local in here:
        yield from _probes(local)


def _probes(local: VipOnSwitch) -> Iterator[Flow]:
    """A server that asks for its own address gets no answer: it probes whether the address is free (RFC 5227)."""
    cookie, shared = make_cookie(Reason.SERVER_ARP, local.number), local.vip.rewrite is not Rewrite.ADDRESS
    for server in local.attached:
        source = {**from_side(Side.SERVER), "in_port": server.connector.port, "eth_src": local.mac(server)}
        vips = local.vip.addresses if shared else ()
        for own in (*vips, *server.service_addresses):
            if own.version != 4:
                continue
            yield flow(
                NEIGHBOUR,
                Priority.FIRST,
                match(**source, eth_type=ETH_ARP, arp_op=1, arp_tpa=own),
                (),
                cookie,
                "a server that asks for an address of its own: drop",
            )
