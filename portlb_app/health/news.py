"""What checks have to say about servers."""

from __future__ import annotations

from dataclasses import dataclass

from portlb_app.backends.states import Evidence


@dataclass(frozen=True)
class News:
    """What checks say about a server in a pool: up or down, and why. `is_up` None: nothing any more."""

    server: str
    source: str
    pool: tuple[str, int]
    is_up: bool | None
    reason: str

    def evidence(self, now: float) -> Evidence:
        """The same as evidence, for news that something is said."""
        return Evidence(self.source, bool(self.is_up), self.reason, now, self.pool)
