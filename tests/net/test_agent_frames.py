"""Nothing that is sent corrupts a packet: a short form of `python -m tests.soak.frames`."""

from __future__ import annotations

from tests.soak.frames import run


def test_mutated_frames() -> None:
    """E7: 20,000 mutated frames through all four programs; honest connections go on."""
    figures = run(20_000, seed=21, seconds=60)
    assert figures.verdicts.total() > 1000 and figures.changed > 100 and figures.verdicts["dropped"] > 10
