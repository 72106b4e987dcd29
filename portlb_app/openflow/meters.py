"""Meters: rates that packets may not exceed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Meter:
    """One OpenFlow meter: it drops packets that exceed `rate`, after a burst of `burst`.

    The units are packets a second and packets (``pktps``), or kilobits a second and kilobits (``kbps``). ``opaque``
    holds what was read from a switch and is no meter of ours.
    """

    number: int
    rate: int
    burst: int
    unit: Literal["pktps", "kbps"] = "pktps"
    opaque: str = ""

    def __str__(self) -> str:
        foreign = f",<{self.opaque}>" if self.opaque else ""
        band = f"type=drop,rate={self.rate},burst_size={self.burst}"
        return f"meter={self.number},{self.unit},burst,stats,band={band}{foreign}"
