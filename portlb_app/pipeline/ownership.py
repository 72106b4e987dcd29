"""Whether an entry that a switch has is ours, or its own."""

from __future__ import annotations

from portlb_app.openflow import Flow, Group, Meter, Opaque
from portlb_app.pipeline.groups import is_our_group, is_our_selection
from portlb_app.pipeline.meters import METER_SIGNATURE, is_our_meter
from portlb_app.pipeline.reasons import Reason, parse_cookie
from portlb_app.pipeline.tables import PRESENCE


def is_ours(entry: Group | Meter) -> bool:
    """Whether a group or meter is ours: by its number, and by a signature that a foreign one has only by chance."""
    if isinstance(entry, Group):
        return is_our_group(entry.number) and is_our_selection(entry.selection)
    return is_our_meter(entry.number) and not entry.opaque and entry.burst % 0x100 == METER_SIGNATURE


def is_learned(flow: Flow) -> bool:
    """Whether a flow is one that the switch has made by itself, and ends by itself (`compiler.tables.turns`)."""
    if flow.table != PRESENCE.number or parse_cookie(flow.cookie)[0] is not Reason.TURNS:
        return False
    return any(isinstance(each, Opaque) and each.text.startswith("hard_timeout=") for each in flow.actions)
