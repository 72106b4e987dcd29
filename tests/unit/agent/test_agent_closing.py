"""Closing redirected connections: what fails is tried again, what is not here is left alone, and nothing ends it."""

from __future__ import annotations

import errno
import logging
import struct
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from portlb_app.agent import closing, sockets
from portlb_app.agent.call_result import CallResult
from portlb_app.agent.closing import PATIENCE, Closing
from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel.sock_diag import Tcp
from portlb_app.agent.record import pack_address
from portlb_app.agent.sockets import Look
from portlb_app.agent.troubles import REPEAT_EVERY, Troubles

CLIENT, VIP = ip_address("10.0.0.1"), ip_address("10.0.0.100")
ONE, OTHER = (Tcp(CLIENT, port, VIP, 20) for port in (50001, 50002))
NO_MEMORY = OSError(errno.ENOBUFS, "no buffer space")


class Host:
    """Stands for the kernel and the agent: what it is asked, and what it is to answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.announced: list[bytes] = []
        self.asked: list[tuple[str, set[Tcp]]] = []
        self.looks: list[Look | AgentError] = []
        self.answers: list[CallResult | OSError] = []
        self.said: list[str] = []
        for name in ("quiet", "destroy"):
            monkeypatch.setattr(sockets, name, self.look(name))
        monkeypatch.setattr(closing.ring, "Ring", lambda fd: self)
        self.troubles = Troubles(lambda level, text: self.said.append(text), lambda: 0.0)
        self.closing = Closing(self, self.troubles)  # type: ignore[arg-type]

    def map_fd(self, name: str) -> int:
        return 0

    def take(self) -> list[bytes]:
        taken, self.announced = self.announced, []
        return taken

    def look(self, name: str) -> Callable[[dict[Tcp, float]], Look]:
        def looked(connections: dict[Tcp, float]) -> Look:
            self.asked.append((name, set(connections)))
            answer = self.looks.pop(0)
            if isinstance(answer, AgentError):
                raise answer
            return answer

        return looked

    def end(self, frame: bytes) -> CallResult:
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def announce(self, *connections: Tcp, reset: bool = False) -> None:
        self.announced += [
            pack_address(each.local) + pack_address(each.remote)
            + struct.pack("!HH", each.local_port, each.remote_port) + struct.pack("=I", reset)
            for each in connections
        ]  # fmt: skip


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def look(chosen: set[Tcp] | None = None, absent: set[Tcp] | None = None, *failures: OSError) -> Look:
    return Look(chosen or set(), absent or set(), list(failures))


def test_what_has_no_socket_here_is_looked_at_once(host: Host) -> None:
    """A container's connection, or one that is over: not every 0.1 s, but when the server announces again."""
    host.announce(ONE, OTHER)
    host.looks = [look(absent={ONE, OTHER}), look(absent={ONE})]
    assert not host.closing.work(0)
    host.announce(ONE)
    assert not host.closing.work(1)
    assert host.asked == [("quiet", {ONE, OTHER}), ("quiet", {ONE})] and not host.said


def test_a_request_that_fails_is_made_again(host: Host) -> None:
    """It is counted and told once, and the others are closed meanwhile."""
    host.announce(ONE, OTHER)
    host.looks = [look({OTHER}, None, NO_MEMORY), look(None, None, NO_MEMORY), look({ONE})]
    host.answers = [CallResult.MADE, CallResult.MADE]
    assert host.closing.work(0) and host.closing.work(0.1) and not host.closing.work(0.2)
    assert [asked for _, asked in host.asked] == [{ONE, OTHER}, {ONE}, {ONE}]
    assert len(host.said) == 1 and "no buffer space" in host.said[0] and "tried again" in host.said[0]
    assert host.troubles.count(closing.TOPIC) == 2


@pytest.mark.parametrize("error", [NO_MEMORY, OSError(errno.ENODEV, "no such device"), OSError(errno.EINTR, "x")])
def test_a_program_that_cannot_be_run_is_run_again(host: Host, error: OSError) -> None:
    host.announce(ONE)
    host.looks = [look({ONE}), look({ONE})]
    host.answers = [error, CallResult.MADE]
    assert host.closing.work(0) and not host.closing.work(0.1)
    assert host.troubles.count(closing.TOPIC) == 1


def test_it_is_not_tried_for_ever(host: Host) -> None:
    """The server repeats its announcement as long as it matters."""
    host.announce(ONE)
    host.announce(OTHER, reset=True)
    host.looks = [look(None, None, NO_MEMORY)] * 4
    assert host.closing.work(0)
    assert not host.closing.work(PATIENCE)
    assert not host.closing.work(PATIENCE + 1)
    assert len(host.asked) == 4


def test_resets(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """What fails is asked for again; a kernel that cannot do it at all is not, and ends nothing."""
    caplog.set_level(logging.INFO, "portlb.agent")  # by name: Mininet gives every logger that is made after it a level
    host.announce(ONE, OTHER, reset=True)
    host.looks = [look({ONE}, None, NO_MEMORY), look({OTHER})]
    assert host.closing.work(0) and not host.closing.work(0.1)
    assert [record.getMessage() for record in caplog.records] == [
        "redirected: 1 connections of this host's programs closed"
    ] * 2
    host.announce(ONE, reset=True)
    host.looks = [AgentError("this kernel cannot reset connections")]
    assert not host.closing.work(0.2)
    assert host.troubles.count(closing.TOPIC) == 2


def test_troubles_are_told_once_a_minute() -> None:
    now, said = 0.0, []
    troubles = Troubles(lambda level, text: said.append(text), lambda: now)
    for _ in range(1000):
        troubles.failed("closing", NO_MEMORY, 2)
    assert len(said) == 1 and "2 failures, the last: [Errno 105] no buffer space" in said[0]
    now = REPEAT_EVERY
    troubles.failed("closing", NO_MEMORY)
    assert len(said) == 2 and "1999 failures" in said[1]
    troubles.failed("other", NO_MEMORY)
    assert said[2] == "other: [Errno 105] no buffer space; it will be tried again"
    assert (troubles.count("closing"), troubles.count("none")) == (2001, 0)
