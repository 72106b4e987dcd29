"""Between our values and OpenFlow 1.5 messages: the only place that knows both.

Out: a `Step` of a plan becomes a message of Ryu's classes, to be added to a bundle (a meter's: to be sent by itself).

In: flow, group and meter descriptions become `Flow`, `Group` and `Meter`, equal to what was sent. They are decoded here
from the bytes and not by Ryu, whose decoder of groups reads past the end of buckets and groups (it takes the next
bucket for a property of this one, and hangs if that is empty), whose decoder of meters hangs on a band of length 0, and
which loses a whole reply over one action it doesn't know. Packets that a switch hands up are read here too
(`packet_in`): at their rate Ryu's classes cost more than the decision. `messages` reads everything else.

Rules of the decoder: every length is checked before it is used, every loop consumes its input, and what we do not know
becomes `Opaque` (or an ``opaque`` match) with its bytes in hex. Only framing that contradicts itself is `Malformed`.
Numbers of sections are those of the OpenFlow switch specification 1.5.1; Open vSwitch's extensions are named as in
its ``include/openflow/nicira-ext.h`` and ``netronome-ext.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any, Literal

from ryu.lib import type_desc
from ryu.ofproto import ofproto_v1_5 as ofp
from ryu.ofproto import ofproto_v1_5_parser as parser
from ryu.ofproto import oxm_fields

from portlb_app import openflow, pipeline
from portlb_app.openflow import (
    FIELDS,
    Action,
    CheckLarger,
    Conntrack,
    CopyField,
    CopyToController,
    Flow,
    Goto,
    Group,
    Kind,
    Match,
    Meter,
    Opaque,
    Output,
    PopVlan,
    Resubmit,
    Selection,
    SetField,
    SetQueue,
    ToController,
    ToGroup,
    ToMeter,
    nicira,
)
from portlb_app.openflow.messages import LONGEST, PACKET_IN_HEAD, VERSION, ErrorMessage, Malformed, RawEntry
from portlb_app.pipeline import row_told
from portlb_app.punt.handlers import Punted
from portlb_app.reconcile.plan import Step

BUNDLE_FLAGS = ofp.OFPBF_ATOMIC | ofp.OFPBF_ORDERED

_RYU_NAMES = {
    "ip_src": "ipv4_src",
    "ip_dst": "ipv4_dst",
    "icmp_type": "icmpv4_type",
    "ipv6_label": "ipv6_flabel",
    "nd_target": "ipv6_nd_target",
    "nd_sll": "ipv6_nd_sll",
    "nd_tll": "ipv6_nd_tll",
}
"""Where Ryu's name of a field is not ovs-fields(7)'s."""


def ryu_name(name: str) -> str:
    """What Ryu calls a field."""
    return _RYU_NAMES.get(name, name)


class _Ericsson(oxm_fields._OxmClass):  # type: ignore[misc]
    """Fields of neighbour discovery (RFC 4861) beyond OpenFlow's: Open vSwitch's ERICOXM_OF (ovs-fields(7))."""

    _class = 0x1000


class _Nicira(oxm_fields._OxmClass):  # type: ignore[misc]
    """Fields of IP beyond OpenFlow's: Open vSwitch's NXM_NX (ovs-fields(7))."""

    _class = 0x0001


def _teach_ryu() -> None:
    """Give Ryu's tables of match fields those of ours it does not know."""
    if not any(isinstance(field, _Ericsson) for field in ofp.oxm_types):
        ofp.oxm_types += [
            _Ericsson("nd_reserved", 1, type_desc.Int4),
            _Ericsson("nd_options_type", 2, type_desc.Int1),
            _Nicira("nw_ttl", 29, type_desc.Int1),
        ]
        oxm_fields.generate(ofp.__name__)


_teach_ryu()


@dataclass(frozen=True)
class _Oxm:
    """One header of an OXM field (7.2.3.2): which field of ours it announces, and how many bytes follow."""

    name: str
    masked: bool
    bytes: int


