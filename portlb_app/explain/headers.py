"""A packet as the fields that Open vSwitch finds in it, and what of them a table may see and an action may write."""

from __future__ import annotations

from collections.abc import Mapping

from portlb_app.openflow import ETH_ARP, ETH_IPV4, ETH_IPV6, IP_ICMP, IP_ICMPV6, IP_SCTP, IP_TCP, IP_UDP
from portlb_app.pipeline import FRAGMENTS, ND_ADVERTISE, ND_SOLICIT

Fields = Mapping[str, int]
"""Values by the names of `openflow.FIELDS`; one that is missing is 0."""

FIRST, LATER = FRAGMENTS
IP_FRAGMENT = 44
"""The next header of a fragment (RFC 8200, 4.5): all that Open vSwitch shows of a later one's protocol in IPv6."""
_PORTS = ("tcp_src", "tcp_dst", "udp_src", "udp_dst", "sctp_src", "sctp_dst", "icmp_type", "icmpv6_type")
"""What Open vSwitch shows as 0 in every fragment (OFPC_FRAG_NORMAL, OpenFlow 1.5.1, 7.3.2)."""
_BEHIND = (*_PORTS, "tcp_flags", "nd_target", "nd_sll", "nd_tll", "nd_reserved", "nd_options_type")
_OF_TRANSPORT = {"tcp": IP_TCP, "udp": IP_UDP, "sctp": IP_SCTP}
_OF_IP = ("ip_proto", "ip_dscp", "nw_ttl", "ip_frag")


def visible(fields: Fields) -> Fields:
    """The fields as tables see them: a fragment has no ports, and a later one nothing of its transport."""
    fragment = fields.get("ip_frag", 0)
    if not fragment:
        return fields
    hidden = _BEHIND if fragment == LATER else _PORTS
    seen = {name: value for name, value in fields.items() if name not in hidden}
    if fragment == LATER and fields.get("eth_type") == ETH_IPV6:
        seen["ip_proto"] = IP_FRAGMENT
    return seen


def has(fields: Fields, name: str) -> bool:
    """Whether a packet has a header with this field; an action leaves a field alone that the packet has not."""
    eth_type, protocol = fields.get("eth_type", 0), fields.get("ip_proto", 0)
    is_whole_enough = fields.get("ip_frag", 0) != LATER
    prefix = name.partition("_")[0]
    if name in _OF_IP:
        return eth_type in (ETH_IPV4, ETH_IPV6)
    if prefix in _OF_TRANSPORT:
        return eth_type in (ETH_IPV4, ETH_IPV6) and protocol == _OF_TRANSPORT[prefix] and is_whole_enough
    match prefix:
        case "ip":
            return eth_type == ETH_IPV4
        case "ipv6":
            return eth_type == ETH_IPV6
        case "arp":
            return eth_type == ETH_ARP
        case "icmp":
            return eth_type == ETH_IPV4 and protocol == IP_ICMP and is_whole_enough
        case "icmpv6":
            return eth_type == ETH_IPV6 and protocol == IP_ICMPV6 and is_whole_enough
        case "nd":
            wanted = {"nd_sll": (ND_SOLICIT,), "nd_tll": (ND_ADVERTISE,)}.get(name, (ND_SOLICIT, ND_ADVERTISE))
            return has(fields, "icmpv6_type") and fields.get("icmpv6_type") in wanted
        case _:
            return True
