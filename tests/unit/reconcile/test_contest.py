"""Another controller on the same switch: portlb stops after three rounds, and goes on when it is asked to."""

from __future__ import annotations

from portlb_app.openflow import Flow, Output, SwitchState, match
from portlb_app.pipeline import COOKIE
from portlb_app.reconcile.commands import ReadState
from portlb_app.reconcile.contest import ROUNDS
from portlb_app.reconcile.double import RECENT, Double, Ends
from portlb_app.reconcile.events import Claimed, ReadWanted, SwitchConnected, Tick
from tests.support.reconciling import Applied, Apply, Fed, Loop, StateRead, Wanted, Wants, Whole

A = 1
INTERVAL = 30.0
ONE, TWO = Ends("192.0.2.1:4000", "192.0.2.9:6653"), Ends("192.0.2.2:4000", "192.0.2.9:6653")


def state(*ports: int) -> SwitchState:
    return SwitchState(frozenset(Flow(0, 1, match(in_port=port), (Output(9),), COOKIE) for port in ports))


OURS, THEIRS = state(1, 2), state(1, 3)


class Shared:
    """A synced switch to which something else may write."""

    def __init__(self) -> None:
        self.loop = Loop(Whole("text", {A: Wanted("a", OURS)}), INTERVAL)
        self.now = 0.0
        self(SwitchConnected(A))
        self(StateRead(A, OURS))

    def __call__(self, event: Fed, after: float = 0.0) -> list[Wants]:
        self.now += after
        return [each for each in self.loop.handle(event, self.now) if isinstance(each, (ReadState, Apply))]

    def is_repaired(self, held: SwitchState) -> bool:
        """The next read finds this; whether it is repaired."""
        assert self(Tick(), INTERVAL) == [ReadState(A)]
        commands = self(StateRead(A, held))
        if not any(isinstance(each, Apply) for each in commands):
            return False
        assert self(Applied(A)) == [ReadState(A)]
        self(StateRead(A, OURS))
        return True

    @property
    def contested(self) -> float | None:
        (switch,) = self.loop.reconciler.status(self.now).switches
        return switch.contested


def contested() -> Shared:
    shared = Shared()
    assert [shared.is_repaired(THEIRS) for _ in range(ROUNDS)] == [True] * ROUNDS
    assert shared.contested is None
    assert not shared.is_repaired(THEIRS)
    return shared


def test_it_stops_after_three_rounds_and_says_so_once() -> None:
    shared = contested()
    assert not any(shared.is_repaired(THEIRS) for _ in range(5))
    assert shared.contested == 5 * INTERVAL
    (switch,) = shared.loop.reconciler.status(shared.now).switches
    assert switch.state == "error"
    assert [each.after for each in shared.loop.happened if each.kind == "conflict"] == ["other_controller"]


def test_other_writers_are_put_right_for_ever() -> None:
    shared = Shared()
    assert all(shared.is_repaired(state(1)) for _ in range(9)), "what is only removed"
    assert all(shared.is_repaired(state(1, 10 + number)) for number in range(9)), "something else each time"
    for _ in range(9):
        assert shared.is_repaired(THEIRS)
        assert not shared.is_repaired(OURS), "a round of peace"
    assert shared.contested is None


def test_it_goes_on_when_asked_to_or_connected_again_or_when_both_agree() -> None:
    shared = contested()
    assert shared(ReadWanted(A)) == [ReadState(A)]
    assert any(isinstance(each, Apply) for each in shared(StateRead(A, THEIRS)))
    shared = contested()
    assert shared(SwitchConnected(A)) == [ReadState(A)]
    assert any(isinstance(each, Apply) for each in shared(StateRead(A, THEIRS)))
    shared = contested()
    assert not shared.is_repaired(OURS)
    assert shared.contested is not None, "the other one has just put it right: that was a change"
    assert not shared.is_repaired(OURS)
    assert shared.contested is None
    assert shared.is_repaired(THEIRS)


def test_a_second_claim_is_told_once_and_forgotten() -> None:
    shared = Shared()
    for _ in range(3):
        shared(Claimed(A, ONE, TWO), 8.0)
    (switch,) = shared.loop.reconciler.status(shared.now).switches
    assert "192.0.2.2:4000" in switch.double and switch.double_for == 16.0
    assert [each.after for each in shared.loop.happened if each.kind == "conflict"] == ["claimed_twice"]
    (switch,) = shared.loop.reconciler.status(shared.now + RECENT).switches
    assert switch.double == ""
    shared(Claimed(99, ONE, TWO))
    assert len([each for each in shared.loop.happened if each.kind == "conflict"]) == 1


def test_two_addresses_of_the_controller_are_named() -> None:
    assert "the bridge has two targets" in Double(ONE, TWO, 0.0, 0.0).words
    other = TWO._replace(controller="198.51.100.9:6653")
    assert "by two addresses" in Double(ONE, other, 0.0, 0.0).words
