"""What the reconciler says has happened: only what has, once, with why and by which change."""

from __future__ import annotations

from portlb_app.backends.states import Evidence
from portlb_app.config.overrides import NONE
from portlb_app.net.heartbeat import Can, Heartbeat, State
from portlb_app.openflow import SwitchState
from portlb_app.openflow.messages import Port
from portlb_app.reconcile.events import (
    AgentsHeard,
    ConfigProposed,
    OverridesWanted,
    PortsSeen,
    ServersSeen,
    SwitchConnected,
    SwitchDisconnected,
    Tick,
)
from portlb_app.reconcile.happened import KINDS, Happened
from portlb_app.reconcile.observer import SELDOM
from tests.support.reconciling import Applied, Apply, Refused, StateRead, Whole, up
from tests.support.wishing import FIG2, UNIX, Session, drained

OTHER = Whole.of(FIG2.text.replace("{servers: [a, b]}", "{servers: [a]}"))
PORTS = range(1, 6)


class Told(Session):
    """A session whose events are taken."""

    def take(self, *kinds: str) -> list[Happened]:
        """What has happened since the last time, of some kinds if any are named."""
        found, self.loop.happened = self.loop.happened, []
        return [each for each in found if not kinds or each.kind in kinds]

    def settle(self) -> None:
        """Its switch takes what it is told, and shows it, until nothing is left."""
        reconciler = self.loop.reconciler
        for _ in range(8):
            phase = reconciler._network.switches[1].phase.value
            if phase == "applying":
                self(Applied(1))
            elif phase == "reading":
                self(StateRead(1, self.loop.whole(reconciler._network.goal.configuration).targets[1].state))

    def propose(self, text: str, change: str) -> None:
        """A configuration is proposed."""
        self.loop._known[text] = Whole.of(text)
        self(ConfigProposed(9, text, 15.0, change=change))


def words(found: list[Happened]) -> list[tuple[str, str, str | None, str]]:
    """What changed, without why."""
    return [(each.kind, each.of, each.before, each.after) for each in found]


def test_a_switch_comes_is_synced_once_and_goes() -> None:
    """Reading it again, and changing it, is no news."""
    session = Told()
    session(SwitchConnected(1, up(PORTS)))
    session.settle()
    assert words(session.take()) == [("switch", "s1", "absent", "connected"), ("switch", "s1", "connected", "synced")]
    session(Tick(UNIX), after=31.0)
    session.settle()
    assert session.take() == []
    session(SwitchDisconnected(1))
    assert words(session.take()) == [("switch", "s1", "synced", "absent")]


def test_a_switch_that_connects_again_was_away() -> None:
    session = Told()
    session.sync()
    session.take()
    session(SwitchConnected(1, up(PORTS)))
    assert words(session.take()) == [("switch", "s1", "synced", "absent"), ("switch", "s1", "absent", "connected")]


def test_drift_is_told_with_how_much() -> None:
    session = Told()
    session.sync()
    session.take()
    session(Tick(UNIX), after=31.0)
    whole = FIG2.targets[1].state
    less = SwitchState(frozenset(sorted(whole.flows, key=str)[3:]), whole.groups, whole.meters)
    session(StateRead(1, less))
    (drift,) = session.take("drift")
    assert (drift.of, drift.before, drift.after, drift.evidence) == ("s1", "0", "3", {"entries": 3})


def test_a_wish_is_told_as_asked_for_and_as_held() -> None:
    """What is wanted at once; slots and pools with the change that led to it, slots when a switch was read."""
    session = Told()
    session.sync()
    session.take()
    overrides = drained()
    session(OverridesWanted(1, overrides, 15.0, change="17"))
    first = session.take()
    degraded = [("pool", f"web:{port}", "ok", "degraded") for port in (20, 21, 22)]
    assert words(first) == [("admin", "b", "ready", "drain"), *degraded]
    assert {each.change for each in first} == {"17"}
    assert first[0].reason == "asked for by somebody" and first[1].evidence["missing"] == {"b": "drain"}
    session(Applied(1))
    assert session.take() == []
    session.settle()
    slots, *others = session.take()
    assert (slots.kind, slots.of, slots.change) == ("slots", "web:20", "17")
    assert words(others) == words([each for each in others if each.kind == "slots"]) and len(others) == 2
    assert slots.evidence == {"cause": "admin", "moved": 128, "slots": 256}
    assert (slots.before, slots.after) == ("a 128, b 128", "a 256, b 0")
    session(OverridesWanted(2, NONE, 15.0, change="18"))
    session.settle()
    told = session.take()
    assert words(told)[:2] == [("admin", "b", "drain", "ready"), ("pool", "web:20", "degraded", "ok")]
    assert told[0].reason == "its override has ended, and the configuration's value holds again"
    (back,) = [each for each in told if (each.kind, each.of) == ("slots", "web:20")]
    assert (back.before, back.after, back.change) == ("a 256, b 0", "a 128, b 128", "18")


