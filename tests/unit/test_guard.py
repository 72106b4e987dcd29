"""When the controller reads from a switch: what is handed up is gathered, and answers are not kept waiting."""

from __future__ import annotations

import http.client  # noqa: F401 - or eventlet leaves a copy of its own in its place, for all tests
import struct
import warnings
from collections.abc import Iterable
from types import SimpleNamespace

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # eventlet's advice not to begin with it
    import eventlet.wsgi

    eventlet.wsgi.ALREADY_HANDLED = object()  # Ryu asks for it, and newer versions have none (see `launcher`)
    from ryu.base import app_manager  # noqa: F401 - before its controller, which imports it

    from portlb_app import ryu_guard
    from portlb_app.ryu_guard import (
        GATHER_MOST_SECONDS,
        GATHER_SECONDS,
        MAIN_DISPATCHER,
        READ_BYTES,
        GuardedDatapath,
    )

PACKET_IN, BARRIER_REPLY = (struct.pack("!BBHI", 6, kind, 8, 1) for kind in (10, 21))


class Connection:
    """A switch's connection, of which only reading is real: each chunk is what one read finds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chunks: Iterable[bytes], awaited: Iterable[int] = ()) -> None:
        self._chunks = [*chunks, b""]
        self.happened: list[str | float] = []
        self.socket = SimpleNamespace(recv=self._read)
        self.state, self.awaited = MAIN_DISPATCHER, set(awaited)
        self._handed_up = 0
        self._door = SimpleNamespace(on_packet=lambda _datapath, _message: self.happened.append("packet"))
        monkeypatch.setattr(ryu_guard.hub, "sleep", self.happened.append)
        for message in GuardedDatapath._messages(self):  # type: ignore[arg-type]
            if message[1] == 10:
                GuardedDatapath._take(self, message)  # type: ignore[arg-type]
            else:
                self.happened.append("answer")

    def _read(self, _most: int) -> bytes:
        self.happened.append("read")
        return self._chunks.pop(0)


def test_after_packets_were_handed_up_reading_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all that came together, the longer the more they are; the first did not wait, all are taken before."""
    seen = Connection(monkeypatch, [PACKET_IN, PACKET_IN * 3 + BARRIER_REPLY, BARRIER_REPLY, PACKET_IN * 20]).happened
    assert seen == [
        *("read", "packet", GATHER_SECONDS),
        *("read", "packet", "packet", "packet", "answer", 3 * GATHER_SECONDS),
        *("read", "answer"),
        *("read", *["packet"] * 20, GATHER_MOST_SECONDS),
        "read",
    ]


def test_what_waits_to_be_read_does_not_wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that brought all it could leaves more: a pause would limit how much a switch can hand up."""
    seen = Connection(monkeypatch, [PACKET_IN * (READ_BYTES // 8), PACKET_IN]).happened
    assert seen[-4:] == ["read", "packet", GATHER_SECONDS, "read"] and seen.count(GATHER_MOST_SECONDS) == 0


def test_half_a_packet_is_read_on_after_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Connection(monkeypatch, [PACKET_IN + PACKET_IN[:3], PACKET_IN[3:]]).happened
    assert seen == ["read", "packet", GATHER_SECONDS, "read", "packet", GATHER_SECONDS, "read"]


def test_nothing_is_gathered_while_an_answer_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else reconciling would take ten milliseconds for each question."""
    seen = Connection(monkeypatch, [PACKET_IN, BARRIER_REPLY], awaited={7}).happened
    assert seen == ["read", "packet", "read", "answer", "read"]
