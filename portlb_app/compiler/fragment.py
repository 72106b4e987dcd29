"""FRAGMENT: a fragment shows no port (all but the first have none), so it cannot be judged (rows E6, F3)."""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.openflow import Flow, match
from portlb_app.pipeline import DEFAULT, FRAGMENT, FRAGMENTS, Priority, Reason, cookie, family, flow, goto


def flows(place: Place) -> Iterator[Flow]:
    """Fragments go to the default server, if there is one and it can have them."""
    for address in place.vip.addresses:
        ip = family(address)
        for part in FRAGMENTS:
            yield flow(
                FRAGMENT,
                Priority.SPECIFIC,
                match(**ip.to(address), ip_frag=part),
                () if place.spoils_fragments(ip) else (goto(DEFAULT),),
                cookie(Reason.FRAGMENT, place.number),
                "a fragment cannot be judged by its ports: default server or drop (E6, F3)",
            )
