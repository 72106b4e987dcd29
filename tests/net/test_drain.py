"""B3: a server with downloads and idle connections is drained with `move`, in the short form."""

from __future__ import annotations

from tests.soak import drain


def test_a_drain_that_moves_reaches_zero() -> None:
    """Idle connections read the end of the stream and open elsewhere, downloads arrive whole, and none is left."""
    figures = drain.run(downloads=40, idle=10)
    assert figures.broken == 0
    assert figures.idle == {"RemoteDisconnected": 10}
    assert figures.opened == {"b": 10}
    assert figures.state == "drained"
