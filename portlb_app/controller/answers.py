"""Answers that come before it is known what became of a change."""

from __future__ import annotations

from collections.abc import Callable

from eventlet.event import Event as Future

from portlb_app.api.messages import Response
from portlb_app.api.waiting import accepted
from portlb_app.runtime import supervision


def within(seconds: float | None, change: int, finish: Callable[[], Response]) -> Response:
    """What `finish` answers; after so many seconds that the change goes on, and where it is found. None: wait for it.

    `finish` has written down the change's end when it returns, so that nothing is lost with an answer that is not sent.
    """
    if seconds is None:
        return finish()
    answer = Future()
    supervision.spawn(f"change {change}", lambda: answer.send(finish()))
    found: Response | None = answer.wait(seconds) if seconds else None
    return found or accepted(change)
