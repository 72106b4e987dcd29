"""What the load balancer means: for a configuration and one packet, who gets it, and what it looks like then.

Written from the protocol, not from the pipeline: no tables, no priorities, no OpenFlow. Everything the compiler makes
is checked against `deliver`, so it imports nothing of what it judges; only the configuration's values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from portlb_app.config import (
    Address,
    Config,
    DefaultFor,
    Forwarding,
    Fragments,
    IcmpErrors,
    IcmpPolicy,
    Legacy,
    RedirectPort,
    Rewrite,
    Server,
    Signal,
    Switch,
    UnknownErrors,
    Vip,
)

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
REDIRECT, CONFIRM, ACK, RST, SYN, FIN = 0x800, 0x400, 0x010, 0x004, 0x002, 0x001
ICMP_ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
ECHO_REPLY = {4: 0, 6: 129}
SOLICITATION, ADVERTISEMENT = 135, 136
ND_TYPES = range(133, 138)


@dataclass(frozen=True)
class Arp:
    """IPv4 over Ethernet: 1 asks, 2 answers."""

    operation: int
    sender_mac: int
    sender: IPv4Address
    target: IPv4Address
    target_mac: int = 0


@dataclass(frozen=True)
class Nd:
    """Neighbour discovery: 135 asks, 136 answers; with the sender's MAC address in its option, or without.

    With other `hops` than 255 it came by a router, and no host believes it (RFC 4861, 7.1).
    """

    kind: int
    source: IPv6Address
    destination: IPv6Address
    target: IPv6Address
    option: int | None
    hops: int = 255


@dataclass(frozen=True)
class Ip:
    """An IP packet; ports, flags and type count only where its protocol and its fragment kind have them.

    An ICMP error quotes a packet between the addresses `quoted`, from `destination_port`; `asks` is a TCP option that
    asks for a redirect. `label` is IPv6's, and that of the quoted packet.
    """

    source: Address
    destination: Address
    protocol: int
    fragment: Literal["no", "first", "later"] = "no"
    source_port: int = 0
    destination_port: int = 0
    tcp_flags: int = 0
    icmp_type: int = 0
    asks: bool = False
    quoted: tuple[Address, Address] | None = None
    label: int = 0


@dataclass(frozen=True)
class Packet:
    """What a switch sees: a port, MAC addresses, and ARP, neighbour discovery, IP or (None) anything else."""

    in_port: int
    eth_src: int
    payload: Arp | Nd | Ip | None
    eth_dst: int = 0x0200000000FE


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
class OneOf(AnyOf):
    """One server of these gets it, and of every packet alike: no hash decides."""


@dataclass(frozen=True)
class All:
    """Each of these gets a copy."""

    servers: frozenset[str]


@dataclass(frozen=True)
class ToNetwork:
    """It leaves by the network side, looking like this."""

    packet: Packet


@dataclass(frozen=True)
class ToHost:
    """It goes to the load balancer's own host."""


@dataclass(frozen=True)
class Answer:
    """The switch itself answers who asked: this address is at this MAC address."""

    address: Address
    mac: int


LOCAL = 0xFFFFFFFE


@dataclass(frozen=True)
class Punted:
    """The switch can't tell, and hands it up; `judge` says what becomes of it. (Servers' packets go to the network.)

    `vip` is whom it is about; None if the switch can't tell that either (a router's errors), or nobody has to know.
    """

    reason: Literal["icmp_error", "fragment", "signal", "server_icmp", "server_fragment", "refused"]
    vip: str | None


@dataclass(frozen=True)
class Reassembled:
    """The switch itself puts the packet together and judges it as a whole."""


@dataclass(frozen=True)
class Copied:
    """C2: the switch hands a copy up, whatever becomes of the packet."""

    reason: Literal["opening", "closing", "server_closing"]
    vip: str


Outcome = Drop | To | AnyOf | All | ToNetwork | ToHost | Answer | Punted | Reassembled


def deliver(config: Config, switch: Switch, packet: Packet) -> Outcome:
    """Who gets a packet that comes into a switch. What it looks like then: `received`, for every server."""
    if packet.in_port == LOCAL:
        return ToNetwork(packet) if switch.addresses else Drop()
    attached = [server for server in config.servers if server.connector == (switch.name, packet.in_port)]
    if _from_server_side(config, switch, packet):
        return _from_servers(config, switch, attached, packet)
    return _from_network(config, switch, packet)


