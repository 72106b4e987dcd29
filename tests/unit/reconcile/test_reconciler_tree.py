"""Changes across switches: children before parents, whatever happens in between; links that go and come back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app.config import Config, Connector, Link, Switch
from portlb_app.openflow import Flow, Meter, Output, SwitchState, match
from portlb_app.pipeline import COOKIE
from portlb_app.reconcile.commands import Log, ReadState, ReportOutcome
from portlb_app.reconcile.events import PortsSeen, SwitchConnected, SwitchDisconnected, Tick
from portlb_app.reconcile.outcomes import Live, LostSwitches, Outcome, RefusedBySwitches, TimedOut
from portlb_app.reconcile.plan import Plan, Verb, apply, diff
from portlb_app.reconcile.rollout import DRAIN
from portlb_app.reconcile.trial import ENTRIES_A_SECOND, MESSAGES_A_SECOND
from portlb_app.topology.damping import HOLD
from portlb_app.topology.links import HEARING
from tests.support.reconciling import (
    Applied,
    Apply,
    Fed,
    Loop,
    Propose,
    Refused,
    StateRead,
    Wanted,
    Wants,
    Whole,
    up,
)

INTERVAL = 30.0
LATE = 15 + 7 * (3 / MESSAGES_A_SECOND + 3 / ENTRIES_A_SECOND) + 1
"""A trial of few flows is over."""
FLOWS = Path(__file__).parents[3] / "flows"
EMPTY = SwitchState()

ROOT, LEFT, RIGHT, *LEAVES = range(1, 8)
NAMES = {ROOT: "root", LEFT: "left", RIGHT: "right", **{leaf: f"leaf{leaf}" for leaf in LEAVES}}
DEPTHS = {ROOT: 0, LEFT: 1, RIGHT: 1, **dict.fromkeys(LEAVES, 2)}
PARENTS = {LEFT: ROOT, RIGHT: ROOT, **{leaf: (LEFT, RIGHT)[leaf % 2] for leaf in LEAVES}}
LINKS = tuple(sorted(Link(Connector(NAMES[one], 9), Connector(NAMES[two], two)) for one, two in PARENTS.items()))
TREE = Config((), (), tuple(Switch(name, dpid, 1 if dpid == ROOT else None) for dpid, name in NAMES.items()), LINKS)
ANY_PORTS = frozenset(range(10))
EARLIER = {"add": (), "modify": ("add",), "delete": ("add", "modify")}
"""What has to be done everywhere before a stage begins anywhere."""


def state(**flows: int) -> SwitchState:
    """Flows by name, each with the port it outputs to."""
    return SwitchState(
        frozenset(Flow(0, 1, match(in_port=ord(name)), (Output(port),), COOKIE) for name, port in flows.items())
    )


def tree(text: str, states: Mapping[int, SwitchState], config: Config = TREE) -> Whole:
    targets = {dpid: Wanted(NAMES[dpid], each, DEPTHS[dpid]) for dpid, each in states.items()}
    return Whole(text, targets, config)


def everywhere(**flows: int) -> dict[int, SwitchState]:
    return dict.fromkeys(NAMES, state(**flows))


OLD = tree("old", everywhere(a=1, b=1))
NEW = tree("new", everywhere(b=2, c=1))
"""On every switch flow a goes, b changes, and c comes."""


class World:
    """A reconciler and switches that answer when the test says so. Every Apply is checked for its turn."""

    def __init__(self, live: Whole = OLD, *connect: int) -> None:
        self.loop = Loop(live, INTERVAL)
        self.reconciler = self.loop.reconciler
        self.now = 0.0
        self.held: dict[int, SwitchState] = {}
        self.in_flight: dict[int, ReadState | Apply] = {}
        self.answers: dict[int, Outcome] = {}
        self.logs: list[str] = []
        self.sent: list[tuple[int, tuple[str, ...]]] = []
        self.reads = 0
        self.tickets = 0
        self.checked = True
        self.changed: dict[int, float] = {}
        for dpid in connect:
            self.held[dpid] = live.targets[dpid].state
            self.connect(dpid)
        self.settle()
        assert {self.state(dpid) for dpid in connect} <= {"synced"}
        self.sent, self.reads = [], 0

    # ---- the reconciler ----

    def feed(self, event: Fed, after: float = 0.0) -> None:
        self.now += after
        commands = self.loop.handle(event, self.now)
        for command in commands:
            self._take(command)
        if self.checked:
            for command in commands:
                if isinstance(command, Apply):
                    self._check_turn(command)

    def _take(self, command: Wants) -> None:
        match command:
            case ReportOutcome(ticket, outcome):
                assert ticket not in self.answers
                self.answers[ticket] = outcome
            case Log(_, text):
                self.logs.append(text)
            case ReadState(dpid) | Apply(dpid):
                assert dpid in self.held and dpid not in self.in_flight, "one thing in flight"
                self.in_flight[dpid] = command
                if isinstance(command, Apply):
                    assert command.plan
                    self.sent.append((dpid, command.plan.verbs))
                else:
                    self.reads += 1

    @property
    def wanted(self) -> Whole:
        return self.loop.whole(self.reconciler._network.wanted)

    @property
    def live(self) -> Whole:
        return self.loop.whole(self.reconciler.live)

    def desired(self, dpid: int) -> SwitchState:
        target = self.wanted.targets.get(dpid)
        return target.state if target else EMPTY

    def left(self, dpid: int, towards: Whole | None = None) -> Plan:
        """What a switch in truth still needs."""
        target = (towards or self.wanted).targets.get(dpid)
        return diff(self.held[dpid], target.state if target else EMPTY)

    def _check_turn(self, command: Apply) -> None:
        """No switch that counts has anything left to do that comes before this."""
        reconciler, depth = self.reconciler, self.reconciler._network.depth
        for other in self.held:
            same_part = command.parts.get(other) == command.parts.get(command.dpid, -1)
            if other == command.dpid or not same_part or reconciler._network.switches[other].errors:
                continue
            for verb in command.plan.verbs:
                late = [each for each in EARLIER[verb] if each in self.left(other, command.towards).verbs]
                assert not late, f"{command.dpid} does {verb} while {other} has not done {late}"
                ahead = depth(other) < depth(command.dpid) if verb == "delete" else depth(other) > depth(command.dpid)
                is_behind = verb in self.left(other, command.towards).verbs
                assert not (ahead and is_behind), f"{command.dpid} is before {other}: {verb}"
            if "delete" in command.plan.verbs:
                assert self.now >= self.changed.get(other, -DRAIN) + DRAIN, f"{command.dpid} deletes soon after {other}"

    def state(self, dpid: int) -> str:
        return next(each.state for each in self.reconciler.status(self.now).switches if each.dpid == dpid)

    def drift(self, dpid: int) -> int:
        return next(each.drift for each in self.reconciler.status(self.now).switches if each.dpid == dpid)

    def propose(self, what: Whole, atomic: bool = False) -> int:
        self.tickets += 1
        what = replace(what, text=f"{what.text} #{self.tickets}" if not what.is_real else what.text)
        self.feed(Propose(self.tickets, what, unverified=True, atomic=atomic))
        return self.tickets

    # ---- the switches ----

    def connect(self, dpid: int, up_: frozenset[int] | None = ANY_PORTS) -> None:
        self.held.setdefault(dpid, EMPTY)
        self.in_flight.pop(dpid, None)
        self.feed(SwitchConnected(dpid, None if up_ is None else up(up_)))

    def lose(self, dpid: int) -> SwitchState:
        self.in_flight.pop(dpid, None)
        held = self.held.pop(dpid)
        self.changed.pop(dpid, None)
        self.feed(SwitchDisconnected(dpid))
        return held

    def obey(self, dpid: int) -> None:
        command = self.in_flight.pop(dpid)
        if isinstance(command, ReadState):
            self.feed(StateRead(dpid, self.held[dpid]))
            return
        try:
            self.held[dpid] = apply(command.plan, self.held[dpid])
        except KeyError:  # deletes what is not there: somebody else was here
            self.feed(Refused(dpid, ("what?",)))
        else:
            if command.plan.verbs != ("delete",):
                self.changed[dpid] = self.now
            self.feed(Applied(dpid))

    def refuse(self, dpid: int) -> None:
        del self.in_flight[dpid]
        self.feed(Refused(dpid, ("no",)))

    def step(self, random: Random) -> None:
        """One more answer, or, if nobody is asked anything, the time until packets are through."""
        if self.in_flight:
            self.obey(random.choice(sorted(self.in_flight)))
        else:
            self.feed(Tick(), after=DRAIN)

    def settle(self, random: Random | None = None, silent: Iterable[int] = ()) -> None:
        """Let all but the silent answer in any order, until nothing is in flight with them or waits for its time."""
        steps = 0
        while True:
            ready = sorted(self.in_flight.keys() - set(silent))
            switches = self.reconciler._network.switches
            if not ready and any(switches[dpid].plan for dpid in self.held.keys() - self.in_flight):
                self.feed(Tick(), after=DRAIN)
                ready = sorted(self.in_flight.keys() - set(silent))
            if not ready:
                return
            self.obey(random.choice(ready) if random else ready[0])
            steps += 1
            assert steps < 10_000, "it does not end"

    def assert_converged(self) -> None:
        for dpid, held in self.held.items():
            assert held == self.desired(dpid), dpid
            if dpid in self.wanted.targets:
                assert self.state(dpid) == "synced"


# ---- the order -------------------------------------------------------------------------------------------------------


def test_three_stages_over_three_levels() -> None:
    """Added and modified from the leaves, deleted from the root; those of a level together; read once, at the end.

    The last modification and the first deletion are some time apart, until packets are through.
    """
    world = World(OLD, *NAMES)
    ticket = world.propose(NEW)
    middle = [LEFT, RIGHT]
    order: tuple[tuple[list[int], tuple[Verb, ...]], ...] = (
        *((LEAVES, ("add",)), (middle, ("add",)), ([ROOT], ("add",))),
        *((LEAVES, ("modify",)), (middle, ("modify",)), ([ROOT], ("modify",))),
        *(([], ()), ([ROOT], ("delete",)), (middle, ("delete",)), (LEAVES, ("delete",))),
    )
    for level, verbs in order:
        if not level:
            world.feed(Tick(), after=DRAIN / 2)
            assert not world.in_flight
            world.feed(Tick(), after=DRAIN / 2)
            continue
        assert world.in_flight.keys() == set(level)
        for dpid in level:
            assert world.state(dpid) == "applying"
            assert world.in_flight[dpid] == Apply(dpid, diff(world.held[dpid], state(b=2, c=1)).stage(*verbs))
            world.obey(dpid)
    assert world.in_flight == {dpid: ReadState(dpid) for dpid in NAMES}
    assert world.answers == {}
    world.settle()
    assert world.answers == {ticket: Live()}
    assert world.reads == len(NAMES)
    world.assert_converged()
    assert all(world.drift(dpid) == 0 for dpid in NAMES)


def test_what_only_one_switch_needs_is_one_bundle() -> None:
    """Nobody else has anything to do in between, so it is all or nothing."""
    world = World(OLD, *NAMES)
    world.propose(tree("one", {**everywhere(a=1, b=1), LEFT: state(b=2, c=1)}))
    assert world.in_flight == {LEFT: Apply(LEFT, diff(state(a=1, b=1), state(b=2, c=1)))}
    world.settle()
    assert world.answers == {1: Live()}
    assert world.reads == 1, "the others are not even read"


def test_switches_without_links_wait_for_nobody() -> None:
    """And are read first."""
    alone = Config((), (), TREE.switches)
    world = World(tree("old", everywhere(a=1, b=1), alone), *NAMES)
    world.propose(tree("new", everywhere(b=2, c=1), alone))
    assert world.in_flight == {dpid: ReadState(dpid) for dpid in NAMES}
    for dpid in NAMES:
        world.obey(dpid)
    assert world.in_flight == {dpid: Apply(dpid, diff(state(a=1, b=1), state(b=2, c=1))) for dpid in NAMES}


@pytest.mark.parametrize("seed", range(60))
def test_random_changes_keep_the_order(seed: int) -> None:
    """Changes follow each other, some before the one before is done; switches answer in any order."""
    random = Random(seed)
    world = World(OLD, *NAMES)
    for number in range(4):
        world.propose(tree(f"{number}", {dpid: random_state(random) for dpid in NAMES}))
        for _ in range(random.choice((0, 3, 10, 1000))):
            if not world.in_flight:
                break
            world.obey(random.choice(sorted(world.in_flight)))
    world.settle(random)
    world.assert_converged()


def random_state(random: Random) -> SwitchState:
    return state(**{name: random.randrange(1, 4) for name in "abcdef" if random.random() < 0.6})


@pytest.mark.parametrize("victim", [ROOT, LEFT, LEAVES[0]])
@pytest.mark.parametrize("after", range(0, 28))
def test_a_switch_that_vanishes_at_any_point_stops_nobody(victim: int, after: int) -> None:
    """The others go on, or, if all or none is asked for, back at once; when it is back, it catches up from anything."""
    random, atomic = Random(after), after % 4 < 2
    world = World(OLD, *NAMES)
    ticket = world.propose(NEW, atomic)
    for _ in range(after):
        world.step(random)
    held = world.lose(victim)
    world.settle(random)
    assert world.answers == {ticket: LostSwitches((NAMES[victim],)) if atomic else Live()}
    world.assert_converged()
    world.held[victim] = held if after % 2 else EMPTY
    world.connect(victim)
    world.settle(random)
    world.assert_converged()
    assert world.wanted.text == ("old" if atomic else "new #1")


@pytest.mark.parametrize("newcomer", [ROOT, LEFT, LEAVES[0]])
@pytest.mark.parametrize("after", range(0, 24))
def test_a_switch_that_connects_at_any_point_is_waited_for(newcomer: int, after: int) -> None:
    """From then on the order holds with it, too (every Apply is checked)."""
    random = Random(after)
    world = World(OLD, *(NAMES.keys() - {newcomer}))
    ticket = world.propose(NEW)
    for _ in range(after):
        world.step(random)
    world.held[newcomer] = state(a=1, b=1)
    world.connect(newcomer)
    world.settle(random)
    assert world.answers == {ticket: Live()}
    world.assert_converged()


@pytest.mark.parametrize("after", range(0, 30))
def test_a_proposal_that_is_withdrawn_at_any_point_goes_back_in_order(after: int) -> None:
    """By a refusal of whatever is in flight then."""
    random = Random(after)
    world = World(OLD, *NAMES)
    ticket = world.propose(NEW)
    for _ in range(after):
        if ticket not in world.answers:
            world.step(random)
    for _ in range(4):  # the first may be what is told from memory, and be read and told again
        applies = [dpid for dpid, each in world.in_flight.items() if isinstance(each, Apply)]
        if applies and ticket not in world.answers:
            refuser = applies[0]
            world.refuse(refuser)
            while world.in_flight.get(refuser) == ReadState(refuser):
                world.obey(refuser)
    refused = isinstance(world.answers.get(ticket), RefusedBySwitches)
    world.settle(random)
    assert world.wanted.text == ("old" if refused else "new #1")
    world.assert_converged()
    assert all(world.drift(dpid) == 0 for dpid in NAMES)


def test_some_of_those_were_withdrawn() -> None:
    """So that the test above is about something: a leaf refuses twice in the middle."""
    world = World(OLD, *NAMES)
    ticket = world.propose(NEW)
    for dpid in LEAVES[1:]:
        world.obey(dpid)
    world.refuse(LEAVES[0])
    assert world.in_flight == {LEAVES[0]: ReadState(LEAVES[0])}, "the others still wait for it"
    world.obey(LEAVES[0])
    world.refuse(LEAVES[0])
    assert world.answers == {ticket: RefusedBySwitches({NAMES[LEAVES[0]]: ("no",)})}
    assert not world.in_flight
    world.feed(Tick(), after=DRAIN)
    assert world.in_flight == {
        dpid: Apply(dpid, diff(state(a=1, b=1, c=1), state(a=1, b=1))) for dpid in LEAVES[1:]
    }, "parents first, but they have nothing to take back"


def test_a_deadline_in_the_middle_goes_back_in_order() -> None:
    world = World(OLD, *NAMES)
    ticket = world.propose(NEW)
    world.settle(silent=[LEFT])
    assert world.state(RIGHT) == world.state(ROOT) == "applying", "they wait for their turn"
    world.feed(Tick(), after=LATE)
    assert world.answers == {ticket: TimedOut(tuple(sorted(NAMES.values())))}
    assert world.in_flight.keys() == {LEFT}, "nobody knows yet what it will hold"
    world.settle()
    world.assert_converged()
    assert world.wanted.text == "old"


def test_who_is_configured_no_more_is_emptied_last() -> None:
    """Whatever its depth was: its children may be others' now."""
    world = World(OLD, *NAMES)
    smaller = Config((), (), tuple(each for each in TREE.switches if each.dpid != LEFT), LINKS[:0])
    rest = {dpid: state(b=2, c=1) for dpid in NAMES if dpid != LEFT}
    world.propose(tree("smaller", rest, smaller))
    world.settle(Random(1))
    assert world.answers == {1: Live()}
    assert world.sent[-1] == (LEFT, ("delete",))
    assert world.held[LEFT] == EMPTY


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_switch_in_error_is_not_waited_for() -> None:
    """Neither while it rests, nor while it is tried again, be it with others."""
    world = World(OLD, *NAMES)
    world.checked = False
    world.held[LEFT] = state(a=1)
    world.feed(Tick(), after=INTERVAL)
    world.settle(silent=[LEFT])
    world.obey(LEFT)
    world.refuse(LEFT)
    assert world.state(LEFT) == "error"
    world.held[ROOT] = state(a=1, b=1, z=1)
    world.held[LEAVES[0]] = state(a=1)
    world.feed(Tick(), after=INTERVAL)
    world.obey(LEFT)
    assert isinstance(world.in_flight[LEFT], Apply)
    world.settle(silent=[LEFT])
    assert world.held[ROOT] == world.held[LEAVES[0]] == state(a=1, b=1), "healed without it"
    world.settle()
    world.feed(Tick(), after=INTERVAL)
    world.settle()
    world.assert_converged()


