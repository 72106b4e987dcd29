"""A leaf-spine network with two entrances that acts as one load balancer, and goes another way when a link goes."""

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
from mininet_topos.demo.cuts import detour
from mininet_topos.demo.stage import Demo

PICTURE = """
                               ┌─ spine1 ─┬──── leaf1 ─┬─ a   service port 1    redirect port 22
   client (agent) ─┐           │           ╲  ╱        └─ b   service port 2    redirect port 22
                   ├─ router ──┤            ╳
   plain (no agent)┘           │           ╱  ╲        ┌─ c   service port 3    redirect port 22
                               └─ spine2 ─┴──── leaf2 ─┴─ d   service port 4    redirect port 22
"""

DEMO = Demo(
    "leafspine",
    PICTURE,
    (tables, redirected, unchanged, shares, plain_client, datagrams, drift, stateless, detour),
)
