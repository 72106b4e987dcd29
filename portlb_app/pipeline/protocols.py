"""Numbers of the protocols that flows match: flags, ICMP types, neighbour discovery, special addresses."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address

from portlb_app.net import packets
from portlb_app.net.packets import Address
from portlb_app.openflow import ETH_IPV4, ETH_IPV6, IP_ICMP, IP_ICMPV6, IP_SCTP, IP_TCP, IP_UDP

REDIRECT_BIT, CONFIRM_BIT = packets.REDIRECT, packets.CONFIRM
"""The header bits REDIRECT and REDIRECT_CONFIRM as Open vSwitch's 12-bit ``tcp_flags`` shows them (byte 12 of the TCP
header, low nibble)."""
FIN = 0x001
SYN = 0x002
RST = 0x004
ACK = 0x010
FRAGMENTS = (1, 3)
"""``ip_frag`` of a first and of a later fragment (ovs-fields(7)); two exact values make one mask, one lookup."""
TRANSPORTS = (("tcp", IP_TCP), ("udp", IP_UDP), ("sctp", IP_SCTP))
"""The transports with ports: the prefix of their fields' names, and their protocol number."""
TTL = 64
"""The TTL or hop limit of packets that the switch itself makes: Linux's default."""
PRIORITY_TAGGED = 0x1000
"""``vlan_vid`` of a frame whose tag names no VLAN (IEEE 802.1Q, 9.6): VID 0, and the bit that says there is a tag."""


@dataclass(frozen=True)
class Family:
    """One version of IP: its match fields, and the numbers of its control protocol."""

    version: int
    eth_type: int
    source: str
    destination: str
    icmp: int
    icmp_type: str
    errors: tuple[int, ...]
    """ICMP types that quote the packet they are about."""
    echo: int
    echo_reply: int

    @property
    def from_servers(self) -> tuple[int, ...]:
        """ICMP types a server may send as its VIP: answers to pings, and errors."""
        return (self.echo_reply, *self.errors)

    def to(self, address: Address) -> dict[str, int]:
        """The match of packets to an address."""
        return {"eth_type": self.eth_type, self.destination: int(address)}

    def by(self, address: Address) -> dict[str, int]:
        """The match of packets from an address."""
        return {"eth_type": self.eth_type, self.source: int(address)}


_ERRORS = {4: tuple(sorted(packets.ICMP_ERRORS)), 6: tuple(sorted(packets.ICMP6_ERRORS))}
FAMILIES = {
    4: Family(4, ETH_IPV4, "ip_src", "ip_dst", IP_ICMP, "icmp_type", _ERRORS[4], 8, 0),
    6: Family(6, ETH_IPV6, "ipv6_src", "ipv6_dst", IP_ICMPV6, "icmpv6_type", _ERRORS[6], 128, 129),
}


def family(address: Address) -> Family:
    """The family of an address."""
    return FAMILIES[address.version]


# ---- neighbour discovery ---------------------------------------------------------------------------------------------

ND_SOLICIT, ND_ADVERTISE = 135, 136
ND_OTHERS = (133, 134, 137)
"""ICMPv6 types of neighbour discovery (RFC 4861, 4): solicitation, advertisement; router solicitation, router
advertisement, redirect."""
ND_SOLICITED, ND_OVERRIDE = 0x40000000, 0x20000000
"""Flags of an advertisement, in the 32 bits behind its checksum (RFC 4861, 4.4)."""
ND_HOPS = 255
"""The hop limit of neighbour discovery: a packet that a router has forwarded has less (RFC 4861, 7.1.1 and 7.1.2)."""
ND_OPTION_TARGET = 2
"""The option "target link-layer address" (RFC 4861, 4.6.1)."""
MLD_QUERY = packets.MLD_QUERY
LINK_LOCAL = (0xFE80 << 112, ((1 << 64) - 1) << 64)
"""Link-local addresses (RFC 4291, 2.5.6), as address and mask. A host may have any of them, not only the one made from
its MAC address (RFC 7217, and Linux's ``addr_gen_mode``)."""
LINK_GROUPS = (0xFF02 << 112, 0xFFFF << 112)
"""Multicast groups of the link (RFC 4291, 2.7), as address and mask."""
ALL_NODES, ALL_NODES_MAC = IPv6Address("ff02::1"), 0x333300000001
"""The group of all hosts of the link, and its MAC address (RFC 4291, 2.7.1; RFC 2464, 7)."""
GROUP_MACS = (1 << 40, 1 << 40)
"""MAC addresses of groups (IEEE 802, 8.2.2), as address and mask. No host sends from one."""


def link_local(mac: int) -> IPv6Address:
    """The link-local address a host makes from its MAC address (RFC 4291, 2.5.1 and appendix A)."""
    high, low = (mac >> 24) ^ 0x020000, mac & 0xFFFFFF
    return IPv6Address(0xFE80 << 112 | high << 40 | 0xFFFE << 24 | low)
