"""What the load balancer means: for a configuration and one packet, who gets it.

Written from the protocol, not from the pipeline: no tables, no priorities, no OpenFlow. Everything the compiler makes
is checked against `deliver`, so it imports nothing of what it judges; only the configuration's values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Literal

from portlb_app.config import (
    Config,
    DefaultFor,
    Forwarding,
    Fragments,
    IcmpErrors,
    Legacy,
    RedirectPort,
    Server,
    Signal,
    Switch,
    UnknownErrors,
    Vip,
)

ICMP, TCP, UDP = 1, 6, 17
REDIRECT, ACK, SYN = 0x800, 0x010, 0x002
ICMP_ERRORS = (3, 11, 12)
ECHO_REPLY = 0


@dataclass(frozen=True)
class Arp:
    """IPv4 over Ethernet: 1 asks, 2 answers."""

    operation: int
    sender_mac: int
    sender: IPv4Address
    target: IPv4Address


@dataclass(frozen=True)
class Ip:
    """An IPv4 packet; ports, flags and type count only where its protocol and its fragment kind have them.

    An ICMP error quotes a packet from `destination` and `destination_port`; `asks` is a TCP option that asks for a
    redirect.
    """

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    fragment: Literal["no", "first", "later"] = "no"
    source_port: int = 0
    destination_port: int = 0
    tcp_flags: int = 0
    icmp_type: int = 0
    asks: bool = False


@dataclass(frozen=True)
class Packet:
    """What a switch sees: a port, a sender, and ARP, IPv4 or (None) anything else."""

    in_port: int
    eth_src: int
    payload: Arp | Ip | None


@dataclass(frozen=True)
class Drop:
    """Nobody gets the packet."""


@dataclass(frozen=True)
class To:
    """One certain server gets it."""

    server: str


@dataclass(frozen=True)
class AnyOf:
    """One server of these gets it; which one, a hash of the packet's addresses and ports decides."""

    servers: frozenset[str]


@dataclass(frozen=True)
class All:
    """Each of these gets a copy."""

    servers: frozenset[str]


@dataclass(frozen=True)
class ToNetwork:
    """It leaves by the network side."""


@dataclass(frozen=True)
class ArpReply:
    """The switch itself answers who asked: this address is at this MAC address."""

    address: IPv4Address
    mac: int


@dataclass(frozen=True)
class Punted:
    """The switch can't tell, and hands it up; `judge` says what becomes of it."""

    reason: Literal["icmp_error", "fragment", "signal"]


@dataclass(frozen=True)
class Reassembled:
    """The switch itself puts the packet together and judges it as a whole."""


Outcome = Drop | To | AnyOf | All | ToNetwork | ArpReply | Punted | Reassembled


def deliver(config: Config, switch: Switch, packet: Packet) -> Outcome:
    """Who gets a packet that comes into a switch. Whoever gets it gets it unchanged (row N3)."""
    if packet.in_port == switch.network:
        return _from_network(config, switch, packet)
    attached = [server for server in config.servers if server.connector == (switch.name, packet.in_port)]
    allowed = any(_may_send(config, server, packet) for server in attached)
    return ToNetwork() if allowed else Drop()


def _from_network(config: Config, switch: Switch, packet: Packet) -> Outcome:
    payload = packet.payload
    if payload is None:
        return Drop()
    address = payload.target if isinstance(payload, Arp) else payload.destination
    for vip in config.vips:
        servers = [server for server in config.servers if server.vip == vip.name]
        here = not servers or any(server.connector.switch == switch.name for server in servers)
        if vip.address == address and here:
            return _to_vip(vip, servers, payload, switch)
    return Drop()


def judge(config: Config, switch: Switch, vip: Vip, ip: Ip) -> Outcome:
    """Who gets a packet to a VIP that was handed up; of a fragment: the first one and all that follow it."""
    servers = [server for server in config.servers if server.vip == vip.name]
    if ip.fragment != "no":  # F1: as if it were whole
        whole = replace(ip, fragment="no", asks=False)
        outcome = _to_vip(vip, servers, whole, switch)
        if isinstance(outcome, Punted):
            outcome = _plain(vip, servers, whole) if outcome.reason == "signal" else _default(vip)
        if ip.protocol == ICMP:
            return _default(vip)
        opening = ip.tcp_flags & (SYN | ACK) == SYN
        if isinstance(outcome, AnyOf) and ip.protocol == TCP and not opening and len(outcome.servers) > 1:
            return Drop()  # its row is the switch's secret, and every other server would reset the connection
        return outcome
    if ip.protocol == ICMP:  # I2, I3
        owner, shared = _port(vip, servers, ip.destination_port)
        if owner:
            return owner
        if shared:
            plain = [vip.default_server] if shared.legacy is Legacy.DEFAULT and vip.default_server else []
            return All(frozenset([*shared.servers, *plain])) if shared.servers or plain else Drop()
        anyone = AnyOf(frozenset(server.name for server in servers)) if servers else Drop()
        return {UnknownErrors.DEFAULT: _default(vip), UnknownErrors.ANY: anyone}.get(vip.unknown_errors, Drop())
    _, shared = _port(vip, servers, ip.destination_port)
    if ip.asks and shared:
        return AnyOf(frozenset(shared.servers)) if shared.servers else Drop()
    return _plain(vip, servers, ip)


