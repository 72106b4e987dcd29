"""``POST /v1/explain`` without HTTP: what a body asks, and that every answer has the shape that is documented."""

from __future__ import annotations

import json

import pytest

from portlb_app import compiler
from portlb_app.api import explaining
from portlb_app.api.messages import Request, Response
from portlb_app.api.models.explaining import Explained
from portlb_app.api.routes import respond
from portlb_app.api.snapshot import RefusedConnections, Snapshot
from portlb_app.config import load
from portlb_app.explain import PacketError, explain
from portlb_app.reconcile.status import Status
from tests.support.sources import ROOT

FLOWS = ROOT.parent / "flows"
PACKETS = (
    "tcp 192.0.2.7:4000 > web:21 syn redirect",
    "tcp 192.0.2.7:4000 > web:20 syn",
    "tcp 192.0.2.7:4000 > web:1 ack vlan=0",
    "udp 192.0.2.7:4000 > web:21 fragment=later",
    "icmp 192.0.2.7 > web unreachable",
    "arp 10.0.0.7 > web",
)


def asked(body: object) -> Response | object:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    snapshot = Snapshot(Status("0", 1, 1, "", ()), "", RefusedConnections())
    return respond(Request("POST", "/v1/explain", "localhost", text), snapshot)


def test_a_packet_and_its_slot() -> None:
    """The slot may be missing."""
    assert asked({"packet": PACKETS[0]}) == explaining.Asked(PACKETS[0], None)
    assert asked({"packet": PACKETS[0], "slot": 255}) == explaining.Asked(PACKETS[0], 255)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{", "line 1, column 2"),
        (b"\xff", ""),
        ([], ""),
        ({}, "packet"),
        ({"packet": 1}, "packet"),
        ({"packet": "x" * 501}, "packet"),
        ({"packet": "x", "slot": 256}, "slot"),
        ({"packet": "x", "slot": "1"}, "slot"),
        ({"packet": "x", "other": 1}, "other"),
    ],
)
def test_bodies_with_mistakes(body: object, path: str) -> None:
    """Each is 422, with the path of the mistake."""
    answered = asked(body)
    assert isinstance(answered, Response) and answered.status == 422
    assert [each["path"] for each in json.loads("".join(answered.body))["errors"]] == [path]


def test_a_long_body_is_not_read() -> None:
    """It says no packet."""
    answered = asked(b" " * (explaining.MAX_BODY + 1))
    assert isinstance(answered, Response) and answered.status == 413


@pytest.mark.parametrize("name", ["fig2", "tree", "log", "address"])
@pytest.mark.parametrize("text", PACKETS)
def test_answers_have_the_documented_shape(name: str, text: str) -> None:
    """Nothing more and nothing less."""
    config = load((FLOWS / name / "lb.yaml").read_text())
    states = compiler.compile(config)
    answered = explaining.response(explain(text, config, states, {}))
    value = json.loads("".join(answered.body))
    assert Explained.model_validate(value).model_dump(exclude_unset=True) == value
    assert answered.status == 200


def test_a_text_that_means_no_packet() -> None:
    """422, and where."""
    answered = explaining.response(PacketError(7, "there is no VIP x"))
    assert answered.status == 422
    assert json.loads("".join(answered.body))["errors"] == [
        {"path": "packet", "message": "character 7: there is no VIP x"}
    ]
