"""The packet-in path's long proof in its short form: ``python -m tests.soak.punt`` is the full one."""

from __future__ import annotations

from tests.soak import punt


def test_mutated_frames_harm_nothing() -> None:
    """Every one is judged or counted; nothing raises; every kind of answer occurs."""
    figures = punt.run(frames=10_000, seconds=60.0)
    assert figures.frames >= 10_000 and figures.messages > 500
    assert figures.fates.keys() >= {"sent", "dropped", "unknown", "malformed", "absent"}
    assert figures.records[0] > 0 and figures.records[1] > 0
    assert figures.grown < 100_000, "kilobytes"
