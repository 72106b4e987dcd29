"""Forms: nothing is done that was not shown, and nobody else's page can send one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portlb_app.api.messages import Response
from portlb_app.api.problem_details import failure
from portlb_app.api.snapshot import Snapshot
from portlb_app.backends.states import PORT, Evidence
from portlb_app.config import Wanted
from portlb_app.page.actions import Confirmed
from tests.unit.page.looking import Page, page_of, post, snapshot


def shown(view: Snapshot, **fields: str) -> tuple[Page, dict[str, str]]:
    """A dry run, and the fields of the form that confirms it."""
    page = post("b", view, **fields)
    assert isinstance(page, Page)
    return page, {each["name"]: each["value"] for each in page.all("input")}


def test_a_drain_is_shown_and_then_done() -> None:
    view = snapshot()
    page, confirm = shown(view, action="drain", reason="kernel", weight="")
    assert page.status == 200 and "86 of 256 slots move" in page.text
    assert page.all("form") == [{"method": "post", "action": "/servers/b/act", "class": "confirm"}]
    confirmed = post("b", view, **confirm)
    assert isinstance(confirmed, Confirmed)
    assert (confirmed.wish.key, confirmed.wish.value, confirmed.wish.said.reason) == ("state", Wanted.DRAIN, "kernel")
    assert not confirmed.wish.dry_run and not confirmed.wish.force


def test_a_weight_is_shown_and_then_done() -> None:
    page, confirm = shown(snapshot(), action="weight", weight="3", reason="")
    assert "to b" in page.text
    confirmed = post("b", snapshot(), **confirm)
    assert isinstance(confirmed, Confirmed) and (confirmed.wish.key, confirmed.wish.value) == ("weight", 3)
    _, confirm = shown(snapshot(), action="unset-weight")
    confirmed = post("b", snapshot(), **confirm)
    assert isinstance(confirmed, Confirmed) and (confirmed.wish.key, confirmed.wish.value) == ("weight", None)


@pytest.mark.parametrize("token", ["", "other", "sécret"])
def test_a_form_of_another_page_does_nothing(token: str) -> None:
    """It has no token of this controller: what would happen is shown, with one."""
    _, confirm = shown(snapshot(), action="drain")
    page = post("b", snapshot(), **{**confirm, "token": token})
    assert isinstance(page, Page) and page.status == 409
    assert "before the controller was started again" in page.text
    assert {"name": "token", "type": "hidden", "value": "secret"} in page.all("input")


def test_what_has_changed_since_is_shown_again() -> None:
    view = snapshot()
    _, confirm = shown(view, action="drain")
    view.backends.see("c", Evidence(PORT, False, "port s1:4 has no carrier", 900.0), 900.0)
    page = post("b", view, **confirm)
    assert isinstance(page, Page) and page.status == 409 and "Something has changed" in page.text
    again = {each["name"]: each["value"] for each in page.all("input")}
    assert isinstance(post("b", view, **again), Confirmed)


def test_one_field_of_what_was_shown_cannot_be_another() -> None:
    _, confirm = shown(snapshot(), action="drain")
    for other in ({"action": "maint", "force": "1"}, {"reason": "another"}):
        page = post("b", snapshot(), **{**confirm, **other})
        assert isinstance(page, Page) and page.status == 409


def test_what_would_break_needs_force_and_says_what() -> None:
    page, fields = shown(snapshot(), action="maint")
    assert page.status == 409 and "b is not drained" in page.text and "Nothing was changed" in page.text
    assert fields == {"action": "maint", "force": "1"}
    forced, confirm = shown(snapshot(), **fields)
    assert forced.status == 200 and "its service ports close" in forced.text
    confirmed = post("b", snapshot(), **confirm)
    assert isinstance(confirmed, Confirmed) and confirmed.wish.force


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"action": "weight", "weight": "many"}, "weight"),
        ({"action": "weight", "weight": "257"}, "weight"),
        ({"action": "drain", "reason": "x" * 1000}, "reason"),
        ({"action": "destroy"}, "mistakes"),
        ({}, "mistakes"),
    ],
)
def test_a_form_with_mistakes_says_which(fields: dict[str, str], says: str) -> None:
    page = post("b", snapshot(), **fields)
    assert isinstance(page, Page) and page.status == 422 and says in page.text
    assert page.all("input") == []


def test_what_became_of_it_is_shown() -> None:
    _, confirm = shown(snapshot(), action="drain")
    confirmed = post("b", snapshot(), **confirm)
    assert isinstance(confirmed, Confirmed)
    done = confirmed.answer(Response(200, "{}"), snapshot())
    assert (done.status, done.headers["Location"]) == (303, "/servers/b")
    late = page_of(confirmed.answer(failure("timed-out", "within 15 s <s1> did not take it"), snapshot()))
    assert late.status == 504 and "within 15 s <s1> did not take it" in late.text


def test_there_is_no_other_server() -> None:
    page = post("zz", snapshot(), action="drain")
    assert isinstance(page, Page) and page.status == 404


def test_nothing_is_done_for_a_server_that_is_gone() -> None:
    """Between the dry run and the confirmation."""
    _, confirm = shown(snapshot(), action="drain")
    view = snapshot()
    without = replace(view.config, servers=tuple(each for each in view.config.servers if each.name != "b"))
    page = post("b", replace(view, config=without), **confirm)
    assert isinstance(page, Page) and page.status == 404
