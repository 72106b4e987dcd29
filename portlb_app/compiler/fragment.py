"""FRAGMENT: a fragment shows no port (all but the first have none), so no later table can judge it (rows F1, F2, F3).

Under ``track`` somebody has to remember what the first one's ports said. The kernel datapath can: conntrack puts the
packet together, and the walk goes on with a whole one, which is cut up again where it leaves. The userspace datapath
cannot (its conntrack shows the ports of first fragments only), so there the controller does (`punt`).
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.config import Forwarding, Fragments
from portlb_app.openflow import Action, Flow, match
from portlb_app.pipeline import (
    DEFAULT,
    FRAGMENT,
    FRAGMENTS,
    ICMP,
    Family,
    Priority,
    Reason,
    cookie,
    family,
    flow,
    goto,
    punt,
    reassemble,
)

_REASONS = {
    Fragments.TRACK: "a fragment follows its first: who the first's ports name gets it (F1, F2)",
    Fragments.REPLICATE: "a fragment: every server gets it, the one that knows its connection acts on the whole",
    Fragments.DEFAULT: "a fragment cannot be judged by its ports: the default server (E6, F3)",
    Fragments.DROP: "a fragment cannot be judged by its ports: drop (E6, F3)",
}


def flows(place: Place) -> Iterator[Flow]:
    """What the VIP says about fragments."""
    for address in place.vip.addresses:
        ip = family(address)
        for part in FRAGMENTS:
            yield flow(
                FRAGMENT,
                Priority.SPECIFIC,
                match(**place.seen, **ip.to(address), ip_frag=part),
                _target(place, ip),
                cookie(Reason.FRAGMENT, place.number),
                _REASONS[place.vip.fragments],
            )


def _target(place: Place, ip: Family) -> tuple[Action, ...]:
    if place.vip.fragments is Fragments.TRACK:
        return (reassemble(ICMP),) if place.datapath is Forwarding.KERNEL else punt(Reason.FRAGMENT)
    if place.vip.fragments is Fragments.DROP or place.spoils_fragments(ip):
        return ()
    return place.replicate(ip) if place.vip.fragments is Fragments.REPLICATE else (goto(DEFAULT),)
