"""Whether a group or meter that a switch has is ours."""

from __future__ import annotations

from portlb_app.openflow import Group, Meter
from portlb_app.pipeline.groups import is_our_group, is_our_selection
from portlb_app.pipeline.meters import METER_SIGNATURE, is_our_meter


def is_ours(entry: Group | Meter) -> bool:
    """Whether a group or meter is ours: by its number, and by a signature that a foreign one has only by chance."""
    if isinstance(entry, Group):
        return is_our_group(entry.number) and is_our_selection(entry.selection)
    return is_our_meter(entry.number) and not entry.opaque and entry.burst % 0x100 == METER_SIGNATURE
