"""What is said of a packet: outcomes, the parts of the configuration that decide, and what a switch holds besides.

That it is what a switch does is proven by tests/ovs/test_explain.py.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from portlb_app import compiler
from portlb_app.config import Config, load
from portlb_app.explain import explain, walk, words
from portlb_app.explain.origin import WORDS
from portlb_app.openflow import Group, Output, SwitchState, match
from portlb_app.pipeline import CLASSIFY, Priority, Reason, flow, make_cookie, resubmit
from tests.support.sources import ROOT

FLOWS = ROOT.parent / "flows"
SYN = "tcp 192.0.2.7:4000 > web:21 syn redirect"


def network(name: str, **changed: str) -> Config:
    text = (FLOWS / name / "lb.yaml").read_text()
    for before, after in changed.items():
        text = text.replace(before, after)
    return load(text)


def told(config: Config, text: str, **given: Any) -> dict[str, Any]:
    states = compiler.compile(config)
    value = explain(text, config, states, states, **given)
    assert json.loads(json.dumps(value)) == value
    return value


def outcomes(config: Config, text: str, **given: Any) -> list[dict[str, Any]]:
    (start,) = told(config, text, **given)["starts"]
    found: list[dict[str, Any]] = start["outcomes"]
    return found


def reached(config: Config, text: str, **given: Any) -> dict[str, int]:
    """By what is reached, the slots; of one outcome all of them."""
    return {each["exits"][0]["words"]: each["slots"] for each in outcomes(config, text, **given)}


def test_every_slot_and_one() -> None:
    """Without the slot there are all, with their shares; with it there is one server."""
    assert reached(network("fig2"), SYN) == {"server b": 86, "server c": 85, "server d": 85}
    (one,) = outcomes(network("fig2"), SYN, slot=0)
    assert (one["exits"][0]["name"], one["exits"][0]["port"], one["which"]) == ("c", "4", "0")


def test_all_switches_of_the_path() -> None:
    """The same slot chooses on each of them."""
    value = told(network("tree"), SYN)["starts"][0]
    assert [each["switch"] for each in value["steps"] if each["kind"] == "enters"] == ["root", "right", "left"]
    assert reached(network("tree"), SYN) == reached(network("fig2"), SYN)


def test_dropped_and_why() -> None:
    """By which table, and which part of the configuration."""
    (one,) = outcomes(network("fig2"), "tcp 192.0.2.7 > web:20 syn")
    (where,) = one["dropped"]
    assert (where["switch"], where["table"], where["path"]) == ("s1", "LEGACY", "vips.web.redirect_ports.20.legacy")
    assert "plain client" in where["why"]


def test_conntrack_knows_or_not() -> None:
    """Under `pin`, a connection that is known keeps its server."""
    pinned = network("fig2", **{"legacy: balance": "legacy: pin"})
    assert len(reached(pinned, "tcp 192.0.2.7 > web:22 ack")) == 4
    assert reached(pinned, "tcp 192.0.2.7 > web:22 ack known=c") == {"server c": 256}


def test_changed_fields() -> None:
    """What the server gets is not what was sent."""
    (one,) = outcomes(network("address"), "tcp 192.0.2.7 > web:1 ack")
    assert [each["field"] for each in one["exits"][0]["changed"]] == ["eth_dst", "ip_dst"]


def test_a_copy_is_not_the_packet() -> None:
    """The controller gets a copy; the packet is dropped all the same, and both are said."""
    (one,) = outcomes(network("log"), "tcp 192.0.2.1 > web:999 syn")
    assert [each["kind"] for each in one["exits"]] == ["copy"] and one["dropped"]
    said = list(words.answer(told(network("log"), "tcp 192.0.2.1 > web:999 syn")))
    assert any("a copy goes up" in line for line in said) and any("is dropped by s1" in line for line in said)


def test_what_a_switch_holds_besides_is_said() -> None:
    """A flow of nobody's configuration decides, and is named; what is missing drops."""
    config = network("fig2")
    desired = compiler.compile(config)["s1"]
    cookie = make_cookie(Reason.SIDE)
    odd = flow(CLASSIFY, Priority.TRACKED, match(in_port=1), (Output(3),), cookie, "")
    value = explain(SYN, config, {"s1": replace(desired, flows=desired.flows | {odd})}, {"s1": desired})
    assert value["starts"][0]["outcomes"][0]["exits"][0]["name"] == "b"
    said = "\n".join(words.answer(value))
    assert "warning: s1 does not hold what the configuration asks for" in said
    assert "(not a flow of the configuration)" in "\n".join(words.by_tables(value))
    value = explain(SYN, config, {"s1": replace(desired, groups=frozenset[Group]())}, {"s1": desired})
    assert "is dropped by s1, table REDIRECT" in "\n".join(words.answer(value))
    value = explain(SYN, config, {"s1": SwitchState()}, {"s1": desired})
    assert "no flow matches" in "\n".join(words.answer(value))
    value = explain(SYN, config, {}, {"s1": desired})
    assert "nothing is known of what s1 holds" in "\n".join(words.answer(value))


def test_tables_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A packet that is looked up again and again is followed so far and no further."""
    monkeypatch.setattr(walk, "MAX_LOOKUPS", 500)
    again = flow(CLASSIFY, Priority.TRACKED, match(), (resubmit(CLASSIFY),) * 2, make_cookie(Reason.SIDE), "")
    value = explain(SYN, network("fig2"), {"s1": SwitchState(frozenset({again}))}, {})
    steps = value["starts"][0]["steps"]
    assert 500 < sum(each["kind"] == "table" for each in steps) < 2000
    assert steps[-1] == {"kind": "stopped", "depth": 0, "switch": "s1", "words": "it goes on without an end"}


@pytest.mark.parametrize("name", sorted(path.parent.name for path in FLOWS.glob("*/lb.yaml")))
def test_every_style_of_every_network(name: str) -> None:
    """Each names the packet, where it comes in, and what becomes of it, once an entrance."""
    config = load((FLOWS / name / "lb.yaml").read_text())
    for vip in config.vips:
        for pool in vip.redirect_ports:
            end = f"{vip.name}/{vip.address.version}:{pool.port}"
            value = told(config, f"tcp {'192.0.2.7' if vip.address.version == 4 else '2001:db8::7'} > {end} syn")
            for style in (words.answer, words.by_tables, words.by_flows):
                lines = list(style(value))
                assert sum("comes in by" in line for line in lines) == len(value["starts"])
                assert any(re.search("reaches|is dropped|goes up", line) for line in lines)


def test_reasons_have_the_words_of_the_document() -> None:
    """docs/pipeline.md, "Cookies": every reason, and nothing else."""
    section = (ROOT.parent / "docs/pipeline.md").read_text().partition("## Cookies")[2].partition("\n## ")[0]
    rows = re.findall(r"\| (\d+) \| ([^|]+?) (?=\|)", section)
    assert {Reason(int(number)): text for number, text in rows} == dict(WORDS)
