"""The loop of the agents' process: order, ends, signals, answers of threads."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import cast
from unittest.mock import Mock

import pytest

from portlb_app.agent import notify
from portlb_app.agent.loop import Loop
from portlb_app.agent.process import Unit
from portlb_app.agent.service import Service


@pytest.fixture
def loop() -> Iterator[Loop]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    with Loop() as loop:
        yield loop
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_times_come_in_order_and_the_end_ends(loop: Loop) -> None:
    """What is due later runs later, and nothing runs after the end, not even what is due as well."""
    ran: list[str] = []
    loop.after(0.05, lambda: (ran.append("end"), loop.end(3)))
    loop.after(0.05, lambda: ran.append("never"))
    loop.after(0.02, lambda: ran.append("first"))
    begin = time.monotonic()
    assert loop.run() == 3
    assert ran == ["first", "end"] and time.monotonic() - begin >= 0.05


def test_an_action_has_one_appointment(loop: Loop) -> None:
    """A second one replaces the first."""
    ran: list[float] = []
    begin = time.monotonic()

    def action() -> None:
        ran.append(time.monotonic() - begin)

    loop.after(0.01, action)
    loop.after(0.05, action)
    loop.after(0.1, lambda: loop.end(0))
    loop.run()
    assert len(ran) == 1 and ran[0] >= 0.05


def test_signals_wake_it(loop: Loop) -> None:
    """Each has its action, also those that came before it ran; they run in the loop, not in the handler."""
    ran: list[int] = []
    loop.on_signals({signal.SIGUSR1: lambda: ran.append(1), signal.SIGUSR2: lambda: loop.end(0)})
    os.kill(os.getpid(), signal.SIGUSR1)
    assert ran == []
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2))
    timer.start()
    begin = time.monotonic()
    loop.run()
    timer.join()
    assert ran == [1] and time.monotonic() - begin < 2


def test_files_wake_it(loop: Loop) -> None:
    """As often as they can be read."""
    readable, writable = os.pipe()
    got: list[bytes] = []
    loop.on_readable(readable, lambda: (got.append(os.read(readable, 1)), loop.end(0) if len(got) == 2 else None))
    os.write(writable, b"ab")
    loop.run()
    assert got == [b"a", b"b"]
    os.close(readable)
    os.close(writable)


def test_it_goes_on_while_a_question_is_open(loop: Loop) -> None:
    """The answer, or the error, comes to the loop's own thread."""
    answers: list[object] = []
    threads: list[object] = []
    ticks: list[int] = []
    enough = threading.Event()

    def then(answer: object) -> None:
        answers.append(answer)
        threads.append(threading.current_thread())
        if len(answers) == 2:
            loop.end(0)

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 5:
            enough.set()
        loop.after(0.02, tick)

    loop.ask(lambda: enough.wait(10) and "late", then)
    loop.ask(lambda: {}["missing"], then)
    loop.after(0, tick)
    loop.run()
    assert isinstance(answers[0], KeyError) and answers[1] == "late"
    assert threads == [threading.current_thread()] * 2
    assert len(ticks) >= 5


def test_an_agent_that_is_taken_over_leaves_no_reload_unfinished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two agents of a process, one has its settings again, and a successor comes before the other one has."""
    told: list[str] = []
    monkeypatch.setattr(notify, "tell", lambda *assignments: told.extend(assignments))
    with Loop() as loop:
        service = Service(loop)
        one, other = (cast(Unit, Mock()) for _ in range(2))
        for unit in (one, other):
            service.add(unit)
        service._is_ready = True
        service._reload()
        service.settled(one)
        assert told[0] == "RELOADING=1" and "READY=1" not in told
        service.taken_over(other)
        assert told[-1] == "READY=1"
