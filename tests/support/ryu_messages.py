"""Steps of a plan as messages of Ryu's classes: what `portlb_app.southbound.codec` is compared with."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any, Literal

from ryu.lib import type_desc
from ryu.ofproto import ofproto_v1_5 as ofp
from ryu.ofproto import ofproto_v1_5_parser as parser
from ryu.ofproto import oxm_fields
from ryu.ofproto.ofproto_protocol import ProtocolDesc

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
    Learn,
    Match,
    Meter,
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
from portlb_app.openflow.messages import VERSION
from portlb_app.reconcile.plan import Step

_PROTOCOL = ProtocolDesc(VERSION)
"""What Ryu's classes of messages want to know in place of a connection."""
_BUNDLE_FLAGS = ofp.OFPBF_ATOMIC | ofp.OFPBF_ORDERED

_RYU_NAMES = {
    "ip_src": "ipv4_src",
    "ip_dst": "ipv4_dst",
    "icmp_type": "icmpv4_type",
    "ipv6_label": "ipv6_flabel",
    "nd_target": "ipv6_nd_target",
    "nd_sll": "ipv6_nd_sll",
    "nd_tll": "ipv6_nd_tll",
}
"""Where Ryu's name of a field is not that of ovs-fields(7)."""


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
        case Resubmit() | Conntrack() | CopyToController() | CheckLarger() | Learn():
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


def _flow_mod(verb: str, flow: Flow) -> Any:
    """A flow brings its cookie; one that is deleted must carry a cookie of ours."""
    deleting = verb == "delete"
    return parser.OFPFlowMod(
        _PROTOCOL,
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


def _ryu_watch(port: int) -> list[Any]:
    return [parser.OFPGroupBucketPropWatch(type_=ofp.OFPGBPT_WATCH_PORT, watch=port)] if port else []


def _group_mod(verb: str, group: Group) -> Any:
    if verb == "delete":
        return parser.OFPGroupMod(_PROTOCOL, command=ofp.OFPGC_DELETE, group_id=group.number)
    weight = [parser.OFPGroupBucketPropWeight(type_=ofp.OFPGBPT_WEIGHT, weight=1)] if group.type == "select" else []
    watched = group.watched or (0,) * len(group.buckets)
    return parser.OFPGroupMod(
        _PROTOCOL,
        command=_GROUP_COMMANDS[verb],
        type_=_GROUP_TYPES[group.type],
        group_id=group.number,
        buckets=[
            parser.OFPBucket(number, [_ryu_action(action) for action in actions], [*weight, *_ryu_watch(port)])
            for number, (actions, port) in enumerate(zip(group.buckets, watched, strict=True))
        ],
        properties=[_ryu_selection(group.selection)] if group.selection else [],
    )


_METER_COMMANDS = {"add": ofp.OFPMC_ADD, "modify": ofp.OFPMC_MODIFY, "delete": ofp.OFPMC_DELETE}
_METER_FLAGS: dict[Literal["pktps", "kbps"], int] = {
    "pktps": ofp.OFPMF_PKTPS | ofp.OFPMF_BURST | ofp.OFPMF_STATS,
    "kbps": ofp.OFPMF_KBPS | ofp.OFPMF_BURST | ofp.OFPMF_STATS,
}


def _meter_mod(verb: str, meter: Meter) -> Any:
    bands = [] if verb == "delete" else [parser.OFPMeterBandDrop(meter.rate, meter.burst)]
    return parser.OFPMeterMod(_PROTOCOL, _METER_COMMANDS[verb], _METER_FLAGS[meter.unit], meter.number, bands)


def _message(step: Step) -> Any:
    """The flow-mod, group-mod or meter-mod that does a step. Its xid is left unset, as a bundle needs it."""
    match step.what:
        case Flow() as flow:
            return _flow_mod(step.verb, flow)
        case Group() as group:
            return _group_mod(step.verb, group)
        case Meter() as meter:
            return _meter_mod(step.verb, meter)


def messages(steps: Sequence[Step], xid: int, bundle: int | None) -> bytes:
    """The same bytes as `portlb_app.southbound.codec.messages`."""
    data = b""
    for number, step in enumerate(steps, xid):
        made = _message(step)
        if bundle is not None:
            made = parser.OFPBundleAddMsg(_PROTOCOL, bundle, _BUNDLE_FLAGS, made, [])
        made.set_xid(number)
        made.serialize()
        data += bytes(made.buf)
    return data
