"""``portlb token``, and logins of commands and agents: what is sent, and what is sent nowhere."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import UnixStreamServer

import pytest

from portlb_app.agent.errors import AgentError
from portlb_app.agent.source import Controller as AgentsController
from portlb_app.api import access
from portlb_app.api.identity import Identity, Role
from portlb_app.cli import main, rest_client

SHOWN: list[str | None] = []
"""Authorization header fields that were received."""


class Handler(BaseHTTPRequestHandler):
    """Answers with an empty list, whatever is asked."""

    def do_GET(self) -> None:
        SHOWN.append(self.headers.get("Authorization"))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"servers": []}')

    def log_message(self, *_arguments: object) -> None:
        pass

    def address_string(self) -> str:
        return ""


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A controller's address; no other one is known."""
    for name in (rest_client.ENVIRONMENT, rest_client.TOKEN_ENVIRONMENT, rest_client.CA_ENVIRONMENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rest_client, "SOCKETS", ("/none",))
    SHOWN.clear()
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_token_is_printed_once_and_its_hash_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is added to those before; the file is not for other users."""
    file = tmp_path / "access"
    file.write_text("# ours")
    tokens = []
    for words in (("ci", "operator"), ("agent-a", "agent=a,b")):
        assert main(["token", str(file), *words]) == 0
        tokens.append(capsys.readouterr().out.strip())
    known = access.load(file.read_text())
    assert known.of_token(f"Bearer {tokens[0]}") == Identity("ci", Role.OPERATOR)
    assert known.of_token(f"Bearer {tokens[1]}") == Identity("agent-a", Role.AGENT, frozenset("ab"))
    assert not any(token in file.read_text() for token in tokens)
    assert main(["token", str(tmp_path / "new"), "x", "admin"]) == 0
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) & 0o027 == 0


@pytest.mark.parametrize(
    ("name", "role", "said"),
    [
        ("ada", "admin", "line 2: ada has a line already"),
        ("x y", "admin", "a name has 1 to 64 of letters, digits and ._@-"),
        ("x", "root", "there is no role 'root'; there are admin, operator, read-only and agent=SERVER"),
    ],
)
def test_a_line_that_would_be_wrong_is_not_added(
    name: str, role: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "access"
    file.write_text("ada admin certificate\n")
    assert main(["token", str(file), name, role]) == 2
    assert capsys.readouterr().err == f"portlb: {file}: {said}\n"
    assert file.read_text() == "ada admin certificate\n"


def test_commands_show_the_token_that_they_are_given(
    controller: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a flag, or by the environment; else none."""
    (tmp_path / "token").write_text("portlb_x\n")
    assert main(["servers", "--url", controller]) == 0
    assert main(["servers", "--controller", controller, "--token-file", str(tmp_path / "token")]) == 0
    monkeypatch.setenv(rest_client.TOKEN_ENVIRONMENT, str(tmp_path / "token"))
    monkeypatch.setenv(rest_client.ENVIRONMENT, controller)
    assert main(["servers"]) == 0
    assert SHOWN == [None, "Bearer portlb_x", "Bearer portlb_x"]


def test_no_token_is_sent_in_the_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a command's nor an agent's: loopback, a Unix socket and TLS are not the clear."""
    token = tmp_path / "token"
    token.write_text("portlb_x")
    assert main(["servers", "--controller", "http://192.0.2.1:8080", "--token-file", str(token)]) == 2
    assert "a token is not sent to http://192.0.2.1:8080 in the clear: use https" in capsys.readouterr().err
    with pytest.raises(AgentError, match="a token is not sent in the clear"):
        AgentsController("http://192.0.2.1:8080", "a", insecure=True, token_file=str(token))
    assert AgentsController("https://192.0.2.1:8080", "a", token_file=str(token)).token_file == str(token)


@pytest.mark.parametrize("content", [b"", b"\n", b"a b", b"\xff", b"x" * 1000, b"a\x1bb", b"a\r\nHost: x"])
def test_what_is_no_token_is_not_sent(
    content: bytes, controller: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_bytes(content)
    assert main(["servers", "--controller", controller, "--token-file", str(tmp_path / "token")]) == 2
    assert "it is no token" in capsys.readouterr().err
    with pytest.raises(AgentError, match="there is no token in it"):
        AgentsController(controller, "a", token_file=str(tmp_path / "token")).mapping()
    assert SHOWN == []


def test_the_socket_of_this_machine_comes_first(
    controller: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that nothing listens on is passed by."""
    monkeypatch.setattr(rest_client, "USUAL", controller)
    left, used = tmp_path / "left.sock", tmp_path / "used.sock"
    with closing(socket.socket(socket.AF_UNIX)) as gone:
        gone.bind(str(left))
    monkeypatch.setattr(rest_client, "SOCKETS", (str(tmp_path / "none"), str(left), str(used)))
    assert main(["servers"]) == 0
    assert SHOWN == [None]
    with UnixStreamServer(str(used), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(rest_client, "USUAL", "http://127.0.0.1:1")
        assert main(["servers"]) == 0
        server.shutdown()
        thread.join()
    assert SHOWN == [None, None]
