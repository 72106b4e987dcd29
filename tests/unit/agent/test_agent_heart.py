"""What a server's agent tells of itself, and to whom: a controller of an earlier version does not understand it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from portlb_app import __version__
from portlb_app.agent import heart, server
from portlb_app.agent.mapping import ServerMapping
from portlb_app.net.heartbeat import Answer, Heartbeat, Order, Serving, parse_heartbeat

VIP = ip_address("10.0.0.100")
SETTINGS = server.settings(ServerMapping((VIP,), {80: 8001}, {8001: 80}))
UNIX = 1_764_000_000.0


class Wire:
    """The link of a heart: what it has sent, and the answers that have come."""

    source = VIP

    def __init__(self, *_: object) -> None:
        self.sent: list[Heartbeat] = []
        self.waiting: list[bytes] = []

    def fileno(self) -> int:
        return 99

    def send(self, data: bytes) -> None:
        said = parse_heartbeat(data)
        assert said is not None
        self.sent.append(said)

    def answers(self) -> Iterator[bytes]:
        answers, self.waiting = self.waiting, []
        yield from answers

    def close(self) -> None:
        """Nothing is open."""


class Beating:
    """A heart at a clock that a test moves; nothing is counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.wire = 100.0, Wire()
        clock = SimpleNamespace(monotonic=lambda: self.now, time=lambda: UNIX + self.now)
        monkeypatch.setattr(heart, "time", clock)
        monkeypatch.setattr(heart, "Link", lambda *_: self.wire)
        loop: Any = SimpleNamespace(after=lambda *_: None, ask=lambda *_: None, on_readable=self._on_readable)
        agent: Any = SimpleNamespace(vips=frozenset({VIP}), settings=SETTINGS)
        troubles: Any = SimpleNamespace(note=lambda *_: None)
        self._hear = lambda: None
        self._heart = heart.Heart(agent, "eth0", "a", loop, troubles, 0.0)

    def _on_readable(self, _: int, hear: Any) -> None:
        self._hear = hear

    def beat(self, orders: Order | None = None) -> Heartbeat:
        """A second later: a heartbeat, and an answer with these orders, or none."""
        self.now += 1.0
        self._heart._beat()
        said = self.wire.sent[-1]
        if orders is not None:
            self.wire.waiting.append(Answer(said.boot, said.sequence, orders).pack())
            self._hear()
        return said


def test_only_a_controller_that_asks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no other one gets heartbeats that it does not know: not before it asks, and not for long after it ends."""
    beating = Beating(monkeypatch)
    assert [beating.beat(Order(0)).about for _ in range(3)] == [None] * 3
    beating.beat(Order.TELL)
    about = beating.beat(Order.TELL).about
    assert about is not None and about.unix == UNIX + beating.now and about.software == __version__
    assert about.serving == Serving.of([VIP], [(8001, 80)], [(80, 8001)])
    older = [beating.beat(None).about is None for _ in range(int(heart.OBEY) + 2)]  # it does not answer what it is told
    assert older == sorted(older) and older[-1] and not older[0]
    assert beating.beat(Order(0)).about is None
