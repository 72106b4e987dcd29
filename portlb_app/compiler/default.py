"""DEFAULT: what no other table judged goes to the default server, if its policy covers it (rows U3, E5, E6)."""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.config import DefaultFor
from portlb_app.openflow import ETH_IPV4, IP_TCP, Flow, match
from portlb_app.pipeline import DEFAULT, REDIRECT_BIT, Priority, Reason, cookie, flow


def flows(place: Place) -> Iterator[Flow]:
    """Nothing without a default server; else all, or all but clients that can be redirected."""
    vip = place.vip
    if vip.default_server is None:
        return
    mark = cookie(Reason.DEFAULT, place.number)
    if vip.default_for is not DefaultFor.UNKNOWN_PORTS:
        yield flow(
            DEFAULT,
            Priority.SPECIFIC,
            match(
                eth_type=ETH_IPV4,
                ip_proto=IP_TCP,
                ip_dst=place.address,
                tcp_flags=(REDIRECT_BIT, REDIRECT_BIT),
            ),
            (),
            mark,
            "the default server is for clients without REDIRECT only: drop (E5)",
        )
    yield flow(
        DEFAULT,
        Priority.GENERAL,
        match(eth_type=ETH_IPV4, ip_dst=place.address),
        place.deliver(vip.default_server),
        mark,
        "an unknown port, or a packet that cannot be judged: the default server (U3, E5, E6)",
    )
