"""What a switch tells of itself: all of ours, but for flows that it has made by itself and that end by themselves."""

from __future__ import annotations

import pytest

from portlb_app.openflow import Flow, Opaque, SetField, match
from portlb_app.pipeline import PRESENCE, REDIRECT, TURN, Reason, make_cookie
from portlb_app.reconcile.reading import Page, Reading

ENDS, SAYS = Opaque("hard_timeout=2"), SetField(TURN, 1)
OF_TURNS, OTHER = make_cookie(Reason.TURNS, 7, 80), make_cookie(Reason.MISS)


@pytest.mark.parametrize(
    ("flow", "is_told"),
    [
        (Flow(PRESENCE.number, 100, match(), (ENDS, SAYS), OF_TURNS), False),
        (Flow(PRESENCE.number, 100, match(), (SAYS,), OF_TURNS), True),
        (Flow(PRESENCE.number, 100, match(), (Opaque("idle_timeout=2"), SAYS), OF_TURNS), True),
        (Flow(PRESENCE.number, 100, match(), (ENDS, SAYS), OTHER), True),
        (Flow(REDIRECT.number, 100, match(), (ENDS, SAYS), OF_TURNS), True),
    ],
)
def test_what_ends_by_itself_where_presence_is_learned_is_the_switch_s_own(flow: Flow, is_told: bool) -> None:
    """Anything else that others have put there is told, so that it is put right."""
    lasting, reading = Flow(PRESENCE.number, 0, match(), (), OTHER), Reading()
    reading.take("flows", [b"message"], lambda _kind, _message: Page([lasting, flow]))
    assert reading.state.flows == ({lasting, flow} if is_told else {lasting})