def _oxm_headers() -> dict[int, _Oxm]:
    headers = {}
    for name in FIELDS:
        number, kind = ofp.oxm_get_field_info_by_name(ryu_name(name))
        headers[number << 9 | kind.size] = _Oxm(name, False, kind.size)
        headers[number << 9 | 1 << 8 | kind.size * 2] = _Oxm(name, True, kind.size)
    return headers


_OXM = _oxm_headers()

_IN_PORT = 0x8000 << 16 | 4
"""OXM_OF_IN_PORT."""
_XREG0 = 0x8001 << 16 | 8
_XREGS_MASKED = {0x8001 << 16 | number << 9 | 1 << 8 | 16: number for number in (0, 1)}
"""Open vSwitch answers a match on reg0 or reg1 as the upper or lower half of OpenFlow's 64-bit packet register 0
(7.2.3.11), masked; on reg2 and reg3 as those of packet register 1."""


def _reg_masked(number: int) -> int:
    """NXM_NX_REG_W, which is what we send."""
    return 0x0001 << 16 | number << 9 | 1 << 8 | 8


# ---- values to messages ----------------------------------------------------------------------------------------------


def _ryu_value(name: str, value: int) -> int | str:
    kind = FIELDS[name].kind
    if kind is Kind.MAC:
        return openflow.mac_text(value)
    if kind is Kind.IPV4:
        return ".".join(map(str, value.to_bytes(4, "big")))
    if kind is Kind.IPV6:
        return str(IPv6Address(value))
    return value


def _ryu_match(match: Match) -> Any:
    fields: list[tuple[str, Any]] = [
        (
            ryu_name(name),
            _ryu_value(name, value) if mask is None else (_ryu_value(name, value), _ryu_value(name, mask)),
        )
        for name, value, mask in match
    ]
    if match.opaque:
        return _OpaqueMatch(fields, bytes.fromhex(match.opaque))
    return parser.OFPMatch(_ordered_fields=fields)


class _OpaqueMatch(parser.OFPMatch):  # type: ignore[misc]
    """A match with fields that were read from a switch and neither we nor Ryu know; needed to delete such a flow."""

    def __init__(self, fields: list[tuple[str, Any]], opaque: bytes) -> None:
        super().__init__(_ordered_fields=fields)
        self._opaque = opaque

    def serialize(self, buf: bytearray, offset: int) -> int:
        """Append the match to a message, padded to 8 bytes; its length is returned."""
        body = bytearray()
        for name, value in self._fields2:
            number, value, mask = ofp.oxm_from_user(name, value)
            ofp.oxm_serialize(number, value, mask, body, len(body))
        body += self._opaque
        self.length = 4 + len(body)
        buf[offset:] = struct.pack("!HH", ofp.OFPMT_OXM, self.length) + body + bytes(-self.length % 8)
        return len(buf) - offset


class _Raw(parser.OFPAction):  # type: ignore[misc]
    """An action as bytes."""

    cls_action_type = nicira.EXPERIMENTER
    cls_action_len = 0

    def __init__(self, whole: bytes) -> None:
        super().__init__()
        self.whole, self.len = whole, len(whole)

    def serialize(self, buf: bytearray, offset: int) -> None:
        """Put it into a message, whose bytes up to `offset` may not be there yet."""
        buf.extend(bytes(max(0, offset - len(buf))))
        buf[offset:] = self.whole


@lru_cache(maxsize=4096)
def _ryu_action(action: Action) -> Any:
    match action:
        case Output(port):
            return parser.OFPActionOutput(port, 0)
        case ToGroup(number):
            return parser.OFPActionGroup(number)
        case ToMeter(number):
            return parser.OFPActionMeter(number)
        case PopVlan():
            return parser.OFPActionPopVlan()
        case SetQueue(number):
            return parser.OFPActionSetQueue(number)
        case ToController():
            return parser.OFPActionOutput(openflow.CONTROLLER, openflow.WHOLE_PACKET)
        case SetField(name, value):
            return parser.OFPActionSetField(**{ryu_name(name): _ryu_value(name, value)})
        case Resubmit() | Conntrack() | CopyToController() | CheckLarger():
            return _Raw(nicira.encode(action))
        case CopyField(source, target):
            oxm_ids = [parser.OFPOxmId(ryu_name(name)) for name in (source, target)]
            return parser.OFPActionCopyField(n_bits=action.bits, oxm_ids=oxm_ids)
    raise ValueError(f"{action} cannot be sent to a switch")


