"""E7: no connection hangs that plain TCP would have ended or carried, wherever something goes wrong.

A short form of `python -m tests.soak.positions`, in which plain TCP hangs nowhere.
"""

from __future__ import annotations

from tests.soak.positions import measure, positions

PATHS = ("none", "to-Y", "from-Y", "from-Y reset")
SECONDS = 15.0


def test_no_position_hangs() -> None:
    """E7: who speaks first, what the path drops, where programs are, which entry is lost and when: 160 positions."""
    chosen = positions(PATHS)
    found, stats = measure(chosen, True, SECONDS)
    # A connection that begins after another has found the same path silent stays where it was opened.
    assert stats["bound"] + stats["remembered"] == len(chosen) and stats["map_full"] == 0
    assert stats["bound"] >= len({each.x for each in chosen})
    assert [each for each in chosen if found[each].hangs] == []
    told = [each for each in chosen if found[each].ended]
    assert {each.loss for each in told} <= {"client, open"}, [(each, found[each].exchanges) for each in told]
