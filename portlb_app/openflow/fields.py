"""Match fields: their names, text forms and widths; protocol numbers and reserved ports."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

ETH_IPV4 = 0x0800
ETH_ARP = 0x0806
ETH_IPV6 = 0x86DD
IP_ICMP = 1
IP_TCP = 6
IP_UDP = 17
IP_ICMPV6 = 58
IP_SCTP = 132

IN_PORT = 0xFFFFFFF8
"""The reserved port for "the port the packet came in by" (OpenFlow 1.5.1, 7.2.1.1)."""
CONTROLLER = 0xFFFFFFFD
"""The reserved port for "the controller" (OpenFlow 1.5.1, 7.2.1.1)."""
LOCAL = 0xFFFFFFFE
"""The reserved port for the bridge's own interface on its host (OpenFlow 1.5.1, 7.2.1.1)."""
WHOLE_PACKET = 0xFFFF
"""How many bytes of a packet go to the controller: all of them, and the switch keeps none (OFPCML_NO_BUFFER)."""


class Kind(enum.Enum):
    """How a field's number is written as text."""

    NUMBER = "number"
    PORT = "port"
    HEX = "hex"
    MAC = "mac"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    FRAG = "frag"


@dataclass(frozen=True)
class Field:
    """A match field: its text form and its width in bits."""

    kind: Kind
    bits: int


FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "reg0": Field(Kind.HEX, 32),
        "reg1": Field(Kind.HEX, 32),
        "reg2": Field(Kind.HEX, 32),
        "reg3": Field(Kind.HEX, 32),
        "reg4": Field(Kind.HEX, 32),
        "reg5": Field(Kind.HEX, 32),
        "reg6": Field(Kind.HEX, 32),
        "reg7": Field(Kind.HEX, 32),
        "ct_mark": Field(Kind.HEX, 32),
        "in_port": Field(Kind.PORT, 32),
        "vlan_vid": Field(Kind.HEX, 13),
        "eth_src": Field(Kind.MAC, 48),
        "eth_dst": Field(Kind.MAC, 48),
        "eth_type": Field(Kind.HEX, 16),
        "ip_proto": Field(Kind.NUMBER, 8),
        "ip_src": Field(Kind.IPV4, 32),
        "ip_dst": Field(Kind.IPV4, 32),
        "ipv6_src": Field(Kind.IPV6, 128),
        "ipv6_dst": Field(Kind.IPV6, 128),
        "ipv6_label": Field(Kind.HEX, 20),
        "ip_dscp": Field(Kind.NUMBER, 6),
        "nw_ttl": Field(Kind.NUMBER, 8),
        "ip_frag": Field(Kind.FRAG, 2),
        "tcp_src": Field(Kind.NUMBER, 16),
        "tcp_dst": Field(Kind.NUMBER, 16),
        "tcp_flags": Field(Kind.HEX, 12),
        "udp_src": Field(Kind.NUMBER, 16),
        "udp_dst": Field(Kind.NUMBER, 16),
        "sctp_src": Field(Kind.NUMBER, 16),
        "sctp_dst": Field(Kind.NUMBER, 16),
        "icmp_type": Field(Kind.NUMBER, 8),
        "icmpv6_type": Field(Kind.NUMBER, 8),
        "nd_target": Field(Kind.IPV6, 128),
        "nd_sll": Field(Kind.MAC, 48),
        "nd_tll": Field(Kind.MAC, 48),
        "nd_reserved": Field(Kind.HEX, 32),
        "nd_options_type": Field(Kind.NUMBER, 8),
        "arp_op": Field(Kind.NUMBER, 16),
        "arp_spa": Field(Kind.IPV4, 32),
        "arp_tpa": Field(Kind.IPV4, 32),
        "arp_sha": Field(Kind.MAC, 48),
        "arp_tha": Field(Kind.MAC, 48),
    }
)
"""Every field that the pipeline may use, in the order of their text; names as in ovs-fields(7)."""
