"""Match fields (7.2.3.2): headers, values and masks."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from ryu.ofproto import ofproto_v1_5 as ofp

from portlb_app import openflow
from portlb_app.openflow import FIELDS, Match
from portlb_app.openflow.messages import Malformed
from portlb_app.southbound.codec.framing import REMEMBERED

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

_NICIRA, _ERICSSON = 0x0001, 0x1000
_UNKNOWN_TO_RYU = {
    "nw_ttl": (_NICIRA << 7 | 29, 1),
    "nd_reserved": (_ERICSSON << 7 | 1, 4),
    "nd_options_type": (_ERICSSON << 7 | 2, 1),
}
"""Class and number, and bytes, of Open vSwitch's own fields: NXM_NX of IP, and ERICOXM_OF of neighbour discovery (RFC
4861). See ovs-fields(7)."""

_XREGS_MASKED = {0x8001 << 16 | number << 9 | 1 << 8 | 16: number for number in range(4)}
"""Open vSwitch answers a match on reg0 or reg1 as the upper or lower half of OpenFlow's 64-bit packet register 0
(7.2.3.11), masked; on reg2 and reg3 as those of packet register 1, and so on."""


@dataclass(frozen=True)
class Oxm:
    """What the header of an OXM field announces: one of our fields, and the bytes of its value (and of its mask)."""

    name: str
    masked: bool
    bytes: int


@dataclass(frozen=True)
class _Headers:
    """The header of one of our fields without and with a mask, and the size of its value in bytes."""

    plain: bytes
    masked: bytes
    size: int


def _headers(name: str) -> _Headers:
    if name in _UNKNOWN_TO_RYU:
        number, size = _UNKNOWN_TO_RYU[name]
    else:
        number, kind = ofp.oxm_get_field_info_by_name(_RYU_NAMES.get(name, name))
        size = kind.size
    return _Headers(struct.pack("!I", number << 9 | size), struct.pack("!I", number << 9 | 1 << 8 | 2 * size), size)


_HEADERS: Mapping[str, _Headers] = {name: _headers(name) for name in FIELDS}
_OXM: Mapping[int, Oxm] = {
    **{int.from_bytes(each.plain, "big"): Oxm(name, False, each.size) for name, each in _HEADERS.items()},
    **{int.from_bytes(each.masked, "big"): Oxm(name, True, each.size) for name, each in _HEADERS.items()},
}


def oxm_header(name: str) -> bytes:
    """The header of one of our fields, without a mask."""
    return _HEADERS[name].plain


def oxm(header: int) -> Oxm | None:
    """What a header announces; None for a field that is not ours."""
    return _OXM.get(header)


def oxm_id(name: str) -> bytes:
    """The header of one of our fields, without a mask."""
    return _HEADERS[name].plain


@lru_cache(maxsize=4096)
def encode_field(name: str, value: int, mask: int | None = None) -> bytes:
    """One field: header, value and mask."""
    headers = _HEADERS[name]
    if mask is None:
        return headers.plain + value.to_bytes(headers.size, "big")
    return headers.masked + value.to_bytes(headers.size, "big") + mask.to_bytes(headers.size, "big")


def encode_match(match: Match) -> bytes:
    """A match, padded to 8 bytes (7.2.3). What was read from a switch and is none of ours goes back as it came."""
    fields = b"".join([encode_field(*field) for field in match.fields])
    if match.opaque:
        fields += bytes.fromhex(match.opaque)
    length = 4 + len(fields)
    return struct.pack("!HH", ofp.OFPMT_OXM, length) + fields + bytes(-length % 8)


def decode_match(data: bytes) -> Match:
    """The match of these fields, without the head and the padding; Malformed if a field is cut off."""
    return _decode_short(data) if len(data) <= REMEMBERED else _decode_match(data)


def _decode_match(data: bytes) -> Match:
    fields: dict[str, int | tuple[int, int]] = {}
    opaque = b""
    for whole, found, value, mask in _fields(data):
        if found is None or found.name in fields:
            opaque += whole
            continue
        fields[found.name] = value if mask is None else (value, mask)
    try:
        return replace(openflow.match(**fields), opaque=opaque.hex())
    except ValueError:
        return Match(opaque=data.hex())


_decode_short = lru_cache(maxsize=4096)(_decode_match)


def _fields(data: bytes) -> Iterator[tuple[bytes, Oxm | None, int, int | None]]:
    """(bytes, what it is, value, mask) of each field; None for a field that is not ours."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < 4:
            raise Malformed(f"{len(data) - offset} bytes are left over after the match fields")
        (header,) = struct.unpack_from("!I", data, offset)
        end = offset + 4 + (header & 0xFF)
        if end > len(data):
            raise Malformed(f"match field {header:#x} is cut off")
        whole, body = data[offset:end], data[offset + 4 : end]
        if header in _XREGS_MASKED:
            header, body = _half_register(header, body)
        found = oxm(header)
        if found is None:
            yield whole, None, 0, None
        else:
            value = int.from_bytes(body[: found.bytes], "big")
            yield whole, found, value, int.from_bytes(body[found.bytes :], "big") if found.masked else None
        offset = end


def _half_register(header: int, body: bytes) -> tuple[int, bytes]:
    """The register that a masked 64-bit register matches on, if the mask lies in one half of it; else what is given."""
    number = 2 * _XREGS_MASKED[header]
    if body[4:8] == body[12:16] == bytes(4):
        return _masked_register(number), body[:4] + body[8:12]
    if body[:4] == body[8:12] == bytes(4):
        return _masked_register(number + 1), body[4:8] + body[12:16]
    return header, body


def _masked_register(number: int) -> int:
    return int.from_bytes(_HEADERS[f"reg{number}"].masked, "big")