def _default(vip: Vip) -> Outcome:
    return To(vip.default_server) if vip.default_server else Drop()


def _port(vip: Vip, servers: list[Server], port: int) -> tuple[To | None, RedirectPort | None]:
    """Who owns a port, and the pool that shares it."""
    owner = next((To(server.name) for server in servers for own in server.service_ports if own.port == port), None)
    return owner, next((pool for pool in vip.redirect_ports if pool.port == port), None)


def _plain(vip: Vip, servers: list[Server], ip: Ip) -> Outcome:
    """TCP without REDIRECT to a redirect port (E3, E4)."""
    owner, shared = _port(vip, servers, ip.destination_port)
    assert shared
    opening = ip.tcp_flags & (SYN | ACK) == SYN
    anyone = AnyOf(frozenset(shared.servers)) if shared.servers else Drop()
    plain = {Legacy.OWNER: owner or Drop(), Legacy.DEFAULT: _default(vip), Legacy.BALANCE: anyone}
    return plain.get(shared.legacy, Drop() if opening else anyone)


def _to_vip(vip: Vip, servers: list[Server], payload: Arp | Ip, switch: Switch) -> Outcome:
    every = All(frozenset(server.name for server in servers)) if servers else Drop()
    default = _default(vip)
    if isinstance(payload, Arp):
        return {1: ArpReply(vip.address, vip.mac), 2: every}.get(payload.operation, Drop())
    if payload.fragment != "no":  # F1, F3, E6
        tracked = Reassembled() if switch.datapath is Forwarding.KERNEL else Punted("fragment")
        fragments = {Fragments.TRACK: tracked, Fragments.REPLICATE: every, Fragments.DEFAULT: default}
        return fragments.get(vip.fragments, Drop())
    if payload.protocol == ICMP:  # I1, I2
        if payload.icmp_type not in ICMP_ERRORS:
            return default
        errors = {IcmpErrors.OWNER: Punted("icmp_error"), IcmpErrors.REPLICATE: every, IcmpErrors.DEFAULT: default}
        return errors.get(vip.icmp_errors, Drop())
    if payload.protocol not in (TCP, UDP):  # E6
        return default

    owner, shared = _port(vip, servers, payload.destination_port)
    anyone = AnyOf(frozenset(shared.servers)) if shared and shared.servers else Drop()
    if payload.protocol == UDP:  # U1, U2, U3
        return owner or (anyone if shared else default)

    redirect = bool(payload.tcp_flags & REDIRECT)
    if shared and redirect:  # E2
        return anyone
    if shared:  # E3, E4
        opening = payload.tcp_flags & (SYN | ACK) == SYN
        if opening and shared.signal is Signal.OPTION:
            return Punted("signal")
        return _plain(vip, servers, payload)
    if owner:  # E1, D1
        return owner
    return Drop() if redirect and vip.default_for is not DefaultFor.UNKNOWN_PORTS else default  # E5


def _may_send(config: Config, server: Server, packet: Packet) -> bool:
    """Whether a server may send this: only to the network, and only as its VIP, from ports it answers for."""
    vip = next(vip for vip in config.vips if vip.name == server.vip)
    payload = packet.payload
    if payload is None or packet.eth_src != vip.mac:
        return False
    if isinstance(payload, Arp):
        return (payload.operation, payload.sender, payload.sender_mac) == (1, vip.address, vip.mac)
    if payload.source != vip.address:
        return False
    default = server.name == vip.default_server
    if payload.fragment != "no":
        return True
    if payload.protocol == ICMP:
        return default or payload.icmp_type in (ECHO_REPLY, *ICMP_ERRORS)
    if payload.protocol not in (TCP, UDP):
        return default
    port = payload.source_port
    for pool in vip.redirect_ports:
        if pool.port == port and (server.name in pool.servers or (default and pool.legacy is Legacy.DEFAULT)):
            return True
    owners = [each.name for each in config.servers_of(vip) for own in each.service_ports if own.port == port]
    nobodys = not owners and all(pool.port != port for pool in vip.redirect_ports)
    return server.name in owners or (default and nobodys)
