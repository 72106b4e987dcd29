"""``GET /v1/config/effective``."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from portlb_app.api import effective
from portlb_app.api.effective import EffectiveWanted
from portlb_app.api.models.effective import Effective
from portlb_app.api.snapshot import Snapshot
from portlb_app.backends.states import PORT, Evidence
from portlb_app.config import Wanted
from portlb_app.config.effective import effective as values_of
from portlb_app.config.effective import given
from portlb_app.config.etag import etag
from portlb_app.config.text import parse
from tests.support.fig2_rest import NOW_TEXT, TEXT, ask, overridden, reply, snapshot


def told(query: str, view: Snapshot | None = None) -> tuple[int, Any]:
    """What is answered, with what the process with the tables would find."""
    view = view or snapshot()
    asked = ask("GET", f"/v1/config/effective{query}", view=view)
    assert isinstance(asked, EffectiveWanted)
    found = list(values_of(view.config, given(parse(view.text)[0]), view.overrides, asked.chosen))
    answered = effective.answer(asked, found)
    return answered.status, json.loads("".join(answered.body))


def test_a_value_says_where_it_comes_from() -> None:
    view = snapshot(overridden("b", Wanted.DRAIN))
    code, found = told("?under=servers.b", view)
    assert (code, found["etag"], found["next"]) == (200, etag(TEXT), None)
    Effective.model_validate(found)
    by_path = {each["path"]: each for each in found["values"]}
    assert by_path["servers.b.state"] == {
        "path": "servers.b.state", "value": "drain", "source": "override", "used": None,
        "override": {
            "replaced": "ready", "reason": "kernel", "by": "root", "since": "2025-11-24T15:57:50Z", "until": None,
        },
    }  # fmt: skip
    assert (by_path["servers.b.weight"]["value"], by_path["servers.b.weight"]["source"]) == (1, "default")
    assert (by_path["servers.b.vip"]["value"], by_path["servers.b.vip"]["source"]) == ("web", "file")


def test_what_a_pool_makes_of_its_servers() -> None:
    """By overrides and by what is seen of them."""
    view = snapshot(overridden("b", Wanted.DRAIN))
    view.backends.see("c", Evidence(PORT, False, "port s1:4 has no carrier", 500.0), 500.0)
    _, found = told("?under=vips.web.redirect_ports.21.servers", view)
    (value,) = found["values"]
    assert value["value"] == ["b", "c", "d"]
    assert value["used"] == [
        {"server": "b", "weight": 0, "slots": 0, "reason": "wanted drain"},
        {"server": "c", "weight": 1, "slots": 0, "reason": "seen down: port s1:4 has no carrier"},
        {"server": "d", "weight": 1, "slots": 256, "reason": "seen unknown: nothing was heard of it yet"},
    ]


def test_pages() -> None:
    seen: list[str] = []
    query: str | None = "?limit=9"
    while query is not None:
        _, found = told(query)
        seen += [each["path"] for each in found["values"]]
        query = found["next"] and found["next"].removeprefix("/v1/config/effective")
    whole = [each["path"] for each in told("?limit=1000")[1]["values"]]
    assert seen == whole and len(whole) == len(set(whole)) > 90


def test_what_there_is_not() -> None:
    assert told("?under=servers.x")[0] == 404
    assert told("?under=servers.a&source=override") == (200, {"etag": etag(TEXT), "values": [], "next": None})
    for query in ("?source=health", "?limit=0", "?limit=1001", "?cursor=%", "?under=", "?x=1"):
        assert reply("GET", f"/v1/config/effective{query}")[0] == 400
    assert reply("PUT", "/v1/config/effective", {})[0] == 405


def test_an_override_with_an_end() -> None:
    view = snapshot(overridden("c", 7, until=1_764_000_000.0))
    (value,) = told("?source=override", replace(view))[1]["values"]
    assert (value["path"], value["override"]["until"]) == ("servers.c.weight", NOW_TEXT)


@pytest.mark.parametrize("path", ["vips", "vips.web", "switches.s1.dpid", "links"])
def test_paths_of_every_depth(path: str) -> None:
    code, found = told(f"?under={path}")
    assert code == 200 and all(f"{each['path']}.".startswith(f"{path}.") for each in found["values"])
    assert found["values"]