def copied(config: Config, switch: Switch, packet: Packet) -> Copied | None:
    """What of a packet that comes into a switch is for the log of connections (C2)."""
    outcome, ip = deliver(config, switch, packet), packet.payload
    if not isinstance(ip, Ip) or ip.protocol != TCP or ip.fragment != "no" or isinstance(outcome, ToHost):
        return None
    flags = ip.tcp_flags & (SYN | FIN | RST | ACK)
    ends = flags in (FIN | ACK, RST, RST | ACK)
    by_server = _from_server_side(config, switch, packet)
    if by_server and isinstance(outcome, ToNetwork) and packet.in_port != LOCAL:
        assert isinstance(outcome.packet.payload, Ip)
        vip = next(vip for vip in config.vips if outcome.packet.payload.source in _all_names(config, vip))
        return Copied("server_closing", vip.name) if vip.log and ends else None
    vips = [vip for vip in config.vips if ip.destination in _all_names(config, vip) and _is_here(config, switch, vip)]
    if by_server or packet.in_port != switch.network or not vips or not vips[0].log:
        return None
    if flags == SYN:
        return Copied("opening", vips[0].name)
    return Copied("closing", vips[0].name) if ends else None


def _from_server_side(config: Config, switch: Switch, packet: Packet) -> bool:
    """Whether a server's connector, or (N5) its MAC address on the network side, says that a server sent it."""
    if packet.in_port != switch.network:
        return True
    attached = [server for server in config.servers if server.connector == (switch.name, packet.in_port)]
    return any(_vip(config, each).rewrite is not Rewrite.NOTHING and each.mac == packet.eth_src for each in attached)


def _all_names(config: Config, vip: Vip) -> tuple[Address, ...]:
    """A VIP's addresses, and (X1) its servers' service addresses."""
    return (*vip.addresses, *(name for server in config.servers_of(vip) for name in server.service_addresses))


def _is_here(config: Config, switch: Switch, vip: Vip) -> bool:
    servers = config.servers_of(vip)
    return not servers or any(server.connector.switch == switch.name for server in servers)


def received(config: Config, server: Server, packet: Packet) -> Packet:
    """What a server gets of a packet to its VIP: N1 rewrites both addresses, N2 the MAC address, N3 nothing.

    X1: a service address stays; X2: of a packet to a service MAC address nothing changes.
    N5: what goes back to the LAN it came from has the VIP's MAC address as its source, too; nobody may send with
    another host's address there.
    """
    vip, payload = _vip(config, server), packet.payload
    if vip.rewrite is Rewrite.NOTHING or _is_own(server, payload):
        return packet
    assert server.mac is not None
    if isinstance(payload, Arp):
        payload = replace(payload, target_mac=server.mac)
    if isinstance(payload, Ip) and payload.destination in vip.addresses and server.service_mac == packet.eth_dst:
        if payload.protocol == TCP and payload.fragment == "no":
            return packet
    is_named = isinstance(payload, Ip) and payload.destination in server.service_addresses
    if isinstance(payload, Ip) and vip.rewrite is Rewrite.ADDRESS and not is_named:
        payload = replace(payload, destination=_of_family(server.addresses, payload.destination))
    if _is_one_armed(config, server):
        packet = replace(packet, eth_src=vip.mac)
    return replace(packet, eth_dst=server.mac, payload=payload)


def _is_one_armed(config: Config, server: Server) -> bool:
    return any(server.connector == (switch.name, switch.network) for switch in config.switches)


def _vip(config: Config, server: Server) -> Vip:
    return next(vip for vip in config.vips if vip.name == server.vip)


def _of_family(addresses: tuple[Address, ...], like: Address) -> Address:
    return next(address for address in addresses if address.version == like.version)


def _is_local(address: Address) -> bool:
    """RFC 4291, 2.5.6. A host makes such addresses as it likes (RFC 7217), so only its MAC address says whose it is."""
    return address.version == 6 and address.packed[:8] == b"\xfe\x80" + bytes(6)


def _asked_about(payload: Arp | Nd) -> Address:
    """Whom a question is about, or an answer is to."""
    if isinstance(payload, Arp):
        return payload.target
    return payload.target if payload.kind == SOLICITATION else payload.destination


