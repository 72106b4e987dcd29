"""Values in the text of a configuration are changed; everything else stays."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app.config import ConfigError, load
from portlb_app.config.editing import Whole, merge, patched
from portlb_app.config.text import parse

FLOWS = Path(__file__).parents[3] / "flows"
FIG2 = (FLOWS / "fig2/lb.yaml").read_text()
COMMENTED = """\
# the head
vips:  # of the shop
  web:
    address: 10.0.0.100   # as in DNS
    redirect_ports:
      20: {servers: [a, b]}  # soon: c
      # the next one is old
      21: {servers: [b]}
servers:
  a: {weight: 1}

  # b is slow
  b:
    weight: 2   # half of the others
    check: {}
links:
# the end
"""


def lines(text: str, patch: dict[str, Any]) -> list[str]:
    """The lines that a patch changes."""
    compared = difflib.ndiff(text.splitlines(), patched(text, patch).splitlines())
    return [line for line in compared if line[0] in "+-"]


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({}, []),
        ({"servers": {"b": {"weight": 2}}}, []),
        (
            {"servers": {"b": {"weight": 5}}},
            ["-     weight: 2   # half of the others", "+     weight: 5   # half of the others"],
        ),
        ({"servers": {"a": {"weight": 5}}}, ["-   a: {weight: 1}", "+   a: {weight: 5}"]),
        ({"servers": {"a": {"state": "drain"}}}, ["-   a: {weight: 1}", "+   a: {weight: 1, state: drain}"]),
        ({"servers": {"a": {"weight": None}}}, ["-   a: {weight: 1}", "+   a: {}"]),
        ({"servers": {"b": {"state": "drain"}}}, ["+     state: drain"]),
        ({"servers": {"b": {"check": {"kind": "tcp"}}}}, ["-     check: {}", "+     check: {kind: tcp}"]),
        ({"servers": {"c": {"connector": "s1:3", "weight": 0}}}, ["+   c: {connector: s1:3, weight: 0}"]),
        ({"servers": {"a": None}}, ["-   a: {weight: 1}"]),
        ({"servers": {"a": None, "c": {"vip": "no"}}}, ["-   a: {weight: 1}", '+   c: {vip: "no"}']),
        (
            {"servers": {"b": None}},
            ["-   b:", "-     weight: 2   # half of the others", "-     check: {}"],
        ),
        (
            {"servers": {"b": Whole(weight=3)}},
            ["-   b:", "-     weight: 2   # half of the others", "-     check: {}", "+   b: {weight: 3}"],
        ),
        (
            {"vips": {"web": {"redirect_ports": {"20": {"servers": ["a"]}, "22": {"servers": ["b"]}}}}},
            [
                "-       20: {servers: [a, b]}  # soon: c",
                "+       20: {servers: [a]}  # soon: c",
                "+       22: {servers: [b]}",
            ],
        ),
        ({"links": [["s1:1", "s2:1"]]}, ["- links:", "+ links: [[s1:1, s2:1]]"]),
        ({"links": None}, ["- links:"]),
        ({"switches": {"s1": {"dpid": 1}}}, ["+ switches: {s1: {dpid: 1}}"]),
        ({"vips": {"web": {"mac": "02:00:00:00:00:64"}}}, ['+     mac: "02:00:00:00:00:64"']),
    ],
)  # fmt: skip
def test_only_what_is_changed_is_written(patch: dict[str, Any], changed: list[str]) -> None:
    found = [line for line in lines(COMMENTED, patch) if not line.startswith("?")]
    assert sorted(found) == sorted(changed)
    assert parse(patched(COMMENTED, patch))[0] == merge(parse(COMMENTED)[0], patch)


def test_all_servers_at_once() -> None:
    made = patched(COMMENTED, {"servers": {"a": None, "b": None}})
    assert "servers: {}" in made and "# the end" in made


def test_json_is_changed_as_well() -> None:
    assert patched('{"servers": {"a": {"weight": 1}}}', {"servers": {"a": {"weight": 2}, "b": {}}}) == (
        '{"servers": {"a": {"weight": 2}, b: {}}}'
    )


@pytest.mark.parametrize("path", sorted(FLOWS.glob("*/lb.yaml")), ids=lambda path: path.parent.name)
def test_a_server_of_every_sample_gets_another_weight(path: Path) -> None:
    """And nothing else is another one."""
    text = path.read_text()
    before = load(text)
    name = before.servers[0].name
    made = patched(text, {"servers": {name: {"weight": 7}}})
    after = load(made)
    assert after.server_by_name[name].weight == 7
    assert after.servers[1:] == before.servers[1:] and after.vips == before.vips
    assert [line for line in text.splitlines() if line.lstrip().startswith("#")] == [
        line for line in made.splitlines() if line.lstrip().startswith("#")
    ]


NAMES = st.sampled_from(["a", "b", "c", "weight", "20", "21", "servers", "vips", "links", "on"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 99) | st.sampled_from(["x", "no", "1", "s1:2", "a b", '"', "#", ": "]),
    lambda inner: st.lists(inner.filter(lambda each: each is not None), max_size=3)
    | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4), st.sampled_from([COMMENTED, FIG2]))
def test_whatever_is_changed_means_what_the_patch_says(patch: dict[str, Any], text: str) -> None:
    """Or it is refused."""
    try:
        made = patched(text, patch)
    except ConfigError:
        return
    assert parse(made)[0] == merge(parse(text)[0], patch)


def test_patches_of_usual_shapes_are_not_refused() -> None:
    """What the resources of servers and ports ask for."""
    for patch in ({"servers": {"e": {"vip": "web"}}}, {"vips": {"web": {"redirect_ports": {"22": None}}}}):
        assert patched(FIG2, patch) != FIG2