def test_health_is_told_with_its_reason_and_no_change() -> None:
    session = Told()
    session.sync()
    session.take()
    down = Evidence("passive", False, "nobody answers", session.now)
    session(ServersSeen((("b", down),)))
    found = session.take()
    assert words(found)[0] == ("health", "b", "unknown", "down")
    assert (found[0].reason, found[0].evidence["pools"], found[0].change) == ("nobody answers", [], "")
    session.settle()
    slots = session.take("slots")
    assert [(each.evidence["cause"], each.change) for each in slots] == 3 * [("health", "")]


def test_what_moves_by_itself_is_told_seldom_and_whole() -> None:
    """Two moves within a minute are one event, with all that moved."""
    text = FIG2.text.replace("{servers: [a, b]}", "{servers: [a, b], moves: 4/s}")
    session = Told()
    session.loop = type(session.loop)(Whole.of(text), 30.0)
    session(SwitchConnected(1, up(PORTS)))
    session.settle()
    session.take()
    session(OverridesWanted(1, drained(), 15.0, change="3"))
    session.settle()
    at_once = session.take("slots")
    session.loop.happened.clear()
    for _ in range(8):
        session(Tick(UNIX), after=1.0)
        session.settle()
    assert session.take("slots") == []
    session(OverridesWanted(2, NONE, 15.0, change="4"))
    session.settle()
    session.take("slots")
    moved = []
    for _ in range(int(2 * SELDOM)):
        session(Tick(UNIX), after=1.0)
        session.settle()
        moved += [each.evidence for each in session.take("slots") if each.of == "web:20"]
    assert [each.evidence["cause"] for each in at_once] == 3 * ["admin"]
    assert [each["cause"] for each in moved] == ["pace"] and moved[0]["moved"] > 100, moved


def test_an_agent_is_heard_and_falls_silent() -> None:
    session = Told()
    heartbeat = Heartbeat(State.READY, Can(0), 3, {}, valid=3)
    session(AgentsHeard({"a": heartbeat}))
    session(AgentsHeard({"a": heartbeat}), after=1.0)
    session(Tick(UNIX), after=2.5)
    session(Tick(UNIX), after=1.0)
    assert words(session.take()) == [("agent", "a", "silent", "heard"), ("agent", "a", "heard", "silent")]


def test_a_port_is_wrong_and_right_again() -> None:
    session = Told()
    session(SwitchConnected(1, up(PORTS)))
    session.settle()
    session.take()
    without = {**up(PORTS), 3: Port(3, "eth3", has_carrier=False)}
    session(PortsSeen({1: without}))
    session(PortsSeen({1: up(PORTS)}), after=1.0)
    assert words(session.take("port")) == [("port", "s1:3", "ok", "wrong"), ("port", "s1:3", "wrong", "ok")]


def test_a_configuration_is_live_or_refused_under_its_change() -> None:
    session = Told()
    session.sync()
    session.take()
    session.propose(OTHER.text, "5")
    session(StateRead(1, FIG2.targets[1].state))
    session(Refused(1, ("no room",)))
    (refused,) = session.take("config")
    assert (refused.before, refused.after, refused.change) == ("on_trial", "refused", "5")
    assert refused.evidence == {"switches": {"s1": ["no room"]}}
    session.settle()
    session.propose(OTHER.text, "6")
    session.settle()
    found = session.take()
    (live,) = [each for each in found if each.kind == "config"]
    assert (live.after, live.change, live.evidence) == ("live", "6", {"generation": 2})
    assert [(each.of, each.change) for each in found if each.kind == "slots"] == [("web:20", "6")]
    assert {each.kind for each in found} <= set(KINDS)


def test_what_was_never_verified_and_is_refused_goes_back() -> None:
    session = Told()
    session.sync()
    session(SwitchDisconnected(1))
    session.take()
    session.loop._known[OTHER.text] = OTHER
    session(ConfigProposed(9, OTHER.text, 15.0, unverified=True, change="7"))
    session(SwitchConnected(1, up(PORTS)))
    wants = session(StateRead(1, FIG2.targets[1].state))
    assert any(isinstance(each, Apply) for each in wants)
    session(Refused(1, ("no",)))
    found = session.take("config")
    assert [(each.before, each.after) for each in found] == [("on_trial", "unverified"), ("unverified", "live")]
    assert found[1].change == "" and "the last good one is live again" in found[1].reason
