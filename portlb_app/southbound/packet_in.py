"""A worker for each switch: packets that the switch hands up wait, are judged by `punt`, and are sent back.

The green thread that reads from the switch puts messages into a bounded queue without looking at them. The worker's own
green thread judges a few packets at a time; then the others have their turn. A switch that does not take what is sent
to it blocks its own worker, whose queue then overflows.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable

from ryu.lib import hub

from portlb_app.punt.bounded_queue import BoundedQueue
from portlb_app.punt.handlers import Punt, reason_of
from portlb_app.punt.packet import Send
from portlb_app.reconcile.configuration import Configuration
from portlb_app.runtime import supervision
from portlb_app.southbound import codec
from portlb_app.southbound.channel import SwitchChannel

BATCH = 32
"""Packets judged before others have their turn."""
SENDS = 1024
"""Packets that wait to be sent, and were not handed up by this switch just now: what other switches handed up,
fragments whose first did not come, announcements. One more is not sent, and counted."""

_ADOPTING = hub.Semaphore(1)
_LOG = logging.getLogger("portlb.punt")


def adopt(punt: Punt, live: Callable[[], Configuration]) -> None:
    """Have packets judged by the live configuration. One green thread computes that; all others wait for it."""
    with _ADOPTING:
        while not punt.adopt_more((now := live()).config, now.conditions):
            hub.sleep(0)


class PacketInWorker:
    """Judges the packets of one switch over one connection, by the configuration that `live` returns.

    `elsewhere` takes what another switch is to send.
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
        self._queue: BoundedQueue[bytes] = BoundedQueue()
        self._sends: deque[Send] = deque()
        self._has_failed = self._closed = False
        self._has_work = hub.Event()
        self._thread = supervision.spawn(f"the packet-in worker of switch {datapath.id:#x}", self._run)

    def put(self, message: bytes) -> None:
        """Take a packet-in message (with its header). If too many wait already, it is only counted."""
        cookie = codec.packet_in_cookie(message)
        reason = reason_of(cookie)
        if reason is None:
            return
        if self._queue.put(reason, message):
            self._wake()
        else:
            self._punt.count_lost(cookie)

    def send(self, send: Send) -> None:
        """Have the switch send a packet soon. If too many wait already, it is only counted."""
        if len(self._sends) < SENDS:
            self._sends.append(send)
            self._wake()
        else:
            self._punt.unsent += 1

    def close(self) -> None:
        """Stop soon, and count what waits. This does not switch to another green thread."""
        self._closed = True
        self._punt.unsent += len(self._sends)
        self._sends.clear()
        for message in self._queue.take(sys.maxsize):
            self._punt.count_lost(codec.packet_in_cookie(message))
        self._has_work.set()

    def _wake(self) -> None:
        if not self._has_work.is_set():
            self._has_work.set()

    def _run(self) -> None:
        """Work until closed. If that fails, the connection ends, so that no switch stays without a worker."""
        try:
            while not self._closed:
                self._has_work.wait()
                self._has_work.clear()
                while not self._closed and (self._queue or self._sends):
                    self._work()
                    hub.sleep(0)
        except Exception as error:
            _LOG.exception("the packets of switch %#x are not judged any more", self.datapath.id)
            self.datapath.drop(f"its packets cannot be judged: {type(error).__name__}: {error}"[:200])

    def _work(self) -> None:
        """Judge and send the next packets."""
        adopt(self._punt, self._live)
        now = time.monotonic()
        out = self._packet_outs([self._sends.popleft() for _ in range(min(BATCH, len(self._sends)))])
        for message in self._queue.take(BATCH):
            out += self._judge(message, now)
        if out and not self.datapath.send(b"".join(out)):  # the connection has ended
            self._punt.unsent += len(out)

    def _judge(self, message: bytes, now: float) -> list[bytes]:
        """The messages that a packet-in leads to. An error of ours costs this packet only, and is logged once."""
        try:
            packet = codec.packet_in(message)
            if packet is not None:
                return self._packet_outs(self._punt.take(self.datapath.id, packet, now))
        except Exception:
            self._log_failure(message)
        self._punt.count_unreadable(codec.packet_in_cookie(message))
        return []

    def _packet_outs(self, sends: Iterable[Send]) -> list[bytes]:
        """The messages that have this switch send packets; what is for others goes there."""
        out = []
        for send in sends:
            if send.dpid != self.datapath.id:
                self._elsewhere(send)
            else:
                out.append(codec.packet_out(send.in_port, send.actions, send.frame, send.side))
        return out

    def _log_failure(self, message: bytes) -> None:
        if not self._has_failed:
            _LOG.exception("a packet cannot be judged: %s", message.hex())
        self._has_failed = True
