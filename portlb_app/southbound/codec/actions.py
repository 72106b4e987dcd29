"""Lists of actions (7.2.6), as they stand in instructions, buckets and packet-outs."""

from __future__ import annotations

import struct
from functools import lru_cache

from ryu.ofproto import ofproto_v1_5 as ofp

from portlb_app import openflow
from portlb_app.openflow import (
    FIELDS,
    Action,
    CheckLarger,
    Conntrack,
    CopyField,
    CopyToController,
    Learn,
    Opaque,
    Output,
    PopVlan,
    Resubmit,
    SetField,
    SetQueue,
    ToController,
    ToGroup,
    ToMeter,
    nicira,
)
from portlb_app.southbound.codec.fields import encode_field, oxm, oxm_id
from portlb_app.southbound.codec.framing import REMEMBERED, pieces

_OUTPUT = struct.Struct("!HHIH6x")
_NUMBERED = struct.Struct("!HHI")
"""OFPAT_GROUP, OFPAT_METER and OFPAT_SET_QUEUE; OFPAT_POP_VLAN with 0."""
_COPY_FIELD = struct.Struct("!HHHHH2x4s4s4x")
"""Bits, first bits of the source and the target; the headers of both."""


@lru_cache(maxsize=4096)
def encode_actions(actions: tuple[Action, ...]) -> bytes:
    """A list of actions. ValueError for one that was read from a switch and means nothing to us."""
    return b"".join(map(_encode, actions))


def _encode(action: Action) -> bytes:
    match action:
        case Output(port):
            return _OUTPUT.pack(ofp.OFPAT_OUTPUT, _OUTPUT.size, port, 0)
        case ToController():
            return _OUTPUT.pack(ofp.OFPAT_OUTPUT, _OUTPUT.size, openflow.CONTROLLER, openflow.WHOLE_PACKET)
        case ToGroup(number):
            return _NUMBERED.pack(ofp.OFPAT_GROUP, _NUMBERED.size, number)
        case ToMeter(number):
            return _NUMBERED.pack(ofp.OFPAT_METER, _NUMBERED.size, number)
        case SetQueue(number):
            return _NUMBERED.pack(ofp.OFPAT_SET_QUEUE, _NUMBERED.size, number)
        case PopVlan():
            return _NUMBERED.pack(ofp.OFPAT_POP_VLAN, _NUMBERED.size, 0)
        case SetField(name, value):
            field = encode_field(name, value)
            padding = -(4 + len(field)) % 8
            return struct.pack("!HH", ofp.OFPAT_SET_FIELD, 4 + len(field) + padding) + field + bytes(padding)
        case CopyField(source, target):
            ends = oxm_id(source), oxm_id(target)
            return _COPY_FIELD.pack(ofp.OFPAT_COPY_FIELD, _COPY_FIELD.size, action.bits, 0, 0, *ends)
        case Resubmit() | Conntrack() | CopyToController() | CheckLarger() | Learn():
            return nicira.encode(action)
    raise ValueError(f"{action} cannot be sent to a switch")


def decode_actions(data: bytes) -> tuple[Action, ...]:
    """The actions of a list; one that is none of ours becomes `Opaque`. Malformed if their lengths do not fit it."""
    return _decode_short(data) if len(data) <= REMEMBERED else _decode_all(data)


def _decode_all(data: bytes) -> tuple[Action, ...]:
    return tuple(_decode(kind, whole) for kind, whole in pieces(data))


_decode_short = lru_cache(maxsize=4096)(_decode_all)


def _decode(kind: int, whole: bytes) -> Action:
    if kind == ofp.OFPAT_OUTPUT and len(whole) == _OUTPUT.size:
        port, bytes_up = struct.unpack_from("!IH", whole, 4)
        if port != openflow.CONTROLLER:
            return Output(port)
        return ToController() if bytes_up == openflow.WHOLE_PACKET else Opaque(whole.hex())
    if kind == ofp.OFPAT_METER and len(whole) == _NUMBERED.size:
        return ToMeter(int.from_bytes(whole[4:8], "big"))
    if kind == ofp.OFPAT_GROUP and len(whole) == _NUMBERED.size:
        return ToGroup(int.from_bytes(whole[4:8], "big"))
    if kind == ofp.OFPAT_POP_VLAN and whole[4:] == bytes(4):
        return PopVlan()
    if kind == ofp.OFPAT_SET_QUEUE and len(whole) == _NUMBERED.size:
        return SetQueue(int.from_bytes(whole[4:8], "big"))
    if kind == ofp.OFPAT_SET_FIELD and len(whole) >= 8:
        return _decode_set_field(whole)
    if kind == ofp.OFPAT_COPY_FIELD and len(whole) == _COPY_FIELD.size:
        return _decode_copy_field(whole)
    if kind == nicira.EXPERIMENTER and (found := nicira.decode(whole)):
        return found
    return Opaque(whole.hex())


def _decode_set_field(whole: bytes) -> Action:
    (header,) = struct.unpack_from("!I", whole, 4)
    field = oxm(header)
    if field is None or field.masked or len(whole) < 8 + field.bytes:
        return Opaque(whole.hex())
    return SetField(field.name, int.from_bytes(whole[8 : 8 + field.bytes], "big"))


def _decode_copy_field(whole: bytes) -> Action:
    bits, source_offset, target_offset, source, target = struct.unpack_from("!HHH2xII", whole, 4)
    names = [field.name for field in (oxm(source), oxm(target)) if field and FIELDS[field.name].bits >= bits]
    if len(names) != 2 or FIELDS[names[1]].bits != bits or source_offset or target_offset:
        return Opaque(whole.hex())
    return CopyField(*names)
