"""What the pipeline has conntrack do: remember plain clients' connections, and put fragments together."""

from __future__ import annotations

from portlb_app.openflow import Conntrack
from portlb_app.pipeline.tables import Table

PIN_ZONES = 0x6
"""Bits 12-15 of the conntrack zones in which plain clients' connections are remembered."""
REASSEMBLY_ZONE = 0x504C
"""The conntrack zone in which fragments are put together; nothing is ever committed to it."""


def pin_zone(vip: int) -> int:
    """The conntrack zone of a VIP: by the low 12 bits of its number. Two VIPs may share a zone, and its limit."""
    return PIN_ZONES << 12 | vip & 0xFFF


def ct_lookup(vip: int, table: Table) -> Conntrack:
    """Continue in `table` with the mark of the server that the connection is remembered with, or 0, in ``ct_mark``."""
    return Conntrack(pin_zone(vip), table.number)


def ct_commit(vip: int, mark: int) -> Conntrack:
    """Remember a packet's connection with the mark of its server."""
    return Conntrack(pin_zone(vip), mark=mark)


def ct_track(vip: int) -> Conntrack:
    """Show conntrack a server's packet: a connection of which it sees one direction only is soon forgotten."""
    return Conntrack(pin_zone(vip))


def reassemble(table: Table) -> Conntrack:
    """Continue in `table` with the whole of a fragmented packet (kernel datapath)."""
    return Conntrack(REASSEMBLY_ZONE, table.number)
