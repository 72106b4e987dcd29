"""The client agent: lets this host's programs follow redirects from any of a set of VIPs."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address

from portlb_app.agent import loader, process
from portlb_app.agent.errors import AgentError

VIPS_MAX = 16  # as in client.h


def settings(vips: Sequence[IPv4Address]) -> bytes:
    """Return the client programs' constants; AgentError if there are too many addresses, or none."""
    if not 1 <= len(vips) <= VIPS_MAX:
        raise AgentError(f"an agent serves 1 to {VIPS_MAX} VIPs, not {len(vips)}")
    addresses = b"".join(vip.packed for vip in vips)
    return struct.pack(f"={4 * VIPS_MAX}sI", addresses, len(vips))


def run(interface: str, vips: Sequence[IPv4Address], connections: int = loader.CONNECTIONS) -> int:
    """Serve connections of this network namespace that leave by `interface` to one of `vips`."""
    return process.serve(interface, "client", settings(vips), connections)