def test_a_switch_in_error_waits_for_others() -> None:
    world = World(OLD, *NAMES)
    world.held[ROOT] = state(a=1, b=1, z=1)
    world.feed(Tick(), after=INTERVAL)
    world.settle(silent=[ROOT])
    world.obey(ROOT)
    world.refuse(ROOT)
    world.checked = False
    world.held[LEAVES[0]] = state(a=1)
    world.feed(Tick(), after=INTERVAL)
    world.obey(LEAVES[0])
    world.settle(silent=[LEAVES[0]])
    assert world.in_flight.keys() == {LEAVES[0]}
    assert world.held[ROOT] == state(a=1, b=1, z=1)
    world.settle()
    world.assert_converged()


def test_what_somebody_changed_unseen_is_found_when_a_switch_refuses() -> None:
    """It is read, told once more, and the change counts as drift."""
    world = World(OLD, *NAMES)
    world.checked = False
    world.held[ROOT] = state(b=1)
    world.propose(NEW)
    world.settle()
    assert world.answers == {1: Live()}
    assert world.drift(ROOT) == 1
    assert any("root: 1 of our entries were changed by others" in line for line in world.logs)
    world.assert_converged()


def test_what_somebody_changed_unseen_is_found_at_the_end() -> None:
    world = World(OLD, *NAMES)
    world.checked = False
    world.held[LEFT] = state(a=1, b=1, z=9)
    world.propose(NEW)
    world.settle()
    assert world.answers == {1: Live()}
    assert world.drift(LEFT) == 1
    assert [verbs for dpid, verbs in world.sent if dpid == LEFT] == [("add",), ("modify",), ("delete",), ("delete",)]
    world.assert_converged()