def _ryu_instructions(actions: tuple[Action, ...]) -> list[Any]:
    instructions = []
    applied = [_ryu_action(action) for action in actions if not isinstance(action, Goto)]
    if applied:
        instructions.append(parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, applied))
    if actions and isinstance(actions[-1], Goto):
        instructions.append(parser.OFPInstructionGotoTable(actions[-1].table))
    return instructions


_FLOW_COMMANDS = {"add": ofp.OFPFC_ADD, "modify": ofp.OFPFC_ADD, "delete": ofp.OFPFC_DELETE_STRICT}
"""Added over itself a flow keeps its counters (6.4: no OFPFF_RESET_COUNTS), but not a time-out or a flag that somebody
gave it; OFPFC_MODIFY_STRICT would leave those."""
_GROUP_COMMANDS = {"add": ofp.OFPGC_ADD, "modify": ofp.OFPGC_MODIFY, "delete": ofp.OFPGC_DELETE}
_GROUP_TYPES = {"all": ofp.OFPGT_ALL, "select": ofp.OFPGT_SELECT}


def _flow_mod(datapath: Any, verb: str, flow: Flow) -> Any:
    """A flow brings its cookie; one that is deleted must carry a cookie of ours."""
    deleting = verb == "delete"
    return parser.OFPFlowMod(
        datapath,
        cookie=pipeline.COOKIE if deleting else flow.cookie,
        cookie_mask=pipeline.COOKIE_MASK if deleting else 0,
        table_id=flow.table,
        command=_FLOW_COMMANDS[verb],
        priority=flow.priority,
        out_port=ofp.OFPP_ANY,
        out_group=ofp.OFPG_ANY,
        match=_ryu_match(flow.match),
        instructions=[] if deleting else _ryu_instructions(flow.actions),
    )


_NETRONOME = 0x154D
_SELECTION_METHOD = 1
_SELECTION = struct.Struct("!4x16sQ")
"""struct ntr_group_prop_selection_method after its experimenter header; hash fields would follow."""


def _ryu_selection(selection: Selection) -> Any:
    packed = _SELECTION.pack(selection.method.encode(), selection.parameter)
    return parser.OFPGroupPropExperimenter(
        type_=ofp.OFPGPT_EXPERIMENTER,
        experimenter=_NETRONOME,
        exp_type=_SELECTION_METHOD,
        data=list(struct.unpack(f"!{len(packed) // 4}I", packed)),
    )


def _group_mod(datapath: Any, verb: str, group: Group) -> Any:
    if verb == "delete":
        return parser.OFPGroupMod(datapath, command=ofp.OFPGC_DELETE, group_id=group.number)
    weight = [parser.OFPGroupBucketPropWeight(type_=ofp.OFPGBPT_WEIGHT, weight=1)] if group.type == "select" else []
    return parser.OFPGroupMod(
        datapath,
        command=_GROUP_COMMANDS[verb],
        type_=_GROUP_TYPES[group.type],
        group_id=group.number,
        buckets=[
            parser.OFPBucket(number, [_ryu_action(action) for action in actions], weight)
            for number, actions in enumerate(group.buckets)
        ],
        properties=[_ryu_selection(group.selection)] if group.selection else [],
    )


_METER_COMMANDS = {"add": ofp.OFPMC_ADD, "modify": ofp.OFPMC_MODIFY, "delete": ofp.OFPMC_DELETE}
_METER_FLAGS: dict[Literal["pktps", "kbps"], int] = {
    "pktps": ofp.OFPMF_PKTPS | ofp.OFPMF_BURST | ofp.OFPMF_STATS,
    "kbps": ofp.OFPMF_KBPS | ofp.OFPMF_BURST | ofp.OFPMF_STATS,
}
_METER_UNITS = {flags: unit for unit, flags in _METER_FLAGS.items()}


def _meter_mod(datapath: Any, verb: str, meter: Meter) -> Any:
    bands = [] if verb == "delete" else [parser.OFPMeterBandDrop(meter.rate, meter.burst)]
    return parser.OFPMeterMod(datapath, _METER_COMMANDS[verb], _METER_FLAGS[meter.unit], meter.number, bands)


