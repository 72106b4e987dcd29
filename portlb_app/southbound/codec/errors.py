"""Error messages (7.5.4), for the log and the status."""

from __future__ import annotations

from ryu.ofproto import ofproto_v1_5 as ofp

from portlb_app.openflow.messages import ErrorMessage

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
