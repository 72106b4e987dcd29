"""The client agent: lets this host's programs follow redirects from any of a set of VIPs."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from portlb_app.agent.errors import AgentError
from portlb_app.agent.locator import MacPrefix, Network, packed_macs, packed_services
from portlb_app.agent.mapping import Address, packed_vips


def settings(
    vips: Sequence[Address],
    by_option: bool = False,
    services: Sequence[Network] = (),
    macs: Sequence[MacPrefix] = (),
) -> bytes:
    """Return the client programs' constants; AgentError if there are too many addresses, or none.

    `by_option`: SYNs ask for redirects by the option alone, for paths that clear the header bits. Redirects are
    followed to addresses of the networks `services`, and to MAC addresses among `macs`.
    """
    if any(vip in network for vip in vips for network in services if network.prefixlen == network.max_prefixlen):
        raise AgentError("a service address is not a VIP")
    return packed_vips(vips) + packed_services(services) + packed_macs(macs) + struct.pack("=I", by_option)
