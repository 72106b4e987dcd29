"""Bounds-checked parsers of what a switch tells of its tables and of what its meters can do. Pure, as `messages` is.

Numbers of sections are those of the OpenFlow switch specification 1.5.1.
"""

from __future__ import annotations

import struct

from portlb_app.openflow.messages import METER_FEATURES, MULTIPART_REPLY, TABLE_STATS, Malformed, Reply

_TABLE = struct.Struct("!B3xI16x")
"""struct ofp_table_stats (7.3.5.5): number and active entries; then what was looked up and matched."""
_METER_FEATURES = struct.Struct("!12xB")
"""struct ofp_meter_features (7.3.5), as far as it is read: the most bands of a meter."""


def table_counts(message: bytes) -> dict[int, int]:
    """How many flows each table has, by its number, in a reply about tables; Malformed."""
    if int.from_bytes(message[8:10], "big") != TABLE_STATS:
        raise Malformed("how many flows tables have was asked for, and something else is told")
    if (len(message) - 16) % _TABLE.size:
        raise Malformed("a reply about tables is cut off")
    return dict(_TABLE.iter_unpack(message[16:]))


def most_bands(reply: Reply) -> int:
    """The most bands of a meter, by a reply about what meters can do; Malformed."""
    data = reply.data
    if reply.kind != MULTIPART_REPLY or int.from_bytes(data[8:10], "big") != METER_FEATURES:
        raise Malformed("what meters can do was asked for, and something else is told")
    if len(data) - 16 < _METER_FEATURES.size:
        raise Malformed("a reply about what meters can do is cut off")
    bands: int = _METER_FEATURES.unpack_from(data, 16)[0]
    return bands
