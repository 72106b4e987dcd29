"""Who may ask a real controller: Unix socket, tokens and certificates by TLS, and the listener for reading."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from portlb_app.agent.errors import AgentError, Unreachable
from portlb_app.agent.source import Controller
from tests.ovs.controller import ControllerProcess, free_port, wait_for
from tests.ovs.handshakes import WAYS, CutHandshake
from tests.ovs.pki import Pki

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
YAML = {"Content-Type": "application/yaml"}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ROLES = {"boss": "admin", "ci": "operator", "grafana": "read-only", "agent-a": "agent=a"}


def portlb(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, in an environment that names no controller."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("PORTLB_")}
    command = [sys.executable, "-m", "portlb_app.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=known)


class Guarded:
    """A controller that answers by TLS, with a token for each role."""

    def __init__(self, directory: Path) -> None:
        self.pki = Pki(directory / "pki")
        self.certificate, self.key = self.pki.sign("controller", "IP:127.0.0.1", "DNS:localhost")
        self.access, self.metrics = directory / "access", free_port()
        self.tokens = {name: self.add(name, role) for name, role in ROLES.items()}
        with self.access.open("a") as file:
            file.write("ada admin certificate\n")
        (directory / "lb.yaml").write_text(FIG2)
        self.process = ControllerProcess(
            directory / "lb.yaml",
            *("--wsapi-host", "0.0.0.0", "--wsapi-tls", str(self.certificate), str(self.key)),
            *("--wsapi-client-ca", str(self.pki.authority), "--wsapi-access", str(self.access)),
            *("--metrics-listen", f"127.0.0.1:{self.metrics}"),
        )

    @property
    def origin(self) -> str:
        """That of its own pages."""
        return f"https://127.0.0.1:{self.process.rest_port}"

    def add(self, name: str, role: str) -> str:
        """A token that portlb has made, for a role."""
        done = portlb("token", str(self.access), name, role)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    def wait_for_line(self, pattern: str) -> None:
        """Wait for a line of the log, which is written by a thread of its own."""
        wait_for(pattern, lambda: re.search(pattern, self.process.log.read_text()))

    def tls(self, *client: Path) -> ssl.SSLContext:
        """How a client connects that knows the authority; with a certificate and key of its own, or none."""
        context = ssl.create_default_context(cafile=str(self.pki.authority))
        if client:
            context.load_cert_chain(*client)
        return context

    def ask(
        self, method: str, path: str, body: str | None = None, *, token: str = "", tls: ssl.SSLContext | None = None,
        **headers: str,
    ) -> tuple[int, dict[str, str], str]:
        """Status, header fields and body of an answer."""
        port = self.process.rest_port
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=tls or self.tls())
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        with closing(connection):
            connection.request(method, path, body, {**sent, **headers})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A controller with logins."""
    started = Guarded(tmp_path_factory.mktemp("access"))
    yield started
    _, traceback, told = started.process.log.read_text().partition("Traceback")
    assert not traceback, told
    assert started.process.close() == 0