def message(datapath: Any, step: Step) -> Any:
    """The flow-mod, group-mod or meter-mod that does a step. Its xid is left unset, as a bundle needs it.

    ValueError for a value that was read from a switch and means nothing to us (nobody plans one).
    """
    match step.what:
        case Flow() as flow:
            return _flow_mod(datapath, step.verb, flow)
        case Group() as group:
            return _group_mod(datapath, step.verb, group)
        case Meter() as meter:
            return _meter_mod(datapath, step.verb, meter)


def bundle_control(datapath: Any, bundle: int, request: int) -> Any:
    """Open, close, commit or discard (``OFPBCT_*_REQUEST``) an atomic, ordered bundle."""
    return parser.OFPBundleCtrlMsg(datapath, bundle, request, BUNDLE_FLAGS, [])


def flows_request(datapath: Any) -> Any:
    """Ask for all flows that carry our cookie."""
    return parser.OFPFlowDescStatsRequest(datapath, cookie=pipeline.COOKIE, cookie_mask=pipeline.COOKIE_MASK)


def groups_request(datapath: Any) -> Any:
    """Ask for all groups; OpenFlow cannot ask for ours alone."""
    return parser.OFPGroupDescStatsRequest(datapath)


def meters_request(datapath: Any) -> Any:
    """Ask for all meters; OpenFlow cannot ask for ours alone."""
    return parser.OFPMeterDescStatsRequest(datapath)


def meter_stats_request(datapath: Any) -> Any:
    """Ask what meters have counted; OpenFlow cannot ask for ours alone."""
    return parser.OFPMeterStatsRequest(datapath)


_PACKET_OUT = struct.Struct("!BBHIIHHHHII4x")
"""struct ofp_packet_out (7.3.6) with its header, and a match on nothing but in_port (7.2.3.2)."""


def packet_out(in_port: int, actions: tuple[Action, ...], frame: bytes) -> bytes:
    """The message that has the switch do `actions` with a frame that came in on `in_port`; it must fit (`fits`).

    Made from the bytes, because it is made once per packet; nobody waits for an answer to it, so its xid is 0.
    """
    done = actions_bytes(actions)
    length = _PACKET_OUT.size + len(done) + len(frame)
    head = _PACKET_OUT.pack(
        *(VERSION, ofp.OFPT_PACKET_OUT, length, 0),
        *(ofp.OFP_NO_BUFFER, len(done), 0),
        *(ofp.OFPMT_OXM, 12, _IN_PORT, in_port),
    )
    return head + done + frame


def fits(actions: tuple[Action, ...], frame: bytes) -> bool:
    """Whether `packet_out` can say this: no message is longer than its 16 bits of length can tell."""
    return _PACKET_OUT.size + len(actions_bytes(actions)) + len(frame) <= LONGEST


@lru_cache(maxsize=4096)
def actions_bytes(actions: tuple[Action, ...]) -> bytes:
    """A list of actions (7.2.6)."""
    data = bytearray()
    for action in actions:
        _ryu_action(action).serialize(data, len(data))
    return bytes(data)


# ---- messages to values ----------------------------------------------------------------------------------------------


def _pieces(data: bytes, align: int = 1) -> Iterator[tuple[int, bytes]]:
    """(type, whole piece) of a row of pieces that begin with type and length, 16 bits each, padded to `align`."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < 4:
            raise Malformed(f"{len(data) - offset} bytes are left over")
        kind, length = struct.unpack_from("!HH", data, offset)
        if not 4 <= length <= len(data) - offset:
            raise Malformed(f"a piece of type {kind:#x} says it has {length} bytes of {len(data) - offset}")
        yield kind, data[offset : offset + length]
        offset += -(-length // align) * align


def _oxm_fields(data: bytes) -> Iterator[tuple[bytes, _Oxm | None, int, int | None]]:
    """(bytes, what it is, value, mask) of each OXM field; None for a field that is not ours."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < 4:
            raise Malformed(f"{len(data) - offset} bytes are left over after the match fields")
        (header,) = struct.unpack_from("!I", data, offset)
        end = offset + 4 + (header & 0xFF)
        if end > len(data):
            raise Malformed(f"match field {header:#x} is cut off")
        whole, body = data[offset:end], data[offset + 4 : end]
        if (number := _XREGS_MASKED.get(header)) is not None:
            if body[4:8] == body[12:16] == bytes(4):
                header, body = _reg_masked(2 * number), body[:4] + body[8:12]
            elif body[:4] == body[8:12] == bytes(4):
                header, body = _reg_masked(2 * number + 1), body[4:8] + body[12:16]
        oxm = _OXM.get(header)
        if oxm is None:
            yield whole, None, 0, None
        else:
            value = int.from_bytes(body[: oxm.bytes], "big")
            yield whole, oxm, value, int.from_bytes(body[oxm.bytes :], "big") if oxm.masked else None
        offset = end


