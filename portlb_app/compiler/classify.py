"""CLASSIFY: which side of the load balancer a packet came in from."""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.openflow import Flow, match
from portlb_app.pipeline import CLASSIFY, NEIGHBOUR, Priority, Reason, Side, cookie, flow, goto, set_side


def flows(network: int, here: tuple[Place, ...]) -> Iterator[Flow]:
    """The network side's port, and every connector of a server; all other ports are nobody's.

    Servers on the network side itself are told by their MAC addresses (row N5).
    """
    yield _side(network, Side.NETWORK, "the network side: clients")
    for port in {connector for place in here for connector in place.port_of.values()} - {network}:
        yield _side(port, Side.SERVER, "a server's connector")
    for place in here:
        for server in place.servers:
            if place.is_one_armed(server):
                yield flow(
                    CLASSIFY,
                    Priority.EXCEPTION,
                    match(in_port=network, eth_src=place.mac(server)),
                    (set_side(Side.SERVER), goto(NEIGHBOUR)),
                    cookie(Reason.SIDE),
                    "a server on the network side (N5)",
                )


def _side(port: int, side: Side, reason: str) -> Flow:
    return flow(
        CLASSIFY,
        Priority.SPECIFIC,
        match(in_port=port),
        (set_side(side), goto(NEIGHBOUR)),
        cookie(Reason.SIDE),
        reason,
    )
