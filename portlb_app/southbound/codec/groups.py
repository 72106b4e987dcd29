"""Groups: group-mods (7.3.4.4) and group descriptions (7.3.5.10), with Netronome's selection method."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache

from ryu.ofproto import ofproto_v1_5 as ofp

from portlb_app import pipeline
from portlb_app.openflow import Action, Group, Opaque, Selection
from portlb_app.openflow.messages import Malformed, RawEntry
from portlb_app.reconcile.plan import Verb
from portlb_app.reconcile.results import Counted
from portlb_app.southbound.codec.actions import decode_actions, encode_actions
from portlb_app.southbound.codec.fields import decode_match, encode_field
from portlb_app.southbound.codec.framing import pieces

_COMMANDS = {"add": ofp.OFPGC_ADD, "modify": ofp.OFPGC_MODIFY, "delete": ofp.OFPGC_DELETE}
_TYPES = {"all": ofp.OFPGT_ALL, "select": ofp.OFPGT_SELECT}
_GROUP_MOD = struct.Struct("!HBxIH2xI")
"""What follows the header: command, type, number, bytes of the buckets, bucket of the command; then the buckets, and
the properties."""
_DESCRIPTION = struct.Struct("!2xBxIH6x")
"""Type, number, bytes of the buckets; then the buckets, and the properties."""
_BUCKET = struct.Struct("!HHI")
"""Length, bytes of the actions, number; then the actions, and the properties."""
_NUMBER = struct.Struct("!I").pack
_WEIGHT = struct.pack("!HHH2x", ofp.OFPGBPT_WEIGHT, 8, 1)
"""Weight 1, which every bucket of a select group of ours has."""
_STATISTICS, _COUNTERS = 40, 16
"""Bytes of a group's statistics before those of its buckets, and of each bucket's: packets, bytes."""
_WATCH = struct.Struct("!HHI")
"""The port that a bucket watches (7.3.4.4, struct ofp_group_bucket_prop_watch)."""
_EXPERIMENTER = struct.Struct("!HHII")
_NETRONOME = 0x154D
_SELECTION_METHOD = 1
_SELECTION = struct.Struct("!4x16sQ")
"""struct ntr_group_prop_selection_method after its experimenter header; then fields, each with its mask as value."""


def group_mod(verb: Verb, group: Group) -> bytes:
    """What follows the header of a group-mod."""
    if verb == "delete":
        return _GROUP_MOD.pack(ofp.OFPGC_DELETE, ofp.OFPGT_ALL, group.number, 0, ofp.OFPG_BUCKET_ALL)
    has_weight, watched = group.type == "select", group.watched or (0,) * len(group.buckets)
    made = [_encode_bucket(actions, port, has_weight) for actions, port in zip(group.buckets, watched, strict=True)]
    buckets = b"".join([lengths + _NUMBER(number) + rest for number, (lengths, rest) in enumerate(made)])
    kind = _TYPES[group.type]
    body = _GROUP_MOD.pack(_COMMANDS[verb], kind, group.number, len(buckets), ofp.OFPG_BUCKET_ALL) + buckets
    return body + (_encode_selection(group.selection) if group.selection else b"")


@lru_cache(maxsize=4096)
def _encode_bucket(actions: tuple[Action, ...], port: int, has_weight: bool) -> tuple[bytes, bytes]:
    """What precedes the number of a bucket that watches a port, or none (0), and what follows it."""
    encoded, properties = encode_actions(actions), (_WEIGHT if has_weight else b"") + _encode_watch(port)
    length = _BUCKET.size + len(encoded) + len(properties)
    return _BUCKET.pack(length, len(encoded), 0)[:4], encoded + properties


def _encode_watch(port: int) -> bytes:
    return _WATCH.pack(ofp.OFPGBPT_WATCH_PORT, _WATCH.size, port) if port else b""


def _encode_selection(selection: Selection) -> bytes:
    fields = b"".join(encode_field(name, mask) for name, mask in selection.fields)
    length = _EXPERIMENTER.size + _SELECTION.size + len(fields)
    head = _EXPERIMENTER.pack(ofp.OFPGPT_EXPERIMENTER, length, _NETRONOME, _SELECTION_METHOD)
    return head + _SELECTION.pack(selection.method.encode(), selection.parameter) + fields + bytes(-length % 8)


def our_groups(entries: Iterable[RawEntry]) -> Iterator[Group]:
    """The groups of a reply that are ours."""
    for entry in entries:
        if len(entry.data) >= 8 and pipeline.is_our_group(int.from_bytes(entry.data[4:8], "big")):
            yield decode_group(entry)


def decode_group(entry: RawEntry) -> Group:
    """The group that one entry of a group description reply describes; Malformed if it contradicts itself.

    A type or a property that is none of ours becomes a first bucket with an `Opaque` action.
    """
    data = entry.data
    if len(data) < _DESCRIPTION.size:
        raise Malformed("a group description is cut off")
    kind, number, length = _DESCRIPTION.unpack_from(data)
    end = _DESCRIPTION.size + length
    if end > len(data):
        raise Malformed(f"the buckets of group {number} do not fit into it")
    weight = int(kind == ofp.OFPGT_SELECT)
    decoded = [
        _decode_bucket(position, weight, bucket)
        for position, bucket in enumerate(_bucket_bytes(data[_DESCRIPTION.size : end]))
    ]
    buckets = [actions for actions, _ in decoded]
    watched = tuple(port for _, port in decoded) if any(port for _, port in decoded) else ()
    foreign = [] if kind in _TYPES.values() else [Opaque(f"type={kind}")]
    selection = None
    for _, whole in pieces(data[end:], align=8):
        if selection is None and (selection := _decode_selection(whole)):
            continue
        foreign.append(Opaque(whole.hex()))
    if foreign:
        buckets.insert(0, tuple(foreign))
    return Group(number, "select" if weight else "all", tuple(buckets), selection, watched)


def our_counted(entries: Iterable[RawEntry]) -> Iterator[Counted]:
    """The packets and bytes of each bucket of the groups of a statistics reply (7.3.5.9) that are ours."""
    for entry in entries:
        number = int.from_bytes(entry.data[4:8], "big")
        if pipeline.is_our_group(number):
            buckets = range(_STATISTICS, len(entry.data) - _COUNTERS + 1, _COUNTERS)
            values = struct.unpack_from(f"!{2 * len(buckets)}Q", entry.data, _STATISTICS) if buckets else ()
            yield Counted(number, values[::2], values[1::2])


def _bucket_bytes(data: bytes) -> Iterator[bytes]:
    while data:
        if len(data) < _BUCKET.size:
            raise Malformed("a bucket is cut off")
        length = int.from_bytes(data[:2], "big")
        if not _BUCKET.size <= length <= len(data):
            raise Malformed(f"a bucket says it has {length} bytes of {len(data)}")
        yield data[:length]
        data = data[length:]


def _decode_bucket(number: int, weight: int, data: bytes) -> tuple[tuple[Action, ...], int]:
    """The actions of a bucket, and the port that it watches, or 0.

    What distinguishes it from a bucket of ours precedes the actions as `Opaque`.
    """
    watched = 0
    length, actions_length, bucket_id = _BUCKET.unpack_from(data)
    properties = _BUCKET.size + actions_length
    if properties > length:
        raise Malformed(f"bucket {bucket_id} is shorter than its actions")
    actions = decode_actions(data[_BUCKET.size : properties])
    foreign = [] if bucket_id == number else [Opaque(f"bucket_id:{bucket_id}")]
    for kind, whole in pieces(data[properties:], align=8):
        if kind == ofp.OFPGBPT_WEIGHT and len(whole) == 8:
            (read,) = struct.unpack_from("!H", whole, 4)
            weight -= read
        elif kind == ofp.OFPGBPT_WATCH_PORT and len(whole) == _WATCH.size and not watched:
            (watched,) = struct.unpack_from("!I", whole, 4)
        else:
            foreign.append(Opaque(whole.hex()))
    if weight:
        foreign.append(Opaque("weight"))
    return (*foreign, *actions), watched


def _decode_selection(whole: bytes) -> Selection | None:
    """The selection method in a property; None if the property is another one."""
    head = _EXPERIMENTER.size + _SELECTION.size
    if len(whole) < head or struct.unpack_from("!II", whole, 4) != (_NETRONOME, _SELECTION_METHOD):
        return None
    method, parameter = _SELECTION.unpack_from(whole, _EXPERIMENTER.size)
    covered = decode_match(whole[head:])
    if covered.opaque or any(mask is not None for _, _, mask in covered):
        return None
    fields = tuple((name, value) for name, value, _ in covered)
    return Selection(method.rstrip(b"\0").decode("ascii", "replace"), parameter, fields)
