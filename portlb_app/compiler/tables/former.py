"""FORMER: a segment that a server hands back goes to the server that its slot had before (docs/second-chance.md).

Such a frame has a mark as its destination, which stands for the servers that are to be tried, the latest first. It gets
the mark of those behind that one as its source, and travels by its destination; the switch of the server that it is for
makes it what that server gets from clients, but for the source.

A server may hand back to servers of its own VIP alone, TCP to a redirect port of theirs that opens no connection. All
of that passes a meter on every switch. So a packet that circles while the tables of two switches disagree is dropped as
soon as it is too fast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from portlb_app.compiler.delivery import address_in
from portlb_app.compiler.second_chance import Chain, HandBack
from portlb_app.compiler.tables import log
from portlb_app.config import Config, Rewrite, Server, Switch, Vip
from portlb_app.net.packets import Address
from portlb_app.openflow import IN_PORT, IP_TCP, Action, Flow, Meter, Output, SetField, ToMeter, match
from portlb_app.pipeline import (
    FAMILIES,
    FORMER,
    FRAGMENT,
    MARKS,
    NEIGHBOUR,
    NO_MARK,
    SYN,
    Family,
    Priority,
    Reason,
    Side,
    family,
    flow,
    from_side,
    goto,
    make_cookie,
    mark,
)


def flows(config: Config, switch: Switch, parts: HandBack, meters: Mapping[str, Meter]) -> Iterator[Flow]:
    """The flows of one switch, those of NEIGHBOUR that lead here among them; none if no slot has a former server."""
    if not parts.vips:
        return
    yield from _from_network(switch, parts)
    by_name = {vip.name: vip for vip in parts.vips}
    for name, servers in parts.givers.items():
        for server in servers:
            for address in by_name[name].addresses:
                yield _from_server(by_name[name], server, address)
    if parts.givers:
        forged = match(**from_side(Side.SERVER), eth_dst=MARKS)
        reason = "from a server, to a mark that is not its business: drop"
        yield flow(NEIGHBOUR, Priority.EXCEPTION, forged, (), make_cookie(Reason.HANDED_BACK), reason)
    if parts.chains and config.links:
        for version in sorted({address.version for vip in parts.vips for address in vip.addresses}):
            over = match(
                **from_side(Side.LINK), eth_dst=MARKS, eth_type=FAMILIES[version].eth_type, ip_proto=IP_TCP
            )
            reason = "over a link, handed back by a server"
            yield flow(NEIGHBOUR, Priority.OVERRIDE, over, (goto(FORMER),), make_cookie(Reason.HANDED_BACK), reason)
    connectors = Counter(server.connector for server in config.servers)
    for chain, link in parts.chains:
        for address in chain.vip.addresses:
            is_shared = connectors[chain.servers[0].connector] > 1
            yield from _to_former(chain, address, link, meters[chain.vip.name], is_shared)


def _from_network(switch: Switch, parts: HandBack) -> Iterator[Flow]:
    """No client hands back, and none has a mark."""
    if switch.network is None:
        return
    cookie = make_cookie(Reason.HANDED_BACK)
    forged = match(**from_side(Side.NETWORK), eth_dst=MARKS)
    yield flow(NEIGHBOUR, Priority.FIRST, forged, (), cookie, "from the network, to a mark: forged, drop")
    for vip in parts.vips:
        for address in vip.addresses:
            source = match(**from_side(Side.NETWORK), eth_src=MARKS, **family(address).to(address))
            actions: tuple[Action, ...] = (SetField("eth_src", NO_MARK), goto(FRAGMENT))
            if vip.log:
                actions = log.with_lookup(actions)
            reason = "IP to the VIP, from a host whose MAC address looks like a mark: the address goes"
            yield flow(NEIGHBOUR, Priority.NARROW, source, actions, make_cookie(Reason.HANDED_BACK, vip.number), reason)


def _from_server(vip: Vip, server: Server, address: Address) -> Flow:
    ip, is_named = family(address), vip.rewrite is Rewrite.ADDRESS
    own = address_in(vip.addresses_of(server), ip)
    source = {**from_side(Side.SERVER), "in_port": server.connector.port, "eth_src": vip.mac_of(server)}
    wanted = match(**source, eth_dst=MARKS, **ip.to(own), ip_proto=IP_TCP)
    renamed = (SetField(ip.destination, int(address)),) if is_named else ()
    reason = "handed back by a server: to the server that the slot had before"
    cookie = make_cookie(Reason.HANDED_BACK, vip.number)
    return flow(NEIGHBOUR, Priority.OVERRIDE, wanted, (*renamed, goto(FORMER)), cookie, reason)


def _to_former(chain: Chain, address: Address, link: int | None, meter: Meter, is_shared: bool) -> Iterator[Flow]:
    """`is_shared`: other servers have the connector of the first one, too."""
    vip, server, ip = chain.vip, chain.servers[0], family(address)
    wanted: dict[str, int | tuple[int, int]] = {"eth_dst": mark(vip.number, chain.names), **ip.to(address)}
    wanted |= {"ip_proto": IP_TCP, "tcp_dst": chain.port, "tcp_flags": (0, SYN)}
    cookie = make_cookie(Reason.HANDED_BACK, vip.number, chain.port)
    rest = (ToMeter(meter.number), SetField("eth_src", mark(vip.number, chain.names[1:])))
    if link is not None:
        reason = "a former server of a slot, on another switch"
        yield flow(FORMER, Priority.SPECIFIC, match(**wanted), (*rest, Output(link)), cookie, reason)
        return
    actions, at = (*rest, *_rewritten(vip, server, ip)), server.connector.port
    reason = "a former server of a slot"
    yield flow(FORMER, Priority.SPECIFIC, match(**wanted), (*actions, Output(at)), cookie, reason)
    if is_shared:
        back = (*actions, Output(IN_PORT))
        reason = "a former server of a slot, by the connector that the one uses that hands back"
        yield flow(FORMER, Priority.EXCEPTION, match(in_port=at, **wanted), back, cookie, reason)


def _rewritten(vip: Vip, server: Server, ip: Family) -> Iterator[Action]:
    yield SetField("eth_dst", vip.mac_of(server))
    if vip.rewrite is Rewrite.ADDRESS:
        yield SetField(ip.destination, int(address_in(server.addresses, ip)))
