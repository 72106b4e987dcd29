"""Two connections that claim to be the same switch: two bridges have its datapath id, or one has two targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

RECENT = 120.0
"""Seconds that a claim counts. Open vSwitch tries again after 8 s at the latest, and a host that tries often is let
wait for 30 s at the most."""


class Ends(NamedTuple):
    """The two ends of a connection, as address and port: the switch's, and which one of the controller's it reached."""

    switch: str
    controller: str

    def __str__(self) -> str:
        return f"{self.switch} to {self.controller}"


@dataclass(frozen=True)
class Double:
    """The connection that is used and the last one that was refused; when such were first and last seen."""

    first: Ends
    second: Ends
    since: float
    at: float

    def is_recent(self, now: float) -> bool:
        """Whether that is so still."""
        return now < self.at + RECENT

    @property
    def words(self) -> str:
        """A sentence."""
        cause = "another bridge has its datapath id, or the bridge has two targets that are this controller"
        if self.first.controller != self.second.controller:
            cause = "it reaches the controller by two addresses, or another bridge has its datapath id"
        return f"claimed twice, by {self.first} and by {self.second}, which is refused: {cause}"