def _is_of_link(payload: Arp | Nd) -> bool:
    return isinstance(payload, Arp) or payload.hops == 255


def _is_probe(payload: Arp | Nd | Ip) -> bool:
    """A question from who has no address yet (RFC 4862, 5.4): all hosts of the network get the answer.

    A server may be looking for its VIP's address, which it has itself.
    """
    return isinstance(payload, Nd) and payload.kind == SOLICITATION and int(payload.source) == 0


def _neighbour_names(server: Server) -> tuple[Address, ...]:
    """What a server, or the router before it, is asked by: N1; N2 with the VIP on its loopback."""
    return server.routers or server.addresses


def _is_own(server: Server, payload: Arp | Nd | Ip | None) -> bool:
    """Is a packet about one of a server's own addresses rather than its VIP's?"""
    if not isinstance(payload, (Arp, Nd)):
        return False
    return _asked_about(payload) in _neighbour_names(server) or _is_local(_asked_about(payload))


# --- from the network -------------------------------------------------------------------------------------------------


def _from_network(config: Config, switch: Switch, packet: Packet) -> Outcome:
    payload = packet.payload
    if payload is None:
        return Drop()
    if (payload.destination if isinstance(payload, Ip) else _asked_about(payload)) in switch.addresses:  # A1
        return ToHost()
    if isinstance(payload, Nd) and _is_local(_asked_about(payload)):
        return _asked_locally(config, switch, packet, payload)
    for vip in config.vips:
        servers = [server for server in config.servers if server.vip == vip.name]
        here = not servers or any(server.connector.switch == switch.name for server in servers)
        if not here:
            continue
        if isinstance(payload, (Arp, Nd)):
            outcome = _asked_from_network(config, switch, vip, servers, payload)
            if not isinstance(outcome, Drop):
                return outcome
        elif payload.destination in _all_names(config, vip):
            if payload.destination in vip.addresses:
                return _to_vip(vip, servers, payload, switch, packet.eth_dst)
            named = next(server for server in servers if payload.destination in server.service_addresses)
            return Drop() if _is_discovery(payload) else To(named.name)  # X1
    return Drop()


def _asked_locally(config: Config, switch: Switch, packet: Packet, payload: Nd) -> Outcome:
    """Who has a link-local address: the host with the MAC address, or nobody knows, and all that may have it are asked.

    Servers that share a MAC address get answers, but are asked nothing.
    """
    here = [
        server
        for server in config.servers
        if server.connector.switch == switch.name
        and server.connector.port != switch.network
        and any(address.version == 6 for address in _vip(config, server).addresses)
    ]
    own = [server for server in here if _vip(config, server).rewrite is not Rewrite.NOTHING]
    found = []
    if payload.kind in (SOLICITATION, ADVERTISEMENT):
        found = [server for server in own if server.mac == packet.eth_dst]
    if not found and payload.kind == ADVERTISEMENT:
        found = [server for server in here if server not in own and _vip(config, server).mac == packet.eth_dst]
    if not found and payload.kind == SOLICITATION and payload.destination.is_multicast:
        found = own
    return All(frozenset(server.name for server in found)) if found else Drop()


def _asked_from_network(
    config: Config, switch: Switch, vip: Vip, servers: list[Server], payload: Arp | Nd
) -> Outcome:
    about = _asked_about(payload)
    asks = payload.operation == 1 if isinstance(payload, Arp) else payload.kind == SOLICITATION
    answers = payload.operation == 2 if isinstance(payload, Arp) else payload.kind == ADVERTISEMENT
    in_line = [server for server in servers if server.connector.port != switch.network]
    if about in (*vip.addresses, *(name for server in servers for name in server.service_addresses)) and asks:
        return Answer(about, vip.mac) if _is_of_link(payload) else Drop()
    if vip.rewrite is not Rewrite.NOTHING:
        named = [server for server in in_line if about in _neighbour_names(server)]
        same_family = any(address.version == about.version for address in vip.addresses)
        if named and same_family and (isinstance(payload, Arp) or asks or answers):
            return All(frozenset(server.name for server in named))
    if vip.rewrite is Rewrite.ADDRESS:
        return Drop()
    if about in vip.addresses and answers and in_line and _is_of_link(payload):
        return All(frozenset(server.name for server in in_line))
    return Drop()


