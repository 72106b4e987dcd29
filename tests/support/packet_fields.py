"""Packets as header fields: from the reference's values, as bytes of a frame, and as a text of the packet language."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from tests.support.generate import mac_text
from tests.support.reference import ADVERTISEMENT, ICMP, ICMPV6, LOCAL, SCTP, SOLICITATION, TCP, UDP, Arp, Nd, Packet

Fields = Mapping[str, int]
IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
FRAGMENTS = {"no": 0, "first": 1, "later": 3}
TRANSPORTS = {TCP: "tcp", UDP: "udp", SCTP: "sctp"}
_IDENTIFIER = 0x1234


def of_packet(packet: Packet) -> dict[str, int] | None:
    """A packet's fields by the names of ovs-fields(7); None for one that is neither ARP nor IP."""
    fields, payload = {"eth_src": packet.eth_src, "eth_dst": packet.eth_dst}, packet.payload
    if payload is None:
        return None
    if isinstance(payload, Arp):
        fields |= {"eth_type": ARP, "arp_op": payload.operation, "arp_sha": payload.sender_mac}
        return fields | {
            "arp_spa": int(payload.sender), "arp_tpa": int(payload.target), "arp_tha": payload.target_mac
        }  # fmt: skip
    if isinstance(payload, Nd):
        fields |= {"eth_type": IPV6, "ip_proto": ICMPV6, "icmpv6_type": payload.kind, "nw_ttl": payload.hops}
        fields |= {"ipv6_src": int(payload.source), "ipv6_dst": int(payload.destination)}
        fields["nd_target"] = int(payload.target)
        if payload.option is not None:
            is_question = payload.kind == SOLICITATION
            fields["nd_sll" if is_question else "nd_tll"] = payload.option
            fields["nd_options_type"] = 1 if is_question else 2
        return fields
    version = payload.source.version
    names = ("ip_src", "ip_dst") if version == 4 else ("ipv6_src", "ipv6_dst")
    fields |= dict(zip(names, map(int, (payload.source, payload.destination)), strict=True))
    fields |= {"eth_type": {4: IPV4, 6: IPV6}[version], "ip_proto": payload.protocol, "nw_ttl": 64}
    fields |= {"ip_frag": FRAGMENTS[payload.fragment], "ipv6_label": payload.label if version == 6 else 0}
    if transport := TRANSPORTS.get(payload.protocol):
        fields |= {f"{transport}_src": payload.source_port, f"{transport}_dst": payload.destination_port}
        if transport == "tcp":
            fields["tcp_flags"] = payload.tcp_flags
    elif payload.protocol == {4: ICMP, 6: ICMPV6}[version]:
        fields["icmp_type" if version == 4 else "icmpv6_type"] = payload.icmp_type
    return fields


def frame(fields: Fields, size: int) -> bytes:
    """The frame with these fields, at least so long without a VLAN tag; its checksums are 0."""
    ethernet = _mac(fields, "eth_dst") + _mac(fields, "eth_src")
    tag = fields.get("vlan_vid", 0)
    tagged = struct.pack("!HH", 0x8100, tag & 0xFFF) if tag else b""
    payload = {ARP: _arp, IPV4: _ip4, IPV6: _ip6}[fields["eth_type"]](fields, max(0, size - 14))
    return ethernet + tagged + struct.pack("!H", fields["eth_type"]) + payload


def sentence(fields: Fields, place: str, size: int) -> str:
    """The text of the packet language for the packet with these fields; everything is said."""
    words = [f"src-mac={mac_text(fields.get('eth_src', 0))}", f"dst-mac={mac_text(fields.get('eth_dst', 0))}"]
    words += [f"@{place}", f"size={size}"]
    if tag := fields.get("vlan_vid"):
        words.append(f"vlan={tag & 0xFFF}")
    if fields["eth_type"] == ARP:
        ends = IPv4Address(fields.get("arp_spa", 0)), IPv4Address(fields.get("arp_tpa", 0))
        words.append(f"sender-mac={mac_text(fields.get('arp_sha', 0))}")
        words += [f"target-mac={mac_text(fields.get('arp_tha', 0))}", f"op={fields.get('arp_op', 0)}"]
        return " ".join(("arp", str(ends[0]), ">", str(ends[1]), *words))
    words.append(f"ttl={fields.get('nw_ttl', 0)}")
    words += [f"label={label:#x}"] if (label := fields.get("ipv6_label")) else []
    kind = fields.get("icmpv6_type")
    if kind in (SOLICITATION, ADVERTISEMENT) and not fields.get("ip_frag"):
        option = fields.get("nd_sll" if kind == SOLICITATION else "nd_tll")
        words += [f"target={IPv6Address(fields['nd_target'])}"]
        words += ["option=none" if option is None else f"option={mac_text(option)}"]
        words += ["advert"] * (kind == ADVERTISEMENT)
        return " ".join(("nd", _host(fields, "src"), ">", _host(fields, "dst"), *words))
    words += [f"dscp={dscp}"] if (dscp := fields.get("ip_dscp")) else []
    words += [f"fragment={name}" for name, number in FRAGMENTS.items() if number and number == fields.get("ip_frag")]
    protocol = fields.get("ip_proto", 0)
    if transport := TRANSPORTS.get(protocol):
        ends = tuple(f"{_host(fields, end)}:{fields.get(f'{transport}_{end}', 0)}" for end in ("src", "dst"))
        words += [f"flags={fields.get('tcp_flags', 0):#x}"] if transport == "tcp" else []
        return " ".join((transport, ends[0], ">", ends[1], *words))
    if protocol == (ICMP if fields["eth_type"] == IPV4 else ICMPV6):
        number = fields.get("icmp_type" if protocol == ICMP else "icmpv6_type", 0)
        return " ".join(("icmp", _host(fields, "src"), ">", _host(fields, "dst"), f"type={number}", *words))
    return " ".join(("ip", _host(fields, "src"), ">", _host(fields, "dst"), f"proto={protocol}", *words))


