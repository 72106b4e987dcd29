"""Servers that drain: their packets are counted, and it is said once when they are drained."""

from __future__ import annotations

from portlb_app.backends.drained import COUNT_EVERY, SETTLED, STILL
from portlb_app.config import Wanted
from portlb_app.config.overrides import NONE, Override, Overrides
from portlb_app.net.heartbeat import Heartbeat
from portlb_app.reconcile.commands import CountPackets
from portlb_app.reconcile.events import ConnectionsOpen, OverridesWanted, PacketsCounted, Tick
from tests.support.wishing import FIG2, UNIX, Session


class Draining(Session):
    """FIG. 2 with its switch, of which b drains from now on."""

    def __init__(self, deadline: float | None = None) -> None:
        super().__init__()
        self.sync()
        self(Tick(UNIX))
        self.said = Override(Wanted.DRAIN, Wanted.READY, since=UNIX, deadline=deadline)
        self(OverridesWanted(1, self.drained, 15.0))

    @property
    def drained(self) -> Overrides:
        return NONE.put(FIG2.config.server_by_name["b"], "state", Wanted.DRAIN, self.said)

    def drain(self, name: str = "b") -> object:
        return self.loop.reconciler.drains(self.now).get(name)


def test_packets_are_counted_while_something_drains_only() -> None:
    session = Draining()
    (count,) = session.counts
    assert isinstance(count, CountPackets)
    assert (count.dpid, count.server, len(count.filters)) == (1, "b", 1)
    session(Tick(), after=COUNT_EVERY - 0.1)
    assert session.counts == []
    session(Tick(), after=0.1)
    assert session.counts == [count]
    session(OverridesWanted(2, NONE, 15.0))
    session(Tick(), after=COUNT_EVERY)
    assert session.counts == [] and session.drain() is None


def test_still_packets_are_said_once() -> None:
    session = Draining()
    for _ in range(int(2 * STILL / COUNT_EVERY)):
        session(PacketsCounted("b", 7))
        session(Tick(), after=COUNT_EVERY)
    said = [line for line in session.logs if "is drained" in line]
    assert said == ["server b is drained, by the counters of its packets"]


def test_a_heartbeat_with_no_connection_is_enough() -> None:
    session = Draining()
    session.now += SETTLED + 1
    session.loop.reconciler.backends.hear("b", Heartbeat(1, 1, open=3), session.now)
    session(Tick())
    assert "server b is drained, by its agent" not in session.logs
    session.loop.reconciler.backends.hear("b", Heartbeat(1, 2), session.now)
    session(Tick())
    assert session.logs[-1] == "server b is drained, by its agent"


def test_what_nobody_asked_for_is_nothing() -> None:
    session = Draining()
    session(PacketsCounted("nobody", 7))
    session(ConnectionsOpen({"a": 7}))
    assert session.drain("a") is None


def test_a_deadline_that_has_come_is_said_once() -> None:
    session = Draining(deadline=UNIX + 30)
    assert session.loop.reconciler.overdue == frozenset()
    session(Tick(UNIX + 31), after=31)
    session(Tick(UNIX + 32), after=1)
    assert [line for line in session.logs if "by now" in line] == [
        "server b is to be drained by now: nothing tells yet how many connections are open"
    ]
    assert session.loop.reconciler.overdue == {"b"}


def test_a_successor_counts_anew() -> None:
    """It sends no change to a switch, and what has drained before is found again."""
    first = Draining()
    second = Session()
    second.loop.reconciler._network.overrides = first.drained
    second(Tick(UNIX))
    assert second.overrides == first.drained
    assert "b" in second.loop.reconciler.drains(0.0)
