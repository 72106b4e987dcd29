"""Where a server's agent has its mapping from: every way a file or a controller can fail to say it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portlb_app.agent import source, trust
from portlb_app.agent.errors import AgentError, Unreachable
from portlb_app.agent.source import Controller, File, WrongConfiguration
from portlb_app.agent.trust import Untrusted

ROOT = Path(__file__).parents[3]
FIG2 = (ROOT / "flows/fig2/lb.yaml").read_bytes()


@contextmanager
def peer(*sends: bytes, pause: float = 0) -> Iterator[tuple[str, list[bytes]]]:
    """Something that accepts connections on loopback and sends these bytes; its URL, and the requests it got."""
    requests: list[bytes] = []
    over = threading.Event()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                requests.append(connection.recv(65536))
                try:
                    for each in sends:
                        connection.sendall(each)
                        over.wait(pause)
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def http(body: bytes, status: str = "200 OK", **headers: object) -> bytes:
    fields = {"Content-Length": len(body), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_a_controller_says_what_the_configuration_says() -> None:
    """E2: the mapping is the one of the same text in a file; the request is for the live configuration."""
    file = File(str(ROOT / "flows/fig2/lb.yaml"), "a").mapping()
    assert dict(file.announced_ports) == {20: 1, 22: 5}
    with peer(http(FIG2)) as (url, requests):
        assert Controller(url, "a").mapping() == file
        assert Controller(f"{url}/behind/a/proxy/", "a").mapping() == file
    assert requests[0].startswith(b"GET /v1/config?server=a HTTP/1.1\r\nHost: 127.0.0.1:")
    assert requests[1].startswith(b"GET /behind/a/proxy/v1/config?server=a HTTP/1.1\r\n")


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_cut_short_is_none(chunked: bool) -> None:
    """Its beginning may be a sound configuration that lacks the last servers."""
    whole = FIG2 + b"\n"
    if chunked:
        answer = http(b"%x\r\n%s\r\n" % (len(whole), whole), Transfer_Encoding="chunked", Content_Length=None)
        complete = answer + b"0\r\n\r\n"
    else:
        answer, complete = http(whole, Content_Length=len(whole) + 20), http(whole)
    with peer(complete) as (url, _):
        assert Controller(url, "a").mapping().announced_ports
    with peer(answer) as (url, _), pytest.raises(Unreachable):
        Controller(url, "a").mapping()
    with peer(http(whole, Content_Length=None)) as (url, _), pytest.raises(Unreachable, match="cut short"):
        Controller(url, "a").mapping()  # its end cannot be told from a broken connection


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (b"", Unreachable, "does not answer"),
        (b"SSH-2.0-OpenSSH_9\r\n", Unreachable, "does not answer"),
        (http(b"", "503 Service Unavailable"), Unreachable, "503 Service Unavailable"),
        (http(b"", "403 Forbidden"), AgentError, "403 Forbidden"),
        (http(b"", "302 Found", Location="file:///etc/passwd"), AgentError, "302 Found"),
        (http(b"[]"), WrongConfiguration, "the configuration is a mapping"),
        (http(b"\xff"), WrongConfiguration, "byte 0 is not UTF-8"),
        (http(FIG2.replace(b"  a:", b"  z:")), WrongConfiguration, "no server a"),
        (http(b"#" * (source.MAX_BYTES + 1)), WrongConfiguration, "at most 4194304 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_answers_that_are_no_configuration(answer: bytes, kind: type[AgentError], reason: str) -> None:
    """Only what may be different soon is Unreachable; redirects are not followed."""
    with peer(answer) as (url, requests), pytest.raises(kind, match=reason) as raised:
        Controller(url, "a").mapping()
    assert isinstance(raised.value, Unreachable) == (kind is Unreachable)
    assert len(requests) == 1


def test_the_largest_answer_is_read() -> None:
    """4 MiB are allowed, as in the REST interface."""
    with peer(http(FIG2 + b"\n" + b"#" * (source.MAX_BYTES - len(FIG2) - 1))) as (url, _):
        assert Controller(url, "a").mapping().announced_ports == {20: 1, 22: 5}


@pytest.mark.parametrize("sends", [[http(FIG2)[:30]], [b"H"] * 100], ids=["silent", "dripping"])
def test_a_slow_controller_is_given_up(monkeypatch: pytest.MonkeyPatch, sends: list[bytes]) -> None:
    """Whether it says nothing or a byte now and then, the whole answer has a bound."""
    monkeypatch.setattr(source, "ANSWER_WITHIN", 0.4)
    begin = time.monotonic()
    with peer(*sends, pause=20 if len(sends) == 1 else 0.1) as (url, _):
        with pytest.raises(Unreachable):
            Controller(url, "a").mapping()
        assert time.monotonic() - begin < 8, "and not when it has said all, after ten seconds"


def test_nobody_listens() -> None:
    """A refused connection may be accepted soon."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable, match="does not answer.*Connection refused"):
        Controller(f"http://127.0.0.1:{port}", "a").mapping()


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says: a controller is on this host or near it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with peer(http(FIG2)) as (url, _):
        assert Controller(url, "a").mapping().announced_ports


