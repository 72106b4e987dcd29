"""The slot of a packet, asked of the data path itself: ``portlb explain --ask``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from portlb_app.cli.output import Failed
from portlb_app.cli.rest_client import Controller
from portlb_app.pipeline import SLOTS, TRANSPORTS


def ask(controller: Controller, explained: Mapping[str, Any]) -> int | None:
    """The slot that switches give a packet that was followed without one; None if it needs none, or none is known.

    Failed if switches do not agree.
    """
    query = _query(explained)
    if query is None:
        return None
    answer = controller.ask("GET", f"/v1/ask?{urlencode(query)}")
    answer.complain()
    if answer.code:
        return None
    said = [each for each in answer.body["switches"] if each["slot"] is not None]
    slots: set[int] = {each["slot"] % SLOTS for each in said}
    if len(slots) != 1:
        raise Failed("portlb: the switches do not agree about the slot; without --ask all are told")
    if not all(each["certain"] for each in said):
        print("notice: a packet with the same addresses and ports may have another slot", file=sys.stderr)
    return slots.pop()


def _query(explained: Mapping[str, Any]) -> dict[str, str] | None:
    """What is asked about the packet; None if no slot decides about it, or none that can be asked for."""
    for start in explained["starts"]:
        vip = next((step["vip"] for step in start["steps"] if step["kind"] == "table" and step["vip"]), "")
        fields, is_chosen = start["fields"], any(step["kind"] == "choice" for step in start["steps"])
        protocol = next((name for name, _ in TRANSPORTS if f"{name}_dst" in fields), None)
        source = fields.get("ip_src") or fields.get("ipv6_src")
        if is_chosen and vip and protocol and source and f"{protocol}_src" in fields:
            found = {"vip": vip, "port": fields[f"{protocol}_dst"], "source": source, "protocol": protocol}
            found |= {"source_port": fields[f"{protocol}_src"]}
            return found | ({"dscp": fields["ip_dscp"]} if "ip_dscp" in fields else {})
    return None
