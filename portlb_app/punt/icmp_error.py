"""ICMP errors to a VIP (rows I2 and I3): the owner of the port from which the quoted packet came gets them."""

from __future__ import annotations

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Legacy, RedirectPort, UnknownErrors
from portlb_app.net import packets
from portlb_app.pipeline import family
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.verdict import MALFORMED, UNKNOWN, Verdict, to_default, to_servers, to_service_address
from portlb_app.punt.vip_index import LocatedVip
from portlb_app.selection import choose
from portlb_app.topology.conditions import ALL_SERVERS


def icmp_error(located: LocatedVip, frame: bytes) -> Verdict:
    """A service port names its owner, also where it is a redirect port.

    A packet from a redirect port without an owner may have been sent by any server of its pool, or by the default
    server where plain clients get that: all of them get the error.
    """
    local = located.local
    quote = packets.parse_quote(frame)
    if quote is None or quote.receiver not in local.vip.addresses:
        return MALFORMED
    ip = family(quote.receiver)
    named = local.by_service_address.get(quote.source)
    if named is not None:  # a client reports about what came from a service address
        return to_service_address(located, named.name, ip)
    if quote.source != quote.receiver:
        return MALFORMED
    if quote.ports is not None:
        owner, pool = local.owners.get(quote.ports[0]), local.vip.pool_on(quote.ports[0])
        if owner is not None:
            return to_servers(located, ip, (owner,))
        if pool is not None:
            labelled = tuple(each.name for each in local.reachable_servers if each.service_label == quote.label)
            return to_servers(located, ip, labelled or _possible_senders(local, pool))
    if local.vip.unknown_errors is UnknownErrors.DEFAULT:
        return to_default(located, ip)
    if local.vip.unknown_errors is UnknownErrors.ANY and (slots := local.slots(ALL_SERVERS)):
        server = choose(slots, quote.source, quote.destination, quote.protocol, quote.ports)
        return to_servers(located, ip, (server,), Disposition.UNKNOWN)
    return UNKNOWN


def _possible_senders(local: VipOnSwitch, pool: RedirectPort) -> tuple[str, ...]:
    """The servers that may have sent a packet from a redirect port, and left no other trace in a quote."""
    default = local.vip.default_server
    plain = (default,) if pool.legacy is Legacy.DEFAULT and default is not None else ()
    by_mac = (server.name for server in local.reachable_servers if server.service_mac is not None)
    return tuple(dict.fromkeys((*local.vip.receivers(pool), *plain, *by_mac)))
