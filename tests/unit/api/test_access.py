"""Who may ask for what: access files, tokens, roles, types of bodies, and what web pages may not."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from portlb_app.api import access
from portlb_app.api.identity import UNKNOWN, Identity, Role
from portlb_app.api.messages import Response
from portlb_app.api.readiness import Readiness
from portlb_app.api.routes import ROUTES
from portlb_app.api.routing import Found
from portlb_app.reconcile.status import Status, SwitchStatus

TOKENS = {"ci": "portlb_ci", "grafana": "portlb_grafana", "boss": "portlb_boss", "agent-a": "portlb_agent"}
ROLES = {"ci": "operator", "grafana": "read-only", "boss": "admin", "agent-a": "agent=a"}
FILE = "\n".join(
    ["# who may do what", "", *(access.line_of(name, ROLES[name], token) for name, token in TOKENS.items())]
    + ["ada.example admin certificate", "node-b agent=b,c certificate"]
)
AGENT = Identity("agent-a", Role.AGENT, frozenset("a"))
NODE = Identity("node-b", Role.AGENT, frozenset({"b", "c"}))


def test_a_token_is_who_its_line_says() -> None:
    found = access.load(FILE)
    assert found.of_token("Bearer portlb_ci") == Identity("ci", Role.OPERATOR)
    assert found.of_token("bearer  portlb_grafana") == Identity("grafana", Role.READ)
    assert found.of_token("Bearer portlb_boss") == Identity("boss", Role.ADMIN)
    assert found.of_token("Bearer portlb_agent") == AGENT


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer portlb_", "Bearer portlb_cI", "Basic portlb_ci", "portlb_ci"]
    + ["Bearer portlb_ci x", "Bearer ada.example", "Bearer certificate"]
    + ["Bearer " + "a" * 1000, "Bearer \x00", "Bearer é"],
)
def test_any_other_token_is_none(header: str) -> None:
    assert access.load(FILE).of_token(header) is None


def test_a_hash_is_no_token() -> None:
    """So a file that is read by others lets them in nowhere."""
    for line in FILE.splitlines()[2:6]:
        assert access.load(FILE).of_token(f"Bearer {line.rpartition(':')[2]}") is None
        assert access.load(FILE).of_token(f"Bearer {line.split()[2]}") is None


def test_a_certificate_is_the_first_name_that_has_a_line() -> None:
    found = access.load(FILE)
    assert found.of_certificate(["other", "node-b", "ada.example"]) == NODE
    assert found.of_certificate(["ci", "grafana", ""]) is None, "those have tokens"
    assert found.of_certificate([]) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ci operator", "line 2: a line is NAME ROLE PROOF"),
        ("ci operator sha256:00", "line 2: the proof is sha256: and 64 hexadecimal digits, or certificate"),
        ("ci root certificate", "line 2: there is no role 'root'; there are admin, operator, read-only and agent="),
        ("ci agent certificate", "line 2: there is no role 'agent'; there are"),
        ("ci agent= certificate", "line 2: there is no role 'agent='; there are"),
        ("ci admin=a certificate", "line 2: there is no role 'admin=a'; there are"),
        ("c\x1bi admin certificate", "line 2: a name has 1 to 64 of letters, digits and ._@-"),
        ("ada admin certificate", "line 2: ada has a line already"),
    ],
)
def test_a_line_that_is_wrong_is_named(line: str, said: str) -> None:
    with pytest.raises(access.WrongAccess) as raised:
        access.load(f"ada operator certificate\n{line}\n")
    assert str(raised.value).startswith(said)


def test_a_file_is_bounded() -> None:
    lines = [f"n{number} admin certificate" for number in range(access.MAX_ENTRIES)]
    assert len(access.load("\n".join(lines)).entries) == access.MAX_ENTRIES
    for text in ("\n".join([*lines, "one admin certificate"]), "#" * (access.MAX_FILE + 1)):
        with pytest.raises(access.WrongAccess):
            access.load(text)


def refused(who: Identity, method: str, target: str, content_type: str | None = "application/json") -> int:
    """The status with which a request is refused; 0 if it is not."""
    path, _, query = target.partition("?")
    found = ROUTES.find(method, path)
    assert isinstance(found, Found)
    refusal = access.refusal(who, found.operation, found.names, query, content_type)
    return refusal.status if refusal else 0


PUTS: Mapping[str, Role] = {
    "/v1/config": Role.ADMIN,
    "/v1/servers/a/state": Role.OPERATOR,
    "/v1/servers/a/weight": Role.OPERATOR,
}


@pytest.mark.parametrize("role", [Role.AGENT, Role.READ, Role.OPERATOR, Role.ADMIN])
def test_a_role_may_what_it_says(role: Role) -> None:
    """Every operation of the table: agents may one, readers read, operators what is theirs."""
    who = Identity("x", role, frozenset("a"))
    for route in ROUTES.all:
        for operation in route.operations:
            may = role >= operation.role if role is not Role.AGENT else operation.agents
            types = [getattr(each, "content_type", "application/json") for each in operation.takes] or [None]
            names = dict.fromkeys(route.names, "a")
            refusal = access.refusal(who, operation, names, "", types[0] or "application/json")
            assert (refusal is None) is may, (role, operation.name)
            assert refusal is None or refusal.status == 403
    for path, needed in PUTS.items():
        assert (refused(who, "PUT", path) == 0) is (role >= needed)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/config", 0),
        ("/v1/config?server=a", 0),
        ("/v1/config?server=b", 403),
        ("/v1/config?server=a&server=b", 0),  # the query is refused then (400)
        ("/v1/status", 403),
        ("/v1/servers", 403),
        ("/v1/servers/b", 403),
        ("/v1/connections", 403),
        ("/v1/checks", 403),
    ],
)
def test_an_agent_reads_for_its_own_server(target: str, status: int) -> None:
    assert refused(AGENT, "GET", target) == status


@pytest.mark.parametrize(
    ("target", "content_type", "status"),
    [
        ("/v1/config", "application/yaml", 0),
        ("/v1/config", "text/yaml; charset=utf-8", 0),
        ("/v1/config", "APPLICATION/JSON", 0),
        ("/v1/config", "text/plain", 415),
        ("/v1/config", "application/x-www-form-urlencoded", 415),
        ("/v1/config", "multipart/form-data; boundary=x", 415),
        ("/v1/config", "", 415),
        ("/v1/config", None, 415),
        ("/v1/servers/a/state", "application/json", 0),
        ("/v1/servers/a/state", "application/yaml", 415),
        ("/v1/servers/a/state", None, 415),
    ],
)
def test_a_body_says_what_it_is(target: str, content_type: str | None, status: int) -> None:
    """Of the types here a browser asks first whether a page may send them, and portlb never says so."""
    assert refused(UNKNOWN, "PUT", target, content_type) == status


def test_what_has_no_body_needs_no_type() -> None:
    assert refused(UNKNOWN, "DELETE", "/v1/servers/a/weight", None) == refused(UNKNOWN, "GET", "/v1/config", None) == 0


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((each, 0) for each in ("localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "[::1]", "[0:0::1]")),
        *((each, 0) for each in ("127.0.0.2:8080", "127.255.0.1")),  # what --wsapi-host may be, a client may ask for
        *((each, 403) for each in ("", "example.org", "localhost.example.org:8080", "127.0.0.1.example.org", "::1:80")),
        *((each, 403) for each in ("128.0.0.1", "[::2]", "[127.0.0.1]", "::1", "localhost:²", "localhost.", "[::1")),
    ],
)
def test_without_tls_a_host_is_this_machine(host: str, status: int) -> None:
    for method in ("GET", "PUT"):
        found = access.foreign(method, host, None, "http")
        assert (found.status if found else 0) == status
        assert access.foreign(method, host, None, "https") is None, "the client has compared the certificate"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        *((None, 0), ("http://localhost:8080", 0), ("http://LOCALHOST:8080", 0), ("http://localhost:3000", 403)),
        *(("https://localhost:8080", 403), ("http://example.org", 403), ("null", 403), ("", 403)),
    ],
)
def test_a_page_of_another_origin_changes_nothing(origin: str | None, status: int) -> None:
    found = access.foreign("PUT", "localhost:8080", origin, "http")
    assert (found.status if found else 0) == status
    assert access.foreign("GET", "localhost:8080", origin, "http") is None
    own = access.foreign("POST", "lb.example", "https://lb.example", "https")
    assert own is None
    assert isinstance(access.foreign("POST", "lb.example", "http://lb.example", "https"), Response)


def test_what_is_said_is_a_problem_and_prints() -> None:
    found = access.foreign("GET", "\x1b[2J", None, "http")
    assert found is not None
    body = json.loads("".join(found.body))
    assert (body["status"], body["detail"].isprintable()) == (403, True)


def switch(name: str, age: float | None) -> SwitchStatus:
    return SwitchStatus(name, 1, "synced", 0, 0, 0, 0, (), age)


def test_a_controller_is_ready_when_it_has_read_every_switch_once() -> None:
    """And stays ready: a switch that comes later, or a time that goes back, changes nothing."""
    readiness = Readiness()
    assert readiness.unread(Status(1, (switch("a", 1.0), switch("b", None)), ()), 1.0) == ("b",)
    assert readiness.unread(Status(1, (switch("a", 1.0), switch("b", 0.0)), ()), 2.0) == ()
    assert readiness.unread(Status(1, (switch("a", None),), ()), 3.0) == ()


def test_it_waits_as_long_as_it_is_told() -> None:
    readiness = Readiness(5.0, 100.0)
    status = Status(1, (switch("a", None),), ())
    assert readiness.unread(status, 104.9) == ("a",)
    assert readiness.unread(status, 105.0) == ()
    assert Readiness().unread(Status(1, (), ()), 0.0) == (), "there is none to wait for"
