"""``/healthz`` and ``/readyz``: whether the controller runs, and whether it has read every switch once."""

from __future__ import annotations

from portlb_app.api.messages import Response
from portlb_app.api.routing import Call
from portlb_app.reconcile.status import Status

TEXT = "text/plain; charset=utf-8"


class Readiness:
    """What a controller that has started waits for. Once it is ready, it stays so.

    `after`: seconds since the start after which it waits no more; None: never. `began`: the start, by the clock of
    `now`.
    """

    def __init__(self, after: float | None = None, began: float = 0.0) -> None:
        self._ends = None if after is None else began + after
        self._is_ready = False

    def unread(self, status: Status, now: float) -> tuple[str, ...]:
        """The switches of the configuration that it waits for; empty if it is ready."""
        if self._is_ready or (self._ends is not None and now >= self._ends):
            return ()
        waiting = tuple(each.name for each in status.switches if each.read_age is None)
        self._is_ready = not waiting
        return waiting


def healthz(_call: Call) -> Response:
    """An answer at all says that the loop runs."""
    return Response(200, "ok\n", TEXT)


def readyz(call: Call) -> Response:
    """Whether other programs may rely on what is told here."""
    waiting = call.snapshot.unread
    if not waiting:
        return Response(200, "ready\n", TEXT)
    return Response(503, f"not read yet: {', '.join(waiting)}\n", TEXT)
