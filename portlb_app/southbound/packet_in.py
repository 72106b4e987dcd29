"""Where packets that switches hand up wait, are judged by `punt`, and are sent back: a desk per switch.

A desk never makes anybody wait. Who reads from the switch only puts a message into a bounded backlog, unread; one
greenlet judges, a few packets at a time, between which everybody else has a turn. A switch that does not take what is
sent to it holds up its own desk, whose backlog then overflows.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable

from ryu.lib import hub

from portlb_app.punt.backlog import Backlog
from portlb_app.punt.handlers import Punt, Send, reason_of
from portlb_app.reconcile.events import Configuration
from portlb_app.runtime import supervision
from portlb_app.southbound import codec
from portlb_app.southbound.channel import SwitchChannel

TURN = 32
"""Packets judged before others have their turn."""
OWED = 1024
"""Packets that wait to be sent, and were not handed up by this switch just now: what other switches handed up,
fragments whose first did not come, announcements. One more is not sent, and counted."""

_ADOPTING = hub.Semaphore(1)
_LOG = logging.getLogger("portlb.punt")


class Desk:
    """The packets of one switch over one connection; `live` says which configuration they are judged by.

    What another switch shall send goes to `elsewhere`.
    """

    def __init__(
        self,
        datapath: SwitchChannel,
        punt: Punt,
        live: Callable[[], Configuration],
        elsewhere: Callable[[Send], None],
    ) -> None:
        self.datapath = datapath
        self._punt = punt
        self._live = live
        self._elsewhere = elsewhere
        self._backlog: Backlog[bytes] = Backlog()
        self._owed: deque[Send] = deque()
        self._has_failed = self._closed = False
        self._something = hub.Event()
        self._thread = supervision.spawn(f"what switch {datapath.id:#x} hands up", self._run)

    def put(self, message: bytes) -> None:
        """A packet-in message (with its header) arrived; it is counted and forgotten if too many wait already."""
        cookie = codec.packet_in_cookie(message)
        reason = reason_of(cookie)
        if reason is None:
            return
        if self._backlog.put(reason, message):
            self._wake()
        else:
            self._punt.lost(cookie)

    def send(self, send: Send) -> None:
        """Have the switch send a packet soon; it is counted and forgotten if too many wait already."""
        if len(self._owed) < OWED:
            self._owed.append(send)
            self._wake()
        else:
            self._punt.unsent += 1

    def close(self) -> None:
        """Stop soon; what waits is counted and forgotten. It does not switch to another green thread."""
        self._closed = True
        self._punt.unsent += len(self._owed)
        self._owed.clear()
        for message in self._backlog.take(sys.maxsize):
            self._punt.lost(codec.packet_in_cookie(message))
        self._something.set()

    def _wake(self) -> None:
        if not self._something.is_set():
            self._something.set()

    def _run(self) -> None:
        """Work until closed. If that fails, the connection ends: nobody shall take a switch for served that is not."""
        try:
            while not self._closed:
                self._something.wait()
                self._something.clear()
                while not self._closed and (self._backlog or self._owed):
                    self._work()
                    hub.sleep(0)
        except Exception as error:
            _LOG.exception("the packets of switch %#x are not judged any more", self.datapath.id)
            self.datapath.drop(f"its packets cannot be judged: {type(error).__name__}: {error}"[:200])

    def _work(self) -> None:
        """Judge and send the next packets."""
        self._adopt()
        now = time.monotonic()
        out = [message for _ in range(min(TURN, len(self._owed))) for message in self._sent([self._owed.popleft()])]
        for message in self._backlog.take(TURN):
            out += self._judged(message, now)
        if out:
            self.datapath.send(b"".join(out))

    def _adopt(self) -> None:
        """Have packets judged by the live configuration. One desk works for that; all others wait for it."""
        with _ADOPTING:
            while not self._punt.adopt_more((live := self._live()).config, live.conditions):
                hub.sleep(0)

    def _judged(self, message: bytes, now: float) -> list[bytes]:
        """The messages that a packet-in leads to. An error of ours costs this packet only, and is logged once."""
        try:
            packet = codec.packet_in(message)
            if packet is not None:
                return self._sent(self._punt.take(self.datapath.id, packet, now))
        except Exception:
            self._failed(message)
        self._punt.unreadable(codec.packet_in_cookie(message))
        return []

    def _sent(self, sends: Iterable[Send]) -> list[bytes]:
        """The messages that have this switch send packets; what is for others goes there."""
        out = []
        for send in sends:
            if send.dpid != self.datapath.id:
                self._elsewhere(send)
            else:
                out.append(codec.packet_out(send.in_port, send.actions, send.frame))
        return out

    def _failed(self, message: bytes) -> None:
        if not self._has_failed:
            _LOG.exception("a packet cannot be judged: %s", message.hex())
        self._has_failed = True
