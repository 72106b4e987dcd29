"""How long a controller takes to answer real switches: ``python -m tests.soak.echo_relay PORT SWITCHES``.

A switch connects to a port of this process, which passes everything on to the controller's `PORT`. Every 20 ms it puts
an echo request of its own between two of the switch's messages, and takes the answer out. It prints "ready" and its
ports; for each line it is told, as JSON, a list for each switch about the answers since the line before: how many there
were, and the median, the 99.9th percentile and the longest of their times in seconds.

What this process itself was late, because the machine ran others, is taken off these times. It is woken every 5 ms;
the last of the lists is about how late.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable

EVERY, TICK = 0.02, 0.005
HEADER = struct.Struct("!BBHI")
ECHO_REQUEST, ECHO_REPLY, PORT_DESC_REPLY = 2, 3, 19
OURS = 0xEC40_0000
"""The upper half of the xids of our requests."""


class Clock:
    """Time in which this process could run."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._lost = 0.0
        self._due = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Note how late it is woken."""
        loop = asyncio.get_running_loop()
        while True:
            self._due = loop.time() + TICK
            await asyncio.sleep(TICK)
            self.late.append(loop.time() - self._due)
            self._lost += self.late[-1]

    def time(self) -> float:
        """Seconds."""
        now = asyncio.get_running_loop().time()
        return now - self._lost - max(0.0, now - self._due)


class Relay:
    """The connections of one switch."""

    def __init__(self, controller: int, number: int, clock: Clock) -> None:
        self.answers: list[float] = []
        self._controller, self._host, self._clock = controller, f"127.250.0.{number + 1}", clock
        self._sent: dict[int, float] = {}

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Pass on what is said over one connection until one side ends it."""
        down, up = await asyncio.open_connection("127.0.0.1", self._controller, local_addr=(self._host, 0))
        self._sent.clear()
        ready = asyncio.Event()
        tasks = [
            asyncio.create_task(_pass_on(reader, up, lambda kind, _: kind == PORT_DESC_REPLY and ready.set() or True)),
            asyncio.create_task(_pass_on(down, writer, self._keeps)),
            asyncio.create_task(self._ask(up, ready)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        up.close()

    def _keeps(self, kind: int, xid: int) -> bool:
        """Whether the switch gets a message of the controller's."""
        if kind != ECHO_REPLY or xid >> 16 != OURS >> 16:
            return True
        self.answers.append(self._clock.time() - self._sent.pop(xid))
        return False

    async def _ask(self, up: StreamWriter, ready: asyncio.Event) -> None:
        """Ask for echoes, each after the answer to the one before, once the handshake is done."""
        await ready.wait()
        number = 0
        while True:
            await asyncio.sleep(EVERY)
            if not self._sent:
                number = (number + 1) & 0xFFFF
                self._sent[OURS | number] = self._clock.time()
                up.write(HEADER.pack(6, ECHO_REQUEST, 8, OURS | number))


async def _pass_on(reader: StreamReader, writer: StreamWriter, keeps: Callable[[int, int], object]) -> None:
    """Pass on whole messages, so that others can be put between."""
    while True:
        header = await reader.readexactly(HEADER.size)
        _, kind, length, xid = HEADER.unpack(header)
        body = await reader.readexactly(length - HEADER.size)
        if keeps(kind, xid):
            writer.write(header + body)
            await writer.drain()


def _summary(times: list[float]) -> tuple[float, ...]:
    count = len(times)
    return (count, times[count // 2], times[count * 999 // 1000], times[-1]) if count else (0, 0.0, 0.0, 0.0)


async def main(controller: int, switches: int) -> None:
    """Relay until the input ends."""
    clock = Clock()
    ticking = asyncio.create_task(clock.run())
    relays = [Relay(controller, number, clock) for number in range(switches)]
    servers = [await asyncio.start_server(relay.serve, "127.0.0.1", 0) for relay in relays]
    print("ready", *(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        lists = [*(relay.answers for relay in relays), clock.late]
        print(json.dumps([_summary(sorted(each)) for each in lists]), flush=True)
        for each in lists:
            each.clear()
    ticking.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
