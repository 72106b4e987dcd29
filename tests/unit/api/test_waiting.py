"""How long a client waits, by the query and by ``Prefer`` (RFC 7240)."""

from __future__ import annotations

import pytest

from portlb_app.api.batches import Batch
from portlb_app.api.edits import Edit
from portlb_app.api.messages import Proposal, Response
from portlb_app.api.waiting import Preferences, Waiting, accepted, preferences, told
from portlb_app.api.wishes import Wish
from tests.support.fig2_rest import TEXT, ask


@pytest.mark.parametrize(
    ("field", "found"),
    [
        (None, Preferences()),
        ("", Preferences()),
        ("respond-async", Preferences(True)),
        ("Respond-Async, WAIT=10", Preferences(True, 10)),
        ("wait=10,respond-async", Preferences(True, 10)),
        (' wait = "10" ; x=1 , respond-async;y', Preferences(True, 10)),
        ("return=minimal, wait=7; foo; , handling=lenient", Preferences(False, 7)),
        ("wait=5, wait=6", Preferences(False, 5)),
        ('x="a, wait=9", wait=4', Preferences(False, 4)),
        ('x; y="a, wait=9"', Preferences()),
        ("wait=-1, respond-async", Preferences(True)),
        ("wait=1.5", Preferences()),
        ("wait", Preferences()),
        ("wait=", Preferences()),
        ("wait=" + "9" * 5000, Preferences()),
        ("wait=٣", Preferences()),
        ("respond-async, @", Preferences(True)),
        ("@, respond-async", Preferences()),
        ('x="' + "\\" * 5000, Preferences()),
        (";" * 5000, Preferences()),
        ("a;" * 3000 + "!" * 3000 + '"', Preferences()),
    ],
)
def test_the_header_field_is_read(field: str | None, found: Preferences) -> None:
    assert preferences(field) == found


@pytest.mark.parametrize(
    ("query", "prefer", "found"),
    [
        ("", None, Waiting()),
        ("?wait=none", None, Waiting(answer=0.0)),
        ("?timeout=30", None, Waiting(30, 30)),
        ("", "respond-async", Waiting(answer=0.0, applied="respond-async")),
        ("", "respond-async, wait=5", Waiting(answer=5.0, applied="respond-async, wait=5")),
        ("", "respond-async, wait=0", Waiting(answer=0.0, applied="respond-async, wait=0")),
        ("", "respond-async, wait=999", Waiting(answer=300.0, applied="respond-async")),
        ("?timeout=30", "respond-async, wait=5", Waiting(30, 30, 5.0, "respond-async, wait=5")),
        ("?wait=applied", "respond-async", Waiting()),
        ("?wait=none", "respond-async, wait=5", Waiting(answer=0.0)),
        ("", "wait=20", Waiting(20, 20, None, "wait=20")),
        ("?wait=applied", "wait=20", Waiting(20, 20, None, "wait=20")),
        ("?timeout=30", "wait=20", Waiting(30, 30)),
        ("", "wait=0", Waiting()),
        ("", "wait=301", Waiting()),
        ("", "handling=strict", Waiting()),
    ],
)
def test_the_query_is_an_order_and_prefer_a_wish(query: str, prefer: str | None, found: Waiting) -> None:
    more = {} if prefer is None else {"prefer": prefer}
    proposal = ask("PUT", f"/v1/config{query}", TEXT.encode(), **more)
    assert isinstance(proposal, Proposal)
    assert Waiting(proposal.turn, proposal.patience, proposal.answer, proposal.applied) == found
    wish = ask("PUT", f"/v1/servers/b/state{query}", {"state": "drain"}, **more)
    assert isinstance(wish, Wish) and wish.waiting == found
    unset = ask("DELETE", f"/v1/servers/b/weight{query}", **more)
    assert isinstance(unset, Wish) and unset.waiting == found
    batch = ask("PATCH", f"/v1/servers{query}", {"servers": {"b": {"weight": 1}}}, **more)
    assert isinstance(batch, Batch) and batch.waiting == found


def test_a_part_of_the_configuration_is_waited_for() -> None:
    """Its text may be made anew for another one, so there is no change yet that the answer could name."""
    edit = ask("PATCH", "/v1/config", {"servers": {"a": {"weight": 2}}}, prefer="respond-async, wait=20")
    assert isinstance(edit, Edit)
    assert (edit.proposal.answer, edit.proposal.patience, edit.proposal.applied) == (None, 20, "wait=20")


def test_a_dry_run_is_waited_for() -> None:
    proposal = ask("PUT", "/v1/config?dry_run=1", TEXT.encode(), prefer="respond-async")
    assert isinstance(proposal, Proposal) and (proposal.answer, proposal.applied) == (None, "")


def test_what_was_honoured_is_said() -> None:
    answer = accepted(7)
    assert (answer.status, answer.headers) == (202, {"Location": "/v1/changes/7"})
    assert told(answer, "respond-async").headers["Preference-Applied"] == "respond-async"
    assert told(Response(200, "{}"), "").headers == {}