def place(switch: str, port: int) -> str:
    """A port of a switch."""
    return f"{switch}:{'LOCAL' if port == LOCAL else port}"


def _host(fields: Fields, end: str) -> str:
    if fields["eth_type"] == IPV4:
        return str(IPv4Address(fields.get(f"ip_{end}", 0)))
    return f"[{IPv6Address(fields.get(f'ipv6_{end}', 0))}]"


def _mac(fields: Fields, name: str) -> bytes:
    return fields.get(name, 0).to_bytes(6, "big")


def _arp(fields: Fields, size: int) -> bytes:
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, fields.get("arp_op", 0))
    sender = _mac(fields, "arp_sha") + struct.pack("!I", fields.get("arp_spa", 0))
    return (head + sender + _mac(fields, "arp_tha") + struct.pack("!I", fields.get("arp_tpa", 0))).ljust(size, b"\0")


def _ip4(fields: Fields, size: int) -> bytes:
    above = _transport(fields).ljust(size - 20, b"\0")
    offset = {0: 0, 1: 0x2000, 3: 185}[fields.get("ip_frag", 0)]
    words = fields.get("ip_dscp", 0) << 2, 20 + len(above), _IDENTIFIER, offset
    ends = fields.get("nw_ttl", 0), fields.get("ip_proto", 0), 0, fields.get("ip_src", 0), fields.get("ip_dst", 0)
    return struct.pack("!BBHHHBBHII", 0x45, *words, *ends) + above


def _ip6(fields: Fields, size: int) -> bytes:
    ends = b"".join(fields.get(name, 0).to_bytes(16, "big") for name in ("ipv6_src", "ipv6_dst"))
    protocol, fragment = fields.get("ip_proto", 0), fields.get("ip_frag", 0)
    extension = b""
    if fragment:
        extension = struct.pack("!BBHI", protocol, 0, {1: 1, 3: 184 << 3}[fragment], _IDENTIFIER)
    above = extension + _transport(fields).ljust(size - 40 - len(extension), b"\0")
    first = 6 << 28 | fields.get("ip_dscp", 0) << 22 | fields.get("ipv6_label", 0)
    return struct.pack("!IHBB", first, len(above), 44 if fragment else protocol, fields.get("nw_ttl", 0)) + ends + above


def _transport(fields: Fields) -> bytes:
    protocol = fields.get("ip_proto", 0)
    if protocol in TRANSPORTS:
        name = TRANSPORTS[protocol]
        ports = struct.pack("!HH", fields.get(f"{name}_src", 0), fields.get(f"{name}_dst", 0))
        flags = struct.pack("!IIHHHH", 1, 2, 5 << 12 | fields.get("tcp_flags", 0), 0xFFFF, 0, 0)
        return ports + {"tcp": flags, "udp": struct.pack("!HH", 8, 0), "sctp": struct.pack("!II", 7, 0)}[name]
    if protocol == ICMPV6 and fields["eth_type"] == IPV6 and "nd_target" in fields:
        kind = fields.get("icmpv6_type", 0)
        option = fields.get("nd_sll" if kind == SOLICITATION else "nd_tll")
        said = b"" if option is None else bytes((fields["nd_options_type"], 1)) + option.to_bytes(6, "big")
        return struct.pack("!BBHI", kind, 0, 0, 0) + fields["nd_target"].to_bytes(16, "big") + said
    return struct.pack("!BBHI", fields.get("icmp_type", 0) | fields.get("icmpv6_type", 0), 0, 0, 0)
