"""`Learn` as bytes: struct nx_action_learn of Open vSwitch's ``lib/ofp-actions.c``, seen on the wire of version 3.1.

Fields have the headers of Nicira's extended match there, whichever ones they were sent with. `decode` reads only within
the bytes it is given.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from portlb_app.openflow import FIELDS, Learn

SUBTYPE = 16
_HEAD = struct.Struct("!HHIH")
_BODY = struct.Struct("!HHHQHBBHH")
"""Time-outs (idle, hard), priority, cookie, flags, table, padding, time-outs after a FIN."""
_DESTINATION = struct.Struct("!IH")
"""The header of the field that is matched or written, and its first bit."""
_MATCH, _LOAD = 1 << 13, 1 << 13 | 1 << 11
"""A constant that is matched, and one that is written; the number of bits is in the same 16 bits."""
_BITS = (1 << 11) - 1
_HEADERS: Mapping[str, int] = {
    "eth_type": 0x00000602,
    "ip_proto": 0x00000C01,
    "ip_dst": 0x00001004,
    "ipv6_dst": 0x00012810,
    "tcp_dst": 0x00001402,
    "reg1": 0x00010204,
}
_NAMES = {header: name for name, header in _HEADERS.items()}


def encode(action: Learn, experimenter: int, vendor: int) -> bytes:
    """The bytes of an action in a message, a multiple of 8."""
    specs = b"".join(_spec(_MATCH, name, value) for name, value in action.fields)
    specs += _spec(_LOAD, action.target, action.value)
    body = _BODY.pack(0, action.seconds, action.priority, action.cookie, 0, action.table, 0, 0, 0) + specs
    length = _HEAD.size + len(body)
    padding = -length % 8
    return _HEAD.pack(experimenter, length + padding, vendor, SUBTYPE) + body + bytes(padding)


def decode(whole: bytes) -> Learn | None:
    """The action in these bytes, with its head; None if it matches or writes what `encode` does not."""
    at = _HEAD.size + _BODY.size
    if len(whole) < at:
        return None
    _, seconds, priority, cookie, _, table, _, _, _ = _BODY.unpack_from(whole, _HEAD.size)
    found: list[tuple[str, int]] = []
    loads: list[tuple[str, int]] = []
    while at + 2 <= len(whole) and (head := int.from_bytes(whole[at : at + 2], "big")):
        size = 2 * -(-(head & _BITS) // 16)
        if at + 2 + size + _DESTINATION.size > len(whole):
            return None
        value = int.from_bytes(whole[at + 2 : at + 2 + size], "big")
        name = _NAMES.get(_DESTINATION.unpack_from(whole, at + 2 + size)[0])
        if name is None or head & _BITS != FIELDS[name].bits or value >> FIELDS[name].bits:
            return None
        (found if head & ~_BITS == _MATCH else loads).append((name, value))
        at += 2 + size + _DESTINATION.size
    if len(loads) != 1:
        return None
    return Learn(table, seconds, priority, cookie, tuple(found), *loads[0])


def _spec(kind: int, name: str, value: int) -> bytes:
    bits = FIELDS[name].bits
    constant = value.to_bytes(2 * -(-bits // 16), "big")
    return struct.pack("!H", kind | bits) + constant + _DESTINATION.pack(_HEADERS[name], 0)