def test_a_switch_that_does_not_do_what_it_says_is_told_twice_and_then_an_error() -> None:
    world = World(OLD, *NAMES)
    world.checked = False
    world.propose(NEW)
    while ROOT not in world.in_flight:
        world.obey(min(world.in_flight))
    for _ in range(4):
        world.settle(silent=[ROOT])
        if isinstance(world.in_flight[ROOT], Apply):
            del world.in_flight[ROOT]
            world.feed(Applied(ROOT))
    world.settle(silent=[ROOT])
    world.obey(ROOT)
    del world.in_flight[ROOT]
    world.feed(Applied(ROOT))
    world.obey(ROOT)
    outcome = world.answers[1]
    assert isinstance(outcome, RefusedBySwitches)
    assert outcome.reasons["root"][0].startswith("took the change but still needs")


def test_drift_is_put_right_at_once_in_one_bundle() -> None:
    """While another switch hangs in its own read."""
    world = World(OLD, *NAMES)
    world.held[LEFT] = state(b=3, z=1)
    world.feed(Tick(), after=INTERVAL)
    assert len(world.in_flight) == len(NAMES)
    world.obey(LEFT)
    assert world.in_flight[LEFT] == Apply(LEFT, diff(state(b=3, z=1), state(a=1, b=1)))
    world.obey(LEFT)
    assert world.held[LEFT] == state(a=1, b=1)
    world.settle()
    assert world.drift(LEFT) == 3


