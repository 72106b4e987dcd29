"""Questions to the data path (`punt.asking`): they are sent, and answers are waited for."""

from __future__ import annotations

import time
from collections.abc import Callable

import eventlet
from eventlet.event import Event as Future

from portlb_app.punt.asking import SECONDS, Answer, Question
from portlb_app.punt.handlers import Punt
from portlb_app.punt.packet import Send


class Asking:
    """Asks switches, and waits. `adopt` has `punt` judge by the live configuration, `send` a switch send a packet."""

    def __init__(self, punt: Punt, adopt: Callable[[], None], send: Callable[[Send], None]) -> None:
        self._punt, self._adopt, self._send = punt, adopt, send
        self._waiting: dict[int, Future] = {}
        punt.questions.answered = self._answered

    def ask(self, question: Question) -> tuple[Answer, ...]:
        """What each connected switch answers that such a packet may pass; ValueError if too many ask.

        Waits until all have answered, `SECONDS` at most.
        """
        self._adopt()
        number, sends = self._punt.ask(question, time.monotonic())
        if sends:
            self._waiting[number] = future = Future()
            for send in sends:
                self._send(send)
            with eventlet.Timeout(SECONDS, False):
                future.wait()
            self._waiting.pop(number, None)
        return self._punt.questions.answers(number)

    def _answered(self, number: int) -> None:
        if future := self._waiting.pop(number, None):
            future.send(None)
