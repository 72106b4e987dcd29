"""Bounds-checked parsers for the packets that the controller and the agents handle.

Every parser takes bytes from an attacker: it reads only within them, walks options only within the header's own length,
and returns None for what it does not parse. (`ryu.lib.packet` loops for ever on a TCP option of length 0, and drops the
bits on which this protocol depends.)
"""

from __future__ import annotations

from portlb_app.net.packets.addresses import (
    Address,
)
from portlb_app.net.packets.build import (
    Ends,
    make_echo_request,
    make_segment,
)
from portlb_app.net.packets.checksums import (
    checksum,
)
from portlb_app.net.packets.datagram import (
    Datagram,
    parse_datagram,
)
from portlb_app.net.packets.echo import (
    EchoReply,
    parse_echo_reply,
)
from portlb_app.net.packets.fragments import (
    Fragment,
    FragmentKey,
    parse_fragment,
)
from portlb_app.net.packets.ip import (
    DCCP,
    ETHERNET,
    EXTENSIONS,
    ICMP,
    ICMP6,
    ICMP6_ERRORS,
    ICMP_ERRORS,
    PORTS,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
)
from portlb_app.net.packets.mld import (
    MLD_QUERY,
    MldQuery,
    parse_mld_query,
)
from portlb_app.net.packets.option import (
    CONFIRM,
    OPTION_EXID,
    OPTION_KIND,
    OPTION_REDIRECT,
    REDIRECT,
    TYPE_PORT,
    options,
)
from portlb_app.net.packets.pcap import (
    capture,
    frames,
)
from portlb_app.net.packets.quotes import (
    Quote,
    parse_quote,
    requote,
)
from portlb_app.net.packets.refusal import (
    make_refusal,
)
from portlb_app.net.packets.rewrite import (
    readdress,
)
from portlb_app.net.packets.tcp import (
    Segment,
    bare_ack,
    parse_tcp,
)

__all__ = [
    "Address",
    "CONFIRM",
    "DCCP",
    "Datagram",
    "ETHERNET",
    "EXTENSIONS",
    "EchoReply",
    "Ends",
    "Fragment",
    "FragmentKey",
    "ICMP",
    "ICMP6",
    "ICMP6_ERRORS",
    "ICMP_ERRORS",
    "MLD_QUERY",
    "MldQuery",
    "OPTION_EXID",
    "OPTION_KIND",
    "OPTION_REDIRECT",
    "PORTS",
    "Quote",
    "REDIRECT",
    "SCTP",
    "Segment",
    "TCP",
    "TYPE_PORT",
    "UDP",
    "UDPLITE",
    "bare_ack",
    "capture",
    "checksum",
    "frames",
    "make_echo_request",
    "make_refusal",
    "make_segment",
    "options",
    "parse_datagram",
    "parse_echo_reply",
    "parse_fragment",
    "parse_mld_query",
    "parse_quote",
    "parse_tcp",
    "readdress",
    "requote",
]
