"""Actions that only Open vSwitch has, as bytes: `Resubmit`, `Learn`, `Reassemble`, `CopyToController`, `CheckLarger`.

The layouts are those of Open vSwitch's ``lib/ofp-actions.c`` (struct nx_action_resubmit, nx_action_learn2,
nx_action_conntrack, nx_action_controller2, nx_action_check_pkt_larger) and ``include/openvswitch/ofp-actions.h`` (the
learn action's specifications), seen on the wire of version 3.1. What a switch says is read back only if it is exactly
what `encode` makes; the decoder walks within the bytes it was given.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from portlb_app.openflow import FIELDS, CheckLarger, CopyToController, Learn, Reassemble, Resubmit

EXPERIMENTER = 0xFFFF
_VENDOR = 0x00002320
_RESUBMIT_TABLE, _CONNTRACK_ACTION, _CONTROLLER2, _LEARN2 = 14, 35, 37, 45
_IN_PORT = 0xFFF8
_HEAD = struct.Struct("!HHIH")
_RESUBMIT = struct.Struct("!HB3x")
_CONNTRACK = struct.Struct("!HIHB3xH")
"""Flags, source of the zone (0: a constant), zone, table to go on in, algorithm."""
_CONTROLLER = struct.Struct("!6xHHI")
"""One property, its type, length and value; those that are left out have the values we want (all bytes, reason
"action", controller 0)."""
_METER_PROPERTY = 5
_CHECK_LARGER = 49
_CHECK = struct.Struct("!HHI6x")
"""The size, the first bit of the field that gets the answer, the field's header (NXM_NX_REG3, one bit)."""
_REG3 = 0x00010604
_LEARN = struct.Struct("!HHHQHBxHHI4x")
"""Idle and hard time-out, priority, cookie, flags, table, time-outs after a FIN, limit."""

_IMMEDIATE = 1 << 13
_MATCH, _LOAD, _OUTPUT = 0 << 11, 1 << 11, 2 << 11
_NXM = {
    "eth_dst": 0x00000206,
    "eth_src": 0x00000406,
    "eth_type": 0x00000602,
    "ip_proto": 0x00000C01,
    "ip_src": 0x00000E04,
    "ip_dst": 0x00001004,
    "tcp_src": 0x00001202,
    "tcp_dst": 0x00001402,
    "ipv6_src": 0x00012610,
    "ipv6_dst": 0x00012810,
    "reg1": 0x00010204,
}
"""Headers of the fields a learned flow may use, in the form Open vSwitch answers with."""
_NAMES = {header: name for name, header in _NXM.items()}


def encode(action: Resubmit | Learn | Reassemble | CopyToController | CheckLarger) -> bytes:
    """The action as it stands in a message, padded to 8 bytes; KeyError for a field no learned flow uses."""
    if isinstance(action, Resubmit):
        return _HEAD.pack(EXPERIMENTER, 16, _VENDOR, _RESUBMIT_TABLE) + _RESUBMIT.pack(_IN_PORT, action.table)
    if isinstance(action, CheckLarger):
        body = _CHECK.pack(action.size, action.bit, _REG3)
        return _HEAD.pack(EXPERIMENTER, 24, _VENDOR, _CHECK_LARGER) + body
    if isinstance(action, CopyToController):
        body = _CONTROLLER.pack(_METER_PROPERTY, 8, action.meter)
        return _HEAD.pack(EXPERIMENTER, 24, _VENDOR, _CONTROLLER2) + body
    if isinstance(action, Reassemble):
        body = _CONNTRACK.pack(0, 0, action.zone, action.table, 0)
        return _HEAD.pack(EXPERIMENTER, 24, _VENDOR, _CONNTRACK_ACTION) + body
    body = _LEARN.pack(
        action.idle,
        0,
        action.priority,
        action.cookie,
        0,
        action.table,
        action.fin_idle,
        0,
        action.limit,
    )
    for name, value in action.matches:
        body += _field(name, _MATCH) if value is None else _immediate(name, value, _MATCH)
    for name, value in action.writes:
        body += _immediate(name, value, _LOAD)
    body += struct.pack("!HIH", _OUTPUT | FIELDS[action.output].bits, _NXM[action.output], 0)
    length = _HEAD.size + len(body)
    padding = -length % 8
    return _HEAD.pack(EXPERIMENTER, length + padding, _VENDOR, _LEARN2) + body + bytes(padding)


