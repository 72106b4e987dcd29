"""The phases of a switch: the table of transitions, and its picture in the documents."""

from __future__ import annotations

from pathlib import Path

from portlb_app.reconcile.phases import FREE, TRANSITIONS, Change, Phase

ARCHITECTURE = Path(__file__).parents[3] / "docs/architecture.md"
IN_FLIGHT = frozenset({Phase.READING, Phase.APPLYING})
"""Phases that only the switch's answer, or the end of its connection, leaves."""


def diagram() -> str:
    """The transitions as a Mermaid state diagram; without the end of a connection, and a new one but the first."""
    lines = ["stateDiagram-v2", f"    {Phase.ABSENT.name} --> {Phase.UNREAD.name}: {Change.CONNECTED.value}"]
    for (phase, change), after in TRANSITIONS.items():
        if change not in (Change.CONNECTED, Change.DISCONNECTED):
            lines.append(f"    {phase.name} --> {after.name}: {change.value}")
    return "\n".join(lines)


def test_the_document_shows_the_table() -> None:
    """The picture is `diagram()`."""
    assert f"```mermaid\n{diagram()}\n```" in ARCHITECTURE.read_text()


def test_every_phase_is_entered_and_left_and_every_change_is_one() -> None:
    assert {before for before, _ in TRANSITIONS} == set(TRANSITIONS.values()) == set(Phase)
    assert {change for _, change in TRANSITIONS} == set(Change)


def test_what_is_in_flight_ends_with_an_answer_or_the_connection() -> None:
    """Nothing else is sent meanwhile, and a new goal waits."""
    answers = {Change.EQUAL, Change.DIFFERENT, Change.STALE, Change.TOOK_PART, Change.TOOK_ALL, Change.REFUSED}
    for phase in IN_FLIGHT:
        assert {change for before, change in TRANSITIONS if before is phase} <= {
            *answers,
            Change.CONNECTED,
            Change.DISCONNECTED,
        }
    assert not FREE & IN_FLIGHT


def test_a_switch_is_read_after_each_change_before_it_is_synced() -> None:
    """From the moment a change is sent, no way leads to SYNCED but through a read, or a goal that asks nothing."""
    reached, todo = set(), [Phase.APPLYING]
    while todo:
        phase = todo.pop()
        for (before, change), after in TRANSITIONS.items():
            if before is phase and change not in (Change.UNCHANGED, Change.READ) and after not in reached:
                reached.add(after)
                todo.append(after)
    assert Phase.SYNCED not in reached