def judge(config: Config, switch: Switch, vip: Vip, ip: Ip) -> Outcome:
    """Who gets a packet to a VIP that was handed up; of a fragment: the first one and all that follow it."""
    servers = [server for server in config.servers if server.vip == vip.name]
    if ip.fragment != "no":  # F1: as if it were whole
        whole = replace(ip, fragment="no", asks=False)
        outcome = _to_vip(vip, servers, whole, switch)
        if isinstance(outcome, Punted):
            outcome = _plain(vip, servers, whole) if outcome.reason == "signal" else _default(vip)
        if _is_icmp(ip):
            return _ping_in_fragments(vip, servers, ip.destination.version)
        if vip.fragments is not Fragments.TRACK:
            return Drop()
        shared = next((pool for pool in vip.redirect_ports if pool.port == ip.destination_port), None)
        pinned = shared is not None and shared.legacy is Legacy.PIN and not ip.tcp_flags & REDIRECT
        opening = ip.tcp_flags & (SYN | ACK) == SYN and not pinned
        if isinstance(outcome, AnyOf) and ip.protocol == TCP and not opening and len(outcome.servers) > 1:
            return Drop()  # its slot is the switch's secret, and every other server would reset the connection
        return outcome
    if ip.protocol in (ICMP, ICMPV6):  # I2, I3
        for server in servers:
            if ip.quoted and ip.quoted[0] in server.service_addresses:  # X1
                return To(server.name)
        if ip.quoted and ip.quoted[0] != ip.destination:
            return Drop()
        owner, shared = _port(vip, servers, ip.destination_port)
        if owner:
            return owner
        if shared:
            labelled = [server.name for server in servers if ip.protocol == ICMPV6 and server.service_label == ip.label]
            if labelled:  # X3
                return To(labelled[0])
            plain = [vip.default_server] if shared.legacy is Legacy.DEFAULT and vip.default_server else []
            plain += [server.name for server in servers if server.service_mac is not None]  # X2: no quote says it
            return All(frozenset([*shared.servers, *plain])) if shared.servers or plain else Drop()
        anyone = AnyOf(frozenset(server.name for server in servers)) if servers else Drop()
        return {UnknownErrors.DEFAULT: _default(vip), UnknownErrors.ANY: anyone}.get(vip.unknown_errors, Drop())
    _, shared = _port(vip, servers, ip.destination_port)
    if ip.asks and shared:
        return AnyOf(frozenset(shared.servers)) if shared.servers else Drop()
    return _plain(vip, servers, ip)


def _default(vip: Vip) -> Outcome:
    return To(vip.default_server) if vip.default_server else Drop()


def _is_icmp(ip: Ip) -> bool:
    return ip.protocol == {4: ICMP, 6: ICMPV6}[ip.destination.version]


def _ping_in_fragments(vip: Vip, servers: list[Server], version: int) -> Outcome:
    """Where small pings go; what the switch would answer, the default server does, or any."""
    target = _icmp_target(vip, version, {4: 8, 6: 128}[version])
    if target == IcmpPolicy.ANSWER:
        target = IcmpPolicy.DEFAULT if vip.default_server else IcmpPolicy.BALANCE
    anybody = OneOf(frozenset(server.name for server in servers)) if servers else Drop()
    policies = {IcmpPolicy.BALANCE: anybody, IcmpPolicy.DEFAULT: _default(vip), IcmpPolicy.DROP: Drop()}
    return policies[IcmpPolicy(target)] if target in policies else To(target)


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
    plain = {Legacy.OWNER: owner or Drop(), Legacy.DEFAULT: _default(vip), Legacy.BALANCE: anyone, Legacy.PIN: anyone}
    return plain.get(shared.legacy, Drop() if opening else anyone)