def test_a_read_that_was_under_way_when_the_change_came_is_no_harm() -> None:
    """It is what the switch held before; the change waits for it, and starts from it."""
    world = World(OLD, *NAMES)
    world.held[LEAVES[0]] = state(a=1, b=1, z=1)
    world.feed(Tick(), after=INTERVAL)
    world.propose(NEW)
    assert {type(each) for each in world.in_flight.values()} == {ReadState}
    world.settle(Random(5))
    assert world.answers == {1: Live()}
    assert world.drift(LEAVES[0]) == 1
    world.assert_converged()


def test_a_change_that_comes_while_the_last_one_is_read_back_is_no_disobedience() -> None:
    """What was told after a read is there; what is missing was not told yet."""
    world = World(OLD)
    for dpid in NAMES:
        world.connect(dpid)
    while not all(isinstance(each, ReadState) for each in world.in_flight.values()) or EMPTY in world.held.values():
        world.obey(next(dpid for dpid, each in world.in_flight.items() if world.held[dpid] == EMPTY))
    assert world.in_flight.keys() == NAMES.keys()
    world.propose(NEW)
    world.settle(Random(9))
    assert world.answers == {1: Live()}
    assert all(world.drift(dpid) == 0 for dpid in NAMES)
    world.assert_converged()


