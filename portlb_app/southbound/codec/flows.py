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
from portlb_app.reconcile.results import Amount, FlowCount, HandedBack
from portlb_app.southbound.codec.actions import decode_actions, encode_actions
from portlb_app.southbound.codec.fields import decode_match, encode_match
from portlb_app.southbound.codec.framing import pieces

_COMMANDS = {"add": ofp.OFPFC_ADD, "modify": ofp.OFPFC_ADD, "delete": ofp.OFPFC_DELETE_STRICT}
"""Added over itself a flow keeps its counters (6.4: no OFPFF_RESET_COUNTS), but not a time-out or a flag that it was
given by others; OFPFC_MODIFY_STRICT would leave those."""
_FLOW_MOD = struct.Struct("!QQBBHHHIIIHH")
"""What follows the header: cookie and mask, table, command, time-outs, priority, buffer, output port and group, flags,
importance; then the match, and the instructions."""
_PACKETS, _OCTETS = 0x8002 << 8 | 4 << 1, 0x8002 << 8 | 5 << 1
"""The first 24 bits of a statistic that counts packets, or bytes: OFPXSC_OPENFLOW_BASIC, OFPXST_OFB_PACKET_COUNT and
OFPXST_OFB_BYTE_COUNT."""
_DESCRIPTION = struct.Struct("!2x2xBxHHHHHQ")
"""Table, priority, idle and hard time-out, flags, importance, cookie; then the match, statistics and instructions."""


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
    data = entry.data
    try:
        table, priority, idle, hard, flags, importance, cookie = _DESCRIPTION.unpack_from(data)
        _, match_length = struct.unpack_from("!HH", data, 24)
        statistics = 24 + -(-match_length // 8) * 8
        _, statistics_length = struct.unpack_from("!HH", data, statistics)
    except struct.error:
        raise Malformed("a flow description is cut off") from None
    instructions = statistics + -(-statistics_length // 8) * 8
    if match_length < 4 or statistics_length < 4 or instructions > len(data):
        raise Malformed("a flow description's parts do not fit into it")
    actions = tuple(_decode_instructions(data[instructions:]))
    foreign = {"idle_timeout": idle, "hard_timeout": hard, "flags": flags, "importance": importance}
    actions = tuple(Opaque(f"{name}={value}") for name, value in foreign.items() if value) + actions
    return Flow(table, priority, decode_match(data[28 : 24 + match_length]), actions, cookie)


def is_learned(entry: RawEntry) -> bool:
    """Whether a flow is one that the switch has made by itself, and ends by itself (`compiler.tables.turns`)."""
    table, _, _, hard, _, _, cookie = _DESCRIPTION.unpack_from(entry.data)
    return table == pipeline.PRESENCE.number and hard > 0 and pipeline.parse_cookie(cookie)[0] is pipeline.Reason.TURNS


def amount_of(entry: RawEntry) -> Amount:
    """What the flow has had that one entry of a flow description reply describes (7.2.3.1); 0 where it is unknown.

    The entry is one that `decode_flow` has taken.
    """
    data = entry.data
    (match_length,) = struct.unpack_from("!H", data, 26)
    at = 24 + -(-match_length // 8) * 8
    (length,) = struct.unpack_from("!H", data, at + 2)
    at, end, packets, octets = at + 4, at + length, 0, 0
    while at + 4 <= end:
        header, size = int.from_bytes(data[at : at + 3], "big"), data[at + 3]
        if size == 8 and at + 12 <= end:
            if header == _PACKETS:
                packets = int.from_bytes(data[at + 4 : at + 12], "big")
            elif header == _OCTETS:
                octets = int.from_bytes(data[at + 4 : at + 12], "big")
        at += 4 + size
    return Amount(packets, octets)


def counted(flow: Flow, entry: RawEntry) -> FlowCount | None:
    """What a flow has had, if its packets may count for a server."""
    if flow.actions and pipeline.parse_cookie(flow.cookie)[0] in COUNTED:
        return FlowCount(flow, amount_of(entry))
    return None


def handed_back(flow: Flow, entry: RawEntry) -> HandedBack | None:
    """What a flow of FORMER has counted; None for any other flow."""
    reason, vip, port = pipeline.parse_cookie(flow.cookie)
    if flow.table != pipeline.FORMER.number or reason is not pipeline.Reason.HANDED_BACK:
        return None
    marks = [value for name, value, _ in flow.match if name == "eth_dst"]
    return HandedBack((vip, port, marks[0]), amount_of(entry).packets) if marks else None


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
