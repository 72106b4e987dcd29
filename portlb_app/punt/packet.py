"""A packet that a switch hands up, and what a switch is told to send."""

from __future__ import annotations

from dataclasses import dataclass

from portlb_app.openflow import Action
from portlb_app.pipeline import Side


@dataclass(frozen=True)
class PacketIn:
    """A packet that was handed up: the cookie of the flow that did it, the OpenFlow port it came in on, all of it.

    `slot` is the one that its pool's group would choose, if the switch sent it.
    """

    cookie: int
    in_port: int
    frame: bytes
    slot: int | None = None


@dataclass(frozen=True)
class Send:
    """Have the switch `dpid` do `actions` with `frame`, which came in on its port `in_port`.

    `side`: the side of the load balancer that the tables are to take it from; None: what the port says.
    """

    dpid: int
    in_port: int
    actions: tuple[Action, ...]
    frame: bytes
    side: Side | None = None