def test_what_was_told_counts_only_once_it_is_seen() -> None:
    """A change, taken back, and made again, before a switch was told to take it back: it has it, but is not synced."""
    world = World(OLD, *NAMES)
    what = tree("c", {**everywhere(a=1, b=1), LEAVES[0]: state(a=1, b=1, c=1), LEFT: state(a=1, b=1, c=1)})
    world.propose(what)
    world.obey(LEAVES[0])
    world.feed(Tick(), after=LATE)
    assert world.in_flight.keys() == {LEFT} and world.state(LEAVES[0]) == "applying"
    world.propose(what)
    assert world.left(LEAVES[0]) == Plan() and world.state(LEAVES[0]) == "reading"
    world.settle()
    assert world.answers[2] == Live()
    world.assert_converged()


def test_meters_may_be_there_after_a_refusal() -> None:
    """They are in no bundle; what came of the change that was refused is nobody's drift."""
    world = World(OLD, *NAMES)
    metered = SwitchState(state(a=2).flows, meters=frozenset({Meter(5, 100, 20)}))
    world.propose(tree("metered", {**everywhere(a=1, b=1), ROOT: metered}))
    command = world.in_flight[ROOT]
    assert isinstance(command, Apply) and command.plan.before
    world.held[ROOT] = apply(Plan(command.plan.before), world.held[ROOT])
    world.refuse(ROOT)
    world.settle()
    assert world.answers == {1: Live()}
    assert world.drift(ROOT) == 0