@lru_cache(maxsize=4096)
def _decode_match(data: bytes) -> Match:
    fields: dict[str, int | tuple[int, int]] = {}
    opaque = b""
    for whole, oxm, value, mask in _oxm_fields(data):
        if oxm is None or oxm.name in fields:
            opaque += whole
            continue
        fields[oxm.name] = value if mask is None else (value, mask)
    try:
        return replace(openflow.match(**fields), opaque=opaque.hex())
    except ValueError:
        return Match(opaque=data.hex())


def _decode_set_field(whole: bytes) -> Action:
    (header,) = struct.unpack_from("!I", whole, 4)
    oxm = _OXM.get(header)
    if oxm is None or oxm.masked or len(whole) < 8 + oxm.bytes:
        return Opaque(whole.hex())
    return SetField(oxm.name, int.from_bytes(whole[8 : 8 + oxm.bytes], "big"))


def _decode_copy_field(whole: bytes) -> Action:
    bits, source_offset, target_offset, source, target = struct.unpack_from("!HHH2xII", whole, 4)
    names = [oxm.name for oxm in (_OXM.get(source), _OXM.get(target)) if oxm and FIELDS[oxm.name].bits >= bits]
    if len(names) != 2 or FIELDS[names[1]].bits != bits or source_offset or target_offset:
        return Opaque(whole.hex())
    return CopyField(*names)


def _decode_action(kind: int, whole: bytes) -> Action:
    if kind == ofp.OFPAT_OUTPUT and len(whole) == 16:
        port, bytes_up = struct.unpack_from("!IH", whole, 4)
        if port != openflow.CONTROLLER:
            return Output(port)
        return ToController() if bytes_up == openflow.WHOLE_PACKET else Opaque(whole.hex())
    if kind == ofp.OFPAT_METER and len(whole) == 8:
        return ToMeter(int.from_bytes(whole[4:8], "big"))
    if kind == ofp.OFPAT_GROUP and len(whole) == 8:
        return ToGroup(int.from_bytes(whole[4:8], "big"))
    if kind == ofp.OFPAT_POP_VLAN and whole[4:] == bytes(4):
        return PopVlan()
    if kind == ofp.OFPAT_SET_QUEUE and len(whole) == 8:
        return SetQueue(int.from_bytes(whole[4:8], "big"))
    if kind == ofp.OFPAT_SET_FIELD and len(whole) >= 8:
        return _decode_set_field(whole)
    if kind == ofp.OFPAT_COPY_FIELD and len(whole) == 24:
        return _decode_copy_field(whole)
    if kind == nicira.EXPERIMENTER and (found := nicira.decode(whole)):
        return found
    return Opaque(whole.hex())


@lru_cache(maxsize=4096)
def _decode_actions(data: bytes) -> tuple[Action, ...]:
    return tuple(_decode_action(kind, whole) for kind, whole in _pieces(data))


def _decode_instructions(data: bytes) -> Iterator[Action]:
    goto: list[Action] = []
    for kind, whole in _pieces(data):
        if kind == ofp.OFPIT_APPLY_ACTIONS and len(whole) >= 8:
            yield from _decode_actions(whole[8:])
        elif kind == ofp.OFPIT_GOTO_TABLE and len(whole) == 8:
            goto.append(Goto(whole[4]))
        else:
            yield Opaque(whole.hex())
    yield from goto


