"""What a sentence of the packet language means in a network: where the packet comes in, and its headers.

What is not said is what an ordinary packet has: a client's comes in by the network side, its frame goes to the VIP's
MAC address; a server's comes from its connector, with the addresses that the server answers from.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NoReturn

from portlb_app.config import Address, Config, Server, Vip
from portlb_app.explain.headers import FIRST, LATER, Fields
from portlb_app.explain.language import FLAGS, NO_OPTION, End, PacketError, Sentence
from portlb_app.openflow import (
    ETH_ARP,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
)
from portlb_app.pipeline import (
    ND_ADVERTISE,
    ND_HOPS,
    ND_OPTION_TARGET,
    ND_SOLICIT,
    PRIORITY_TAGGED,
    TTL,
    family,
)

CLIENT_MAC, ROUTER_MAC = 0x0A5000000001, 0x0A5000000002
"""Locally administered addresses of the hosts on the network side, where nothing else is said."""
CLIENT_PORT = 40000
"""A client's port, where nothing else is said."""
MAX_STARTS = 16
"""The most network sides by which one packet is followed."""
EVERYBODY = (1 << 48) - 1
_ETHERNET, _IP_BYTES = 14, {4: 20, 6: 40}
_TRANSPORT_BYTES = {"tcp": 20, "udp": 8, "sctp": 12, "icmp": 8, "ip": 0, "arp": 28, "nd": 32}
_PROTOCOLS = {"tcp": IP_TCP, "udp": IP_UDP, "sctp": IP_SCTP}
_ICMP_TYPES = {
    4: {"echo": 8, "echo-reply": 0, "unreachable": 3, "time-exceeded": 11, "parameter-problem": 12},
    6: {"echo": 128, "echo-reply": 129, "unreachable": 1, "too-big": 2, "time-exceeded": 3, "parameter-problem": 4},
}


@dataclass(frozen=True)
class Start:
    """A packet as it comes in by a port of a switch. `size`: bytes of its frame, without a VLAN tag."""

    switch: str
    in_port: int
    fields: Fields
    size: int


def starts(sentence: Sentence, config: Config) -> tuple[Start, ...]:
    """The packet that a sentence means, at every network side where it may come in; PacketError if it means none.

    One that names a place, or comes from a server, comes in there alone.
    """
    return _Packet(sentence, config).starts()


