"""Overrides that are wished for, and those that end, while the reconciler runs."""

from __future__ import annotations

from portlb_app.config import Wanted
from portlb_app.config.overrides import NONE
from portlb_app.openflow import SwitchState
from portlb_app.reconcile.commands import ReadState, ReportWish, SaveOverrides
from portlb_app.reconcile.configuration import Configuration
from portlb_app.reconcile.events import OverridesWanted, SwitchConnected, Tick
from portlb_app.reconcile.happened import Happened
from portlb_app.reconcile.outcomes import Carried, Lacking
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.reconcile.results import Compiled
from tests.support.reconciling import Apply, Propose, Refused, StateRead, Whole
from tests.support.wishing import FIG2, UNIX, Session, drained


def test_with_no_switch_connected_it_stands() -> None:
    session = Session()
    assert session(OverridesWanted(7, drained(), 15.0)) == [ReportWish(7, Carried(("s1",)))]
    assert session.overrides == drained()


def test_the_status_of_pools_tells_what_is_wanted() -> None:
    """An override's word, not the file's."""
    session = Session()
    pools = session.loop.reconciler.status(session.now).pools
    assert {each.missing["b"].wanted for each in pools if "b" in each.missing} == {Wanted.READY}
    session(OverridesWanted(1, drained(), 15.0))
    pools = session.loop.reconciler.status(session.now).pools
    assert {each.missing["b"].wanted for each in pools if "b" in each.missing} == {Wanted.DRAIN}


def test_an_end_is_obeyed_and_saved() -> None:
    """By the time of day, which is told with each tick."""
    session = Session()
    session(OverridesWanted(1, drained(until=UNIX + 60), 15.0))
    assert session(Tick(UNIX), after=1.0) == []
    assert session(Tick(UNIX + 59.9), after=59.9) == []
    assert session(Tick(), after=0.05) == [], "without the time of day it goes by the clock"
    assert SaveOverrides() in session(Tick(UNIX + 60), after=0.05)
    assert session.overrides == NONE
    assert any("state drain was until 2025-11-24T16:01:00Z" in line for line in session.logs)


def test_a_clock_that_is_put_forward_ends_it() -> None:
    session = Session()
    session(OverridesWanted(1, drained(until=UNIX + 3600), 15.0))
    assert session(Tick(UNIX)) == []
    assert SaveOverrides() in session(Tick(UNIX + 3601), after=0.25)


def test_a_file_that_says_otherwise_ends_it() -> None:
    """When it has become live, and not before; one that says the same does not."""
    session = Session()
    session(OverridesWanted(1, drained(), 15.0))
    same = Whole.of(FIG2.text + "# the same\n")
    assert SaveOverrides() not in session(Propose(1, same, unverified=True))
    assert session.overrides == drained()
    other = Whole.of(FIG2.text.replace("connector: s1:3", "connector: s1:3\n    state: maint"))
    assert SaveOverrides() in session(Propose(2, other, unverified=True))
    assert session.overrides == NONE
    assert any(line.startswith("server b: the file says state maint now") for line in session.logs)


def test_one_of_a_server_that_is_gone_is_dropped() -> None:
    session = Session()
    session(OverridesWanted(1, drained("d"), 15.0))
    text = FIG2.text.replace("default_server: d", "default_server: c").replace(", d]", "]").partition("  d:\n")[0]
    assert SaveOverrides() in session(Propose(2, Whole.of(text), unverified=True))
    assert session.overrides == NONE
    assert "server d: state drain is dropped, because there is no such server any more" in session.logs


def test_a_wish_is_carried_out_when_switches_are_seen_to_have_it() -> None:
    """One that changes nothing is at once; one while a switch is being read waits for that."""
    session = Session()
    assert session(SwitchConnected(1)) == [ReadState(1)]
    assert session(OverridesWanted(1, NONE, 15.0)) == []
    assert ReportWish(1, Carried()) in session(StateRead(1, FIG2.targets[1].state))
    assert ReportWish(2, Carried()) in session(OverridesWanted(2, NONE, 15.0))


def test_a_switch_that_lacks_it_is_named_when_time_is_up() -> None:
    session = Session()
    session(SwitchConnected(1))
    assert session(OverridesWanted(1, drained(), 15.0)) == []
    assert session(Tick(UNIX), after=14.9) == []
    assert ReportWish(1, Lacking({"s1": ()})) in session(Tick(UNIX + 0.1), after=0.1)
    assert session.overrides == drained(), "it stands"


def test_a_switch_that_refuses_is_not_waited_for() -> None:
    session = Session()
    session(SwitchConnected(1))
    session(OverridesWanted(1, NONE, 15.0))
    (apply,) = session(StateRead(1, SwitchState()))
    assert isinstance(apply, Apply)
    assert ReportWish(1, Lacking({"s1": ("table full",)})) in session(Refused(1, ("table full",)))


def test_several_wait_at_a_time() -> None:
    session = Session()
    session(SwitchConnected(1))
    for ticket in (1, 2, 3):
        session(OverridesWanted(ticket, drained(), 15.0), after=1.0)
    assert ReportWish(1, Lacking({"s1": ()})) in session(Tick(), after=13.0)
    assert ReportWish(2, Lacking({"s1": ()})) in session(Tick(), after=1.0)


def test_overrides_of_the_start_hold_from_the_start() -> None:
    """REST may ask before anything has happened; and nothing has: what holds was asked for before."""
    config = FIG2.config
    reconciler = Reconciler(Configuration(FIG2.text, config), Compiled(1, {}), 30.0, drained())
    assert reconciler.backends.used.server_by_name["b"].wanted is Wanted.DRAIN
    assert not any(isinstance(each, Happened) for each in reconciler.handle(Tick(UNIX), 1.0))
