"""The reconciler, event by event, and against switches that do anything at any time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app.config import Problem
from portlb_app.config.etag import Precondition, etag
from portlb_app.openflow import Flow, Output, SwitchState, match
from portlb_app.openflow.messages import Port
from portlb_app.pipeline import COOKIE
from portlb_app.reconcile.commands import Log, ReadFile, ReadState, ReportOutcome
from portlb_app.reconcile.compilation import AGAIN
from portlb_app.reconcile.events import (
    ConfigProposed,
    FileRead,
    Interrupted,
    Loaded,
    PortsSeen,
    SwitchConnected,
    SwitchDisconnected,
    TablesLost,
    Tick,
)
from portlb_app.reconcile.outcomes import (
    Busy,
    Live,
    LostSwitches,
    Mistaken,
    NoSwitch,
    NotComputed,
    Outdated,
    RefusedBySwitches,
    TimedOut,
    TurnMissed,
)
from portlb_app.reconcile.plan import apply, diff
from portlb_app.reconcile.results import Mistakes
from portlb_app.reconcile.trial import ENTRIES_A_SECOND, MESSAGES_A_SECOND, Trial
from portlb_app.reconcile.waiting import WAITING
from tests.support.reconciling import Applied, Apply, Fed, Loop, Propose, Refused, StateRead, Wanted, Wants, Whole

FLOWS = Path(__file__).parents[3] / "flows"
INTERVAL = 30.0
A, B, STRANGER = 1, 2, 99


def state(*ports: int) -> SwitchState:
    return SwitchState(frozenset(Flow(0, 1, match(in_port=port), (Output(9),), COOKIE) for port in ports))


def configuration(text: str, **states: SwitchState) -> Whole:
    """A configuration of switches a (datapath id 1) and b (2)."""
    return Whole(text, {{"a": A, "b": B}[name]: Wanted(name, each) for name, each in states.items()})


OLD = configuration("old", a=state(1, 2), b=state(1))
NEW = configuration("new", a=state(1, 3), b=state(4))
EMPTY = SwitchState()


class Session:
    """A reconciler, the time, and what it commanded, logs apart."""

    def __init__(self, live: Whole = OLD) -> None:
        self.loop = Loop(live, INTERVAL)
        self.reconciler = self.loop.reconciler
        self.now = 0.0
        self.logs: list[str] = []

    def __call__(self, event: Fed, after: float = 0.0) -> list[Wants]:
        self.now += after
        commands = self.loop.handle(event, self.now)
        self.logs += [command.text for command in commands if isinstance(command, Log)]
        return [command for command in commands if not isinstance(command, Log)]

    def state(self, dpid: int = A) -> str:
        return next(each.state for each in self.reconciler.status(self.now).switches if each.dpid == dpid)

    def sync(self, dpid: int) -> None:
        """Connect a switch that already has what is wanted."""
        assert self(SwitchConnected(dpid)) == [ReadState(dpid)]
        assert self(StateRead(dpid, OLD.targets[dpid].state)) == []
        assert self.state(dpid) == "synced"

    def propose(
        self, ticket: int = 1, what: Whole = NEW, unverified: bool = False, turn: float = 0.0, atomic: bool = False
    ) -> list[Wants]:
        return self(Propose(ticket, what, unverified=unverified, turn=turn, atomic=atomic))


@pytest.fixture
def session() -> Session:
    return Session()


def test_a_switch_is_read_changed_and_read_again(session: Session) -> None:
    assert session.state() == "absent"
    assert session(SwitchConnected(A)) == [ReadState(A)]
    assert session.state() == "reading"
    assert session(StateRead(A, EMPTY)) == [Apply(A, diff(EMPTY, state(1, 2)))]
    assert session.state() == "applying"
    assert session(Applied(A)) == [ReadState(A)]
    assert session.state() == "reading"
    assert session(StateRead(A, state(1, 2))) == []
    assert session.state() == "synced"
    (status, _) = session.reconciler.status(session.now + 2).switches
    assert (status.flows, status.groups, status.drift, status.errors, status.read_age) == (2, 0, 0, (), 2.0)


def test_a_switch_that_has_what_it_should_is_sent_nothing(session: Session) -> None:
    session.sync(A)


def test_the_timer_reads_again_and_drift_is_counted_and_healed(session: Session) -> None:
    session.sync(A)
    assert session(Tick(), after=INTERVAL - 1) == []
    assert session(Tick(), after=1) == [ReadState(A)]
    assert session(Tick(), after=INTERVAL) == [], "one round in flight"
    assert session.state() == "synced"
    assert session(StateRead(A, state(1))) == [Apply(A, diff(state(1), state(1, 2)))]
    assert any("1 of our entries were changed by others" in line for line in session.logs)
    session(Applied(A))
    session(StateRead(A, state(1, 2)))
    status = session.reconciler.status(session.now).switches[0]
    assert (status.state, status.drift) == ("synced", 1)


def test_what_is_removed_and_was_not_told_is_logged(session: Session) -> None:
    session(SwitchConnected(A))
    session(StateRead(A, state(1, 2, 7, 8)))
    assert "a has 2 flows that nothing asks for: to be removed" in session.logs
    session(Applied(A))
    session(StateRead(A, state(1, 2)))
    session.logs.clear()
    session.propose(what=NEW)
    session(Applied(A))
    session(StateRead(A, NEW.targets[A].state))
    assert session.state() == "synced" and not any("nothing asks" in line for line in session.logs)


def test_a_restarted_switch_has_not_drifted(session: Session) -> None:
    session.sync(A)
    session(SwitchDisconnected(A))
    assert session.state() == "absent"
    session(SwitchConnected(A))
    session(StateRead(A, EMPTY))
    assert session.reconciler.status(0).switches[0].drift == 0


def test_a_refusal_is_a_status_and_tried_again_by_the_timer(session: Session) -> None:
    session(SwitchConnected(A))
    session(StateRead(A, EMPTY))
    assert session(Refused(A, ("table full",))) == []
    assert session.state() == "error"
    assert session.reconciler.status(0).switches[0].errors == ("table full",)
    assert session(Tick(), after=INTERVAL) == [ReadState(A)]
    assert session.state() == "error"
    session(StateRead(A, state(1, 2)))
    assert session.state() == "synced"


def test_a_switch_that_does_not_do_what_it_says_is_an_error_and_no_busy_loop(session: Session) -> None:
    session(SwitchConnected(A))
    session(StateRead(A, EMPTY))
    session(Applied(A))
    assert session(StateRead(A, state(1))) == []
    (error,) = session.reconciler.status(0).switches[0].errors
    assert session.reconciler.status(0).switches[0].drift == 0
    assert error.startswith("took the change but still needs 1 steps: add flow")


def test_a_switch_lost_in_the_middle_is_read_when_it_is_back(session: Session) -> None:
    session(SwitchConnected(A))
    session(StateRead(A, EMPTY))
    session(SwitchDisconnected(A))
    assert session(Applied(A)) == [], "an answer of the lost connection"
    assert session(SwitchConnected(A)) == [ReadState(A)]
    assert session(StateRead(A, state(1))) == [Apply(A, diff(state(1), state(1, 2)))]


def test_a_stranger_is_shown_and_left_alone(session: Session) -> None:
    assert session(SwitchConnected(STRANGER)) == []
    assert session(Tick(), after=2 * INTERVAL) == []
    assert session.reconciler.status(0).unknown == (STRANGER,)
    assert session.logs == ["switch 0x63 is not in the configuration and left alone"]
    session(SwitchDisconnected(STRANGER))
    assert session.reconciler.status(0).unknown == ()


def test_a_proposal_is_live_when_all_connected_switches_have_it(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    assert session.propose() == [ReadState(A), ReadState(B)]
    assert session(StateRead(A, state(1, 2))) == [Apply(A, diff(state(1, 2), state(1, 3)))]
    assert session(Applied(A)) == [ReadState(A)]
    assert session(StateRead(A, state(1, 3))) == []
    assert session.reconciler.text == "old"
    session(StateRead(B, state(1)))
    session(Applied(B))
    assert session(StateRead(B, state(4))) == [ReportOutcome(1, Live())]
    assert session.reconciler.text == "new"
    assert session.reconciler.status(0).generation == 2


def test_absent_switches_do_not_hold_a_proposal_up_and_get_it_later(session: Session) -> None:
    assert session.propose(unverified=True) == [ReportOutcome(1, Live(verified=False))]
    session(SwitchConnected(A))
    assert session(StateRead(A, state(1, 2))) == [Apply(A, diff(state(1, 2), state(1, 3)))]


def test_a_refused_proposal_goes_back_on_all_switches(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    session.propose()
    session(StateRead(A, state(1, 2)))
    session(Applied(A))
    session(StateRead(A, state(1, 3)))
    session(StateRead(B, state(1)))
    assert session(Refused(B, ("no",))) == [
        ReportOutcome(1, RefusedBySwitches({"b": ("no",)})),
        ReadState(A),
        ReadState(B),
    ]
    assert session(StateRead(A, state(1, 3))) == [Apply(A, diff(state(1, 3), state(1, 2)))]
    assert session(StateRead(B, state(1))) == []
    session(Applied(A))
    session(StateRead(A, state(1, 2)))
    assert (session.state(A), session.state(B), session.reconciler.text) == ("synced", "synced", "old")
    assert [each.drift for each in session.reconciler.status(0).switches] == [0, 0]


def test_a_withdrawn_change_that_was_in_flight_is_undone(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    session.propose()
    session(StateRead(A, state(1, 2)))
    session(StateRead(B, state(1)))
    assert session(Refused(B, ("no",))) == [ReportOutcome(1, RefusedBySwitches({"b": ("no",)})), ReadState(B)]
    assert session(Applied(A)) == [ReadState(A)]
    assert session.state(A) == "reading", "it had the last good configuration, but not any more"
    assert session(StateRead(A, state(1, 3))) == [Apply(A, diff(state(1, 3), state(1, 2)))]


def test_a_refusal_of_what_was_withdrawn_meanwhile_blames_nobody(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    session.propose()
    session(StateRead(A, state(1, 2)))
    session(StateRead(B, state(1)))
    session(Refused(B, ("no",)))
    assert session(Refused(A, ("no either",))) == [ReadState(A)]
    assert session(StateRead(A, state(1, 2))) == []
    assert session.state(A) == "synced"


def test_a_proposal_has_a_deadline(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    session.propose(atomic=True)
    session(StateRead(A, state(1, 3)))
    assert session(Tick(), after=14) == []
    assert session(Tick(), after=2) == [ReportOutcome(1, TimedOut(("b",))), ReadState(A)]
    assert session(StateRead(B, state(1))) == []
    assert session.state(B) == "synced"


def test_a_trial_that_goes_on_is_not_given_up(session: Session) -> None:
    """Each answer gives what is left the time again, but not for ever."""
    for dpid in (A, B):
        session.sync(dpid)
    session.propose(atomic=True)
    session(StateRead(A, state(1, 2)), after=14)
    assert session(Tick(), after=14) == []
    session(Applied(A))
    assert session(Tick(), after=14) == []
    assert session(StateRead(A, state(1, 3))) == []
    assert session(Tick(), after=16)[0] == ReportOutcome(1, TimedOut(("b",)))
    trial = Trial(ConfigProposed(1, "", 15.0))
    trial.begin({A}, (), 0.0, 0, 0)
    for now in range(0, 400, 10):
        trial.progressed(A, now)
        trial.progressed(B, now)
    assert trial.is_over(301) and not trial.is_over(299)


def test_a_second_proposal_is_not_tried_before_the_first_is_decided(session: Session) -> None:
    session.sync(A)
    session.propose(1)
    assert session.propose(2) == [ReportOutcome(2, Busy())]
    assert session(StateRead(A, state(1, 3))) == [ReportOutcome(1, Live())]
    assert session.propose(3, OLD) == [ReadState(A)]


def test_proposals_wait_for_their_turn_in_order(session: Session) -> None:
    session.sync(A)
    session.propose(1)
    assert session.propose(2, OLD, turn=20) == session.propose(3, turn=20) == []
    assert session(StateRead(A, state(1, 3))) == [ReportOutcome(1, Live()), ReadState(A)]
    session(StateRead(A, state(1, 3)))
    session(Applied(A))
    assert session(StateRead(A, state(1, 2))) == [ReportOutcome(2, Live()), ReadState(A)]
    session(StateRead(A, state(1, 2)))
    session(Applied(A))
    assert session(StateRead(A, state(1, 3))) == [ReportOutcome(3, Live())]
    assert session.propose(4) == [ReportOutcome(4, Live())], "at once, and nothing is to be changed for it"


def read_again(ticket: int) -> ConfigProposed:
    """The file is to be read again."""
    return ConfigProposed(ticket, None, 15.0, unverified=True)


def test_the_file_waits_for_its_turn_and_is_read_then(session: Session) -> None:
    """Behind those that came before, and before those that came after, however many there are and however long."""
    session.sync(A)
    session.propose(1)
    for ticket in range(WAITING):
        session.propose(2 + ticket, OLD, turn=1)
    assert session(read_again(98)) == []
    assert session.propose(99, OLD, turn=20) == [ReportOutcome(99, Busy())]
    assert session(Tick(), after=14.0) == [ReportOutcome(2 + each, TurnMissed(1)) for each in range(WAITING)]
    assert session.propose(99, OLD, turn=20) == []
    assert session(StateRead(A, state(1, 3))) == [ReportOutcome(1, Live()), ReadFile(98)]
    assert session(Tick(), after=1.0) == []
    session.loop._known["file"] = configuration("file", a=state(1, 5))
    assert session(FileRead(98, "file", "7")) == [ReadState(A)]
    assert session(FileRead(98, "old")) == [], "it was read already"
    session(StateRead(A, state(1, 3)))
    session(Applied(A))
    assert session(StateRead(A, state(1, 5))) == [ReportOutcome(98, Live()), ReadState(A)]
    assert session.reconciler.text == "file"
    assert [each.change for each in session.loop.happened if each.after == "live"][-1:] == ["7"]


def test_the_process_with_the_tables_ends_while_the_file_is_read(session: Session) -> None:
    """Nothing of it was lost: it is loaded by the next process."""
    session.sync(A)
    assert session(read_again(1)) == [ReadFile(1)]
    session.loop.lose()
    assert session(TablesLost("killed")) == [ReadState(A)]
    session.loop._known["file"] = replace(OLD, text="file")
    session(FileRead(1, "file"))
    assert session(StateRead(A, state(1, 2))) == [ReportOutcome(1, Live())]


def test_a_file_that_cannot_be_read_lets_the_next_one_have_its_turn(session: Session) -> None:
    session.sync(A)
    assert session(read_again(1)) == [ReadFile(1)]
    assert session.propose(2, turn=20) == []
    mistakes = Mistakes((Problem("", "it is no regular file"),))
    assert session(FileRead(1, mistakes)) == [ReportOutcome(1, Mistaken(mistakes)), ReadState(A)]


def test_one_that_waits_is_compared_with_what_is_live_in_its_turn(session: Session) -> None:
    session.sync(A)
    session.propose(1)
    made_from = Precondition(etag(OLD.text))
    session(Propose(2, OLD, precondition=made_from, turn=20))
    session.propose(3, OLD, turn=20)
    assert session(StateRead(A, state(1, 3))) == [
        *(ReportOutcome(1, Live()), ReportOutcome(2, Outdated()), ReadState(A)),
    ]
    session(StateRead(A, state(1, 3)))
    session(Applied(A))
    assert session(StateRead(A, state(1, 2))) == [ReportOutcome(3, Live())]


def test_nothing_waits_for_its_turn_for_ever(session: Session) -> None:
    session.sync(A)
    session.propose(1)
    session.propose(2, OLD, turn=10)
    session.propose(3, OLD, turn=13)
    assert session(Tick(), after=9.9) == []
    assert session(Tick(), after=0.2) == [ReportOutcome(2, TurnMissed(10))]
    assert session(StateRead(A, state(1, 3))) == [ReportOutcome(1, Live()), ReadState(A)]


def test_only_so_many_wait(session: Session) -> None:
    session.sync(A)
    session.propose(1)
    for ticket in range(WAITING):
        assert session.propose(2 + ticket, OLD, turn=20) == []
    assert session.propose(99, OLD, turn=20) == [ReportOutcome(99, Busy())]


def test_those_that_wait_are_tried_after_one_with_mistakes(session: Session) -> None:
    session.sync(A)
    session.loop.slow = True
    session.propose(1)
    session.propose(2, OLD, turn=20)
    mistakes = Mistakes((Problem("vips", "no"),))
    assert session(Loaded(1, mistakes)) == [ReportOutcome(1, Mistaken(mistakes))]
    assert ReportOutcome(2, Live()) in session.loop.compute(session.now)


def test_a_switch_that_connects_during_a_proposal_takes_part(session: Session) -> None:
    session.sync(A)
    session.propose()
    session(SwitchConnected(B))
    assert session(StateRead(A, state(1, 3))) == []
    assert session(StateRead(B, state(4))) == [ReportOutcome(1, Live())]


def test_a_switch_that_is_lost_over_a_proposal_withdraws_it(session: Session) -> None:
    """Also if all others have it, and it is the only one that has not."""
    session.sync(A)
    session.sync(B)
    session.propose(atomic=True)
    session(StateRead(A, state(1, 3)))
    assert session(SwitchDisconnected(B)) == [ReportOutcome(1, LostSwitches(("b",))), ReadState(A)]
    assert session(StateRead(A, state(1, 3))) == [Apply(A, diff(state(1, 3), state(1, 2)))]
    assert session.reconciler.text == "old"


def landed(wants: list[Wants]) -> dict[str, str]:
    """What each switch made of a proposal that is live."""
    (outcome,) = (each.outcome for each in wants if isinstance(each, ReportOutcome))
    assert isinstance(outcome, Live)
    return dict(outcome.landed)


def test_a_switch_that_is_lost_holds_up_none_of_the_others(session: Session) -> None:
    """It gets what is live when it is back."""
    session.sync(A)
    session.sync(B)
    session.propose()
    assert session(SwitchDisconnected(B)) == []
    session(StateRead(A, state(1, 2)))
    session(Applied(A))
    assert landed(session(StateRead(A, state(1, 3)))) == {"a": "has it", "b": "lost"}
    assert session.reconciler.text == "new"
    session(SwitchConnected(B))
    assert session(StateRead(B, state(1))) == [Apply(B, diff(state(1), state(4)))]


def test_a_switch_that_is_too_slow_holds_up_none_of_the_others(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    session.propose()
    session(StateRead(A, state(1, 3)))
    assert landed(session(Tick(), after=16)) == {"a": "has it", "b": "late"}
    assert session(StateRead(B, state(1))) == [Apply(B, diff(state(1), state(4)))], "it goes on towards it"


def test_a_switch_that_is_lost_and_comes_back_takes_part_again(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    session.propose()
    session(SwitchDisconnected(B))
    session(SwitchConnected(B))
    assert session(StateRead(A, state(1, 3))) == []
    assert landed(session(StateRead(B, state(4)))) == {"a": "has it", "b": "has it"}


def test_if_all_that_a_proposal_changes_are_lost_nothing_shows_that_it_works(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    session.propose()
    session(SwitchDisconnected(B))
    assert session(SwitchDisconnected(A)) == [ReportOutcome(1, LostSwitches(("a", "b")))]
    session.sync(A)
    session.sync(B)
    session.propose(2, configuration("only b", a=state(1, 2), b=state(9)))
    assert session(SwitchDisconnected(B)) == [ReportOutcome(2, LostSwitches(("b",)))], "it changes nothing for a"


def test_a_switch_that_refuses_withdraws_it_although_another_is_lost(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    session.propose()
    session(SwitchDisconnected(B))
    session(StateRead(A, state(1, 2)))
    assert session(Refused(A, ("no",)))[0] == ReportOutcome(1, RefusedBySwitches({"a": ("no",)}))


def test_a_switch_that_connects_anew_over_a_proposal_was_lost(session: Session) -> None:
    session.sync(A)
    session.propose()
    assert session(SwitchConnected(A)) == [ReportOutcome(1, LostSwitches(("a",))), ReadState(A)]


def test_a_switch_that_is_lost_before_the_trial_begins_is_absent(session: Session) -> None:
    """While the proposal is compiled nobody was told anything."""
    session.sync(A)
    session.sync(B)
    session.loop.slow = True
    assert session.propose() == []
    session(SwitchDisconnected(B))
    assert session.loop.compute(session.now) == [ReadState(A)]
    assert session(StateRead(A, state(1, 3))) == [ReportOutcome(1, Live())]


def test_without_a_switch_nothing_shows_that_a_proposal_works(session: Session) -> None:
    assert session.propose() == [ReportOutcome(1, NoSwitch())]
    session(SwitchConnected(STRANGER))
    assert session.propose(2) == [ReportOutcome(2, NoSwitch())]
    assert session.reconciler.text == "old"
    session.sync(A)
    assert session.reconciler.status(0).verified


def test_what_is_wanted_all_the_same_is_unverified_until_a_switch_has_it(session: Session) -> None:
    session.sync(A)
    assert session.reconciler.status(0).verified
    session(SwitchDisconnected(A))
    assert session.propose(unverified=True) == [ReportOutcome(1, Live(verified=False))]
    assert not session.reconciler.status(0).verified
    assert session.logs[-1] == "configuration 2 is live, but unverified: no switch is connected that has it"
    session(SwitchConnected(A))
    session(StateRead(A, state(1, 3)))
    assert session.reconciler.status(0).verified


def test_a_switch_that_refuses_what_is_unverified_gets_the_last_good_tables(session: Session) -> None:
    session.sync(A)
    session(SwitchDisconnected(A))
    session.propose(unverified=True)
    session(SwitchConnected(A))
    assert session(StateRead(A, EMPTY)) == [Apply(A, diff(EMPTY, state(1, 3)))]
    assert session(Refused(A, ("table full",))) == [ReadState(A)]
    assert session(StateRead(A, EMPTY)) == [Apply(A, diff(EMPTY, state(1, 2)))]
    session(Applied(A))
    session(StateRead(A, state(1, 2)))
    assert (session.state(A), session.reconciler.text) == ("synced", "old")
    assert any("the last good one is live again" in line for line in session.logs)


def test_a_switch_in_error_holds_up_only_itself(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    session(Tick(), after=INTERVAL)
    session(StateRead(A, state(1, 2)))
    session(StateRead(B, EMPTY))
    session(Refused(B, ("table full",)))
    assert session.propose() == [ReadState(A), ReadState(B)]
    session(StateRead(A, state(1, 2)))
    session(Applied(A))
    assert session(StateRead(A, state(1, 3))) == [], "the other one is tried, too"
    session(StateRead(B, EMPTY))
    assert session(Refused(B, ("table full",))) == [ReportOutcome(1, Live())]
    assert (session.state(A), session.state(B)) == ("synced", "error")


def test_nobody_waits_for_a_switch_in_error_longer_than_for_others(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    session(Tick(), after=INTERVAL)
    session(StateRead(A, state(1, 2)))
    session(Refused(B, ("it cannot be read",)))
    session.propose()
    session(StateRead(A, state(1, 3)))
    assert session(Tick(), after=16) == [ReportOutcome(1, Live())]


def test_if_all_switches_are_in_error_they_decide(session: Session) -> None:
    """A proposal is the way out."""
    session(SwitchConnected(A))
    session(StateRead(A, EMPTY))
    session(Refused(A, ("table full",)))
    session.propose()
    session(StateRead(A, EMPTY))
    session(Applied(A))
    assert session(StateRead(A, state(1, 3))) == [ReportOutcome(1, Live())]


def test_a_trial_takes_longer_for_more_to_tell(session: Session) -> None:
    session.sync(A)
    many = SwitchState(frozenset(Flow(0, 1, match(in_port=port), (Output(9),), COOKIE) for port in range(3000)))
    session.propose(what=configuration("many", a=many, b=state(1)))
    more = 2999 / MESSAGES_A_SECOND + 3000 / ENTRIES_A_SECOND
    session(StateRead(A, state(1, 2)))
    assert session(Tick(), after=15 + more - 0.1) == []
    assert session(Tick(), after=0.2) == [ReportOutcome(1, TimedOut(("a",)))]


def test_a_switch_that_joins_a_trial_has_time_for_what_it_must_be_told(session: Session) -> None:
    """As much as one that was there from the beginning, from the moment on at which it connects."""
    session.sync(A)
    many = SwitchState(frozenset(Flow(0, 1, match(in_port=port), (Output(9),), COOKIE) for port in range(3000)))
    session.propose(what=configuration("many", a=state(1, 2, 3), b=many))
    session(SwitchConnected(B), after=14)
    more = 3000 / MESSAGES_A_SECOND + 3000 / ENTRIES_A_SECOND
    session(StateRead(A, state(1, 2)))
    session(Applied(A))
    session(StateRead(A, state(1, 2, 3)))
    assert session(Tick(), after=15 + more - 0.1) == []
    assert landed(session(Tick(), after=0.2)) == {"a": "has it", "b": "late"}


def test_switches_that_join_a_trial_do_not_prolong_it_for_ever() -> None:
    """One more for each time, and for its own work."""
    trial = Trial(ConfigProposed(1, "", 15.0))
    trial.begin({A}, (), 0.0, 0, 0)
    for number in range(100):
        trial.joined(100 + number, 10.0 * number, MESSAGES_A_SECOND)
    work = 1 + MESSAGES_A_SECOND / ENTRIES_A_SECOND
    assert not trial.is_over(300 + 30 * work)
    assert trial.is_over(300 + 100 * work)
    again = Trial(ConfigProposed(1, "", 15.0))
    again.begin({A}, (), 0.0, 0, 0)
    for now in range(10):
        again.joined(B, float(now), 0)
    assert again.is_over(15) and not again.is_over(14.9), "it joins once"


def test_a_trial_waits_for_tables_that_are_compiled_anew() -> None:
    """A link changes in the middle: no switch is to blame for the time that compiling takes, nor has it for ever."""
    trial = Trial(ConfigProposed(1, "", 15.0))
    assert not trial.is_over(1000, is_compiling=True)
    trial.begin({A}, (), 0.0, 0, 0)
    assert not trial.is_over(100, is_compiling=True) and trial.is_over(301, is_compiling=True)
    trial.compiled_anew(100, MESSAGES_A_SECOND, 0)
    assert trial.is_over(116) and not trial.is_over(115)
    trial.compiled_anew(299, 0, 0)
    assert trial.is_over(300)


# ---- the tables are elsewhere ----------------------------------------------------------------------------------------


def test_while_it_is_compiled_everything_goes_on(session: Session) -> None:
    session.sync(A)
    session.loop.slow = True
    assert session.propose(what=NEW) == []
    assert session(Propose(2, configuration("other", a=state(5)))) == [ReportOutcome(2, Busy())]
    assert session(Tick(), after=INTERVAL) == [ReadState(A)]
    assert session(StateRead(A, state(1))) == [Apply(A, diff(state(1), state(1, 2)))], "drift is put right"
    session.loop.slow = False
    assert session.loop.compute(session.now) == [], "one thing is in flight"
    assert session(Applied(A)) == [ReadState(A)]
    session(StateRead(A, state(1, 2)))
    session(Applied(A))
    assert session(StateRead(A, state(1, 3))) == [ReportOutcome(1, Live())]


def test_a_lost_process_fails_what_is_compiled_and_everything_is_read_again(session: Session) -> None:
    session.sync(A)
    session.loop.slow = True
    session.propose()
    session.loop.lose()
    assert session(TablesLost("out of memory")) == [ReportOutcome(1, NotComputed("out of memory"))]
    assert session.state(A) == "reading"
    session.loop.slow = False
    assert session.loop.compute(session.now) == [ReadState(A)]
    assert session(StateRead(A, state(1, 2))) == []
    assert (session.state(A), session.reconciler.text) == ("synced", "old")
    assert any("out of memory" in line for line in session.logs)


def test_what_was_in_flight_when_the_process_was_lost_is_asked_again(session: Session) -> None:
    session(SwitchConnected(A))
    session.loop.lose()
    assert session(TablesLost("killed")) == []
    assert session(Interrupted(A)) == [ReadState(A)]
    session(StateRead(A, EMPTY))
    session.loop.lose()
    session(TablesLost("killed"))
    assert session(Interrupted(A)) == [ReadState(A)]


def test_what_is_live_and_cannot_be_compiled_is_said_and_tried_again(session: Session) -> None:
    session.sync(A)
    session.loop.slow = True
    session.loop.lose()
    session(TablesLost("out of memory"))
    session.loop.lose()
    assert session(TablesLost("out of memory")) == []
    assert not session.loop.waiting, "not at once"
    session.loop.slow = False
    assert session(Tick(), after=AGAIN) == [ReadState(A)]


def test_a_trial_begins_with_its_own_tables(session: Session) -> None:
    """Not with those of the live configuration, which may become the goal while the proposal is read."""
    session.sync(A)
    session.loop.slow = True
    session.loop.lose()
    session(TablesLost("killed"))
    session.propose()
    assert session.loop.compute(session.now) == [ReadState(A)]
    session(StateRead(A, state(1, 2)))
    session(Applied(A))
    assert session(StateRead(A, state(1, 3))) == [ReportOutcome(1, Live())]


def test_a_text_with_mistakes_is_answered_by_them(session: Session) -> None:
    session.sync(A)
    mistakes = Mistakes((Problem("vips", "no"),))
    session.loop.slow = True
    session.propose()
    assert session(Loaded(1, mistakes)) == [ReportOutcome(1, Mistaken(mistakes))]
    assert session.state(A) == "synced"


# ---- ports -----------------------------------------------------------------------------------------------------------


def test_a_port_that_is_not_as_it_should_be_is_said_once_a_change() -> None:
    """The network side, and connectors of servers; what else a switch has does not matter."""
    whole = Whole.of((FLOWS / "fig2/lb.yaml").read_text())
    session = Session(whole)
    ports = {number: Port(number, f"b{number}") for number in range(1, 7)}
    session(SwitchConnected(1, ports))
    (dpid,) = whole.targets

    def said(seen: dict[int, Port]) -> list[str]:
        session.logs.clear()
        session(PortsSeen({dpid: seen}))
        session(Tick())
        (switch,) = session.reconciler.status(0).switches
        lines = [line for line in session.logs if not line.startswith("server ")]
        assert {f"s1: {each}" for each in switch.ports} >= {line for line in lines if "as it should" not in line}
        return lines

    assert said(ports) == []
    without = {number: port for number, port in ports.items() if number != 2}
    assert said(without) == ["s1: port 2, connector of a: there is no such port"]
    assert said(without) == []
    assert said({**ports, 2: Port(2, "b2", is_enabled=False)}) == ["s1: port 2 (b2), connector of a: it is set down"]
    assert said({**ports, 1: Port(1, "b1", has_carrier=False)}) == [
        "s1: port 1 (b1), network side: it has no carrier",
        "s1: port 2 is as it should be",
    ]
    assert said({**ports, 3: Port(3, "x")}) == [
        "s1: port 3 (x), connector of b: it is another interface: b3 was here before",
        "s1: port 1 is as it should be",
    ]
    assert said({**ports, 6: Port(6, "b6", has_carrier=False)}) == ["s1: port 3 is as it should be"]
    session(SwitchDisconnected(dpid))
    assert session.reconciler.status(0).switches[0].ports == ()


def test_a_switch_that_is_configured_no_more_is_emptied_then_unknown(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    session.propose(what=configuration("only a", a=state(1, 2)))
    session(StateRead(A, state(1, 2)))
    assert session(StateRead(B, state(1))) == [Apply(B, diff(state(1), EMPTY))]
    session(Applied(B))
    assert session(StateRead(B, EMPTY)) == [ReportOutcome(1, Live())]
    assert session.reconciler.status(0).unknown == (B,)
    assert session(Tick(), after=INTERVAL) == [ReadState(A)]


def test_a_switch_only_a_withdrawn_proposal_named_is_emptied(session: Session) -> None:
    session.sync(A)
    session(SwitchConnected(STRANGER))
    both = Whole("both", {**OLD.targets, STRANGER: Wanted("new", state(7))})
    session.propose(what=both)
    assert session(StateRead(STRANGER, EMPTY)) == [Apply(STRANGER, diff(EMPTY, state(7)))]
    timed_out = ReportOutcome(1, TimedOut(("new",)))
    assert session(Tick(), after=16)[0] == timed_out, "nothing changes for a, so it is not read"
    assert session(Applied(STRANGER)) == [ReadState(STRANGER)]
    assert session(StateRead(STRANGER, state(7))) == [Apply(STRANGER, diff(state(7), EMPTY))]
    session(Applied(STRANGER))
    session(StateRead(STRANGER, EMPTY))
    assert session.reconciler.status(0).unknown == (STRANGER,)


def test_a_switch_removed_while_it_was_away_is_emptied_when_it_is_back(session: Session) -> None:
    session.sync(A)
    session.sync(B)
    session(SwitchDisconnected(B))
    assert session.propose(what=configuration("only a", a=state(1, 2))) == [ReportOutcome(1, Live())], "a has it"
    assert session(SwitchConnected(B)) == [ReadState(B)]
    assert session(StateRead(B, state(1))) == [Apply(B, diff(state(1), EMPTY))]


class World:
    """Two switches that obey, refuse, get lost and are vandalised whenever the test says so."""

    def __init__(self) -> None:
        self.session = Session()
        self.held = {A: EMPTY, B: EMPTY}
        self.in_flight: dict[int, ReadState | Apply] = {}
        self.connected: set[int] = set()
        self.answers: dict[int, object] = {}
        self.last_good = "old"
        self.tickets = 0

    def feed(self, event: Fed, after: float = 0.0) -> None:
        for command in self.session(event, after):
            if isinstance(command, ReportOutcome):
                assert command.ticket not in self.answers, "answered once"
                self.answers[command.ticket] = command.outcome
            else:
                assert isinstance(command, ReadState | Apply)
                assert command.dpid in self.connected
                assert command.dpid not in self.in_flight, "one round in flight"
                self.in_flight[command.dpid] = command

    def connect(self, dpid: int) -> None:
        self.in_flight.pop(dpid, None)
        self.connected.add(dpid)
        self.feed(SwitchConnected(dpid))

    def lose(self, dpid: int) -> None:
        self.in_flight.pop(dpid, None)
        self.connected.discard(dpid)
        self.feed(SwitchDisconnected(dpid))

    def obey(self, dpid: int) -> None:
        command = self.in_flight.pop(dpid, None)
        if isinstance(command, ReadState):
            self.feed(StateRead(dpid, self.held[dpid]))
        elif command:
            self.held[dpid] = apply(command.plan, self.held[dpid])
            self.feed(Applied(dpid))

    def refuse(self, dpid: int) -> None:
        if self.in_flight.pop(dpid, None):
            self.feed(Refused(dpid, ("no",)))

    def vandalise(self, dpid: int) -> None:
        if not isinstance(self.in_flight.get(dpid), Apply):
            self.held[dpid] = state(7)

    def propose(self, dpid: int) -> None:
        self.tickets += 1
        what = NEW if dpid == A else configuration("only b", b=state(5))
        what = replace(what, text=f"{self.tickets}")
        self.feed(Propose(self.tickets, what, unverified=True))

    def pass_time(self, dpid: int) -> None:
        self.feed(Tick(), after=dpid * 10.0)


STEPS = st.tuples(
    st.sampled_from(["connect", "lose", "obey", "obey", "obey", "refuse", "vandalise", "propose", "pass_time"]),
    st.sampled_from([A, B]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_whatever_happened_switches_that_obey_converge_to_the_last_good_configuration(
    steps: list[tuple[str, int]],
) -> None:
    world = World()
    for verb, dpid in steps:
        getattr(world, verb)(dpid)
    for _ in range(4):
        world.feed(Tick(), after=INTERVAL)
        while world.in_flight:
            world.obey(next(iter(world.in_flight)))
    assert set(world.answers) == set(range(1, world.tickets + 1)), "every proposal is answered"
    live = [ticket for ticket, outcome in world.answers.items() if isinstance(outcome, Live)]
    status, text = world.session.reconciler.status(world.session.now), world.session.reconciler.text
    fallen_back = sum("the last good one is live again" in line for line in world.session.logs)
    assert status.generation == 1 + len(live) + fallen_back
    if not fallen_back:
        assert text == (str(live[-1]) if live else "old")
    for switch in status.switches:
        assert switch.state == ("synced" if switch.dpid in world.connected else "absent")
        if switch.dpid in world.connected:
            live_now = world.session.loop.whole(world.session.reconciler.live)
            assert world.held[switch.dpid] == live_now.targets[switch.dpid].state