def _to_vip(vip: Vip, servers: list[Server], payload: Ip, switch: Switch, eth_dst: int = 0) -> Outcome:
    every = All(frozenset(server.name for server in servers)) if servers else Drop()
    default = _default(vip)
    version = payload.destination.version
    if payload.fragment != "no":  # F1, F3, E6; the userspace datapath spoils IPv4 fragments by N1's rewriting
        spoils = version == 4 and vip.rewrite is Rewrite.ADDRESS and switch.datapath is Forwarding.USERSPACE
        is_tracked = vip.fragments is Fragments.TRACK
        if is_tracked and switch.datapath is Forwarding.KERNEL:
            return Reassembled()
        if version == 4 and _is_icmp(payload) and not spoils:  # I1: only the first one shows a type: where pings go
            return _ping_in_fragments(vip, servers, version)
        finds_pings = version == 6 and vip.fragments is Fragments.DROP and _icmp_target(vip, 6, 128) != "drop"
        if is_tracked or finds_pings:  # a later one of IPv6 does not say what it is of
            return Punted("fragment", vip.name)
        if spoils:
            return Drop()
        return {Fragments.REPLICATE: every, Fragments.DEFAULT: default}.get(vip.fragments, Drop())
    if payload.protocol == ICMPV6 and version == 6 and payload.icmp_type in ND_TYPES:
        return Drop()
    if payload.protocol == {4: ICMP, 6: ICMPV6}[version]:  # I1, I2
        if payload.icmp_type not in ICMP_ERRORS[version]:
            target = _icmp_target(vip, version, payload.icmp_type)
            anybody = AnyOf(frozenset(server.name for server in servers)) if servers else Drop()
            answer = Answer(payload.destination, vip.mac)
            policies = {"answer": answer, "balance": anybody, "default": default, "drop": Drop()}
            return policies.get(target) or To(target)
        up = Punted("icmp_error", vip.name)
        errors = {IcmpErrors.OWNER: up, IcmpErrors.REPLICATE: every, IcmpErrors.DEFAULT: default}
        return errors.get(vip.icmp_errors, Drop())
    if payload.protocol not in (TCP, UDP, SCTP):  # E6
        return default

    owner, shared = _port(vip, servers, payload.destination_port)
    anyone = AnyOf(frozenset(shared.servers)) if shared and shared.servers else Drop()
    if payload.protocol in (UDP, SCTP):  # U1, U2, U3, X4
        return owner or (anyone if shared else default)

    for server in servers:
        if server.service_mac == eth_dst:  # X2
            return To(server.name)
    if payload.tcp_flags & (CONFIRM | SYN) == CONFIRM and (shared or not owner):  # X3
        for server in servers:
            if version == 6 and server.service_label == payload.label:
                return To(server.name)
    redirect = bool(payload.tcp_flags & REDIRECT)
    if shared and redirect:  # E2
        return anyone
    if shared:  # E3, E4
        opening = payload.tcp_flags & (SYN | ACK) == SYN
        rows_decide = shared.legacy in (Legacy.BALANCE, Legacy.PIN)  # whatever the option says
        if opening and shared.signal is Signal.OPTION and shared.servers and not rows_decide:
            return Punted("signal", vip.name)
        return _plain(vip, servers, payload)
    if owner:  # E1, D1
        return owner
    return Drop() if redirect and vip.default_for is not DefaultFor.UNKNOWN_PORTS else default  # E5


# --- from servers -----------------------------------------------------------------------------------------------------


def _from_servers(config: Config, switch: Switch, attached: list[Server], packet: Packet) -> Outcome:
    """What servers on one connector may send: to the network as their VIP, and (N4) to each other as themselves."""
    payload = packet.payload
    if payload is None or _is_probe(payload):
        return Drop()
    if not attached:
        return Drop()
    for vip in config.vips:  # a VIP may be a gateway; and who talks to one is refused at once
        if not _is_here(config, switch, vip):
            continue
        names = _all_names(config, vip)
        if isinstance(payload, Ip) and payload.destination in names and not _is_discovery(payload):
            return Punted("refused", None)
        if isinstance(payload, Ip) or _asked_about(payload) not in names:
            continue
        if payload.operation == 1 if isinstance(payload, Arp) else payload.kind == SOLICITATION:
            if isinstance(payload, Arp) and _is_its_own(config, attached, vip, packet, payload.target):
                return Drop()
            return Answer(_asked_about(payload), vip.mac) if _is_of_link(payload) else Drop()
    for server in attached:
        vip = _vip(config, server)
        outcome = _from_server(config, server, vip, packet, _is_one_armed(config, server))
        if not isinstance(outcome, Drop):
            return outcome
    return Drop()


