"""FIG. 5: a tree of three switches that acts as one load balancer."""

from __future__ import annotations

from mininet_topos.demo.chapters import (
    datagrams,
    drift,
    plain_client,
    redirected,
    shares,
    stateless,
    tables,
    unchanged,
)
from mininet_topos.demo.cuts import cut_off
from mininet_topos.demo.stage import Demo

PICTURE = """
                                              ┌─ a   service ports 1 5 9     redirect ports 20    22
   client (agent) ─┐                 ┌─ left ─┴─ b   service ports 2 6 10    redirect ports 20 21 22
                   ├─ router ── root ┤
   plain (no agent)┘                 └─ right ┬─ c   service ports 3 7 11    redirect ports    21 22
                                              └─ d   service ports 4 8 12    redirect ports    21 22   default server
"""

DEMO = Demo(
    "tree",
    PICTURE,
    (tables, redirected, unchanged, shares, plain_client, datagrams, drift, stateless, cut_off),
)