def _field(name: str, kind: int) -> bytes:
    """The packet's own value of a field."""
    return struct.pack("!HIHIH", kind | FIELDS[name].bits, _NXM[name], 0, _NXM[name], 0)


def _immediate(name: str, value: int, kind: int) -> bytes:
    bits = FIELDS[name].bits
    size = (bits + 15) // 16 * 2
    return struct.pack("!H", _IMMEDIATE | kind | bits) + value.to_bytes(size, "big") + struct.pack("!IH", _NXM[name], 0)


def decode(whole: bytes) -> Resubmit | Learn | Reassemble | CopyToController | CheckLarger | None:
    """The action these bytes are, from their type to their padding; None if they are none that `encode` makes."""
    if len(whole) < _HEAD.size:
        return None
    kind, length, vendor, subtype = _HEAD.unpack_from(whole)
    if (kind, length, vendor) != (EXPERIMENTER, len(whole), _VENDOR):
        return None
    decoder = _DECODERS.get(subtype)
    found = decoder(whole) if decoder else None
    return found if found is not None and encode(found) == whole else None


def _decode_resubmit(whole: bytes) -> Resubmit | None:
    return Resubmit(_RESUBMIT.unpack_from(whole, _HEAD.size)[1]) if len(whole) == 16 else None


def _decode_conntrack(whole: bytes) -> Reassemble | None:
    if len(whole) != 24:
        return None
    _, _, zone, table, _ = _CONNTRACK.unpack_from(whole, _HEAD.size)
    return Reassemble(zone, table)


def _decode_controller(whole: bytes) -> CopyToController | None:
    return CopyToController(_CONTROLLER.unpack_from(whole, _HEAD.size)[2]) if len(whole) == 24 else None


def _decode_check(whole: bytes) -> CheckLarger | None:
    return CheckLarger(*_CHECK.unpack_from(whole, _HEAD.size)[:2]) if len(whole) == 24 else None


def _decode_learn(whole: bytes) -> Learn | None:
    offset = _HEAD.size + _LEARN.size
    if len(whole) < offset:
        return None
    idle, _, priority, cookie, _, table, fin_idle, _, limit = _LEARN.unpack_from(whole, _HEAD.size)
    matches: list[tuple[str, int | None]] = []
    writes: list[tuple[str, int]] = []
    output = None
    while offset + 2 <= len(whole):
        (head,) = struct.unpack_from("!H", whole, offset)
        if head == 0:
            break
        kind, immediate = head & 0x1800, bool(head & _IMMEDIATE)
        size = ((head & 0x7FF) + 15) // 16 * 2 if immediate else 6
        at_target = offset + 2 + (0 if kind == _OUTPUT else size)
        if at_target + 6 > len(whole) or offset + 2 + size > len(whole):
            return None
        (target,) = struct.unpack_from("!I", whole, at_target)
        name = _NAMES.get(target)
        if name is None or FIELDS[name].bits != head & 0x7FF:
            return None
        value = int.from_bytes(whole[offset + 2 : offset + 2 + size], "big")
        if kind == _OUTPUT:
            output = name
        elif kind == _LOAD and immediate:
            writes.append((name, value))
        elif kind == _MATCH:
            matches.append((name, value if immediate else None))
        else:
            return None
        offset = at_target + 6
    if output is None:
        return None
    return Learn(table, idle, fin_idle, priority, cookie, limit, tuple(matches), tuple(writes), output)


_DECODERS: Mapping[int, Callable[[bytes], Resubmit | Learn | Reassemble | CopyToController | CheckLarger | None]] = {
    _RESUBMIT_TABLE: _decode_resubmit,
    _CONNTRACK_ACTION: _decode_conntrack,
    _CONTROLLER2: _decode_controller,
    _CHECK_LARGER: _decode_check,
    _LEARN2: _decode_learn,
}