def test_a_hung_switch_withdraws_a_proposal_once_it_is_dropped() -> None:
    world = World(OLD, *NAMES)
    world.propose(NEW, atomic=True)
    world.settle(silent=[LEFT])
    assert world.in_flight.keys() == {LEFT}
    world.lose(LEFT)
    world.settle()
    assert world.answers == {1: LostSwitches(("left",))}
    world.assert_converged()


VERBS = st.sampled_from(
    ["connect", "lose", "obey", "obey", "obey", "obey", "refuse", "vandalise", "propose", "pass_time"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(VERBS, st.sampled_from(sorted(NAMES))), max_size=80), st.integers(0, 1 << 16))
def test_whatever_happened_a_tree_that_obeys_converges(steps: list[tuple[str, int]], seed: int) -> None:
    random = Random(seed)
    world = World(OLD)
    world.checked = False
    for verb, dpid in steps:
        if verb == "connect":
            world.connect(dpid)
        elif verb == "lose" and dpid in world.held:
            world.lose(dpid)
        elif verb in ("obey", "refuse") and world.in_flight:
            getattr(world, verb)(random.choice(sorted(world.in_flight)))
        elif verb == "vandalise" and dpid in world.held and not isinstance(world.in_flight.get(dpid), Apply):
            world.held[dpid] = random_state(random)
        elif verb == "propose":
            kept = [each for each in NAMES if random.random() < 0.9]
            world.propose(tree("new", {each: random_state(random) for each in kept}))
        elif verb == "pass_time":
            world.feed(Tick(), after=5.0)
    for _ in range(4):
        world.feed(Tick(), after=INTERVAL)
        world.settle(random)
    assert len(world.answers) == world.tickets, "every proposal is answered"
    for dpid in world.held.keys() & world.wanted.targets.keys():
        assert (world.state(dpid), world.held[dpid]) == ("synced", world.desired(dpid))


# ---- links -----------------------------------------------------------------------------------------------------------

SPINE1, SPINE2, LEAF1, LEAF2 = range(1, 5)
ALL_UP = {SPINE1: {1, 2, 3}, SPINE2: {1, 2, 3}, LEAF1: {1, 2, 3, 4}, LEAF2: {1, 2, 3, 4}}
CUT = Link(Connector("leaf1", 1), Connector("spine1", 2))
OTHER = Link(Connector("leaf2", 2), Connector("spine2", 3))


@pytest.fixture(scope="module")
def fabric() -> Whole:
    return Whole.of((FLOWS / "leafspine/lb.yaml").read_text())


@pytest.fixture
def world(fabric: Whole) -> World:
    """Two leaves and two spines, everything up."""
    world = World(fabric)
    for dpid, ports_up in ALL_UP.items():
        world.held[dpid] = fabric.targets[dpid].state
        world.connect(dpid, frozenset(ports_up))
    world.settle()
    world.assert_converged()
    world.sent, world.reads, world.logs = [], 0, []
    return world


def ports(**down: int) -> PortsSeen:
    """What all switches say when one port of some is down."""
    dpids = {"spine1": SPINE1, "spine2": SPINE2, "leaf1": LEAF1, "leaf2": LEAF2}
    return PortsSeen({dpid: up(ALL_UP[dpid] - {down.get(name, 0)}) for name, dpid in dpids.items()})


