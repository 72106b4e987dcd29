"""The address that checks of servers come from."""

from __future__ import annotations

import zlib

from portlb_app.net.packets import Address

_CHECKER = 0x0250 << 32
"""The upper 16 bits of the MAC address, locally administered; the rest is made of the IP address."""


def check_mac(address: Address) -> int:
    """The MAC address of the address that checks come from.

    On one network there may be several load balancers, each with an address of its own for its checks.
    """
    return _CHECKER | zlib.crc32(address.packed)
