"""Questions to one switch, and its answers: which are waited for, and how long.

Time-outs follow from what was asked: a switch has `ANSWER_SECONDS` to answer, and longer for more messages. All that it
holds must come at `READ_RATE` bytes a second at least, and within `READ_SECONDS`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ryu.lib import hub
from ryu.ofproto import ofproto_v1_5 as ofp

from portlb_app.openflow import messages
from portlb_app.openflow.limits import READ_BYTES, READ_MESSAGES
from portlb_app.openflow.messages import ErrorMessage, Malformed, Reply
from portlb_app.southbound import codec
from portlb_app.southbound.channel import SwitchChannel
from portlb_app.southbound.inbox import Inbox

ANSWER_SECONDS = 10.0
"""Timeout for a reply from a switch."""
LOOKS = 10
"""In so many parts: a controller that was busy itself for one of them has not waited all the time."""
MESSAGES_A_SECOND = 100
"""A switch has a second more for each so many messages that it must deal with before it can answer."""
READ_RATE = 100_000
"""Bytes a second; see above."""
READ_SECONDS = 120.0
"""How long a switch has to tell all that it holds; what the process with the tables needs for it does not count."""
FORWARDED = 4
"""Answers that are handed on at a time: 256 kB, a few milliseconds' work."""


class Silent(Exception):
    """The switch did not answer in time; str() says so."""


class Refusal(Exception):
    """The switch answered with an error; str() is about what was asked."""


class Conversation:
    """With one switch. `awaited`: the xids of messages whose answers are taken."""

    def __init__(self, channel: SwitchChannel) -> None:
        self._channel = channel
        self._inbox = Inbox()
        channel.is_held_back = lambda: self._inbox.is_full
        channel.awaited = self.awaited = set[int]()
        self._read_began = 0.0

    def take(self, message: ErrorMessage | Reply) -> None:
        """Take an answer."""
        self._inbox.put(message)

    def clear(self) -> None:
        """Nothing is waited for any more."""
        self.awaited.clear()
        self._inbox.clear()

    def ask(self, message: Any) -> int:
        """Send a message; its xid, whose answers are taken from now on."""
        xid: int = self._channel.set_xid(message)
        message.serialize()
        self.awaited.add(xid)
        self.send(bytes(message.buf))
        return xid

    def send(self, data: bytes) -> None:
        """Send messages, and let others have their turn."""
        self._channel.send(data)
        hub.sleep(0)

    def _next(self, extra: float = 0.0) -> Any:
        """The next answer; Silent if there is none within ANSWER_SECONDS and `extra` seconds."""
        seconds = ANSWER_SECONDS + extra
        for _ in range(LOOKS):
            try:
                return self._inbox.get(seconds / LOOKS)
            except hub.QueueEmpty:
                pass
        raise Silent(f"no answer within {seconds:.0f} s")

    def answer(self, xid: int, what: str, extra: float = 0.0) -> Any:
        """Wait for the answer with this xid, `extra` seconds more than for another.

        `what` that answer says the switch has done, or Refusal.
        """
        while True:
            answer = self._next(extra)
            if answer.xid == xid:
                self.awaited.discard(xid)
                if isinstance(answer, ErrorMessage):
                    raise Refusal(f"cannot {what}: {codec.error_name(answer)}")
                return answer

    def begin_reading(self) -> None:
        """From now on the switch has `READ_SECONDS` to tell all that it holds."""
        self._read_began = time.monotonic()

    def replies(self, request: Any, what: str) -> Iterator[list[bytes]]:
        """The messages of a multipart reply, some at a time."""
        xid = self.ask(request)
        began, count, length = time.monotonic(), 0, 0
        waiting: list[bytes] = []
        more = True
        while more:
            reply = self._next()
            if reply.xid != xid:
                continue
            if isinstance(reply, ErrorMessage):
                raise Refusal(f"cannot read {what}: {codec.error_name(reply)}")
            count, length = count + 1, length + len(reply.data)
            if count > READ_MESSAGES or length > READ_BYTES:
                raise Malformed(f"{what} take more than {READ_MESSAGES} messages or {READ_BYTES >> 20} MiB")
            if time.monotonic() - began > ANSWER_SECONDS + length / READ_RATE and self._inbox.empty():
                raise Silent(f"{what} come too slowly: {length} bytes in {time.monotonic() - began:.0f} s")
            if time.monotonic() - self._read_began > READ_SECONDS:
                raise Silent(f"it takes more than {READ_SECONDS:g} s to tell what it holds")
            waiting.append(reply.data)
            more = bool(reply.flags & messages.MORE)
            if len(waiting) >= FORWARDED or not more:
                before = time.monotonic()
                yield waiting
                not_its = time.monotonic() - before
                began, self._read_began = began + not_its, self._read_began + not_its
                waiting = []
                hub.sleep(0)
        self.awaited.discard(xid)

    def reserve(self, number: int) -> int:
        """The first of so many xids in a row that are used for nothing else; answers to them are taken."""
        channel = self._channel
        if channel.xid + number > ofp.MAX_XID:
            channel.xid = 0
        first: int = channel.xid + 1
        channel.xid += number
        self.awaited.update(range(first, first + number))
        return first