class _Packet:
    def __init__(self, sentence: Sentence, config: Config) -> None:
        self.sentence, self.config = sentence, config
        self.vips = {vip.name: vip for vip in config.vips}
        self.virtual = {address: vip for vip in config.vips for address in vip.addresses}
        for server in config.servers:
            self.virtual |= dict.fromkeys(server.service_addresses, self.vips[server.vip])
        self.places = self._places()
        self.sender = self._sender()
        self.source, self.target = self._ends()

    # ---- where it comes in, and by which server ----

    def _places(self) -> tuple[tuple[str, int], ...]:
        place, servers = self.sentence.place, self.config.server_by_name
        networks = tuple((each.name, each.network) for each in self.config.switches if each.network is not None)
        if place is None:
            source = self.sentence.source
            if source.name in servers and source.name not in self.vips:
                return (servers[source.name].connector,)
            return networks[:MAX_STARTS]
        switch = next((each for each in self.config.switches if each.name == place.name), None)
        if switch is not None:
            port = switch.network if place.port is None else place.port
            if port is None:
                raise PacketError(place.position, f"{switch.name} has no network side: say @{switch.name}:PORT")
            return ((switch.name, port),)
        if place.name in servers and place.port is None:
            return (servers[place.name].connector,)
        raise PacketError(place.position, f"there is no {'switch' if place.port else 'switch or server'} {place.name}")

    def _sender(self) -> Server | None:
        """The server that sends it: the one that is named, or the only one at the connector where it comes in."""
        servers, place = self.config.server_by_name, self.sentence.place
        if place is not None and place.port is None and place.name in servers:
            return servers[place.name]
        if self.sentence.source.name in servers and self.sentence.source.name not in self.vips:
            return servers[self.sentence.source.name]
        there = [each for each in self.config.servers if each.connector in self.places]
        networks = {(each.name, each.network) for each in self.config.switches}
        return there[0] if len(there) == 1 and there[0].connector not in networks else None

    # ---- addresses ----

    def _ends(self) -> tuple[Address, Address]:
        source, target = self.sentence.source, self.sentence.target
        given = [each.address.version if each.address else each.version for each in (source, target)]
        needed = {"arp": 4, "nd": 6}.get(self.sentence.protocol, 0)
        wanted = needed or given[0] or given[1]
        ends = self._address(source, wanted, is_source=True), self._address(target, wanted, is_source=False)
        if ends[0].version != ends[1].version:
            raise PacketError(target.position, f"{ends[1]} is IPv{ends[1].version}, and {ends[0]} is not")
        if needed and ends[0].version != needed:
            raise PacketError(source.position, f"{self.sentence.protocol} needs IPv{needed}")
        if ends[0] in self.virtual and self.sender is None and self.sentence.place is None:
            vip = self.virtual[ends[0]].name
            raise PacketError(source.position, f"a server sends what comes from VIP {vip}: say which, such as @NAME")
        return ends

    def _address(self, end: End, version: int, is_source: bool) -> Address:
        if end.address is not None:
            return end.address
        found, version = self._named(end, is_source), end.version or version
        fitting = [each for each in found if each.version == version or not version]
        if not fitting:
            raise PacketError(end.position, f"{end.name} has no IPv{version} address")
        return fitting[0]

    def _named(self, end: End, is_source: bool) -> tuple[Address, ...]:
        if end.name in self.vips:
            return self.vips[end.name].addresses
        server = self.config.server_by_name.get(end.name)
        if server is None:
            raise PacketError(end.position, f"there is no VIP or server {end.name}")
        if is_source:
            return self.vips[server.vip].addresses_of(server)
        if not server.addresses:
            raise PacketError(end.position, f"{end.name} has no address of its own: say its VIP, {server.vip}")
        return server.addresses

    # ---- headers ----

    def starts(self) -> tuple[Start, ...]:
        """The packet at each of its places."""
        fields = {**self._ethernet(), **self._payload()}
        fields = {name: value for name, value in fields.items() if value}
        size = self.sentence.given.get("size", self._size())
        return tuple(Start(switch, port, fields, size) for switch, port in self.places)

    def _ethernet(self) -> dict[str, int]:
        given = self.sentence.given
        fields = {"eth_src": given.get("src-mac", self._source_mac()), "eth_dst": given.get("dst-mac", self._to_mac())}
        if "vlan" in given:
            fields["vlan_vid"] = PRIORITY_TAGGED | given["vlan"]
        return fields

    def _source_mac(self) -> int:
        return CLIENT_MAC if self.sender is None else self._vip_of(self.sender).mac_of(self.sender)

    def _to_mac(self) -> int:
        protocol, words = self.sentence.protocol, self.sentence.words
        if protocol == "arp" and not words:
            return EVERYBODY
        if protocol == "nd" and not words and "target" not in self.sentence.addresses:
            return _group_mac(_solicited_node(self.target))
        if self.target in self.virtual:
            return self.virtual[self.target].mac
        own = [each for each in self.config.servers if self.target in each.addresses and each.mac is not None]
        if own:
            return own[0].mac or 0
        gateway = None if self.sender is None else self._vip_of(self.sender).gateway
        return ROUTER_MAC if gateway is None else gateway

    def _vip_of(self, server: Server) -> Vip:
        return self.vips[server.vip]

    def _payload(self) -> dict[str, int]:
        if self.sentence.protocol == "arp":
            return self._arp()
        if self.sentence.protocol == "nd":
            return self._nd()
        return {**self._ip(self.source, self.target, TTL), **self._transport()}

    def _ip(self, source: Address, target: Address, ttl: int) -> dict[str, int]:
        ip, given = family(target), self.sentence.given
        fields = {"eth_type": ip.eth_type, ip.source: int(source), ip.destination: int(target)}
        fields["nw_ttl"] = given.get("ttl", ttl)
        fields["ip_dscp"] = given.get("dscp", 0)
        if ip.version == 6:
            fields["ipv6_label"] = given.get("label", 0)
        elif "label" in given:
            self._refuse("label", "IPv4 has no flow label")
        fields["ip_frag"] = {"": 0, "first": FIRST, "later": LATER}[self.sentence.fragment]
        return fields

    def _transport(self) -> dict[str, int]:
        protocol, given, version = self.sentence.protocol, self.sentence.given, self.source.version
        if protocol in _PROTOCOLS:
            source, target = self.sentence.source.port, self.sentence.target.port
            fields = {
                "ip_proto": _PROTOCOLS[protocol],
                f"{protocol}_src": CLIENT_PORT if source is None else source,
                f"{protocol}_dst": target or 0,
            }
            if protocol == "tcp":
                fields["tcp_flags"] = given.get("flags", 0) | sum(FLAGS[word] for word in self.sentence.words)
            return fields
        if protocol == "ip":
            if "proto" not in given:
                raise PacketError(len(self.sentence.text) + 1, "ip needs a protocol: say proto=NUMBER")
            return {"ip_proto": given["proto"]}
        return {"ip_proto": {4: IP_ICMP, 6: IP_ICMPV6}[version], family(self.source).icmp_type: self._icmp_type()}

    def _icmp_type(self) -> int:
        words, known = sorted(self.sentence.words), _ICMP_TYPES[self.source.version]
        if len(words) > 1 or words and "type" in self.sentence.given:
            self._refuse(words[-1], "ICMP has one type")
        if words and words[0] not in known:
            self._refuse(words[0], f"ICMP of IPv{self.source.version} has no such type")
        return self.sentence.given.get("type", known[words[0] if words else "echo"])

    def _arp(self) -> dict[str, int]:
        given = self.sentence.given
        assert isinstance(self.source, IPv4Address)
        return {
            "eth_type": ETH_ARP,
            "arp_op": given.get("op", 2 if self.sentence.words else 1),
            "arp_spa": int(self.source),
            "arp_tpa": int(self.target),
            "arp_sha": given.get("sender-mac", given.get("src-mac", self._source_mac())),
            "arp_tha": given.get("target-mac", 0),
        }

    def _nd(self) -> dict[str, int]:
        given, is_advert = self.sentence.given, bool(self.sentence.words)
        about = self.source if is_advert else self.target
        destination: Address = self.target
        if "target" in self.sentence.addresses:
            about = self.sentence.addresses["target"]
        elif not is_advert:
            destination = _solicited_node(self.target)
        fields = self._ip(self.source, destination, ND_HOPS)
        fields |= {"ip_proto": IP_ICMPV6, "icmpv6_type": ND_ADVERTISE if is_advert else ND_SOLICIT}
        fields["nd_target"] = int(about)
        option = given.get("option", given.get("src-mac", self._source_mac()))
        if option != NO_OPTION:
            fields["nd_tll" if is_advert else "nd_sll"] = option
            fields["nd_options_type"] = ND_OPTION_TARGET if is_advert else ND_OPTION_TARGET - 1
        return fields

    def _size(self) -> int:
        ip = 0 if self.sentence.protocol == "arp" else _IP_BYTES[self.source.version]
        return _ETHERNET + ip + _TRANSPORT_BYTES[self.sentence.protocol]

    def _refuse(self, word: str, why: str) -> NoReturn:
        raise PacketError(self.sentence.positions[word], why)


def _solicited_node(address: Address) -> IPv6Address:
    """RFC 4291, 2.7.1."""
    return IPv6Address(0xFF0200000000000000000001FF000000 | int(address) & 0xFFFFFF)


def _group_mac(group: IPv6Address) -> int:
    """RFC 2464, 7."""
    return 0x333300000000 | int(group) & 0xFFFFFFFF