def _is_its_own(config: Config, attached: list[Server], vip: Vip, packet: Packet, target: Address) -> bool:
    """A host that looks whether an address of its own is free (RFC 5227) is not told that it is elsewhere."""
    for server in attached:
        if server.vip == vip.name and packet.eth_src == (vip.mac if vip.rewrite is Rewrite.NOTHING else server.mac):
            shared = () if vip.rewrite is Rewrite.ADDRESS else vip.addresses
            if target in (*shared, *server.service_addresses):
                return True
    return False


def _from_server(config: Config, server: Server, vip: Vip, packet: Packet, one_armed: bool) -> Outcome:
    payload = packet.payload
    if isinstance(payload, (Arp, Nd)):
        return _server_asks(config, server, vip, packet, one_armed)
    assert payload is not None
    if vip.rewrite is Rewrite.NOTHING and packet.eth_src == server.mac and payload.source in server.addresses:
        return _to_peer(config, server, payload.destination, packet.eth_dst)
    if server.service_mac is not None and packet.eth_src == server.service_mac:  # X2
        is_whole_tcp = payload.protocol == TCP and payload.fragment == "no"
        if is_whole_tcp and payload.source in vip.addresses and _may_send(config, server, vip, payload, named=True):
            return ToNetwork(replace(packet, eth_dst=packet.eth_dst if vip.gateway is None else vip.gateway))
        return Drop()
    if packet.eth_src != (vip.mac if vip.rewrite is Rewrite.NOTHING else server.mac):
        return Drop()
    sources = server.addresses if vip.rewrite is Rewrite.ADDRESS else vip.addresses
    if not any(address.version == payload.source.version for address in vip.addresses):
        return Drop()
    at_router = vip.rewrite is Rewrite.ADDRESS and payload.source in server.routers
    if at_router and payload.fragment == "no" and _is_error(payload):
        leaves = not one_armed or (vip.gateway is not None and packet.eth_dst == vip.mac)
        return Punted("server_icmp", None) if leaves else Drop()
    is_named = payload.source in server.service_addresses  # X1: whatever it is
    is_discovery = _is_discovery(payload)
    if is_discovery or not is_named and (payload.source not in sources or not _may_send(config, server, vip, payload)):
        return Drop()
    if vip.rewrite is Rewrite.ADDRESS and not is_named:  # two things no switch rewrites
        version = payload.source.version
        leaves = not one_armed or (vip.gateway is not None and packet.eth_dst == vip.mac)
        if payload.fragment == "no" and _is_error(payload) and leaves:
            return Punted("server_icmp", vip.name)
        if payload.fragment != "no" and version == 4 and not _is_kernel(config, server) and leaves:
            return Punted("server_fragment", vip.name)
    if one_armed and (vip.gateway is None or packet.eth_dst != vip.mac):  # N5: not ours, or it answers by itself
        return Drop()
    source = payload.source if is_named else _of_family(vip.addresses, payload.source)
    leaving = replace(packet, payload=replace(payload, source=source))
    if vip.rewrite is not Rewrite.NOTHING:
        leaving = replace(leaving, eth_src=vip.mac)
    if vip.gateway is not None:
        leaving = replace(leaving, eth_dst=vip.gateway)
    return ToNetwork(leaving)


def _server_asks(config: Config, server: Server, vip: Vip, packet: Packet, one_armed: bool) -> Outcome:
    payload = packet.payload
    assert isinstance(payload, (Arp, Nd))
    about = _asked_about(payload)
    asks = payload.operation == 1 if isinstance(payload, Arp) else payload.kind == SOLICITATION
    sender = payload.sender if isinstance(payload, Arp) else payload.source
    says = payload.sender_mac if isinstance(payload, Arp) else payload.option
    if vip.rewrite is Rewrite.NOTHING and packet.eth_src == server.mac:
        known = sender in server.addresses
        if _is_local(sender):
            known = any(address.version == 6 for address in server.addresses)
        honest = says == server.mac if isinstance(payload, Arp) else _speaks_for_itself(payload)
        return _to_peer(config, server, about, packet.eth_dst) if known and honest else Drop()
    if not any(address.version == sender.version for address in vip.addresses):
        return Drop()
    if vip.rewrite is not Rewrite.NOTHING:
        itself = packet.eth_src == server.mac and (sender in _neighbour_names(server) or _is_local(sender))
        honest = says == server.mac if isinstance(payload, Arp) else _speaks_for_itself(payload)
        if itself and honest and not one_armed:
            return ToNetwork(packet)
    if vip.rewrite is Rewrite.ADDRESS:
        return Drop()
    mac = vip.mac if vip.rewrite is Rewrite.NOTHING else server.mac
    is_known = sender in vip.addresses or (vip.rewrite is Rewrite.NOTHING and _is_local(sender))
    if not asks or one_armed or packet.eth_src != mac or says != mac or not is_known:
        return Drop()
    field = {"sender_mac": vip.mac} if isinstance(payload, Arp) else {"option": vip.mac}
    return ToNetwork(replace(packet, eth_src=vip.mac, payload=replace(payload, **field)))  # type: ignore[type-var]


