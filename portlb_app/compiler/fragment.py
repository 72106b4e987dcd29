"""FRAGMENT: a fragment shows no port (all but the first have none), so no later table can judge it (rows F1, F2, F3).

Under ``track`` somebody has to remember what the first one's ports said. The kernel datapath can: conntrack puts the
packet together, and the walk goes on with a whole one, which is cut up again where it leaves. The userspace datapath
cannot (its conntrack shows the ports of first fragments only), so there the controller does (`punt`).
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.config import Forwarding, Fragments
from portlb_app.openflow import ETH_IPV4, Action, Flow, match
from portlb_app.pipeline import (
    DEFAULT,
    FRAGMENT,
    FRAGMENTS,
    ICMP,
    Priority,
    Reason,
    cookie,
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
    for part in FRAGMENTS:
        yield flow(
            FRAGMENT,
            Priority.SPECIFIC,
            match(eth_type=ETH_IPV4, ip_dst=place.address, ip_frag=part),
            _target(place),
            cookie(Reason.FRAGMENT, place.number),
            _REASONS[place.vip.fragments],
        )


def _target(place: Place) -> tuple[Action, ...]:
    match place.vip.fragments:
        case Fragments.TRACK if place.datapath is Forwarding.KERNEL:
            return (reassemble(ICMP),)
        case Fragments.TRACK:
            return punt(Reason.FRAGMENT)
        case Fragments.REPLICATE:
            return place.replicate()
        case Fragments.DEFAULT:
            return (goto(DEFAULT),)
        case Fragments.DROP:
            return ()
