"""Flows: flow-mods (7.3.4.3) and flow descriptions (7.3.5.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache

from ryu.ofproto import ofproto_v1_5 as ofp

from portlb_app import pipeline
from portlb_app.compiler.traffic import COUNTED
from portlb_app.openflow import Action, Flow, Goto, Opaque
from portlb_app.openflow.messages import Malformed, RawEntry
from portlb_app.reconcile.plan import Verb
from portlb_app.southbound.codec.actions import decode_actions, encode_actions
from portlb_app.southbound.codec.fields import encode_match
from portlb_app.southbound.codec.framing import REMEMBERED, pieces
from portlb_app.southbound.codec.match_layouts import MatchReader

_COMMANDS = {"add": ofp.OFPFC_ADD, "modify": ofp.OFPFC_ADD, "delete": ofp.OFPFC_DELETE_STRICT}
"""Added over itself a flow keeps its counters (6.4: no OFPFF_RESET_COUNTS), but not a time-out or a flag that it was
given by others; OFPFC_MODIFY_STRICT would leave those."""
_FLOW_MOD = struct.Struct("!QQBBHHHIIIHH")
"""What follows the header: cookie and mask, table, command, time-outs, priority, buffer, output port and group, flags,
importance; then the match, and the instructions."""
_PACKETS, _OCTETS = 0x8002 << 8 | 4 << 1, 0x8002 << 8 | 5 << 1
"""The first 24 bits of a statistic that counts packets, or bytes: OFPXSC_OPENFLOW_BASIC, OFPXST_OFB_PACKET_COUNT and
OFPXST_OFB_BYTE_COUNT."""
_CHANGING = frozenset({0x8002 << 8, 0x8002 << 8 | 1 << 1, _PACKETS, _OCTETS})
"""These, OFPXST_OFB_DURATION and OFPXST_OFB_IDLE_TIME."""
_USUAL = struct.Struct("!4xI8xI8xI8xI")
_USUAL_FIELDS, _USUAL_LENGTH = (0x80020008, 0x80020208, 0x80020808, 0x80020A08), 52
_USUAL_PLACES = (32, 44, (8, 20, 32, 44))
"""The statistics that Open vSwitch 3.1 tells of a flow: the headers of all, and their places."""
_DESCRIPTION = struct.Struct("!2x2xBxHHHHHQ2xH")
"""Table, priority, idle and hard time-out, flags, importance, cookie, bytes of the match without padding; then its
fields, statistics and instructions."""
_LENGTH = struct.Struct("!2xH")
_MATCHES = MatchReader()
_COUNTED = frozenset(pipeline.COOKIE >> 40 | reason for reason in COUNTED)


def flow_mod(verb: Verb, flow: Flow) -> bytes:
    """What follows the header of a flow-mod. A flow brings its cookie; one that is deleted must carry one of ours."""
    is_deleted = verb == "delete"
    body = _FLOW_MOD.pack(
        *((pipeline.COOKIE, pipeline.COOKIE_MASK) if is_deleted else (flow.cookie, 0)),
        *(flow.table, _COMMANDS[verb], 0, 0, flow.priority),
        *(ofp.OFP_NO_BUFFER, ofp.OFPP_ANY, ofp.OFPG_ANY, 0, 0),
    )
    return body + encode_match(flow.match) + (b"" if is_deleted else _encode_instructions(flow.actions))


@lru_cache(maxsize=65536)
def _encode_instructions(actions: tuple[Action, ...]) -> bytes:
    """Apply all actions but a last Goto; go there (7.2.5)."""
    applied = tuple(action for action in actions if not isinstance(action, Goto))
    data = b""
    if applied:
        encoded = encode_actions(applied)
        data = struct.pack("!HHI", ofp.OFPIT_APPLY_ACTIONS, 8 + len(encoded), 0) + encoded
    if actions and isinstance(actions[-1], Goto):
        data += struct.pack("!HHB3x", ofp.OFPIT_GOTO_TABLE, 8, actions[-1].table)
    return data


def decode_flow(entry: RawEntry) -> Flow:
    """The flow that one entry of a flow description reply describes; Malformed if it contradicts itself.

    A flow with a time-out or a flag is none of ours, so these are kept as an `Opaque` action.
    """
    return described(entry.data, 0, len(entry.data))[0]


def described(data: bytes, at: int, length: int) -> tuple[Flow, int, int]:
    """The flow in the entry that begins `at` a place in a message; where its statistics begin, and their length.

    Malformed if the entry contradicts itself.
    """
    try:
        table, priority, idle, hard, flags, importance, cookie, match_length = _DESCRIPTION.unpack_from(data, at)
        statistics = at + 24 + -(-match_length // 8) * 8
        (statistics_length,) = _LENGTH.unpack_from(data, statistics)
    except struct.error:
        raise Malformed("a flow description is cut off") from None
    instructions = statistics + -(-statistics_length // 8) * 8
    if match_length < 4 or statistics_length < 4 or instructions > at + length:
        raise Malformed("a flow description's parts do not fit into it")
    actions = _instructions(data[instructions : at + length])
    if idle or hard or flags or importance:
        foreign = {"idle_timeout": idle, "hard_timeout": hard, "flags": flags, "importance": importance}
        actions = (*(Opaque(f"{name}={value}") for name, value in foreign.items() if value), *actions)
    match = _MATCHES.read(data[at + 28 : at + 24 + match_length])
    return Flow(table, priority, match, actions, cookie), statistics, statistics_length


def counters_at(data: bytes, at: int, length: int) -> tuple[int | None, int | None, tuple[int, ...]]:
    """Where the packets and bytes are in statistics (7.2.3.1), counted from their beginning; None for one that is not
    there. Last, where all is that changes by itself: these, and how old a flow is and how long it had no packet."""
    if length == _USUAL_LENGTH and _USUAL.unpack_from(data, at) == _USUAL_FIELDS:
        return _USUAL_PLACES
    packets = octets = None
    changing, place = list[int](), 4
    while place + 4 <= length:
        header, size = int.from_bytes(data[at + place : at + place + 3], "big"), data[at + place + 3]
        if size == 8 and place + 12 <= length and header in _CHANGING:
            changing.append(place + 4)
            if header == _PACKETS:
                packets = place + 4
            elif header == _OCTETS:
                octets = place + 4
        place += 4 + size
    return packets, octets, tuple(changing)


def counts(flow: Flow) -> bool:
    """Whether a flow's packets may count for a server."""
    return bool(flow.actions) and flow.cookie >> 40 in _COUNTED


def hand_back_key(flow: Flow) -> tuple[int, int, int] | None:
    """The key of what a flow of FORMER counts; None for any other flow."""
    reason, vip, port = pipeline.parse_cookie(flow.cookie)
    if flow.table != pipeline.FORMER.number or reason is not pipeline.Reason.HANDED_BACK:
        return None
    marks = [value for name, value, _ in flow.match if name == "eth_dst"]
    return (vip, port, marks[0]) if marks else None


def _instructions(data: bytes) -> tuple[Action, ...]:
    return _decode_short(data) if len(data) <= REMEMBERED else tuple(_decode_instructions(data))


@lru_cache(maxsize=4096)
def _decode_short(data: bytes) -> tuple[Action, ...]:
    return tuple(_decode_instructions(data))


def _decode_instructions(data: bytes) -> Iterator[Action]:
    goto: list[Action] = []
    for kind, whole in pieces(data):
        if kind == ofp.OFPIT_APPLY_ACTIONS and len(whole) >= 8:
            yield from decode_actions(whole[8:])
        elif kind == ofp.OFPIT_GOTO_TABLE and len(whole) == 8:
            goto.append(Goto(whole[4]))
        else:
            yield Opaque(whole.hex())
    yield from goto