def used(world: World) -> dict[str, bool]:
    return {str(each.link): each.up for each in world.reconciler.status(world.now).links}


def test_a_cut_link_is_left_at_once_in_order_and_without_a_read(world: World, fabric: Whole) -> None:
    world.feed(ports(spine1=2))
    assert world.logs == [
        f"link {CUT} is down",
        "spine1: port 2, link to leaf1: there is no such port",
    ]
    assert used(world)[str(CUT)] is False and sum(used(world).values()) == 3
    assert {type(each) for each in world.in_flight.values()} == {Apply}
    live = world.live
    assert (live.text, live.conditions.links_down) == (fabric.text, {CUT})
    assert live.targets != fabric.targets
    world.settle(Random(2))
    world.assert_converged()
    assert world.held[LEAF2] != fabric.targets[LEAF2].state
    assert world.reads == len({dpid for dpid, _ in world.sent}), "each that was changed once, at the end"
    assert world.reconciler.status(world.now).generation == 1
    assert not any(world.drift(dpid) for dpid in ALL_UP)


def test_a_link_that_is_up_again_is_used_again_after_a_while(world: World, fabric: Whole) -> None:
    world.feed(ports(leaf1=1, spine1=2))
    world.settle()
    world.feed(ports())
    assert not world.in_flight and used(world)[str(CUT)] is False
    world.feed(Tick(), after=HOLD / 2)
    assert not world.in_flight
    world.feed(Tick(), after=HOLD / 2)
    said = [line for line in world.logs if line.startswith("link")]
    assert said == [f"link {CUT} is down", f"link {CUT} works again"]
    assert world.reconciler.live.conditions.links_down == frozenset()
    assert world.in_flight
    world.settle(Random(4))
    world.assert_converged()
    assert world.held == {dpid: target.state for dpid, target in fabric.targets.items()}


def test_ports_that_are_no_ends_of_links_do_not_matter(world: World) -> None:
    world.feed(ports(leaf1=5))
    world.feed(PortsSeen({99: {}}))
    assert (world.in_flight, world.logs) == ({}, [])


def test_a_second_link_that_goes_in_the_middle(world: World) -> None:
    """What is in flight is finished; then everything is for both."""
    world.feed(ports(spine1=2))
    world.obey(min(world.in_flight))
    world.feed(ports(spine1=2, spine2=3))
    world.settle(Random(6))
    assert world.reconciler.live.conditions.links_down == {CUT, OTHER}
    world.assert_converged()


def test_a_dead_switch_is_not_waited_for(world: World) -> None:
    """Its neighbours' ports say so at once; its own connection takes long to end."""
    world.feed(PortsSeen({SPINE1: up({1, 3}), SPINE2: up({1, 3})}))
    assert LEAF1 in world.in_flight, "it is cut off, and told so"
    world.settle(silent=[LEAF1])
    for dpid in (SPINE1, SPINE2, LEAF2):
        assert world.state(dpid) == "synced"
        assert world.held[dpid] == world.desired(dpid)


def test_a_lost_connection_is_no_cut_link(world: World) -> None:
    world.lose(LEAF1)
    assert all(used(world).values())
    assert not world.in_flight
    world.feed(ports(spine1=2))
    assert not used(world)[str(CUT)]
    world.settle()
    world.connect(LEAF1, frozenset(ALL_UP[LEAF1]))
    assert not used(world)[str(CUT)], "one end is down"
    world.settle()
    world.assert_converged()


def test_a_switch_that_connects_with_a_port_down(fabric: Whole) -> None:
    """The link counts as up until then, and is never compiled for in between."""
    world = World(fabric)
    world.held[LEAF1] = fabric.targets[LEAF1].state
    world.connect(LEAF1, frozenset(ALL_UP[LEAF1]))
    world.settle()
    assert all(used(world).values()) and not world.sent
    world.held[SPINE1] = fabric.without(frozenset({CUT})).targets[SPINE1].state
    world.connect(SPINE1, frozenset({1, 3}))
    assert not used(world)[str(CUT)]
    world.settle()
    world.feed(Tick(), after=HEARING)
    world.settle()
    assert {dpid for dpid, _ in world.sent} == {LEAF1}
    world.assert_converged()


@pytest.mark.parametrize("order", list(permutations([SPINE1, SPINE2, LEAF1, LEAF2]))[::3])
def test_a_controller_that_starts_while_a_link_is_down_changes_nothing(
    fabric: Whole, order: tuple[int, ...]
) -> None:
    """Whichever switch connects first: most know nothing of the link, but have tables without it."""
    world = World(fabric)
    cut = fabric.without(frozenset({CUT}))
    for dpid in order:
        world.held[dpid] = cut.targets[dpid].state
        world.connect(dpid, frozenset(ALL_UP[dpid] - ({2} if dpid == SPINE1 else set())))
        world.settle()
        world.feed(Tick(), after=1.0)
    world.settle()
    world.assert_converged()
    assert world.sent == []