@pytest.mark.parametrize(
    "url",
    ["", "lb", "ftp://lb", "file:///etc/passwd", "http://", "http://lb:port", "http://lb:0", "http://lb:70000",
     "http://user:word@lb", "http://lb/?q", "http://lb/#f", "http://lb/a b", "http://lb/\r\nX: y", "http://lb/ä",
     "http://[::1"],
)  # fmt: skip
def test_addresses_that_are_refused(url: str) -> None:
    """At once, and without asking anybody."""
    with pytest.raises(AgentError, match="--controller") as raised:
        Controller(url, "a")
    assert not isinstance(raised.value, Unreachable)


def test_a_unix_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration comes over it; its directory is nobody else's to write to, its user one that may answer."""
    path, requests = tmp_path / "rest.sock", []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for _ in range(3):
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    requests.append(connection.recv(65536))
                    connection.sendall(http(FIG2))

        thread = threading.Thread(target=serve)
        thread.start()
        asked = Controller(f"unix://{path}", "a")
        assert dict(asked.mapping().announced_ports) == {20: 1, 22: 5}
        assert requests[0].startswith(b"GET /v1/config?server=a HTTP/1.1\r\nHost: localhost\r\n")
        tmp_path.chmod(0o777)
        with pytest.raises(Untrusted, match="may write there: chmod go-w"):
            asked.mapping()
        tmp_path.chmod(0o700)
        monkeypatch.setattr(trust, "_trusted_users", lambda: {12345})
        monkeypatch.setattr(trust, "_check_place", lambda path: None)
        monkeypatch.setattr(trust.Path, "stat", lambda path: os.stat_result((0o40700, 0, 0, 1, 54321, 0, 0, 0, 0, 0)))
        with pytest.raises(Untrusted, match=f"a program of user {os.geteuid()} answers"):
            asked.mapping()
        monkeypatch.undo()
        thread.join()
    with pytest.raises(Unreachable, match="does not answer"):
        asked.mapping()


