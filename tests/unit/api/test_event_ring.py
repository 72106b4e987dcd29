"""The ring of events: bounded, in order, and honest about what is gone."""

from __future__ import annotations

from portlb_app.api.event_ring import KEPT, EventRing
from portlb_app.reconcile.happened import Happened, Kind


def happened(number: int, kind: Kind = "link") -> Happened:
    """Something."""
    return Happened(kind, f"l{number}", "up", "down", "it is so", {"number": number})


def filled(count: int) -> EventRing:
    """A ring to which so many were added, one a second."""
    ring = EventRing("ab")
    for number in range(1, count + 1):
        ring.add(float(number), happened(number, "link" if number % 2 else "pool"))
    return ring


def numbers(ring: EventRing, after: int, **choice: object) -> list[int]:
    """The numbers of the events that are found."""
    return [each.what.evidence["number"] for each in ring.after(after, **choice)[0]]  # type: ignore[arg-type]


def test_all_that_came_after_an_id_is_found() -> None:
    ring = filled(10)
    assert ring.number("ab-7") == 7
    assert numbers(ring, 7) == [8, 9, 10]
    assert ring.after(10) == ([], 10)
    assert numbers(ring, 0, limit=3) == [1, 2, 3] and ring.after(0, limit=3)[1] == 3


def test_kinds_and_a_time_choose_and_the_place_goes_on() -> None:
    ring = filled(10)
    assert numbers(ring, 0, kinds=("pool",)) == [2, 4, 6, 8, 10]
    assert ring.after(3, kinds=("pool",), limit=1)[1] == 4
    assert numbers(ring, 0, since=8.5) == [9, 10]
    assert ring.after(0, kinds=("drift",)) == ([], 10)


def test_what_is_gone_is_not_found_silently() -> None:
    """Nor what is of another boot, or not there yet."""
    ring = filled(KEPT + 5)
    assert len(ring) == KEPT and ring.counts["link"] == (KEPT + 6) // 2
    assert ring.number("ab-4") is None and ring.number("ab-5") == 5
    assert numbers(ring, 5)[0] == 6
    for strange in ("cd-7", f"ab-{KEPT + 6}", "ab-", "ab-07", "7", "", "ab-9\n", "ab-" + "9" * 17):
        assert ring.number(strange) is None, strange


def test_an_event_as_json() -> None:
    ring = EventRing("ab")
    ring.add(5.12345, Happened("admin", "a", "ready", "drain", "asked for by max", change="17"))
    (event,), _ = ring.after(0)
    assert event.value() == {
        "id": "ab-1", "at": 5.123, "kind": "admin", "object": "a", "from": "ready", "to": "drain",
        "reason": "asked for by max", "evidence": {}, "change": 17,
    }  # fmt: skip
