"""Locators: what identifies a server on the wire beside its port. A server announces its own, a client follows some.

Rows X1, X2, X3; docs/protocol.md, "Other locators than ports".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from portlb_app.agent.errors import AgentError

Network = IPv4Network | IPv6Network
SERVICES_MAX = 16  # networks of each family, as in vips.h
MACS_MAX = 16  # as in client/settings.h
NONE, ADDRESS, MAC, LABEL = range(4)  # as in locator.h


def mac_number(text: str) -> int:
    """Return a MAC address as a number of 48 bits; AgentError if it is none."""
    parts = text.split(":")
    try:
        numbers = bytes(int(part, 16) for part in parts if 1 <= len(part) <= 2)
    except ValueError:
        numbers = b""
    if len(parts) != 6 or len(numbers) != 6:
        raise AgentError(f"{text!r} is not a MAC address like 02:00:00:00:00:01")
    return int.from_bytes(numbers, "big")


@dataclass(frozen=True)
class MacPrefix:
    """MAC addresses by their first bits: 48 of them mean one address."""

    address: int
    bits: int = 48

    @property
    def mask(self) -> int:
        """The bits that count, as a number of 48 bits."""
        return (1 << 48) - (1 << 48 - self.bits)


def mac_prefix(text: str) -> MacPrefix:
    """Return what MAC or MAC/BITS means; AgentError if that is nothing."""
    mac, slash, length = text.partition("/")
    if slash and not (length.isdecimal() and 1 <= int(length) <= 48):
        raise AgentError(f"{text!r}: 1 to 48 bits are expected behind the slash")
    found = MacPrefix(mac_number(mac), int(length) if slash else 48)
    if found.address & ~found.mask:
        raise AgentError(f"{text!r} has bits set beyond its first {found.bits}")
    return found


def packed_services(networks: Sequence[Network]) -> bytes:
    """Return `struct services` of vips.h; AgentError for too many networks."""
    packed = b""
    counts = []
    for version, size in ((4, 4), (6, 16)):
        own = [network for network in networks if network.version == version]
        if len(own) > SERVICES_MAX:
            raise AgentError(f"at most {SERVICES_MAX} networks of IPv{version} service addresses, not {len(own)}")
        text = b"".join(network.network_address.packed + network.netmask.packed for network in own)
        packed += text.ljust(2 * size * SERVICES_MAX, b"\0")
        counts.append(len(own))
    return packed + struct.pack("=2I", *counts)


def packed_macs(prefixes: Sequence[MacPrefix]) -> bytes:
    """Return a client's MAC addresses, and how many; AgentError for too many."""
    if len(prefixes) > MACS_MAX:
        raise AgentError(f"at most {MACS_MAX} service MAC addresses or beginnings of them, not {len(prefixes)}")
    packed = b"".join(struct.pack("=2Q", prefix.address, prefix.mask) for prefix in prefixes)
    return packed.ljust(16 * MACS_MAX, b"\0") + struct.pack("=I", len(prefixes))


def whole(address: object) -> Network:
    """Return the network that is one address."""
    return ip_network(str(address))
