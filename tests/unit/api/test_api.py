"""The REST interface as values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from portlb_app.api.attention import CONNECT_ONE, LOOK_AT_CABLE
from portlb_app.api.configuration import outcome_response
from portlb_app.api.messages import MAX_BODY, Proposal, Request, Response, headers
from portlb_app.api.routes import respond
from portlb_app.api.snapshot import RefusedConnections, Snapshot
from portlb_app.backends.states import Seen
from portlb_app.compiler.vips_by_switch import VipsBySwitch
from portlb_app.config import Connector, Forwarding, Link, Problem, Wanted, load
from portlb_app.config.etag import Precondition, etag
from portlb_app.health.judgement import Judge
from portlb_app.health.line_state import LineState
from portlb_app.health.probe import Result, Verdict
from portlb_app.health.targets import lines
from portlb_app.net.heartbeat import Can, Heartbeat, State
from portlb_app.pipeline import HANDED_UP, Reason
from portlb_app.punt.connlog import ConnectionLog
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.records import TcpEvent
from portlb_app.reconcile.agents import Compared
from portlb_app.reconcile.commands import ReportOutcome
from portlb_app.reconcile.foreign import Foreign
from portlb_app.reconcile.outcomes import (
    Busy,
    Live,
    LostSwitches,
    Mistaken,
    NoSwitch,
    NotComputed,
    Outdated,
    RefusedBySwitches,
    TimedOut,
    TurnMissed,
)
from portlb_app.reconcile.pool_status import HeldStatus, PoolStatus, ServerStatus
from portlb_app.reconcile.ports import PortProblem
from portlb_app.reconcile.results import Mistakes
from portlb_app.reconcile.status import AgentStatus, LinkStatus, Status, SwitchStatus
from portlb_app.topology.conditions import ALL_SERVERS, AS_CONFIGURED
from tests.support.copies import note
from tests.support.reconciling import Loop, Propose, Whole
from tests.support.reference import ACK, FIN, SYN

FIG2 = (Path(__file__).parents[3] / "flows/fig2/lb.yaml").read_text()
LOST = {"metered": 9, "queue": 0, "forgotten": 0}
OPENING = HANDED_UP[Reason.OPENING].number
SAID = Heartbeat(
    *(1, 2, State.DRAIN, Can.MOVE, 0, 3, 1.5, 0.25), cpu=250, moved=4, left=2, by_port={8001: 2, 80: 1}
)
SNAPSHOT = Snapshot(
    Status(
        3,
        (
            SwitchStatus(
                *("s1", 1, "error", 5, 2, 1, 7, ("table full",), 0.25, {OPENING: 9}),
                ports=(PortProblem(2, "", "link to s2", "it is gone"),),
                configured=Forwarding.KERNEL,
                forwarding=Forwarding.KERNEL,
                foreign=Foreign(3),
            ),
        ),
        (0xABC,),
        (LinkStatus(Link(Connector("s1", 2), Connector("s2", 1)), False, 3.96),),
        verified=False,
        pools=(
            PoolStatus(
                ("web", 80),
                {"a": 256},
                (HeldStatus(("s1", "s2"), {"a": 200, None: 56}, 56),),
                {"b": ServerStatus(Wanted.READY, Seen.DOWN, "port s1:3 is missing", 2.04)},
            ),
            PoolStatus(("web", ALL_SERVERS), {}, (), fails_open=True),
        ),
        agents=(AgentStatus("a", SAID, 0.2504, Compared("0.1.0", -0.2504)),),
    ),
    "the: text\n",
    RefusedConnections(12, (("192.0.2.1:5", "no hello"),)),
    {(Reason.ICMP_ERROR, Disposition.SENT): 3, (Reason.FRAGMENT, Disposition.QUEUE): 8},
    unsent=5,
)


def ask(method: str, path: str, body: bytes = b"", host: str = "localhost:8080") -> Response | Proposal:
    return respond(Request(method, path, host, body), SNAPSHOT)


def reply(method: str, path: str, body: bytes = b"", host: str = "localhost:8080") -> Response:
    response = ask(method, path, body, host)
    assert isinstance(response, Response)
    return replace(response, body="".join(response.body))


def test_status_tells_everything() -> None:
    response = reply("GET", "/v1/status")
    assert (response.status, response.content_type) == (200, "application/json")
    status = json.loads(response.body)
    names = ("signal", "server_icmp", "server_fragment", "query", "refused", "to_checker", "heartbeat", "asked")
    others: list[tuple[str, dict[str, int]]] = [(name, {}) for name in names]
    assert status.pop("version")
    assert status == {
        "generation": 3,
        "etag": etag("the: text\n"),
        "configuration": "unverified",
        "problem": None,
        "problems": [
            {
                "kind": kind, "name": name, "severity": severity, "word": word, "words": words, "seconds": seconds,
                "to_do": to_do,
            }
            for kind, name, severity, word, words, seconds, to_do in (
                (
                    *("switch", "s1", "bad", "error", "refused its tables: table full", None),
                    "the text is the switch's own; `portlb support` collects what a report needs",
                ),
                (
                    *("server", "b", "bad", "down", "down in web:80: port s1:3 is missing", 2.0),
                    "`portlb why b` has all that is seen of it; `portlb drain b` takes it out on purpose",
                ),
                (
                    *("link", "s1:2-s2:1", "bad", "down"),
                    "not used: it is down, or has just come up; it is used again when it has been up for 4 s",
                    *(None, LOOK_AT_CABLE),
                ),
                (
                    *("switch", "s1", "bad", "port", "port 2 (link to s2): it is gone", None),
                    "give an interface this number (ofport_request=2), or change the configuration; a bond has no "
                    "number, and its members must not be connectors: join them outside of Open vSwitch",
                ),
                (
                    *("switch", "0xabc", "warning", "unknown"),
                    "connected, but no switch of the configuration has this datapath id",
                    *(None, "add it to the configuration, or remove this controller from its bridge"),
                ),
                (
                    *("configuration", "", "warning", "unverified", "unverified: no switch was seen to hold it", None),
                    CONNECT_ONE,
                ),
            )
        ],  # fmt: skip
        "switches": [
            {
                "name": "s1",
                "dpid": "0x1",
                "state": "error",
                "flows": 5,
                "groups": 2,
                "meters": 1,
                "metered": {
                    "icmp_error": 0,
                    "fragment": 0,
                    "signal": 0,
                    "server_icmp": 0,
                    "query": 0,
                    "heartbeat": 0,
                    "asked": 0,
                    "refused": 0,
                    "handed_back": 0,
                    "to_checker": 0,
                    "server_fragment": 0,
                    "opening": 9,
                    "closing": 0,
                    "server_closing": 0,
                    "too_large": 0,
                },
                "drift": 7,
                "errors": ["table full"],
                "ports": [{"number": 2, "name": None, "use": "link to s2", "problem": "it is gone"}],
                "datapath": "kernel",
                "foreign": {"flows": 3, "unread": 0, "shadowing": 0, "shadows": []},
                "read_age_seconds": 0.25,
            }
        ],
        "links": [{"ends": ["s1:2", "s2:1"], "up": False, "seen": "down", "hold_seconds": 4.0}],
        "pools": [
            {
                "vip": "web",
                "port": 80,
                "slots": {"a": 256},
                "held": [{"switches": ["s1", "s2"], "slots": {"?": 56, "a": 200}, "differ": 56}],
                "missing": {
                    "b": {"wanted": "ready", "seen": "down", "reason": "port s1:3 is missing", "seconds": 2.0}
                },
                "fails_open": False,
            },
            {"vip": "web", "port": None, "slots": {}, "held": [], "missing": {}, "fails_open": True},
        ],
        "agents": [
            {
                "server": "a",
                "state": "drain",
                "can": ["move"],
                "open": 3,
                "ports": {"80": 1, "8001": 2},
                "per_second": {"openings": 1.5, "short": 0.25, "resets": 0.0, "overflow": 0.0},
                "pressure": {"cpu": 0.25, "io": None},
                "moved": 4,
                "left": 2,
                "version": "0.1.0",
                "clock_offset_seconds": -0.25,
                "differs": [],
                "age_seconds": 0.25,
            }
        ],
        "unknown_switches": ["0xabc"],
        "refused_connections": {"count": 12, "last": [{"address": "192.0.2.1:5", "reason": "no hello"}]},
        "punted": {
            reason: {fate.value: 0 for fate in Disposition} | known
            for reason, known in (("icmp_error", {"sent": 3}), ("fragment", {"queue": 8}), *others)
        },
        "unsent": 5,
        "connections": {"open": 0, "ended": 0, "counts": {copy.value: 0 for copy in TcpEvent}, "lost": LOST},
    }


def connections(query: str = "") -> Response:
    """What is answered about three connections of VIP web and two of VIP dns, opened in turn, a second apart."""
    log = ConnectionLog()
    for number, vip in enumerate(("web", "dns", "web", "dns", "web")):
        note(log, vip, number, SYN, 80, float(number))
    note(log, "web", 0, FIN | ACK, 8001, 7.25)
    snapshot = replace(SNAPSHOT, connections=log, epoch=1_000_000.0)
    response = respond(Request("GET", "/v1/connections", "localhost", query=query), snapshot)
    assert isinstance(response, Response)
    return replace(response, body="".join(response.body))


def test_connections_newest_first() -> None:
    """All that is known of each; what is not known is null."""
    response = connections()
    assert response.status == 200
    listed = json.loads(response.body)["connections"]
    assert [each["client_port"] for each in listed] == [40000, 40004, 40003, 40002, 40001]
    assert listed[0] == {
        "vip": "web",
        "client": "192.0.2.1",
        "client_port": 40000,
        "opened_on": 80,
        "continued_on": 8001,
        "server": "a",
        "opened": 1_000_000.0,
        "closed": 1_000_007.25,
        "how": "fin",
    }
    assert [listed[1][key] for key in ("continued_on", "server", "closed", "how")] == [None] * 4


@pytest.mark.parametrize(
    ("query", "ports"),
    [
        ("vip=dns", [40003, 40001]),
        ("limit=2", [40000, 40004]),
        ("vip=web&limit=1", [40000]),
        ("limit=1000&", [40000, 40004, 40003, 40002, 40001]),
        ("vip=nobody", []),
    ],
)
def test_connections_are_chosen(query: str, ports: list[int]) -> None:
    assert [each["client_port"] for each in json.loads(connections(query).body)["connections"]] == ports


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=", "limit=-1", "limit=²", "limit=1" + "0" * 5000, "since=1", "limit"]
    + ["limit=0000000019999", "limit=007", "limit=5&limit=6", "vip=web&vip=db", "limit=%31"]
)
def test_a_query_that_is_wrong_is_refused(query: str) -> None:
    response = connections(query)
    assert response.status == 400
    assert json.loads(response.body)["error"]


def test_config_is_the_text_as_it_was_given() -> None:
    response = reply("GET", "/v1/config")
    assert (response.status, response.body, response.content_type) == (200, "the: text\n", "application/yaml")


def test_an_agent_is_told_what_it_may_act_on() -> None:
    """Which may be another text than the live one, or none yet."""
    told = replace(SNAPSHOT, text_for={"a": "before\n", "b": None}.get)
    for query, status, text in (("server=a", 200, "before\n"), ("server=b", 503, None), ("", 200, "the: text\n")):
        response = respond(Request("GET", "/v1/config", "localhost", query=query), told)
        assert isinstance(response, Response) and response.status == status
        assert text is None or response.body == text
        assert status != 200 or response.headers["ETag"] == etag(str(text))
    for query in ("server=", "x=1", "server"):
        response = respond(Request("GET", "/v1/config", "localhost", query=query), told)
        assert isinstance(response, Response) and response.status == 400


@pytest.mark.parametrize("body", [FIG2, json.dumps({"switches": {"s1": {"dpid": 1, "network": 1}}})])
def test_a_valid_configuration_is_proposed_as_it_was_sent(body: str) -> None:
    proposed = ask("PUT", "/v1/config", body.encode())
    assert isinstance(proposed, Proposal)
    assert (proposed.text, proposed.unverified) == (body, False)


def test_a_put_says_how_long_it_waits_and_for_which_switches() -> None:
    request = Request("PUT", "/v1/config", "localhost", FIG2.encode())
    usual = respond(request, SNAPSHOT)
    assert isinstance(usual, Proposal) and (usual.turn, usual.patience, usual.atomic) == (60, 15, False)
    special = respond(replace(request, query="timeout=200&atomic=network"), SNAPSHOT)
    assert isinstance(special, Proposal) and (special.turn, special.patience, special.atomic) == (200, 200, True)
    for query in ("timeout=0", "timeout=301", "timeout=1.5", "atomic=switch"):
        refused = respond(replace(request, query=query), SNAPSHOT)
        assert isinstance(refused, Response) and refused.status == 400


def test_a_put_need_not_wait() -> None:
    request = Request("PUT", "/v1/config", "localhost", FIG2.encode(), "wait=none")
    proposed = respond(request, SNAPSHOT)
    assert isinstance(proposed, Proposal) and proposed.answer == 0.0 and not proposed.unverified
    patch = respond(replace(request, method="PATCH", body=b"{}"), SNAPSHOT)
    assert isinstance(patch, Response) and patch.status == 400, "its text is made when its turn comes"


def test_what_landed_where_is_said() -> None:
    for landed, status in (({"s1": "has it", "s2": "absent"}, 200), ({"s1": "has it", "s2": "late"}, 202)):
        response = outcome_response(Live(True, landed), SNAPSHOT)  # type: ignore[arg-type]
        assert (response.status, json.loads("".join(response.body))["landed"]) == (status, landed)


def test_a_put_may_want_what_nothing_has_shown_to_work() -> None:
    for query, unverified in (("wait=applied", False), ("wait=accepted", True)):
        proposed = respond(Request("PUT", "/v1/config", "localhost", FIG2.encode(), query), SNAPSHOT)
        assert isinstance(proposed, Proposal) and proposed.unverified is unverified
    for query in ("wait=never", "accepted", "applied", "wait=wait=accepted", "wait=accepted&wait=applied"):
        refused = respond(Request("PUT", "/v1/config", "localhost", FIG2.encode(), query), SNAPSHOT)
        assert isinstance(refused, Response) and refused.status == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/", b"", 404, "there is no /; there are /v1/status, /v1/connections, /v1/checks, /v1/config"),
        ("GET", "/v1/config/", b"", 404, "there is no /v1/config/"),
        ("POST", "/v1/config", b"", 405, "/v1/config knows GET, PUT, PATCH, not POST"),
        ("PUT", "/v1/status", b"", 405, "/v1/status knows GET, not PUT"),
        ("PUT", "/v1/config", b"#" * (MAX_BODY + 1), 413, "a configuration has at most 4194304 bytes"),
        ("PUT", "/v1/config", b"\xff", 422, "the configuration has mistakes"),
    ],
)
def test_errors_are_json_and_say_what_is_wrong(method: str, path: str, body: bytes, status: int, error: str) -> None:
    response = reply(method, path, body)
    assert response.status == status
    assert json.loads(response.body)["error"].startswith(error)
    assert response.content_type == "application/problem+json"


def test_405_names_the_methods_there_are() -> None:
    assert reply("DELETE", "/v1/config").headers == {"Allow": "GET, PUT, PATCH"}


def test_every_mistake_of_a_configuration_has_its_path() -> None:
    mistakes = Mistakes((Problem("servers.a.connector", "no"), Problem("vips.web", "none")))
    response = outcome_response(Mistaken(mistakes), SNAPSHOT)
    errors = json.loads(response.body)["errors"]
    assert (response.status, [error["path"] for error in errors]) == (422, ["servers.a.connector", "vips.web"])


def test_what_became_of_a_proposal() -> None:
    assert outcome_response(Live(), SNAPSHOT).status == 200
    assert json.loads("".join(outcome_response(Live(), SNAPSHOT).body))["generation"] == 3
    refused = outcome_response(RefusedBySwitches({"s1": ("full",)}), SNAPSHOT)
    assert (refused.status, json.loads("".join(refused.body))["switches"]) == (409, {"s1": ["full"]})
    late = outcome_response(TimedOut(("s1",)), SNAPSHOT)
    assert (late.status, json.loads("".join(late.body))["switches"]) == (504, ["s1"])
    lost = outcome_response(LostSwitches(("s1",)), SNAPSHOT)
    assert (lost.status, json.loads("".join(lost.body))["switches"]) == (504, ["s1"])
    assert outcome_response(Live(verified=False), SNAPSHOT).status == 202
    assert outcome_response(NoSwitch(), SNAPSHOT).status == 409
    busy, missed = outcome_response(Busy(), SNAPSHOT), outcome_response(TurnMissed(20), SNAPSHOT)
    assert (busy.status, busy.headers["Retry-After"], missed.status) == (503, "5", 504)
    assert outcome_response(NotComputed("out of memory"), SNAPSHOT).status == 503


def test_no_answer_is_kept_or_taken_for_something_else() -> None:
    for response in (reply("GET", "/v1/config"), reply("GET", "/"), reply("POST", "/v1/config")):
        sent = headers(response)
        assert (sent["Cache-Control"], sent["X-Content-Type-Options"]) == ("no-store", "nosniff")
        assert sent["Content-Type"] == response.content_type
        assert "X-Frame-Options" not in sent


def test_a_page_is_shown_in_no_other_and_runs_no_script_of_its_text() -> None:
    sent = headers(Response(200, "<!doctype html>", "text/html; charset=utf-8"))
    assert sent["X-Frame-Options"] == "DENY"
    policy = dict(each.split(maxsplit=1) for each in sent["Content-Security-Policy"].split("; "))
    assert (policy["default-src"], policy["script-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")


# ---- which configuration is meant ----


def test_an_entity_tag_is_the_texts() -> None:
    assert etag("a") == etag("a") != etag("a\n")
    assert etag("a")[0] == etag("a")[-1] == '"'
    tag = etag(SNAPSHOT.text)
    assert reply("GET", "/v1/config").headers["ETag"] == tag
    assert json.loads(reply("GET", "/v1/status").body)["etag"] == tag
    assert outcome_response(Live(), SNAPSHOT).headers["ETag"] == tag


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("{tag}", True),
        ('"x", {tag}', True),
        ('"x",{tag} ,"y"', True),
        ("*", True),
        ('"1"', False),
        ("W/{tag}", False),
        ("", False),
        ("1", False),
        ("{tag} x", False),
        ('"', False),
        ("*, {tag}", False),
    ],
)
def test_a_condition_names_the_live_configuration_or_does_not(field: str, names: bool) -> None:
    field = field.format(tag=etag("live"))
    assert Precondition(match=field).holds("live") is names
    assert Precondition(none_match=field).holds("live") is not names
    assert Precondition().holds("live")


def test_who_has_it_already_gets_no_text() -> None:
    for field in (etag(SNAPSHOT.text), "W/" + etag(SNAPSHOT.text), "*"):
        response = respond(Request("GET", "/v1/config", "localhost", if_none_match=field), SNAPSHOT)
        assert isinstance(response, Response)
        assert (response.status, response.body, response.headers["ETag"]) == (304, "", etag(SNAPSHOT.text))
    response = respond(Request("GET", "/v1/config", "localhost", if_none_match='"x"'), SNAPSHOT)
    assert isinstance(response, Response) and response.status == 200


def test_a_condition_travels_with_the_proposal() -> None:
    """It is about what is live when the proposal's turn has come, which is not known here."""
    proposal = respond(Request("PUT", "/v1/config", "localhost", FIG2.encode(), if_match='"1"'), SNAPSHOT)
    assert isinstance(proposal, Proposal)
    assert proposal.precondition == Precondition('"1"')
    outdated = outcome_response(Outdated(), SNAPSHOT)
    assert (outdated.status, outdated.headers) == (412, {"ETag": etag(SNAPSHOT.text)})
    assert json.loads(outdated.body)["etag"] == etag(SNAPSHOT.text)


