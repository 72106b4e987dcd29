"""The client agent: lets this host's programs follow redirects from any of a set of VIPs."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from portlb_app.agent.mapping import Address, packed_vips


def settings(vips: Sequence[Address], by_option: bool = False) -> bytes:
    """Return the client programs' constants; AgentError if there are too many addresses, or none.

    `by_option`: SYNs ask for redirects by the option alone, for paths that clear the header bits.
    """
    return packed_vips(vips) + struct.pack("=I", by_option)
