"""Overrides of states and weights: what they hold for, when they end, and their file."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app.config import ConfigError, Wanted, load, moments
from portlb_app.config.overrides import MAX_OVERRIDES, NONE, Key, Override, Overrides, Value
from portlb_app.config.overrides_text import dump
from portlb_app.config.overrides_text import load as read

LB = """
switches: {{s1: {{dpid: 1, network: 1}}}}
vips: {{web: {{address: 10.0.0.100, mac: "02:00:00:00:00:64", redirect_ports: {{80: {{servers: [a, b]}}}}}}}}
servers:
  a: {{vip: web, connector: s1:2{a}}}
  b: {{vip: web, connector: s1:3{b}}}
"""
PLAIN = load(LB.format(a="", b=""))
NOW = 1_764_000_000.0


def drained(until: float | None = None) -> Overrides:
    by = Override(Wanted.READY, Wanted.READY, "kernel", "root", NOW, until)
    return NONE.put(PLAIN.server_by_name["b"], "state", Wanted.DRAIN, by)


def test_an_override_is_used_in_place_of_the_file() -> None:
    used = drained().over(PLAIN)
    assert [server.state for server in used.servers] == [Wanted.READY, Wanted.DRAIN]
    both = drained().put(PLAIN.server_by_name["b"], "weight", 7, Override(0, 0)).over(PLAIN)
    assert (both.server_by_name["b"].state, both.server_by_name["b"].weight) == (Wanted.DRAIN, 7)
    assert NONE.over(PLAIN) is PLAIN


def test_the_value_of_the_file_is_no_override() -> None:
    """`ready` takes `drain` back, and a weight that is taken back leaves the state alone."""
    b = PLAIN.server_by_name["b"]
    assert drained().put(b, "state", Wanted.READY, Override(0, 0)) == NONE
    weighed = drained().put(b, "weight", 7, Override(0, 0))
    assert weighed.put(b, "weight", None, Override(0, 0)) == drained()
    in_file = load(LB.format(a="", b=", state: drain"))
    ready = NONE.put(in_file.server_by_name["b"], "state", Wanted.READY, Override(0, 0))
    assert ready.over(in_file).server_by_name["b"].wanted is Wanted.READY


def test_the_same_again_keeps_its_time_and_has_the_new_reason() -> None:
    again = Override(Wanted.READY, Wanted.READY, "memory", "max", NOW + 60)
    (entry,) = drained().put(PLAIN.server_by_name["b"], "state", Wanted.DRAIN, again).entries.values()
    assert (entry.since, entry.reason, entry.by) == (NOW, "memory", "max")
    (entry,) = drained().put(PLAIN.server_by_name["b"], "state", Wanted.MAINT, again).entries.values()
    assert entry.since == NOW + 60


def test_a_changed_file_ends_the_override_of_that_key_only() -> None:
    overrides = drained().put(PLAIN.server_by_name["b"], "weight", 7, Override(0, 0))
    for text, left in (
        (", weight: 2", {"state"}),
        (", state: maint", {"weight"}),
        (", service_ports: [1]", {"state", "weight"}),
    ):
        config = load(LB.format(a="", b=text))
        kept, notes = overrides.settle(config, NOW)
        assert {key for _, key in kept.entries} == left
        assert overrides.over(config) == kept.over(config), "one that ends is not used until it is dropped"
        assert [note.level for note in notes] == ["info"] * (2 - len(left))
    _, (note,) = overrides.settle(load(LB.format(a="", b=", state: maint")), NOW)
    assert note.text == "server b: the file says state maint now, so drain of root in place of ready ends"


def test_one_for_a_server_that_is_gone_is_dropped_with_a_warning() -> None:
    config = load(LB.format(a="", b="").replace("a, b", "a").partition("  b:")[0])
    kept, notes = drained().settle(config, NOW)
    assert (kept, [note.level for note in notes]) == (NONE, ["warning"])
    assert notes[0].text == "server b: state drain is dropped, because there is no such server any more"
    assert drained().over(config) is config


def test_an_end_is_obeyed() -> None:
    overrides = drained(until=NOW + 60)
    assert overrides.settle(PLAIN, NOW + 59.9) == (overrides, ())
    kept, (note,) = overrides.settle(PLAIN, NOW + 60)
    assert kept == NONE
    assert note.text == "server b: state drain was until 2025-11-24T16:01:00Z; the file's ready holds again"


# --- times ------------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 253402300799))
def test_times_are_those_of_the_standard_library(seconds: int) -> None:
    text = moments.text(seconds)
    assert text == datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)
    assert moments.parse(text) == seconds


def test_times_elsewhere() -> None:
    assert moments.parse("2026-12-01T06:00:00+01:00") == moments.parse("2026-12-01T05:00:00Z")
    assert moments.parse("2026-12-01t00:00:00.5-00:30") == moments.parse("2026-12-01T00:30:00Z")


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-12-01", "2026-12-01 06:00:00", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z"),
        *("2026-12-01T24:00:00Z", "2026-12-01T06:60:00Z", "2026-12-01T06:00:60Z", "1969-12-31T00:00:00Z"),
        *("2026-12-00T00:00:00Z", "2026-12-01T06:00:00", "2026-12-01T06:00:00+25:00", "٢026-12-01T06:00:00Z"),
        "2026-12-01T06:00:00Z\n",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        moments.parse(text)


# --- the file ---------------------------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", fullmatch=True)
PRINTABLE = st.text(max_size=100).filter(str.isprintable)
KEYED = st.one_of(
    st.tuples(st.just("state"), st.sampled_from(Wanted), st.sampled_from(Wanted)),
    st.tuples(st.just("weight"), st.integers(0, 256), st.integers(0, 256)),
)
SECONDS = st.integers(0, 253402300799).map(float)
ENDS = st.tuples(st.none() | SECONDS, st.none() | SECONDS)


@st.composite
def overrides(draw: st.DrawFn) -> Overrides:
    """Any that can be asked for."""
    entries: dict[tuple[str, Key], Override] = {}
    for name in draw(st.lists(NAMES, max_size=5)):
        key: Any
        value: Value
        key, value, replaced = draw(KEYED)
        said = draw(PRINTABLE), draw(PRINTABLE)
        entries[name, key] = Override(value, replaced, *said, draw(SECONDS), *draw(ENDS))
    return Overrides(entries)


@settings(max_examples=60, deadline=None)
@given(overrides())
def test_what_is_written_is_read(given_overrides: Overrides) -> None:
    assert read(dump(given_overrides)) == given_overrides
    json.loads(dump(given_overrides))


@settings(max_examples=60, deadline=None)
@given(overrides(), st.integers(1, 200))
def test_a_torn_file_is_never_read(given_overrides: Overrides, missing: int) -> None:
    """Whatever is cut off: its last bytes are needed."""
    whole = dump(given_overrides).rstrip()
    with pytest.raises(ConfigError):
        read(whole[:-missing])
    with pytest.raises(ConfigError):
        read(whole[:-missing] + "\0" * missing)


def file(**changes: Any) -> str:
    """A file with one override, changed."""
    data = json.loads(dump(drained()))
    for name, value in changes.items():
        entry = data if name in ("version", "overrides", "other") else data["overrides"][0]
        if value is None:
            del entry[name]
        else:
            entry[name] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: not JSON, or cut short"),
        ("[]", "a JSON object is expected"),
        ("{" * 5000 + "}", "line 1, column 2: not JSON, or cut short"),
        ('{"a":' * 100_000, "nested too deep"),
        ('{"version": ' + "1" * 5000 + "}", "a number is too long"),
        ('{"version": 1, "version": 1}', "version: is given twice"),
        ('{"version": 1}', "overrides: is missing"),
        (file(version=2), "version: is 2; this portlb reads version 1"),
        (file(version=None), "version: is missing"),
        (file(other=1), "other: unknown key"),
        (file(overrides={}), "overrides: should be a valid list"),
        (file(overrides=[1]), "overrides[0]: is a mapping of server, key, value, replaced, reason, by, since, until"),
        (file(key="mac"), "overrides[0].key: should be 'state' or 'weight'"),
        (file(server=5), "overrides[0].server: should be a valid string"),
        (file(value="up"), "overrides[0].value: ready, drain, maint or a weight from 0 to 256 is expected"),
        (file(value=True), "overrides[0].value: ready, drain, maint or a weight from 0 to 256 is expected"),
        (file(value=5), "overrides[0].value: 5 is no state"),
        (file(key="weight", value=257), "overrides[0].value: ready, drain, maint or a weight from 0 to 256"),
        (file(replaced=None), "overrides[0].replaced: is missing"),
        (file(since="yesterday"), "overrides[0].since: a time like 2026-12-01T06:00:00Z is expected"),
        (file(since=5), "overrides[0].since: a time like 2026-12-01T06:00:00Z is expected"),
        (file(reason="\x1b[2J"), "overrides[0].reason: printable characters on one line are expected"),
        (file(reason="x" * 201), "overrides[0].reason: String should have at most 200 characters"),
        (file(until=float("nan")), "NaN is not JSON"),
        (file(since=float("inf")), "Infinity is not JSON"),
        (file(overrides=json.loads(dump(drained()))["overrides"] * 2), "overrides[1]: state of b is given twice"),
        (file(overrides=[1] * (MAX_OVERRIDES + 1)), f"overrides: List should have at most {MAX_OVERRIDES} items"),
    ],
)
def test_what_is_no_file_of_overrides_says_where(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(message)


def test_all_mistakes_at_once() -> None:
    entry = json.loads(dump(drained()))["overrides"][0]
    text = json.dumps({"version": 1, "overrides": [entry | {"key": "x"}, entry | {"value": -1, "more": 1}]})
    with pytest.raises(ConfigError) as caught:
        read(text)
    paths = [problem.path for problem in caught.value.errors]
    assert paths == ["overrides[0].key", "overrides[1].value", "overrides[1].more"]


def test_an_override_is_a_value() -> None:
    assert replace(drained(), entries=dict(drained().entries)) == drained()
    assert not NONE and drained() and list(drained())[0][0] == ("b", "state")
