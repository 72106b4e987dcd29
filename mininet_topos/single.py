"""FIG. 2: one switch."""

from __future__ import annotations

from mininet_topos.demo.chapters import datagrams, drift, plain_client, redirected, shares, stateless, tables
from mininet_topos.demo.stage import Demo

PICTURE = """
   client (agent) ─┐                       ┌─ a   service ports 1 5 9     redirect ports 20    22
                   ├─ router ─── s1 (OVS) ─┼─ b   service ports 2 6 10    redirect ports 20 21 22
   plain (no agent)┘                │      ├─ c   service ports 3 7 11    redirect ports    21 22
                               controller  └─ d   service ports 4 8 12    redirect ports    21 22   default server
"""

DEMO = Demo("fig2", PICTURE, (tables, redirected, shares, plain_client, datagrams, drift, stateless))
