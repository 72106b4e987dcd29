"""When a server that drains is drained: by its agent, by its packets, or by the log of connections."""

from __future__ import annotations

from portlb_app.backends.drained import COUNT_EVERY, COUNTED, FRESH, SETTLED, STILL, Drain, Drains


def draining(*names: str, is_counted: bool = True, now: float = 100.0) -> Drains:
    drains = Drains()
    drains.want(dict.fromkeys(names, is_counted), now)
    return drains


def of(drains: Drains, now: float, name: str = "a") -> Drain:
    found = drains.of(name, now)
    assert found is not None
    return found


def news(drains: Drains) -> list[tuple[str, str]]:
    return [(name, each.source) for name, each in drains.news()]


def test_a_server_that_does_not_drain_is_not_drained() -> None:
    drains = draining("a")
    drains.counted("b", 0, 100.0)
    drains.reported("b", 0, 100.0)
    drains.logged("b", 0, 100.0)
    assert drains.of("b", 200.0) is None and news(drains) == []
    drains.want({}, 200.0)
    assert drains.of("a", 200.0) is None and drains.due(300.0) == []


def test_its_packets_stand_still_for_a_minute() -> None:
    drains = draining("a")
    for passed in range(0, 100, 5):
        drains.counted("a", 7 if passed < 30 else 9, 100.0 + passed)
        found = of(drains, 100.0 + passed)
        assert (found.drained_at is not None) == (passed >= 30 + STILL), passed
    assert of(drains, 200.0) == Drain(100.0, 0, "counters", None, 190.0)
    assert news(drains) == [("a", "counters")] and news(drains) == [], "once"


def test_what_is_not_asked_does_not_stand_still() -> None:
    """A switch that is away for an hour has counted nothing that is known."""
    drains = draining("a")
    drains.counted("a", 7, 101.0)
    assert of(drains, 3600.0).drained_at is None
    drains.counted("a", 9, 3600.0)
    assert (of(drains, 3600.0).drained_at, of(drains, 3600.0).quiet) == (None, 0.0)


def test_packets_after_that_are_a_connection() -> None:
    drains = draining("a")
    drains.counted("a", 7, 100.0)
    drains.counted("a", 7, 160.0)
    assert of(drains, 160.0).drained_at == 160.0
    drains.counted("a", 8, 165.0)
    assert of(drains, 165.0).drained_at is None
    drains.counted("a", 8, 225.0)
    assert news(drains) == [("a", "counters")]
    assert of(drains, 225.0).drained_at == 225.0


def test_the_agent_knows_better() -> None:
    """Its zero counts at once, its one as long as it is fresh."""
    drains = draining("a")
    drains.counted("a", 7, 100.0)
    for passed in range(1, 62):
        drains.reported("a", 3, 100.0 + passed)
        drains.counted("a", 7, 100.0 + passed)
    assert of(drains, 161.0) == Drain(100.0, 3, "agent", 61.0)
    assert of(drains, 161.0).reason == "3 connections open, by its agent"
    drains.reported("a", 0, 162.0)
    assert of(drains, 162.0) == Drain(100.0, 0, "agent", None, 162.0)
    assert of(drains, 162.0).reason == "drained, by its agent"


def test_an_agent_that_falls_silent_decides_nothing() -> None:
    drains = draining("a")
    drains.reported("a", 3, 100.0)
    drains.counted("a", 7, 100.0)
    drains.counted("a", 7, 100.0 + FRESH + STILL)
    assert of(drains, 100.0 + FRESH + STILL).source == "counters"
    assert of(drains, 100.0 + FRESH + STILL).drained_at is not None


def test_a_zero_of_before_is_too_early() -> None:
    """A connection may just be opening that a slot chose the server for."""
    drains = draining("a", is_counted=False)
    drains.reported("a", 0, 100.0 + SETTLED - 0.1)
    drains.logged("a", 0, 100.0 + SETTLED - 0.1)
    assert of(drains, 102.0).drained_at is None
    drains.reported("a", 0, 100.0 + SETTLED)
    assert of(drains, 102.0).drained_at == 102.0


def test_the_log_decides_where_nothing_counts() -> None:
    for is_counted in (False, True):
        drains = draining("a", is_counted=is_counted)
        drains.logged("a", 2, 110.0)
        assert (of(drains, 110.0).open, of(drains, 110.0).source) == (2, "log")
        drains.logged("a", 0, 120.0)
        assert (of(drains, 120.0).drained_at is not None) is not is_counted
    assert news(drains) == []


def test_without_any_of_them_nothing_is_said() -> None:
    drains = draining("a", is_counted=False)
    assert of(drains, 9999.0).drained_at is None
    assert of(drains, 9999.0).reason.startswith("nothing tells yet")


def test_counters_are_asked_for_in_turns_and_not_too_often() -> None:
    names = [f"s{number:03}" for number in range(3 * COUNTED)]
    drains = draining(*names)
    drains.want({**dict.fromkeys(names, True), "log": False}, 100.0)
    first, second, third = (drains.due(100.0 + step / 10) for step in range(3))
    assert sorted(first + second + third) == names and {len(first), len(second), len(third)} == {COUNTED}
    assert drains.due(100.3) == []
    assert drains.due(100.0 + COUNT_EVERY) == first, "an answer that did not come is asked for again"


def test_one_that_drains_again_begins_anew() -> None:
    drains = draining("a")
    drains.counted("a", 7, 100.0)
    drains.counted("a", 7, 160.0)
    drains.want({}, 161.0)
    drains.want({"a": True}, 170.0)
    assert of(drains, 170.0) == Drain(170.0, None, "", None)
    assert news(drains) == [], "what it was before is no news"
