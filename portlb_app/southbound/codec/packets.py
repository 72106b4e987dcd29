"""Packet-ins (7.4.1) and packet-outs (7.3.6): one for each packet that a switch hands up."""

from __future__ import annotations

import struct

from ryu.ofproto import ofproto_v1_5 as ofp

from portlb_app.openflow import Action
from portlb_app.openflow.messages import LONGEST, PACKET_IN_HEAD, VERSION
from portlb_app.pipeline import SIDE, Side, parse_slot
from portlb_app.punt.packet import PacketIn
from portlb_app.southbound.codec.actions import encode_actions
from portlb_app.southbound.codec.fields import oxm_header

_IN_PORT = 0x8000 << 16 | 4
"""OXM_OF_IN_PORT."""
_XREG0 = 0x8001 << 16 | 8
"""OXM_OF_PKT_REG0 (7.2.3.11)."""
_PACKET_OUT = struct.Struct("!BBHIIHHHHII4x")
"""struct ofp_packet_out with its header, and a match on nothing but in_port (7.2.3.2)."""
_FROM_SIDE = struct.Struct("!BBHIIHHHHIIII4x")
"""The same, with the register that says which side the frame is from: Open vSwitch takes any register there."""
_SIDE = int.from_bytes(oxm_header(SIDE), "big")


def packet_out(in_port: int, actions: tuple[Action, ...], frame: bytes, side: Side | None = None) -> bytes:
    """The message that has the switch do `actions` with a frame that came in on `in_port`; it must fit (`fits`).

    `side`: the side of the load balancer that it is to be taken for. Nothing waits for an answer, so its xid is 0.
    """
    encoded = encode_actions(actions)
    head = _PACKET_OUT if side is None else _FROM_SIDE
    fields = (_IN_PORT, in_port) if side is None else (_IN_PORT, in_port, _SIDE, int(side))
    packed = head.pack(
        *(VERSION, ofp.OFPT_PACKET_OUT, head.size + len(encoded) + len(frame), 0),
        *(ofp.OFP_NO_BUFFER, len(encoded), 0),
        *(ofp.OFPMT_OXM, 4 + 4 * len(fields), *fields),
    )
    return packed + encoded + frame


def fits(actions: tuple[Action, ...], frame: bytes) -> bool:
    """Whether `packet_out` can say this: no message is longer than its 16 bits of length can tell."""
    return _FROM_SIDE.size + len(encode_actions(actions)) + len(frame) <= LONGEST


def packet_in_cookie(message: bytes) -> int:
    """The cookie of the flow that sent a packet-in message, 0 if it is cut off before. Nothing else is read."""
    return int.from_bytes(message[16:24], "big") if len(message) >= 24 else 0


def packet_in(message: bytes) -> PacketIn | None:
    """What a packet-in message (with its header) hands up; None if it is cut off, buffered, or names no port.

    The frame may be only the beginning of what the switch received. The slot of its pool is in the lower half of the
    first 64-bit packet register (7.2.3.11), reg1, which Open vSwitch sends if one half is not 0.
    """
    if len(message) < PACKET_IN_HEAD.size + 4:
        return None
    buffer, total, _, _, cookie = PACKET_IN_HEAD.unpack_from(message)
    at = PACKET_IN_HEAD.size
    (length,) = struct.unpack_from("!H", message, at + 2)
    start = at + -(-length // 8) * 8 + 2
    frame = message[start:]
    if buffer != ofp.OFP_NO_BUFFER or length < 4 or start > len(message) or total < len(frame):
        return None
    port, register = None, 0
    at, end = at + 4, at + length
    while at + 8 <= end:
        header, value = struct.unpack_from("!II", message, at)
        if header == _IN_PORT:
            port = value
        elif header == _XREG0 and at + 12 <= end:
            (register,) = struct.unpack_from("!I", message, at + 8)
        at += 4 + (header & 0xFF)
    return None if port is None else PacketIn(cookie, port, frame, parse_slot(register))