def test_switches_are_not_waited_for_longer_than_they_need_at_the_start(fabric: Whole) -> None:
    world = World(fabric)
    world.connect(LEAF1, frozenset(ALL_UP[LEAF1]))
    world.settle()
    assert world.state(LEAF1) == "applying" and not world.sent
    world.feed(Tick(), after=HEARING)
    world.settle()
    assert world.state(LEAF1) == "synced" and world.sent
    world.lose(LEAF1)
    world.connect(LEAF2, frozenset(ALL_UP[LEAF2]))
    world.settle()
    assert world.state(LEAF2) == "synced", "only at the start"


def test_a_proposal_is_compiled_for_the_links_that_work(world: World, fabric: Whole) -> None:
    world.feed(ports(spine1=2))
    world.settle()
    fewer = fabric.text.replace("[a, b, c, d]", "[a, b, c]")
    ticket = world.propose(Whole.of(fewer))
    assert world.wanted.conditions.links_down == {CUT}
    world.settle()
    assert world.answers == {ticket: Live()}
    assert (world.reconciler.text, world.reconciler.live.conditions.links_down) == (fewer, {CUT})
    world.assert_converged()


def test_a_link_that_goes_while_a_proposal_is_on_trial(world: World, fabric: Whole) -> None:
    ticket = world.propose(Whole.of(fabric.text.replace("[a, b, c, d]", "[a, b, c]")))
    world.obey(min(world.in_flight))
    world.feed(ports(spine1=2))
    assert world.wanted.conditions.links_down == world.reconciler.live.conditions.links_down == {CUT}
    world.settle(Random(7))
    assert world.answers == {ticket: Live()}
    world.assert_converged()


def test_a_link_that_goes_before_a_proposal_is_withdrawn(world: World, fabric: Whole) -> None:
    ticket = world.propose(Whole.of(fabric.text.replace("[a, b, c, d]", "[a, b, c]")))
    world.settle(silent=[SPINE1])
    world.feed(ports(spine1=2))
    world.feed(Tick(), after=LATE)
    assert isinstance(world.answers[ticket], TimedOut)
    world.settle(Random(8))
    assert (world.reconciler.text, world.reconciler.live.conditions.links_down) == (fabric.text, {CUT})
    world.assert_converged()


def test_links_of_a_proposal_that_is_gone_are_forgotten_quietly(world: World, fabric: Whole) -> None:
    more = fabric.text.replace("links:\n", "links:\n  - [spine1:9, spine2:9]\n")
    world.propose(Whole.of(more))
    new = Link(Connector("spine1", 9), Connector("spine2", 9))
    assert world.logs[-1] == f"link {new} is down"
    world.feed(Tick(), after=LATE)
    assert new not in world.reconciler._watch.links.down
    assert not any("works again" in line for line in world.logs)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 11), max_size=40), st.integers(0, 1 << 16))
def test_whatever_links_do_the_tables_are_for_those_that_work(events: list[int], seed: int) -> None:
    """Ports go up and down, switches come and go and answer when they like; every Apply has its turn."""
    random = Random(seed)
    live = Whole.of((FLOWS / "leafspine/lb.yaml").read_text())
    world = World(live)
    ports_up = {dpid: set(each) for dpid, each in ALL_UP.items()}
    for dpid in ports_up:
        world.connect(dpid, frozenset(ports_up[dpid]))
    for number in events:
        dpid, port = number % 4 + 1, random.choice((1, 2, 3))
        if number < 4:
            ports_up[dpid] ^= {port}
            world.feed(PortsSeen({dpid: up(ports_up[dpid])}))
        elif number == 4 and dpid in world.held:
            world.lose(dpid)
        elif number == 5:
            world.connect(dpid, frozenset(ports_up[dpid]))
        elif number == 6:
            world.feed(Tick(), after=random.choice((0.3, 1.0, 20.0)))
        else:
            for _ in range(random.randrange(6)):
                if world.in_flight:
                    world.obey(random.choice(sorted(world.in_flight)))
    for _ in range(4):
        world.feed(Tick(), after=INTERVAL)
        world.settle(random)
    dead = {
        link
        for link, ends in world.reconciler.live.ends.items()
        if any(port not in ports_up[dpid] for dpid, port in ends if dpid in world.held)
    }
    assert world.reconciler.live.conditions.links_down == dead
    world.assert_converged()