def unix(controller: ControllerProcess, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    """The same over the Unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=20)
    connection.sock = socket.socket(socket.AF_UNIX)
    with closing(connection):
        connection.sock.connect(controller.socket)
        connection.request(method, path, body, YAML)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_a_wrong_token_is_401_and_changes_nothing(guarded: Guarded) -> None:
    """Or none, or one in another form: whatever is asked for, and whether it is there or not."""
    before = guarded.process.log.read_text().count("generation")
    for token in ("", "portlb_wrong", guarded.tokens["boss"][:-1], guarded.access.read_text().split()[2]):
        for method, path in (("GET", "/v1/status"), ("PUT", "/v1/config"), ("GET", "/no"), ("GET", "/stats/switches")):
            code, headers, body = guarded.ask(method, path, FIG2 if method == "PUT" else None, token=token, **YAML)
            assert (code, headers["Www-Authenticate"]) == (401, 'Bearer realm="portlb"')
            assert json.loads(body)["type"] == "/docs/problems#unauthenticated"
    assert guarded.process.log.read_text().count("generation") == before


def test_a_role_that_is_too_small_is_403_and_changes_nothing(guarded: Guarded) -> None:
    """Each role may read or change what is its own."""
    state, ready = "/v1/servers/b/state", json.dumps({"state": "ready"})
    may = {
        ("GET", "/v1/status"): {"boss", "ci", "grafana"},
        ("GET", "/v1/config?server=a"): {"boss", "ci", "grafana", "agent-a"},
        ("GET", "/v1/config?server=b"): {"boss", "ci", "grafana"},
        ("PUT", state): {"boss", "ci"},
        ("PUT", "/v1/config?wait=accepted"): {"boss"},
        ("GET", "/stats/switches"): {"boss"},  # 404: no application is loaded
    }
    for (method, path), allowed in may.items():
        body = None if method == "GET" else ready if path == state else FIG2
        kind = JSON if path == state else YAML
        for name, token in guarded.tokens.items():
            code, _, answer = guarded.ask(method, path, body, token=token, **kind)
            assert (code == 403) is (name not in allowed and path != "/stats/switches"), (name, method, path, code)
            assert code in (200, 202, 403, 404, 503), answer  # 503: no switch has told what an agent is told


def test_a_client_certificate_says_who_it_is(guarded: Guarded) -> None:
    """One without a line has no role; one of another authority is refused before anything is read."""
    ada, eve = (guarded.tls(*guarded.pki.sign(name)) for name in ("ada", "eve"))
    assert guarded.ask("PUT", "/v1/config?wait=accepted", FIG2, tls=ada, **YAML)[0] == 202
    code, _, body = guarded.ask("GET", "/v1/status", tls=eve)
    assert (code, json.loads(body)["detail"]) == (401, "the certificate of 'eve' has no role here")
    other = Pki(guarded.access.parent / "other")
    with pytest.raises(OSError):
        guarded.ask("GET", "/v1/status", tls=guarded.tls(*other.sign("ada")))


def test_tls_is_all_that_is_spoken_there(guarded: Guarded) -> None:
    """A request that is not encrypted has no answer; TLS 1.1 neither. A silent client is cut as elsewhere."""
    with closing(http.client.HTTPConnection("127.0.0.1", guarded.process.rest_port, timeout=20)) as plain:
        plain.request("GET", "/v1/status")
        with pytest.raises((OSError, http.client.HTTPException)):
            plain.getresponse()
    silent = [socket.create_connection(("127.0.0.1", guarded.process.rest_port), timeout=20) for _ in range(80)]
    assert guarded.ask("GET", "/v1/status", token=guarded.tokens["ci"])[0] == 200
    assert silent[-1].recv(1) == b"", "its time for the handshake is over"
    for each in silent:
        each.close()


def test_handshakes_that_are_cut_cost_others_nothing(guarded: Guarded) -> None:
    """Many at once, anywhere, in every way, while the certificate is read again; whoever asks meanwhile is answered."""
    dice, token = random.Random(1), guarded.tokens["ci"]
    request = f"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    for _ in range(4):
        os.utime(guarded.certificate)
        guarded.process.process.send_signal(signal.SIGHUP)
        made = [
            CutHandshake(guarded.process.rest_port, guarded.tls(), request, dice.randrange(1200), dice.choice(WAYS))
            for _ in range(40)
        ]
        going = made
        while going:
            going = [each for each in going if each.step()]
            assert guarded.ask("GET", "/v1/status", token=token)[0] == 200
        for each in made:
            each.close()
    assert "Traceback" not in guarded.process.log.read_text()


def test_much_is_sent_and_refused_by_tls(guarded: Guarded) -> None:
    """Large answers arrive whole, and who sends too much reads why."""
    text = FIG2 + "".join(f"# {number:0120}\n" for number in range(25_000))
    token = guarded.tokens["boss"]
    assert guarded.ask("PUT", "/v1/config?wait=accepted", text, token=token, **YAML)[0] == 202
    code, headers, body = guarded.ask("GET", "/v1/config", token=token)
    assert (code, body == text) == (200, True)
    assert guarded.ask("GET", "/v1/config", token=token, **{"If-None-Match": headers["Etag"]})[0] == 304
    assert guarded.ask("PUT", "/v1/config", "#" * (6 << 20), token=token, **YAML)[0] == 413
    assert guarded.ask("PUT", "/v1/config?wait=accepted", FIG2, token=token, **YAML)[0] == 202


def test_commands_and_agents_ask_by_tls(guarded: Guarded, tmp_path: Path) -> None:
    """With the authority that they are given, and no other; an agent reads for its own server only."""
    url, ca = f"https://localhost:{guarded.process.rest_port}", str(guarded.pki.authority)
    files = {name: tmp_path / name for name in guarded.tokens}
    for name, file in files.items():
        file.write_text(guarded.tokens[name] + "\n")
    asked = ("servers", "--url", url, "--token-file", str(files["grafana"]))
    done = portlb(*asked, "--ca", ca)
    assert (done.returncode, done.stderr) == (0, "")
    assert "CERTIFICATE_VERIFY_FAILED" in portlb(*asked).stderr
    done = portlb("drain", "b", "--url", url, "--token-file", str(files["grafana"]), "--ca", ca)
    assert done.returncode == 1 and "it takes the role operator" in done.stderr
    told = Controller(url, "a", token_file=str(files["agent-a"]), ca=ca)
    try:
        assert told.mapping()
    except Unreachable as error:  # it is let in; but no switch has told yet what it forwards
        assert "answers 503" in str(error)
    with pytest.raises(AgentError, match="403 Forbidden"):
        Controller(url, "b", token_file=str(files["agent-a"]), ca=ca).mapping()
    with pytest.raises(Unreachable, match="certificate verify failed|CERTIFICATE_VERIFY_FAILED"):
        Controller(url, "a", token_file=str(files["agent-a"])).mapping()


def test_a_page_may_not_change_anything(guarded: Guarded) -> None:
    """Of another origin, or with a body that a browser sends without asking."""
    token, own = guarded.tokens["boss"], f"https://127.0.0.1:{guarded.process.rest_port}"
    for origin, code in (("https://evil.example", 403), (own.replace("https", "http"), 403), (own, 202)):
        assert guarded.ask("PUT", "/v1/config?wait=accepted", FIG2, token=token, Origin=origin, **YAML)[0] == code
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        code, _, body = guarded.ask("PUT", "/v1/config", FIG2, token=token, **{"Content-Type": kind})
        assert (code, json.loads(body)["type"]) == (415, "/docs/problems#unsupported-media-type")


def test_every_change_is_in_the_audit(guarded: Guarded) -> None:
    """Who, from where, what, and the outcome; what a client chose does not break the line."""
    wish, path = '{"state": "ready"}', "/v1/servers/b/state"
    assert guarded.ask("PUT", path, wish, token=guarded.tokens["ci"], **JSON)[0] == 202
    assert guarded.ask("PUT", path, "\x1b[2J\n", token=guarded.tokens["ci"], **JSON)[0] == 422
    assert guarded.ask("PUT", "/v1/config", FIG2, token=guarded.tokens["grafana"], **YAML)[0] == 403
    assert guarded.ask("DELETE", "/v1/servers/b/weight?dry_run=1", token=guarded.tokens["boss"])[0] == 200
    place = r"127\.0\.0\.1 port \d+"
    for line in (
        rf'ci, {place}: PUT /v1/servers/b/state \{{"state": "ready"\}}: 202 Accepted',
        rf"ci, {place}: PUT /v1/servers/b/state \\x1b\[2J\\n: 422 Unprocessable Entity",
        rf"grafana, {place}: PUT /v1/config: 403 Forbidden",
        rf"boss, {place}: DELETE /v1/servers/b/weight\?dry_run=1: 200 OK",
        rf"boss, {place}: PUT /v1/config\?wait=accepted \(\d+ bytes, sha256 [0-9a-f]{{64}}\): 202 Accepted",
    ):
        guarded.wait_for_line(rf"INFO portlb\.audit: {line}\n")
    log = guarded.process.log.read_text()
    assert not any(token in log for token in guarded.tokens.values())
    assert "\x1b" not in log


def test_tokens_and_certificates_are_read_again(guarded: Guarded) -> None:
    """A line that is taken out ends its token; a renewed certificate is shown. A broken file changes nothing."""
    late = guarded.add("late", "read-only")
    wait_for("it is read", lambda: guarded.ask("GET", "/v1/status", token=late)[0] == 200)
    lines = guarded.access.read_text()
    guarded.access.write_text("nonsense\n")
    wrong = f"{guarded.access}: line 1: a line is NAME ROLE PROOF"
    wait_for("it is said", lambda: wrong in guarded.process.log.read_text())
    assert guarded.ask("GET", "/v1/status", token=late)[0] == 200
    guarded.access.write_text("".join(line for line in lines.splitlines(True) if not line.startswith("late ")))
    wait_for("it is over", lambda: guarded.ask("GET", "/v1/status", token=late)[0] == 401)
    assert guarded.ask("GET", "/v1/status", token=guarded.tokens["ci"])[0] == 200

    def shown() -> str:
        return ssl.get_server_certificate(("127.0.0.1", guarded.process.rest_port))

    before = shown()
    guarded.pki.sign("controller", "IP:127.0.0.1", "DNS:localhost")
    wait_for("the new one is shown", lambda: shown() != before)


def test_the_unix_socket_needs_no_login(guarded: Guarded) -> None:
    """Its file says who may connect, the kernel who it is; a change's line has it."""
    found = os.stat(guarded.process.socket)
    assert (stat.S_IMODE(found.st_mode), stat.S_ISSOCK(found.st_mode)) == (0o660, True)
    assert unix(guarded.process, "GET", "/v1/status")[0] == 200
    assert unix(guarded.process, "PUT", "/v1/config?wait=accepted", FIG2)[0] == 202
    guarded.wait_for_line(rf"portlb\.audit: uid {os.geteuid()}, process {os.getpid()}: PUT /v1/config\?wait=accepted")
    done = portlb("servers", "--controller", f"unix://{guarded.process.socket}")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_listener_for_reading_has_nothing_else(guarded: Guarded) -> None:
    """By any name, without a login; no switch was read yet, so it is not ready."""

    def ask(method: str, path: str) -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", guarded.metrics, timeout=20)) as connection:
            connection.request(method, path, headers={"Host": "lb.example:9302"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    assert ask("GET", "/healthz") == (200, "ok\n")
    assert ask("GET", "/readyz") == (503, "not read yet: s1\n")
    for path in ("/v1/status", "/v1/config", "/", "/stats/switches"):
        assert ask("GET", path)[0] == 404
    assert ask("PUT", "/healthz")[0] == 405


def test_a_socket_that_was_left_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    """After kill -9 the next controller takes it; a second one does not start. `--ready-after` waits no longer."""
    (tmp_path / "lb.yaml").write_text(FIG2)
    first = ControllerProcess(tmp_path / "lb.yaml")
    first.kill()
    assert stat.S_ISSOCK(os.stat(first.socket).st_mode)
    second = ControllerProcess(tmp_path / "lb.yaml", "--ready-after", "0")
    try:
        assert unix(second, "GET", "/v1/status")[0] == 200
        assert unix(second, "GET", "/readyz") == (200, "ready\n")
        ports = ("--ofp-tcp-listen-port", "0", "--wsapi-port", "0")
        done = portlb("controller", str(tmp_path / "lb.yaml"), *ports, "--wsapi-socket", second.socket)
        said = f"portlb: cannot listen on {second.socket}: Address already in use\n"
        assert (done.returncode, done.stderr) == (1, said)
    finally:
        assert second.close() == 0
    assert not Path(second.socket).exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--wsapi-host", "0.0.0.0"], "--wsapi-host 0.0.0.0: other hosts need --wsapi-tls and --wsapi-access"),
        (["--wsapi-client-ca", "x"], "--wsapi-client-ca needs --wsapi-tls, and --wsapi-access"),
        (["--wsapi-access", "{missing}"], "{missing}: No such file or directory"),
        (["--wsapi-access", "{open}"], "{open}: every user may write to it: chmod o-w it"),
        (["--wsapi-tls", "{open}", "{missing}"], "{missing}: No such file or directory"),
        (["--wsapi-tls", "{open}", "{open}"], "{open}, {open}: "),
    ],
)
def test_what_cannot_be_used_is_said_at_the_start(flags: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "lb.yaml").write_text(FIG2)
    (tmp_path / "open").write_text("")
    (tmp_path / "open").chmod(0o666)
    places = {"open": str(tmp_path / "open"), "missing": str(tmp_path / "missing")}
    ports = ("--ofp-tcp-listen-port", "0", "--wsapi-port", "0", "--wsapi-socket", "")
    done = portlb("controller", str(tmp_path / "lb.yaml"), *ports, *(each.format(**places) for each in flags))
    assert done.returncode == 2
    assert done.stderr.startswith(f"portlb: {said.format(**places)}"), done.stderr


def log_in(guarded: Guarded, name: str, **headers: str) -> tuple[int, dict[str, str]]:
    """What a browser's form comes to."""
    body = f"token={guarded.tokens[name]}&next=/servers/b"
    code, given, _ = guarded.ask("POST", "/login", body, **{**FORM, "Origin": guarded.origin, **headers})
    return code, given


def test_a_session_is_for_pages_and_changes_nothing_by_rest(guarded: Guarded) -> None:
    """Nor from another site, nor without an Origin; and an agent gets none."""
    assert log_in(guarded, "agent-a")[0] == 401
    assert log_in(guarded, "ci", Origin="https://elsewhere")[0] in (401, 403)
    code, headers = log_in(guarded, "ci")
    assert (code, headers["Location"]) == (303, "/servers/b")
    cookie = headers["Set-Cookie"]
    assert all(each in cookie for each in ("__Host-portlb-", "HttpOnly", "SameSite=Strict", "Secure"))
    has = {"Cookie": cookie.partition(";")[0]}
    for path in ("/", "/v1/status", "/servers/b"):
        assert guarded.ask("GET", path, **has)[0] == 200
    body = '{"state": "drain"}'
    code, _, answer = guarded.ask("PUT", "/v1/servers/b/state", body, Origin=guarded.origin, **has, **JSON)
    assert code == 403 and "changes nothing by REST" in json.loads(answer)["detail"]
    for origin in ({}, {"Origin": "https://elsewhere"}):
        assert guarded.ask("POST", "/servers/b/act", "action=drain", **has, **origin, **FORM)[0] == 403
    code, _, page = guarded.ask("POST", "/servers/b/act", "action=drain", Origin=guarded.origin, **has, **FORM)
    assert code == 200 and "This would happen" in page
    code, headers, _ = guarded.ask("POST", "/logout", "", Origin=guarded.origin, **has, **FORM)
    assert code == 303 and "Max-Age=0" in headers["Set-Cookie"]


@pytest.mark.parametrize("next_page", ["//elsewhere/", "https://elsewhere/", "/%5Celsewhere", "/login", "/a%0d%0ab"])
def test_a_login_leads_to_no_other_site(guarded: Guarded, next_page: str) -> None:
    body = f"token={guarded.tokens['ci']}&next={next_page}"
    code, headers, _ = guarded.ask("POST", "/login", body, Origin=guarded.origin, **FORM)
    assert (code, headers["Location"]) == (303, "/")
