"""IP addresses as values."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

address4 = lru_cache(maxsize=4096)(IPv4Address)
address6 = lru_cache(maxsize=4096)(IPv6Address)
"""Addresses by their bytes. Half of those in packets are a VIP's, and making one costs more than parsing the rest of a
header."""
