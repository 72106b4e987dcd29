"""Which slot and server a packet would get."""

from __future__ import annotations

from portlb_app.api.models import Count, Model, Port


class SwitchAnswer(Model):
    """What one switch does with such a packet that comes in by one of `ports`; null is what is not known."""

    switch: str
    ports: list[Count]
    """OpenFlow ports."""
    entrance: bool
    """Whether clients' packets enter here."""
    pool: Port
    """The redirect port whose pool gets it; another one by `when`."""
    slot: Count | None
    server: str | None
    output: Count | None
    """The OpenFlow port towards the server."""
    held: str | None
    """The server that the switch was read to give the slot to."""
    certain: bool
    """Whether every packet with these addresses and ports has the same hash."""


class Asked(Model):
    """The answers of switches that such a packet may pass; `server` is the one that it reaches from any entrance."""

    vip: str
    port: Port
    server: str | None
    switches: list[SwitchAnswer]
