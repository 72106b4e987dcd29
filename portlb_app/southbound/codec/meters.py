"""Meters: meter-mods (7.3.4.5), meter descriptions (7.3.5.14) and meter statistics (7.3.5.12)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Literal

from ryu.ofproto import ofproto_v1_5 as ofp

from portlb_app import pipeline
from portlb_app.openflow import Meter
from portlb_app.openflow.messages import Malformed, RawEntry
from portlb_app.reconcile.plan import Verb

_COMMANDS = {"add": ofp.OFPMC_ADD, "modify": ofp.OFPMC_MODIFY, "delete": ofp.OFPMC_DELETE}
_FLAGS: dict[Literal["pktps", "kbps"], int] = {
    "pktps": ofp.OFPMF_PKTPS | ofp.OFPMF_BURST | ofp.OFPMF_STATS,
    "kbps": ofp.OFPMF_KBPS | ofp.OFPMF_BURST | ofp.OFPMF_STATS,
}
_UNITS = {flags: unit for unit, flags in _FLAGS.items()}
_METER_MOD = struct.Struct("!HHI")
"""What follows the header: command, flags, number; then the bands."""
_DESCRIPTION = struct.Struct("!2xHI")
"""Flags, number; then the bands."""
_DROP_BAND = struct.Struct("!HHII4x")
_STATISTICS = struct.Struct("!IH10xQ16xQ8x")
"""struct ofp_meter_stats: how many packets came to it; and of its bands the first: how many packets it dropped."""


def meter_mod(verb: Verb, meter: Meter) -> bytes:
    """What follows the header of a meter-mod: a meter of ours has one band, which drops."""
    body = _METER_MOD.pack(_COMMANDS[verb], _FLAGS[meter.unit], meter.number)
    if verb == "delete":
        return body
    return body + _DROP_BAND.pack(ofp.OFPMBT_DROP, _DROP_BAND.size, meter.rate, meter.burst)


def our_meters(entries: Iterable[RawEntry]) -> Iterator[Meter]:
    """The meters of a reply that are ours."""
    for entry in entries:
        if len(entry.data) >= 8 and pipeline.is_our_meter(int.from_bytes(entry.data[4:8], "big")):
            yield decode_meter(entry)


def decode_meter(entry: RawEntry) -> Meter:
    """The meter that one entry of a meter description reply describes; Malformed if it is cut off.

    A flag or a band that is none of ours is kept in ``opaque``.
    """
    data = entry.data
    if len(data) < _DESCRIPTION.size:
        raise Malformed("a meter description is cut off")
    flags, number = _DESCRIPTION.unpack_from(data)
    bands = data[_DESCRIPTION.size :]
    if flags in _UNITS and len(bands) == _DROP_BAND.size:
        kind, length, rate, burst = _DROP_BAND.unpack(bands)
        if (kind, length) == (ofp.OFPMBT_DROP, _DROP_BAND.size):
            return Meter(number, rate, burst, _UNITS[flags])
    return Meter(number, 0, 0, opaque=data[2:4].hex() + bands.hex())


def our_metered(entries: Iterable[RawEntry]) -> Iterator[tuple[int, int]]:
    """(number, packets dropped) of the meters of a statistics reply that are ours and have a band.

    Of the meter for packets that are too large, all that came: the packets that pass it are dropped as well.
    """
    for entry in entries:
        if len(entry.data) >= _STATISTICS.size:
            number, _, came, dropped = _STATISTICS.unpack_from(entry.data)
            if pipeline.is_our_meter(number):
                yield number, came if number == pipeline.TOO_LARGE_METER.number else dropped