def test_a_condition_is_compared_when_the_proposals_turn_has_come() -> None:
    """Two proposals made from one configuration: what the first changed is not lost."""
    live, first, second = (Whole.of(FIG2 + f"# {number}\n") for number in range(3))
    loop = Loop(live, 30.0)
    made_from = Precondition(etag(live.text))
    for ticket, proposed in enumerate((first, second)):
        commands = loop.handle(Propose(ticket, proposed, unverified=True, precondition=made_from), 1.0)
        (outcome,) = [command.outcome for command in commands if isinstance(command, ReportOutcome)]
        assert isinstance(outcome, Outdated) is (proposed is second)
    assert loop.reconciler.text == first.text


def test_checks_are_told() -> None:
    """Every line with its last result; what is not known is null."""
    text = (Path(__file__).parents[3] / "flows/checks/lb.yaml").read_text()
    placed = VipsBySwitch(load(text), AS_CONFIGURED).on(1)
    line = next(each for each in lines(1, placed) if (each.server, each.version) == ("a", 4))
    fresh = LineState(line, Judge(line.check), 0.0)
    failing = LineState(line, Judge(line.check, True), 0.0, result=Result(Verdict.FAILED, "http 503"), at=5.0)
    failing.judge.take(Result(Verdict.FAILED, "http 503"))
    snapshot = replace(SNAPSHOT, checks=(fresh, failing), check_counts={"begun": 3}, epoch=1_000_000.0)
    response = respond(Request("GET", "/v1/checks", "localhost"), snapshot)
    assert isinstance(response, Response) and response.status == 200
    told = json.loads("".join(response.body))
    common = {"server": "a", "vip": "web", "ports": [80], "version": 4, "check": "http GET /healthz by port 8001"}
    unknown = {"up": None, "streak": 0, "needed": 3, "last": None, "reason": None, "held": None}
    last = {"verdict": "failed", "reason": "http 503", "at": 1_000_005.0}
    assert told == {
        "counts": {"begun": 3},
        "checks": [{**common, **unknown}, {**common, **unknown, "up": True, "streak": -1, "last": last}],
        "next": None,
    }