def _speaks_for_itself(payload: Nd) -> bool:
    """A question, or an answer about the address it comes from; of link-local ones, any."""
    if payload.kind == ADVERTISEMENT and _is_local(payload.source):
        return _is_local(payload.target)
    return payload.kind == SOLICITATION or (payload.kind == ADVERTISEMENT and payload.target == payload.source)


def _to_peer(config: Config, server: Server, address: Address, eth_dst: int) -> Outcome:
    """N4: servers with further addresses reach each other on their switch; nobody is sent back what it sent."""
    for other in config.servers:
        if other.mac is None or _vip(config, other).rewrite is not Rewrite.NOTHING:
            continue
        versions = {own.version for own in other.addresses}
        named = address in other.addresses or (6 in versions and _is_local(address) and other.mac == eth_dst)
        if named and other.connector.switch == server.connector.switch:
            return To(other.name) if other.connector != server.connector else Drop()
    return Drop()


def _is_discovery(ip: Ip) -> bool:
    return ip.protocol == ICMPV6 and ip.source.version == 6 and ip.fragment == "no" and ip.icmp_type in ND_TYPES


def _is_error(ip: Ip) -> bool:
    version = ip.source.version
    return ip.protocol == {4: ICMP, 6: ICMPV6}[version] and ip.icmp_type in ICMP_ERRORS[version]


def _is_kernel(config: Config, server: Server) -> bool:
    switch = next(each for each in config.switches if each.name == server.connector.switch)
    return switch.datapath is Forwarding.KERNEL


def _icmp_target(vip: Vip, version: int, icmp_type: int) -> str:
    """Who gets ICMP that quotes nothing (I1): a policy's name, or a server's."""
    special = {(rule.version, rule.type): rule.target for rule in vip.icmp_types}
    target = special.get((version, icmp_type), vip.icmp_rest)
    return target.value if isinstance(target, IcmpPolicy) else target


def _may_send(config: Config, server: Server, vip: Vip, payload: Ip, named: bool = False) -> bool:
    """Whether a server may send this to the network: from ports it answers for, and ICMP that answers.

    A default server has the ports of nobody too, but not where it is `named` (X2).
    """
    version = payload.source.version
    default = server.name == vip.default_server
    if payload.fragment != "no":
        spoilt = version == 4 and vip.rewrite is Rewrite.ADDRESS and not _is_kernel(config, server)
        return not spoilt or vip.fragments is Fragments.TRACK
    if payload.protocol == {4: ICMP, 6: ICMPV6}[version]:
        if version == 6 and payload.icmp_type in ND_TYPES:
            return False
        targets = {_icmp_target(vip, version, icmp_type) for icmp_type in range(256)}
        gets_some = server.name in targets or "balance" in targets
        return default or gets_some or payload.icmp_type in (ECHO_REPLY[version], *ICMP_ERRORS[version])
    if payload.protocol not in (TCP, UDP, SCTP):
        return default
    port = payload.source_port
    for pool in vip.redirect_ports:
        plain = pool.legacy is Legacy.PIN or (default and pool.legacy is Legacy.DEFAULT)
        outlives = server.service_mac is not None or server.service_label is not None  # X2, X3: its place in the pool
        of_tcp = payload.protocol == TCP and (plain or outlives)  # what is remembered or redirected is TCP
        if pool.port == port and (server.name in pool.servers or of_tcp):
            return True
    owners = [each.name for each in config.servers_of(vip) for own in each.service_ports if own.port == port]
    nobodys = not owners and all(pool.port != port for pool in vip.redirect_ports)
    return server.name in owners or (default and nobodys and not named)
