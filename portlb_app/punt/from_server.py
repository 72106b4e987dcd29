"""What servers send where addresses are rewritten (row N1): ICMP errors and fragments, sent on as from the VIP.

A switch can rewrite neither what an error quotes nor a fragment.
"""

from __future__ import annotations

from collections.abc import Iterable

from portlb_app.compiler.delivery import address_in, egress_actions, without
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, Rewrite, Server
from portlb_app.net import packets
from portlb_app.pipeline import Family, family
from portlb_app.punt.verdict import MALFORMED, Verdict, here


def server_error(vips: Iterable[VipOnSwitch], frame: bytes) -> Verdict:
    """An error of a server, or of the router before it, about a client's packet, quoted as it came there."""
    quote = packets.parse_quote(frame)
    if quote is None:
        return MALFORMED
    ip = family(quote.sender)
    for local in vips:
        if local.vip.rewrite is not Rewrite.ADDRESS or not _has_address_of(local, ip):
            continue
        named = local.by_service_address.get(quote.destination)  # which no switch rewrites
        server = named or _server_at(local, quote.destination)
        if server is not None and quote.sender in (*server.addresses, *server.routers):
            return here(egress_actions(local, server, ip), None if named else address_in(local.vip.addresses, ip))
    return MALFORMED


def server_fragment(local: VipOnSwitch, frame: bytes) -> Verdict:
    """A fragment of a server is rewritten here, because the switch would spoil it."""
    fragment = packets.parse_fragment(frame)
    server = None if fragment is None else _server_at(local, fragment.source)
    if fragment is None or server is None or not _has_address_of(local, ip := family(fragment.source)):
        return MALFORMED
    return here(without(egress_actions(local, server, ip), ip.source), address_in(local.vip.addresses, ip))


def _has_address_of(local: VipOnSwitch, ip: Family) -> bool:
    """Whether the VIP has an address of this family; a server may have one that its VIP lacks."""
    return any(address.version == ip.version for address in local.vip.addresses)


def _server_at(local: VipOnSwitch, address: Address) -> Server | None:
    return next((server for server in local.attached if address in server.addresses), None)
