"""What MPTCP clients of a server are told: the VIP and the server's port, as `lb.yaml` has them."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from portlb_app.agent.errors import AgentError

MOST = 8
"""Endpoints that the kernel takes (MPTCP_PM_ADDR_MAX): two for each address of a VIP."""


class Announced(NamedTuple):
    """One address of a VIP, and the port at which connections go on (RFC 8684, 3.4.1).

    `own` is the address that the server's packets come to: the VIP's, or its own where the load balancer rewrites it.
    """

    vip: IPv4Address | IPv6Address
    own: IPv4Address | IPv6Address
    port: int


def check(announced: Collection[Announced]) -> None:
    """AgentError if the kernel has no room for so many."""
    if 2 * len(announced) > MOST:
        raise AgentError(f"the kernel has room for {MOST // 2} addresses with MPTCP, not for {len(announced)}")
