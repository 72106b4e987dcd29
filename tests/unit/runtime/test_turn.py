"""Who has had its turn, and how long it rests."""

from __future__ import annotations

from portlb_app.runtime.turn import REST_MOST_SECONDS, REST_OF_UNKNOWN, TURN_SECONDS, Turn


def test_a_turn_ends_however_short_the_reads_are() -> None:
    """The work of many short reads is added up; a switch that is not configured rests in proportion to it."""
    turn = Turn()
    for _ in range(3):
        reads = 0
        while not turn.worked(TURN_SECONDS / 8):
            reads += 1
        assert reads == 8
        assert turn.pause() == 0.0
    turn.worked(2 * TURN_SECONDS)
    assert turn.pause(REST_OF_UNKNOWN) == 2 * TURN_SECONDS * REST_OF_UNKNOWN
    assert turn.worked(1.0)
    assert turn.pause(REST_OF_UNKNOWN) == REST_MOST_SECONDS
    assert not turn.worked(TURN_SECONDS / 2)
