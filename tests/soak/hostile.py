"""Peers that send damaged OpenFlow messages: ``python -m tests.soak.hostile PORT MESSAGES SEED DPID…``.

Each connection goes to one of the states a connection can be in, says damaged messages of all types there, and then
either hears the answer to an echo request or is closed. Each message is read by the controller: by the readers' own
rules, only the last of a connection may end it. `DPID` are configured switches to claim.

It prints "ready", begins when it is told, and in the end prints what it did as JSON: messages and connections by state,
and how many connections were neither closed nor answered in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import sys
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Iterator
from random import Random

from portlb_app.openflow import messages
from portlb_app.pipeline import Reason, make_cookie
from tests.ovs import openflow_peer as of

PATIENCE = 20.0
BATCH = 120
POOL = 3000
MARK = 0xFEED
EARLY, UNKNOWN, CLAIMING = 12, 5, 6
"""Peers at a time: before the handshake is done, of switches nobody configured, of configured ones."""
STATES = {"before hello": 1, "after hello": 20, "after features": 20, "main": 19, "configured": 20}
STATES |= {"read": 10, "bundle": 10}
"""In which states messages are sent, and how many of 100 there. Before a hello the first one ends the connection."""


def good(dice: Random) -> bytes:
    """A message as a switch may send it, of any type."""
    kind = dice.choice((0, 1, 2, 3, 4, 6, 8, 10, 10, 11, 12, 12, 19, 19, 19, 21, 25, 27, 30, 31, 32, 33, 35))
    frame = dice.randbytes(dice.choice((60, 60, 100, 1500)))
    port = of.port(48, struct.pack("!HH4x", 0, 8), dice.randrange(300), dice.randrange(2))
    bodies = {
        0: of.GOOD_HELLO,
        1: of.message(1, struct.pack("!HH", dice.randrange(20), dice.randrange(20)) + bytes(64)),
        6: of.features(dice.randrange(5)),
        10: of.packet_in(make_cookie(dice.choice((Reason.FRAGMENT, Reason.SIGNAL, Reason.ICMP_ERROR)), 0), frame),
        12: of.port_status(port, dice.randrange(4)),
        33: of.message(33, struct.pack("!IHHHH4x", 1, dice.randrange(8), 3, 0, 0)),
    }
    entries = {1: struct.pack("!H", 64) + bytes(62), 7: struct.pack("!H", 24) + bytes(22), 13: port}
    which = dice.choice((1, 1, 7, 7, 9, 10, 13, 13, dice.randrange(20)))
    bodies[19] = of.multipart(which, entries.get(which, bytes(40)) * dice.choice((1, 2, 40)), flags=dice.randrange(2))
    return bodies.get(kind, of.message(kind, dice.randbytes(dice.choice((0, 8, 40)))))


def damaged(message: bytes, dice: Random) -> bytes:
    """The same with bytes changed, cut or added; its length is right, or the next message would not be one."""
    changed = bytearray(message)
    for _ in range(dice.choice((0, 1, 1, 2, 5))):
        if len(changed) > 8:
            changed[dice.randrange(8, len(changed))] = dice.choice((0, 1, 2, 7, 8, 255, dice.randrange(256)))
    if dice.random() < 0.2:
        del changed[dice.randrange(8, len(changed) + 1) :]
    if dice.random() < 0.1:
        changed += dice.randbytes(dice.choice((1, 8, 1000)))
    if dice.random() < 0.02:
        changed[dice.choice((0, 1))] = dice.randrange(256)
    changed[2:4] = struct.pack("!H", len(changed))
    if dice.random() < 0.005:
        changed[2:4] = struct.pack("!H", dice.choice((0, 1, 7)))
    return bytes(changed)


def ends_connection(state: str, message: bytes) -> bool:
    """Whether the rules say that this message is the last one of a connection that awaits no answer."""
    version, kind, length, _ = messages.HEADER.unpack_from(message)
    try:
        messages.check_header(version, kind, length)
        if kind == messages.PORT_STATUS and state != "after hello":
            messages.port_status(message)
        if kind == messages.PACKET_IN and state in ("configured", "read", "bundle"):
            messages.check_packet_in(message)
    except messages.Malformed:
        return True
    return kind == messages.ERROR and state.startswith("after")


class Hostile:
    """All the peers of one process, and what they did."""

    def __init__(self, port: int, total: int, seed: int, dpids: list[int]) -> None:
        self._port, self._dice, self._dpids = port, Random(seed), dpids
        self._left = {state: total * share // 100 + 1 for state, share in STATES.items()}
        self._hosts = (host.replace("127.", f"127.{seed % 100 + 10}", 1) for host in of.hosts())
        self.sent: Counter[str] = Counter()
        self.connections: Counter[str] = Counter()
        self.unanswered = 0
        self._answers = [each for each in self._damaged() if each[0] == 6 and each[1] in messages.ANSWERS]
        self._fine: dict[str, list[bytes]] = {}
        self._last: dict[str, list[bytes]] = {}
        for state in STATES:
            pool = self._damaged()
            self._fine[state] = [each for each in pool if not ends_connection(state, each)]
            self._last[state] = [each for each in pool if ends_connection(state, each)]

    def _damaged(self) -> list[bytes]:
        return [damaged(good(self._dice), self._dice) for _ in range(POOL)]

    async def run(self) -> None:
        """Say all there is to say."""
        await asyncio.gather(
            *(self._work("before hello", "after hello", "after features", dpid=0x10000 + n) for n in range(EARLY)),
            *(self._work("main", dpid=0x20000 + number) for number in range(UNKNOWN)),
            *(self._work("configured", "read", "bundle", dpid=dpid) for dpid in self._dpids),
        )

    async def _work(self, *states: str, dpid: int) -> None:
        while todo := [state for state in states if self._left[state] > 0]:
            state = max(todo, key=lambda each: self._left[each])
            batch = list(self._batch(state))
            self._left[state] -= len(batch)
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._connection(state, dpid, batch)
                self.sent[state] += len(batch)
            except TimeoutError:
                self.unanswered += 1
            self.connections[state] += 1

    def _batch(self, state: str) -> Iterator[bytes]:
        """Messages of which at most the last ends the connection."""
        if state != "before hello":
            yield from self._dice.choices(self._fine[state], k=BATCH)
        if state in ("read", "bundle"):
            yield self._dice.choice(self._answers)
        else:
            yield self._dice.choice(self._last[state] if self._dice.random() < 0.5 else self._fine[state])

    async def _connection(self, state: str, dpid: int, batch: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(next(self._hosts), 0))
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                awaited = await _go_to(state, dpid, reader, writer)
                if awaited:
                    batch[-1] = batch[-1][:4] + struct.pack("!I", awaited) + batch[-1][8:]
                writer.write(b"".join(batch))
                writer.write(of.message(of.ECHO_REQUEST, xid=MARK))
                while await _next(reader) != (of.ECHO_REPLY, MARK):
                    pass
        finally:
            writer.close()


async def _go_to(state: str, dpid: int, reader: StreamReader, writer: StreamWriter) -> int:
    """Bring a connection into a state; the xid that the controller awaits an answer to, if that is what it is about."""
    if state == "before hello":
        return 0
    writer.write(of.GOOD_HELLO)
    xid = await _until(reader, of.FEATURES_REQUEST)
    if state == "after hello":
        return 0
    writer.write(of.features(dpid, xid))
    xid = await _until(reader, of.MULTIPART_REQUEST)
    if state == "after features":
        return 0
    writer.write(of.multipart(of.PORT_DESC, b"", xid))
    if state in ("main", "configured"):
        return 0
    for kind in (of.FLOW_DESC, of.GROUP_DESC, 10):
        xid = await _until(reader, of.MULTIPART_REQUEST)
        if state == "read":
            return xid
        writer.write(of.multipart(kind, b"", xid))
    return await _until(reader, of.BUNDLE_CONTROL)


async def _next(reader: StreamReader) -> tuple[int, int]:
    """The next message's type and xid."""
    _, kind, length, xid = messages.HEADER.unpack(await reader.readexactly(messages.HEADER.size))
    await reader.readexactly(length - messages.HEADER.size)
    return kind, xid


async def _until(reader: StreamReader, kind: int) -> int:
    while True:
        got, xid = await _next(reader)
        if got == kind:
            return xid


def main(port: int, total: int, seed: int, *dpids: int) -> None:
    """Begin when told, and say what was done."""
    hostile = Hostile(port, total, seed, list(dpids))
    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(hostile.run())
    print(json.dumps([hostile.sent, hostile.connections, hostile.unanswered]), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
