"""What can stand between clients and servers: one interface for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.stage import Stage

EVEN = {"a": 1, "b": 1, "c": 1, "d": 1}
"""Weights of a pool of all servers."""
LOOKS = 40
"""Connections by which a balancer shows that it serves, and each of its servers."""


class Alternative:
    """One of them, on a stage. It holds nothing until `start`."""

    name: str
    about: str
    program: str | None = None
    """What `restart_program` kills, if anything but the switch takes part."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.weights: Mapping[str, int] = EVEN

    def start(self) -> None:
        """Begin to serve the VIP with servers by `weights`."""
        raise NotImplementedError

    def stop(self) -> None:
        """End what was started; the next alternative takes the bridge."""

    def programs(self) -> Sequence[int]:
        """Processes that balance beside the switch."""
        return ()

    def agents(self) -> Sequence[int]:
        """Processes that run on clients and servers."""
        return ()

    def choose(self, weights: Mapping[str, int]) -> None:
        """Have another pool, as an operator who minds open connections would; those that leave it go on running."""
        raise NotImplementedError

    def recover(self) -> None:
        """Fill a bridge that has just started, or that has taken another one's place."""
        raise NotImplementedError

    def restart_program(self) -> None:
        """Kill what balances beside the switch and start it again."""
        raise NotImplementedError

    def expect(self, connections: int) -> None:
        """Be ready for so many open connections; before `start`."""

    def expected(self) -> set[str]:
        """The servers that must answer."""
        return {name for name, weight in self.weights.items() if weight}

    def check(self) -> None:
        """Connections reach each of the servers, and nothing else; AssertionError if not."""
        seen = set(self.stage.curl(LOOKS))
        assert seen == self.expected(), f"{self.name}: {sorted(seen)} answer, and not {sorted(self.expected())}"

    @contextmanager
    def running(self, weights: Mapping[str, int] = EVEN) -> Iterator[None]:
        """Serve while the block runs, checked at its beginning."""
        self.weights = weights
        try:
            self.start()
            self.check()
            yield
        finally:
            self.stop()
