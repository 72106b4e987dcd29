"""The long proofs between hosts, in their short forms: that they run, and what they promise holds for seconds."""

from __future__ import annotations

import pytest

from tests.soak import changes, churn, connections


def test_connections_at_a_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """E2: each is answered, over ports that take turns."""
    assert connections.main("--rate 400 --seconds 4 --turn 1".split()) == 0, capsys.readouterr().out


def test_changes_lose_no_connection(capsys: pytest.CaptureFixture[str]) -> None:
    """Of every kind, some refused, under load; the switch ends with what was asked for."""
    assert changes.main("--changes 30 --downloads 10".split()) == 0, capsys.readouterr().out


def test_connections_come_and_go() -> None:
    """E2: none is turned away, and those that stay are kept, where more come than the table has places."""
    assert churn.run(seconds=2, rate=5000, opened=20, room=256) > 256
