"""Where a packet goes, and why: the tables of switches, followed for one packet.

A text says what packet is meant (`language`), `start` finds its headers and where it comes in, `walk` follows it
through the tables as they are, and `value` says what came of it as plain values; `words` makes of these what people
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from portlb_app.compiler.numbering import server_numbers
from portlb_app.config import Config
from portlb_app.explain.language import PacketError, Sentence, read
from portlb_app.explain.lookup import Tables
from portlb_app.explain.origin import Origins
from portlb_app.explain.places import Places
from portlb_app.explain.start import Start, starts
from portlb_app.explain.value import Values
from portlb_app.explain.walk import ALL_SLOTS, Walk
from portlb_app.openflow import SwitchState
from portlb_app.pipeline import SLOTS

__all__ = ["PacketError", "Sentence", "Start", "explain", "read", "starts"]


def explain(
    text: str,
    config: Config,
    held: Mapping[str, SwitchState],
    desired: Mapping[str, SwitchState],
    slot: int | None = None,
) -> dict[str, Any]:
    """What becomes of the packet that a text means, as JSON values; PacketError if it means none.

    `held`: by switch the tables that it goes through; `desired`: those that the switch should have. `slot`: the one
    that the packet has, where that is known.
    """
    sentence = read(text)
    found = starts(sentence, config)
    places = Places(config)
    slots = ALL_SLOTS if slot is None else (slot % SLOTS,)

    @cache
    def tables(switch: str) -> Tables | None:
        return Tables.of(held[switch]) if switch in held else None

    @cache
    def target(switch: str) -> Tables | None:
        return Tables.of(desired[switch]) if switch in desired else None

    known = _mark(sentence, config)
    values = Values(places, Origins(config), target)
    made = []
    for each in found:
        visit = Walk(tables, places.links, each.size, known, slots).follow(each.switch, each.in_port, each.fields)
        made.append(values.start(visit, slots))
    return {"packet": text, "slot": slot, "starts": made}


def _mark(sentence: Sentence, config: Config) -> int:
    """The mark by which conntrack knows the server of ``known=NAME``."""
    if not sentence.known:
        return 0
    server = config.server_by_name.get(sentence.known)
    if server is None:
        raise PacketError(sentence.positions["known"], f"there is no server {sentence.known}")
    vip = next(each for each in config.vips if each.name == server.vip)
    return server_numbers(each.name for each in config.servers_of(vip))[server.name]
