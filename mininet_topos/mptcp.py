"""One switch, servers that speak MPTCP, and clients without an agent."""

from __future__ import annotations

from mininet_topos.demo import programs
from mininet_topos.demo.chapters import stateless, tables
from mininet_topos.demo.stage import Demo
from mininet_topos.demo.stock import followed, plain

PICTURE = """
   client (MPTCP) ─┐                       ┌─ a   port 9001 for MPTCP     redirect port 80
                   ├─ router ─── s1 (OVS) ─┼─ b   port 9002 for MPTCP     redirect port 80
   plain (TCP)    ─┘                │      ├─ c   port 9003 for MPTCP     later
                               controller  └─ d   port 9004 for MPTCP     later
"""

DEMO = Demo(
    "mptcp", PICTURE, (tables, followed, plain, stateless), agents=programs.mptcp_agents, under=programs.MPTCP
)