_FLOW_DESCRIPTION = struct.Struct("!2x2xBxHHHHHQ")


def decode_flow(entry: RawEntry) -> Flow:
    """The flow that one entry of a flow description reply describes (7.3.5.2); Malformed if it contradicts itself.

    A flow with a time-out or a flag is none of ours, so these are kept as an `Opaque` action.
    """
    data = entry.data
    try:
        table, priority, idle, hard, flags, importance, cookie = _FLOW_DESCRIPTION.unpack_from(data)
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
    return Flow(table, priority, _decode_match(data[28 : 24 + match_length]), actions, cookie)


def _decode_bucket(number: int, weight: int, data: bytes) -> tuple[Action, ...]:
    """The actions of a bucket; what distinguishes it from a bucket of ours precedes them as `Opaque`."""
    length, actions_length, bucket_id = struct.unpack_from("!HHI", data)
    if 8 + actions_length > length:
        raise Malformed(f"bucket {bucket_id} is shorter than its actions")
    actions = _decode_actions(data[8 : 8 + actions_length])
    foreign = [] if bucket_id == number else [Opaque(f"bucket_id:{bucket_id}")]
    for kind, whole in _pieces(data[8 + actions_length :], align=8):
        if kind == ofp.OFPGBPT_WEIGHT and len(whole) == 8:
            (read,) = struct.unpack_from("!H", whole, 4)
            weight -= read
        else:
            foreign.append(Opaque(whole.hex()))
    if weight:
        foreign.append(Opaque("weight"))
    return (*foreign, *actions)


def _bucket_bytes(data: bytes) -> Iterator[bytes]:
    while data:
        if len(data) < 8:
            raise Malformed("a bucket is cut off")
        length = int.from_bytes(data[:2], "big")
        if not 8 <= length <= len(data):
            raise Malformed(f"a bucket says it has {length} bytes of {len(data)}")
        yield data[:length]
        data = data[length:]


def _decode_selection(whole: bytes) -> Selection | None:
    if len(whole) != 12 + _SELECTION.size or struct.unpack_from("!II", whole, 4) != (_NETRONOME, _SELECTION_METHOD):
        return None
    method, parameter = _SELECTION.unpack_from(whole, 12)
    return Selection(method.rstrip(b"\0").decode("ascii", "replace"), parameter)


def decode_group(entry: RawEntry) -> Group:
    """The group that one entry of a group description reply describes (7.3.5.10); Malformed if it contradicts itself.

    A type or a property that is none of ours becomes a first bucket with an `Opaque` action.
    """
    data = entry.data
    if len(data) < 16:
        raise Malformed("a group description is cut off")
    kind, number, buckets_length = struct.unpack_from("!2xBxIH", data)
    if 16 + buckets_length > len(data):
        raise Malformed(f"the buckets of group {number} do not fit into it")
    weight = int(kind == ofp.OFPGT_SELECT)
    buckets = [
        _decode_bucket(position, weight, bucket)
        for position, bucket in enumerate(_bucket_bytes(data[16 : 16 + buckets_length]))
    ]
    foreign = [] if kind in (ofp.OFPGT_SELECT, ofp.OFPGT_ALL) else [Opaque(f"type={kind}")]
    selection = None
    for _, whole in _pieces(data[16 + buckets_length :], align=8):
        if selection is None and (selection := _decode_selection(whole)):
            continue
        foreign.append(Opaque(whole.hex()))
    if foreign:
        buckets.insert(0, tuple(foreign))
    return Group(number, "select" if weight else "all", tuple(buckets), selection)


# ---- errors ----------------------------------------------------------------------------------------------------------

