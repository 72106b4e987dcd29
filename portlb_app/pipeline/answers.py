"""The actions by which the switch turns a question around into its own answer."""

from __future__ import annotations

from portlb_app.net.packets import Address
from portlb_app.openflow import Action, CopyField, SetField
from portlb_app.pipeline.protocols import (
    ALL_NODES,
    ALL_NODES_MAC,
    ND_ADVERTISE,
    ND_OPTION_TARGET,
    ND_OVERRIDE,
    ND_SOLICITED,
    TTL,
    family,
)
from portlb_app.pipeline.registers import ND_VALUE


def answer_arp(mac: int, address: int) -> tuple[Action, ...]:
    """Turn an ARP request into its answer (RFC 826): `address` is at `mac`."""
    return (
        CopyField("eth_src", "eth_dst"),
        SetField("eth_src", mac),
        SetField("arp_op", 2),
        CopyField("arp_sha", "arp_tha"),
        CopyField("arp_spa", "arp_tpa"),
        SetField("arp_sha", mac),
        SetField("arp_spa", address),
    )


def answer_echo(mac: int, address: Address) -> tuple[Action, ...]:
    """Turn an echo request into its reply (RFC 792, RFC 4443), with correct checksums.

    The reply has a TTL or hop limit of its own (RFC 1122, 3.2.1.7), not what is left of the request's.
    """
    ip = family(address)
    return (
        CopyField("eth_src", "eth_dst"),
        SetField("eth_src", mac),
        CopyField(ip.source, ip.destination),
        SetField(ip.source, int(address)),
        SetField("nw_ttl", TTL),
        SetField(ip.icmp_type, ip.echo_reply),
    )


def answer_nd(mac: int, address: int) -> tuple[Action, ...]:
    """Turn a neighbour solicitation around into an advertisement; ADVERTISE adds the rest."""
    return (
        CopyField("eth_src", "eth_dst"),
        SetField("eth_src", mac),
        CopyField("ipv6_src", "ipv6_dst"),
        SetField("ipv6_src", address),
        SetField("icmpv6_type", ND_ADVERTISE),
    )


def advertise(mac: int) -> tuple[Action, ...]:
    """Complete an advertisement (RFC 4861, 7.2.4).

    The option with the asking host's link-layer address becomes the option with the target's. Without the one, the
    answer lacks the other.
    """
    return (
        *_write_nd("nd_reserved", ND_SOLICITED | ND_OVERRIDE),
        *_write_nd("nd_options_type", ND_OPTION_TARGET),
        SetField("nd_tll", mac),
    )


def advertise_to_all() -> tuple[Action, ...]:
    """Complete an advertisement for a host without an address: to all hosts, not solicited (RFC 4861, 7.2.4).

    Such a solicitation has no option with a link-layer address (RFC 4861, 4.3), so the answer has none.
    """
    return (
        SetField("eth_dst", ALL_NODES_MAC),
        SetField("ipv6_dst", int(ALL_NODES)),
        *_write_nd("nd_reserved", ND_OVERRIDE),
    )


def _write_nd(name: str, value: int) -> tuple[Action, ...]:
    """Write a field of neighbour discovery that OpenFlow does not have.

    On the kernel datapath Open vSwitch (seen in 3.1) refuses to set such a field, but copies to it. It does so in user
    space, where these packets are answered anyway.
    """
    return (SetField(ND_VALUE, value), CopyField(ND_VALUE, name))
