"""CLASSIFY: which side of the load balancer a packet came in from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.openflow import Flow, match
from portlb_app.pipeline import (
    CLASSIFY,
    GROUP_MACS,
    NEIGHBOUR,
    PRIORITY_TAGGED,
    Priority,
    Reason,
    Side,
    flow,
    goto,
    make_cookie,
    set_reachability,
    set_side,
    untag,
)


def flows(network: int | None, links: Iterable[int], here: tuple[VipOnSwitch, ...]) -> Iterator[Flow]:
    """The network side, links to other switches, and servers' connectors; packets from other ports are dropped.

    A server on the network side is recognized by its MAC address (row N5).
    """
    yield flow(
        CLASSIFY,
        Priority.FIRST,
        match(vlan_vid=PRIORITY_TAGGED),
        untag(),
        make_cookie(Reason.SIDE),
        "a priority tag (VLAN 0): the frame counts as untagged",
    )
    yield flow(
        CLASSIFY,
        Priority.OVERRIDE,
        match(eth_src=GROUP_MACS),
        (),
        make_cookie(Reason.SIDE),
        "from a group's MAC address, which no host has: drop, as an answer would go to many",
    )
    by_port = {
        port: local.reachability for local in here for port in local.ingress_ports if local.reachability is not None
    }
    if network is not None:
        yield _side(network, Side.NETWORK, by_port.get(network), "the network side: clients")
    for port in links:
        yield _side(port, Side.LINK, by_port.get(port), "a link to another switch")
    for port in {server.connector.port for local in here for server in local.attached} - {network}:
        yield _side(port, Side.SERVER, None, "a server's connector")
    for local in here:
        for server in local.attached:
            if local.is_one_armed(server):
                yield flow(
                    CLASSIFY,
                    Priority.EXCEPTION,
                    match(in_port=server.connector.port, eth_src=local.mac(server)),
                    (set_side(Side.SERVER), goto(NEIGHBOUR)),
                    make_cookie(Reason.SIDE),
                    "a server on the network side (N5)",
                )


def _side(port: int, side: Side, reachability: int | None, reason: str) -> Flow:
    in_reachability = () if reachability is None else (set_reachability(reachability),)
    return flow(
        CLASSIFY,
        Priority.SPECIFIC,
        match(in_port=port),
        (set_side(side), *in_reachability, goto(NEIGHBOUR)),
        make_cookie(Reason.SIDE),
        reason,
    )