_REMEDIES = {
    "OFPFMFC_TABLE_FULL": "the table is full: raise its Flow_Table flow_limit, or remove other flows from it",
    "OFPFMFC_EPERM": "the table refuses this change: see the switch's Flow_Table and controller role",
    "OFPMMFC_OUT_OF_METERS": "the switch has no room for another meter",
    "OFPGMFC_OUT_OF_GROUPS": "the switch has no room for another group",
    "OFPGMFC_OUT_OF_BUCKETS": "the switch has no room for that many buckets",
    "OFPBRC_EPERM": "this controller may not change the switch: another one is master",
    "OFPBRC_IS_SLAVE": "this controller may not change the switch: another one is master",
    "OFPBRC_BAD_TYPE": "the switch does not know bundles: it must speak OpenFlow 1.5",
    "OFPBFC_OUT_OF_BUNDLES": "the switch has too many open bundles",
    "OFPBFC_TIMEOUT": "the switch gave up waiting: raise other_config:bundle-idle-timeout",
}
"""What to do where it is plain, by the name of the code (7.5.4)."""


def error_name(error: ErrorMessage) -> str:
    """An error message's type and code as the specification names them, and what to do where that is plain."""
    if error.type == ofp.OFPET_EXPERIMENTER:
        return f"experimenter error {error.experimenter:#x}/{error.code}"
    kind = ofp.ofp_error_type_to_str(error.type)
    code = ofp.ofp_error_code_to_str(error.type, error.code)
    remedy = _REMEDIES.get(code.partition("(")[0])
    return f"{kind} {code}" + (f": {remedy}" if remedy else "")


def our_groups(entries: Iterable[RawEntry]) -> Iterator[Group]:
    """The groups of a reply that are ours."""
    for entry in entries:
        if len(entry.data) >= 8 and pipeline.is_our_group(int.from_bytes(entry.data[4:8], "big")):
            yield decode_group(entry)


_METER_DESCRIPTION = struct.Struct("!2xHI")
_DROP_BAND = struct.Struct("!HHII4x")


def decode_meter(entry: RawEntry) -> Meter:
    """The meter that one entry of a meter description reply describes (7.3.5.14); Malformed if it is cut off.

    A flag or a band that is none of ours is kept in ``opaque``.
    """
    data = entry.data
    if len(data) < _METER_DESCRIPTION.size:
        raise Malformed("a meter description is cut off")
    flags, number = _METER_DESCRIPTION.unpack_from(data)
    bands = data[_METER_DESCRIPTION.size :]
    if flags in _METER_UNITS and len(bands) == _DROP_BAND.size:
        kind, length, rate, burst = _DROP_BAND.unpack(bands)
        if (kind, length) == (ofp.OFPMBT_DROP, _DROP_BAND.size):
            return Meter(number, rate, burst, _METER_UNITS[flags])
    return Meter(number, 0, 0, opaque=data[2:4].hex() + bands.hex())


def our_meters(entries: Iterable[RawEntry]) -> Iterator[Meter]:
    """The meters of a reply that are ours."""
    for entry in entries:
        if len(entry.data) >= 8 and pipeline.is_our_meter(int.from_bytes(entry.data[4:8], "big")):
            yield decode_meter(entry)


_METER_STATISTICS = struct.Struct("!IH10xQ16xQ8x")
"""struct ofp_meter_stats: how many packets came to it; and of its bands the first: how many packets it dropped."""


def our_metered(entries: Iterable[RawEntry]) -> Iterator[tuple[int, int]]:
    """(number, packets dropped) of the meters of a reply that are ours and have a band.

    Of the meter of what is too large, all that came: what passes it is dropped as well.
    """
    for entry in entries:
        if len(entry.data) >= _METER_STATISTICS.size:
            number, _, came, dropped = _METER_STATISTICS.unpack_from(entry.data)
            if pipeline.is_our_meter(number):
                yield number, came if number == pipeline.TOO_LARGE_METER.number else dropped


# ---- packets a switch hands up ---------------------------------------------------------------------------------------


def packet_in_cookie(message: bytes) -> int:
    """The cookie of the flow that sent a packet-in message, 0 if it is cut off before; for who won't read the rest."""
    return int.from_bytes(message[16:24], "big") if len(message) >= 24 else 0


def packet_in(message: bytes) -> Punted | None:
    """What a packet-in message (with its header) hands up; None if it is cut off, buffered, or names no port.

    The frame may be the beginning only of what the switch received.

    Its row is in the lower half of the first 64-bit packet register (7.2.3.11), reg1, which Open vSwitch tells if one
    half is not 0.
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
    return None if port is None else Punted(cookie, port, frame, row_told(register))
