"""Actions that only Open vSwitch has, as bytes: `Resubmit`, `Conntrack`, `CopyToController`, `CheckLarger` and `Learn`.

The layouts are those of Open vSwitch's ``lib/ofp-actions.c`` (struct nx_action_resubmit, nx_action_conntrack,
nx_action_controller2, nx_action_check_pkt_larger), seen on the wire of version 3.1. `decode` reads only within the
bytes it is given, and accepts only what `encode` makes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from portlb_app.openflow import CheckLarger, Conntrack, CopyToController, Learn, Resubmit, learning

Extension = Resubmit | Conntrack | CopyToController | CheckLarger | Learn

EXPERIMENTER = 0xFFFF
_VENDOR = 0x00002320
_RESUBMIT_TABLE, _CONNTRACK_ACTION, _CONTROLLER2 = 14, 35, 37
_IN_PORT = 0xFFF8
_HEAD = struct.Struct("!HHIH")
_RESUBMIT = struct.Struct("!HB3x")
_CONNTRACK = struct.Struct("!HIHB3xH")
"""Flags, source of the zone (0: a constant), zone, table to go on in, algorithm."""
_COMMIT_AND_FORCE = 3
_NO_TABLE = 0xFF
_SET_MARK = struct.Struct("!HHII4x")
"""OFPAT_SET_FIELD (OpenFlow 1.5.1, 7.2.6.7), its length, the header of NXM_NX_CT_MARK, the mark."""
_SET_MARK_HEAD = (25, 16, 0x0001D604)
_CONTROLLER = struct.Struct("!6xHHI")
"""One property: type, length and value. The properties that are missing have the values we want (all bytes, reason
"action", controller 0)."""
_METER_PROPERTY = 5
_CHECK_LARGER = 49
_CHECK = struct.Struct("!HHI6x")
"""The size, the bit of the field that gets the result, and the field's header (NXM_NX_REG3, one bit)."""
_REG3 = 0x00010604


def encode(action: Extension) -> bytes:
    """The bytes of an action in a message, a multiple of 8."""
    if isinstance(action, Resubmit):
        return _HEAD.pack(EXPERIMENTER, 16, _VENDOR, _RESUBMIT_TABLE) + _RESUBMIT.pack(_IN_PORT, action.table)
    if isinstance(action, CheckLarger):
        body = _CHECK.pack(action.size, action.bit, _REG3)
        return _HEAD.pack(EXPERIMENTER, 24, _VENDOR, _CHECK_LARGER) + body
    if isinstance(action, CopyToController):
        body = _CONTROLLER.pack(_METER_PROPERTY, 8, action.meter)
        return _HEAD.pack(EXPERIMENTER, 24, _VENDOR, _CONTROLLER2) + body
    if isinstance(action, Learn):
        return learning.encode(action, EXPERIMENTER, _VENDOR)
    flags = 0 if action.mark is None else _COMMIT_AND_FORCE
    body = _CONNTRACK.pack(flags, 0, action.zone, _NO_TABLE if action.table is None else action.table, 0)
    if action.mark is not None:
        body += _SET_MARK.pack(*_SET_MARK_HEAD, action.mark)
    return _HEAD.pack(EXPERIMENTER, _HEAD.size + len(body), _VENDOR, _CONNTRACK_ACTION) + body


def decode(whole: bytes) -> Extension | None:
    """The action in these bytes, from type to padding; None if `encode` makes no such bytes."""
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


def _decode_conntrack(whole: bytes) -> Conntrack | None:
    at = _HEAD.size + _CONNTRACK.size
    if len(whole) not in (at, at + _SET_MARK.size):
        return None
    _, _, zone, table, _ = _CONNTRACK.unpack_from(whole, _HEAD.size)
    mark = _SET_MARK.unpack_from(whole, at)[3] if len(whole) > at else None
    return Conntrack(zone, None if table == _NO_TABLE else table, mark)


def _decode_controller(whole: bytes) -> CopyToController | None:
    return CopyToController(_CONTROLLER.unpack_from(whole, _HEAD.size)[2]) if len(whole) == 24 else None


def _decode_check(whole: bytes) -> CheckLarger | None:
    return CheckLarger(*_CHECK.unpack_from(whole, _HEAD.size)[:2]) if len(whole) == 24 else None


_DECODERS: Mapping[int, Callable[[bytes], Extension | None]] = {
    _RESUBMIT_TABLE: _decode_resubmit,
    _CONNTRACK_ACTION: _decode_conntrack,
    _CONTROLLER2: _decode_controller,
    _CHECK_LARGER: _decode_check,
    learning.SUBTYPE: learning.decode,
}