@pytest.mark.parametrize(
    ("mode", "is_ours", "reason"),
    [
        (0o755, True, None),
        (0o1777, True, None),
        (0o1777, False, "any user may create .*, and its owner is neither root nor the agent's user"),
        (0o777, True, "may write there: chmod go-w it"),
    ],
)
@pytest.mark.parametrize("by_link", [False, True], ids=["path", "link"])
def test_where_a_unix_socket_may_be(
    mode: int, is_ours: bool, reason: str | None, by_link: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where another user could have made the directory of the socket, also if a safe link leads there."""
    monkeypatch.setattr(trust, "_trusted_users", lambda: {0, os.geteuid()} if is_ours else {12345})
    shared, ours, link = tmp_path / "shared", tmp_path / "shared" / "ours", tmp_path / "link"
    ours.mkdir(parents=True)
    link.symlink_to(ours)
    shared.chmod(mode)
    one, other = socket.socketpair()
    with one, other, contextlib.ExitStack() as stack:
        if reason:
            stack.enter_context(pytest.raises(Untrusted, match=reason))
        trust.check_unix(one, str((link if by_link else ours) / "rest.sock"))


def test_a_port_that_anybody_may_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Below 1024 only root may, unless the administrator has said otherwise; then it is asked who listens."""
    asked, start = [], tmp_path / "ip_unprivileged_port_start"
    monkeypatch.setattr(trust.sock_diag, "listener", lambda host, port: asked.append(port))
    monkeypatch.setattr(trust, "_UNPRIVILEGED", start)
    start.write_text("1024\n", encoding="ascii")
    trust.check_loopback("127.0.0.1", 80, "http://127.0.0.1:80")
    start.write_text("80\n", encoding="ascii")
    with pytest.raises(Unreachable, match="does not listen there any more"):
        trust.check_loopback("::ffff:127.0.0.1", 80, "http://127.0.0.1:80")
    assert asked == [80]


def test_whose_program_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over loopback that of root or the agent's user; another's is refused before anything is asked of it."""
    with peer(http(FIG2)) as (url, requests):
        assert Controller(url, "a").mapping().announced_ports
        monkeypatch.setattr(trust, "_trusted_users", lambda: {12345})
        with pytest.raises(Untrusted, match=f"user {os.geteuid()} listens there, which is neither root nor"):
            Controller(url, "a").mapping()
        assert len([each for each in requests if each]) == 1
        assert Controller(url, "a", insecure=True).mapping().announced_ports


def test_a_controller_that_starts_again_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has answered and listens no more is no stranger: it may be asked again. Nor is a kernel that is slow."""
    with peer(http(FIG2)) as (url, _):
        for answer in (lambda *_: None, failing(TimeoutError("timed out"))):
            with monkeypatch.context() as patched:
                patched.setattr(trust.sock_diag, "listener", answer)
                with pytest.raises(Unreachable, match="listen"):
                    Controller(url, "a").mapping()
        with monkeypatch.context() as patched:
            patched.setattr(trust.sock_diag, "listener", failing(PermissionError("not permitted")))
            with pytest.raises(Untrusted, match="does not tell who listens there: not permitted"):
                Controller(url, "a").mapping()
        assert Controller(url, "a").mapping().announced_ports


def failing(error: Exception) -> Callable[..., object]:
    """A function that only raises this."""

    def fail(*_: object) -> object:
        raise error

    return fail


def test_plain_http_from_another_host() -> None:
    with pytest.raises(Untrusted, match="any host on the path.*--insecure-http"):
        trust.check_loopback("192.0.2.1", 8080, "http://lb:8080")
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        trust.check_loopback(address, 1023, "http://lb:1023")
        with pytest.raises(Unreachable, match="does not listen there"):
            trust.check_loopback(address, 65535, "http://lb:65535")


def test_files(tmp_path: Path) -> None:
    """A file is read anew each time; what is wrong with it names it."""
    path = tmp_path / "lb.yaml"
    file = File(str(path), "a")
    with pytest.raises(AgentError, match=f"{path}: No such file"):
        file.mapping()
    path.write_bytes(FIG2)
    first = file.mapping()
    path.write_bytes(FIG2.replace(b"10.0.0.100", b"10.0.0.101"))
    assert first != file.mapping()
    path.write_bytes(b"[")
    with pytest.raises(WrongConfiguration, match=f"{path}: .*not YAML"):
        file.mapping()
    path.write_bytes(b"#" * (source.MAX_BYTES + 1))
    with pytest.raises(WrongConfiguration, match="at most"):
        file.mapping()
    with pytest.raises(WrongConfiguration, match="at most"):
        File("/dev/zero", "a").mapping()


@pytest.mark.parametrize("package", ["pydantic", "yaml"])
def test_a_host_without_the_parser_of_configurations(package: str) -> None:
    """Everything else works there, and the error says what to do."""
    program = (
        f"import sys; sys.modules['{package}'] = None; from portlb_app.agent import source\n"
        "try: source.File('flows/fig2/lb.yaml', 'a').mapping()\n"
        "except source.AgentError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"needs the Python package {package}, which this host does not have" in done.stdout


def test_importing_loads_neither_parser_nor_client() -> None:
    """`portlb agent client` and `stats` need neither, and start with every boot."""
    program = "import sys, portlb_app.agent.cli; print({'pydantic', 'yaml', 'http', 'ssl', 'email'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
