"""The long proofs between hosts, in their short forms: that they run, and what they promise holds for seconds."""

from __future__ import annotations

import pytest

from tests.soak import connections


def test_connections_at_a_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """E2: each is answered, over ports that take turns."""
    assert connections.main("--rate 400 --seconds 4 --turn 1".split()) == 0, capsys.readouterr().out
