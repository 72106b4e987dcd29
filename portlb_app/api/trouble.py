"""Something that needs a person: what has it, what is wrong, since when, and what helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

What = Literal["configuration", "switch", "pool", "server", "link"]


@dataclass(frozen=True)
class Trouble:
    """One problem. `name`: of what has it; empty for the configuration. `word`: what it is, in one or two words.

    `reason`: a sentence; `to_do`: what helps, empty if that is not known; `seconds`: since when, None if unknown.
    `is_bad`: packets are lost or may be; else it is only not as it should be.
    """

    kind: What
    name: str
    word: str
    reason: str
    seconds: float | None = None
    to_do: str = ""
    is_bad: bool = True

    @property
    def value(self) -> dict[str, Any]:
        """As REST has it."""
        return {
            "kind": self.kind,
            "name": self.name,
            "severity": "bad" if self.is_bad else "warning",
            "word": self.word,
            "words": self.reason,
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "to_do": self.to_do,
        }
