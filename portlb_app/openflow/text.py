"""The text forms of values, as ovs-ofctl reads and writes them."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from portlb_app.openflow.fields import FIELDS, IN_PORT, LOCAL, Kind

PORTS = {IN_PORT: "in_port", LOCAL: "LOCAL"}
"""The names of reserved ports."""
_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")
_FRAG = {0: "no", 1: "first", 3: "later"}


def mac_text(value: int) -> str:
    """The usual colon form of a 48-bit MAC address."""
    return ":".join(f"{byte:02x}" for byte in value.to_bytes(6, "big"))


def mac_number(text: str) -> int:
    """The 48-bit number of a colon-separated MAC address; ValueError if it is none."""
    if not _MAC.fullmatch(text):
        raise ValueError(f"{text!r} is not a MAC address like 02:00:00:00:00:01")
    return int(text.replace(":", ""), 16)


def value_text(name: str, value: int) -> str:
    """The text of a field's value."""
    kind = FIELDS[name].kind
    if kind is Kind.MAC:
        return mac_text(value)
    if kind is Kind.IPV4:
        return str(IPv4Address(value))
    if kind is Kind.IPV6:
        return str(IPv6Address(value))
    if kind is Kind.HEX:
        return f"{value:#x}"
    if kind is Kind.FRAG:
        return _FRAG.get(value, str(value))
    if kind is Kind.PORT:
        return PORTS.get(value, str(value))
    return str(value)
