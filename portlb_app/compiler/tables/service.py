"""SERVICE: a service port names its server, for TCP, UDP and SCTP alike (rows U1, E1, D1, X4).

So does a service address or a service MAC address, whatever the port (rows X1, X2). LABEL matches service labels (row
X3): a lookup with the label makes a datapath flow per label, and every connection has one. So only packets with CONFIRM
go there; agents set CONFIRM for as long as they use a label.

A service port that is also a redirect port belongs to its owner only for plain TCP clients, which LEGACY decides (row
E3). UDP and SCTP have no REDIRECT bit; for them a service port comes first, as the source has it.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.delivery import deliver, deliver_as_named, output
from portlb_app.compiler.rates import Rates
from portlb_app.compiler.tables.qos import metered_qos_actions
from portlb_app.compiler.vip_on_switch import MeteredPart, PartKey, VipOnSwitch
from portlb_app.config import Address, Server
from portlb_app.openflow import IP_TCP, Action, Flow, match
from portlb_app.pipeline import (
    CONFIRM_BIT,
    LABEL,
    SERVICE,
    SYN,
    TRANSPORTS,
    Priority,
    Reason,
    family,
    flow,
    goto,
    make_cookie,
)


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """One flow per service address, MAC address and label."""
    for address in local.vip.addresses:
        yield from _named(local, address)


def parts(local: VipOnSwitch) -> Iterator[tuple[PartKey, MeteredPart]]:
    """One flow per service port, transport and address, by server and address.

    At an entrance the ports of servers that cannot be reached have flows, too, which drop.
    """
    shared = frozenset(pool.port for pool in local.vip.redirect_ports)
    for address in local.vip.addresses:
        for server in local.all_servers if local.is_entrance else local.reachable_servers:
            delivered = deliver(local, server.name, family(address))
            key = SERVICE.number, local.number, address, server.name
            yield key, local.memo.get(_owned, local.number, server, address, shared, local.rates, delivered)


def _owned(
    number: int, server: Server, vip: Address, shared: frozenset[int], rates: Rates, delivered: tuple[Action, ...]
) -> MeteredPart:
    """`shared`: the redirect ports."""
    to_address = family(vip).to(vip)
    return MeteredPart.of(
        flow(
            SERVICE,
            Priority.SPECIFIC,
            match(**to_address, ip_proto=protocol, **{f"{name}_dst": owned.port}),
            (*metered_qos_actions(rates, "service", owned.port, owned.qos), *delivered) if delivered else (),
            make_cookie(Reason.SERVICE, number, owned.port),
            "a service port: its owner (U1, E1, D1, X4)",
        )
        for owned in server.service_ports
        for name, protocol in TRANSPORTS
        if protocol != IP_TCP or owned.port not in shared
    )


def _named(local: VipOnSwitch, vip: Address) -> Iterator[Flow]:
    ip, cookie = family(vip), make_cookie(Reason.NAMED, local.number)
    for server in local.reachable_servers:
        for address in server.service_addresses:
            if address.version == ip.version:
                yield flow(
                    SERVICE,
                    Priority.SPECIFIC,
                    match(**ip.to(address)),
                    deliver_as_named(local, server.name, ip),
                    cookie,
                    "a service address: its server (X1)",
                )
        if server.service_mac is not None:
            yield flow(
                SERVICE,
                Priority.OVERRIDE,  # whatever the port
                match(eth_dst=server.service_mac, **ip.to(vip), ip_proto=IP_TCP),
                () if server.name in local.closed else (output(local, server.name),),
                cookie,
                "a service MAC address: its server (X2)",
            )
    if ip.version == 6 and any(server.service_label is not None for server in local.reachable_servers):
        yield flow(
            SERVICE,
            Priority.GENERAL,
            match(**ip.to(vip), ip_proto=IP_TCP, tcp_flags=(CONFIRM_BIT, CONFIRM_BIT | SYN)),
            (goto(LABEL),),
            cookie,
            "a connection that may go by a service label (X3)",
        )
