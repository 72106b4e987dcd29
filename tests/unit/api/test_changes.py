"""Changes and events over REST, without HTTP."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from portlb_app.api import changes
from portlb_app.api.event_ring import EventRing
from portlb_app.api.events import Follow
from portlb_app.api.history import Change, History, SwitchOutcome
from portlb_app.api.messages import Proposal, Request, Response
from portlb_app.api.models import history as models
from portlb_app.api.routes import respond
from portlb_app.api.snapshot import RefusedConnections, Snapshot
from portlb_app.reconcile.happened import Happened
from portlb_app.reconcile.status import Status


def snapshot() -> Snapshot:
    """Five changes, one of them an override, and twelve events."""
    history, ring = History(), EventRing("ab")
    for number in range(1, 6):
        what: Any = "override" if number == 3 else "config"
        said = f"about {number}", "max", "127.0.0.1", f"h{number}"
        change = history.begin(Change(0, what, "rest", float(number), *said))
        history.end(replace(change, outcome="live", seconds=0.5, switches={"s1": SwitchOutcome("error", ("no",))}))
    for number in range(1, 13):
        kind: Any = "health" if number % 3 else "link"
        ring.add(100.0 + number, Happened(kind, f"x{number}", "up", "down", "so it is", {"n": number}, "4"))
    return Snapshot(Status(1, (), ()), "", RefusedConnections(), events=ring, history=history)


def ask(path: str, method: str = "GET", **more: Any) -> Any:
    """What is answered, or asked for; an answer's body is read."""
    path, _, query = path.partition("?")
    answer = respond(Request(method, path, "localhost", query=query, **more), snapshot())
    if isinstance(answer, Response):
        return answer.status, json.loads("".join(answer.body))
    return answer


def test_changes_come_in_pages_the_last_first() -> None:
    _, first = ask("/v1/changes?limit=2")
    assert [each["id"] for each in first["changes"]] == [5, 4] and first["next"] == "/v1/changes?limit=2&cursor=4"
    _, second = ask(first["next"])
    assert [each["id"] for each in second["changes"]] == [3, 2]
    _, last = ask(second["next"])
    assert ([each["id"] for each in last["changes"]], last["next"]) == ([1], None)
    models.Changes.model_validate(first)
    assert [each["id"] for each in ask("/v1/changes?what=override")[1]["changes"]] == [3]
    assert first["changes"][0]["switches"] == {"s1": {"state": "error", "errors": ["no"]}}


def test_a_change_is_found_by_its_number() -> None:
    assert ask("/v1/changes/4").change.id == 4
    for strange in ("0", "6", "x", "-1", "4.0", "9" * 12):
        assert ask(f"/v1/changes/{strange}")[0] == 404
        assert ask(f"/v1/changes/{strange}/rollback", "POST")[0] == 404
    assert ask("/v1/changes/3/rollback", "POST")[1]["detail"] == "change 3 changed no configuration, but: about 3"


def test_a_rollback_is_a_proposal_under_the_same_rules() -> None:
    asked = ask("/v1/changes/2/rollback?wait=accepted", "POST", if_match='"x"', by="eva")
    made = changes.propose(asked, "a text")
    assert isinstance(made, Proposal) and made.text == "a text" and made.unverified
    assert made.precondition.match == '"x"'
    assert (made.said.source, made.said.subject, made.said.by) == ("rollback", "back to change 2", "eva")


def test_a_change_shows_what_it_changed() -> None:
    change = snapshot().history.get(2)
    assert change is not None
    answer = changes.whole(change, "a: 1\nb: 2\n", "a: 1\nb: 3\n", "")
    body = json.loads("".join(answer.body))
    models.WholeChange.model_validate(body)
    assert body["text"] == "a: 1\nb: 2\n" and "-b: 3\n+b: 2\n" in body["diff"]
    lost = json.loads("".join(changes.whole(change, None, "x", "it is gone").body))
    assert (lost["text"], lost["diff"], lost["problem"]) == (None, None, "it is gone")


@pytest.mark.parametrize("seed", range(40))
def test_a_difference_leads_from_one_text_to_the_other(seed: int) -> None:
    """It leads from one text to the other, although only the part is compared that is not alike at both ends."""
    dice = random.Random(seed)
    old = [f"{dice.choice('abc')}\n" for _ in range(dice.randrange(0, 40))]
    new = list(old)
    for _ in range(dice.randrange(0, 4)):
        at = dice.randrange(0, len(new) + 1)
        new[at : at + dice.randrange(0, 3)] = [f"{dice.choice('abcx')}\n" for _ in range(dice.randrange(0, 3))]
    made = changes.difference("".join(old), "".join(new))
    applied = _applied(old, made or "")
    assert applied == new
    if old == new:
        assert made == ""


def _applied(old: list[str], diff: str) -> list[str]:
    """A unified diff applied to lines, by the numbers that it says."""
    made, at = [], 0
    for line in diff.splitlines(keepends=True)[2:]:
        if line.startswith("@@"):
            first, _, count = line.split()[1][1:].partition(",")
            begin = int(first) - (count != "0")
            made += old[at:begin]
            at = begin
        elif line[0] == " ":
            assert old[at] == line[1:]
            made.append(old[at])
            at += 1
        elif line[0] == "-":
            assert old[at] == line[1:]
            at += 1
        else:
            made.append(line[1:])
    return made + old[at:]


def test_long_texts_are_not_compared() -> None:
    old, new = ("\n".join(f"{each} {number}" for number in range(5000)) for each in "ab")
    assert changes.difference(old, new) is None
    assert changes.difference(old, old + "\nmore") is not None


def test_events_are_the_last_ones_and_go_on() -> None:
    status, body = ask("/v1/events?limit=3")
    assert status == 200 and [each["object"] for each in body["events"]] == ["x10", "x11", "x12"]
    assert (body["last"], body["next"], body["reset"]) == ("ab-12", None, False)
    models.Events.model_validate(body)
    _, some = ask("/v1/events?kinds=link&limit=2&cursor=ab-0")
    assert [each["object"] for each in some["events"]] == ["x3", "x6"]
    assert some["next"] == "/v1/events?kinds=link&limit=2&cursor=ab-6"
    assert [each["object"] for each in ask(some["next"])[1]["events"]] == ["x9", "x12"]
    assert [each["object"] for each in ask("/v1/events?since=1970-01-01T00:01:51Z")[1]["events"]] == ["x11", "x12"]


def test_a_cursor_that_is_gone_is_told() -> None:
    _, body = ask("/v1/events?cursor=cd-5&limit=1")
    assert body["reset"] is True and [each["object"] for each in body["events"]] == ["x12"]


@pytest.mark.parametrize("query", ["kinds=nothing", "kinds=health,", "since=now", "limit=0", "limit=1001", "x=1"])
def test_what_is_not_understood_is_said(query: str) -> None:
    assert ask(f"/v1/events?{query}")[0] == 400


def test_a_stream_goes_on_where_the_reader_was() -> None:
    given: dict[str, Any] = {"accept": "text/event-stream"}
    assert ask("/v1/events?kinds=link,health", **given) == Follow(None, ("link", "health"))
    assert ask("/v1/events?cursor=ab-3", **given) == Follow("ab-3", ())
    assert ask("/v1/events?cursor=ab-3", **given, last_event="ab-7") == Follow("ab-7", ())
