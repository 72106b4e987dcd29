"""The shape of ``….selection`` and ``….when`` of a redirect port."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from portlb_app.config.entries import Entry, Number, Port
from portlb_app.config.selection_values import MAX_PERIOD, MAX_RATE, Algorithm, Network, Turns
from portlb_app.config.shapes import shape


def _network(value: Any) -> Network:
    if not isinstance(value, str) or "%" in value:
        raise ValueError("a network like 192.0.2.0/24 or 2001:db8::/32 is expected")
    try:
        return ip_network(value)
    except ValueError as error:
        raise ValueError(f"a network like 192.0.2.0/24 or 2001:db8::/32 is expected: {error}") from None


class SelectionEntry(Entry):
    """``….selection`` of a redirect port; a bare word is short for ``{kind: WORD}``."""

    required = ("kind",)
    kind: Algorithm | None = None
    prefix4: Annotated[Number, Field(ge=1, le=32)] | None = None
    prefix6: Annotated[Number, Field(ge=1, le=128)] | None = None
    period: Annotated[Number, Field(ge=1, le=MAX_PERIOD)] | None = None
    turns: Turns | None = None
    rate: Annotated[Number, Field(ge=1, le=MAX_RATE)] | None = None


class WhenEntry(Entry):
    """``….when[N]`` of a redirect port."""

    required = ("pool",)
    pool: Port | None = None
    source: Annotated[Network, BeforeValidator(_network), shape({"type": "string"})] | None = None
    dscp: Annotated[Number, Field(ge=0, le=63)] | None = None
    vlan: Annotated[Number, Field(ge=1, le=4094)] | None = None
