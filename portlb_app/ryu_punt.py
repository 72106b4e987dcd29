"""Where packets that switches hand up wait, are judged by `punt`, and are sent back: a desk per switch.

A desk never makes anybody wait. Who reads from the switch only puts a message into a bounded backlog, unread; one
greenlet judges, a few packets at a time, between which everybody else has a turn. A switch that does not take what is
sent to it holds up its own desk, whose backlog then overflows.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ryu.lib import hub

from portlb_app import ryu_wire
from portlb_app.config import Config
from portlb_app.punt import Backlog, Punt, Send, reason_of
from portlb_app.ryu_guard import GuardedDatapath

TURN = 16
"""Packets judged before others have their turn."""


class Desk:
    """The packets of one switch over one connection; `live` says which configuration they are judged by."""

    def __init__(self, datapath: GuardedDatapath, punt: Punt, live: Callable[[], Config]) -> None:
        self.datapath = datapath
        self._punt = punt
        self._live = live
        self._backlog: Backlog[bytes] = Backlog()
        self._something = hub.Event()
        self._thread = hub.spawn(self._run)

    def put(self, message: bytes) -> None:
        """A packet-in message (with its header) arrived; it is counted and forgotten if too many wait already."""
        cookie = ryu_wire.packet_in_cookie(message)
        reason = reason_of(cookie)
        if reason is None:
            return
        if self._backlog.put(reason, message):
            self._something.set()
        else:
            self._punt.lost(cookie)

    def send(self, send: Send) -> None:
        """Have the switch send a packet."""
        self.datapath.send(ryu_wire.packet_out(send.in_port, send.actions, send.frame))

    def close(self) -> None:
        """Stop; what waits is forgotten."""
        hub.kill(self._thread)

    def _run(self) -> None:
        while True:
            self._something.wait()
            self._something.clear()
            while messages := self._backlog.take(TURN):
                self._punt.adopt(self._live())
                now = time.monotonic()
                out = b"".join(self._judged(message, now) for message in messages)
                if out:
                    self.datapath.send(out)
                hub.sleep(0)

    def _judged(self, message: bytes, now: float) -> bytes:
        """The packet-out messages a packet-in leads to."""
        packet = ryu_wire.packet_in(message)
        if packet is None:
            self._punt.unreadable(ryu_wire.packet_in_cookie(message))
            return b""
        sends = self._punt.take(self.datapath.id, packet, now)
        return b"".join(ryu_wire.packet_out(send.in_port, send.actions, send.frame) for send in sends)
