"""Says when messages pass between a switch and its controller: ``python -m tests.bench.control_relay PORT``.

The switch connects to a port of this process, which passes everything on to the controller's PORT. Every 5 ms it puts
an echo request of its own between two messages of the switch, and takes the answer out. It prints its port, and a line
for each message that a measurement needs: a word and the seconds of the monotonic clock (``port``: the state of a port
changed; ``commit``: the switch has made the changes of a bundle), or how long the answer took (``echo``).
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable

HEADER = struct.Struct("!BBHI")
ECHO_REQUEST, ECHO_REPLY, PORT_STATUS, MULTIPART_REPLY, BUNDLE_CONTROL, COMMIT_REPLY = 2, 3, 12, 19, 33, 5
OURS, EVERY = 0xEC40_0000, 0.005


def say(word: str, seconds: float) -> None:
    """Print a line."""
    print(word, seconds, flush=True)


class Relay:
    """One connection at a time."""

    def __init__(self, controller: int) -> None:
        self._controller = controller
        self._sent = 0.0

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Pass on what is said until one side ends it."""
        down, up = await asyncio.open_connection("127.0.0.1", self._controller)
        self._sent, ready = 0.0, asyncio.Event()

        def from_switch(kind: int, xid: int, body: bytes) -> bool:
            if kind == PORT_STATUS:
                say("port", time.monotonic())
            elif kind == BUNDLE_CONTROL and int.from_bytes(body[4:6], "big") == COMMIT_REPLY:
                say("commit", time.monotonic())
            elif kind == MULTIPART_REPLY:
                ready.set()
            return True

        def from_controller(kind: int, xid: int, body: bytes) -> bool:
            if kind != ECHO_REPLY or xid != OURS:
                return True
            say("echo", time.monotonic() - self._sent)
            self._sent = 0.0
            return False

        tasks = [
            asyncio.create_task(_pass_on(reader, up, from_switch)),
            asyncio.create_task(_pass_on(down, writer, from_controller)),
            asyncio.create_task(self._ask(up, ready)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        up.close()

    async def _ask(self, up: StreamWriter, ready: asyncio.Event) -> None:
        await ready.wait()
        while True:
            await asyncio.sleep(EVERY)
            if not self._sent:
                self._sent = time.monotonic()
                up.write(HEADER.pack(6, ECHO_REQUEST, HEADER.size, OURS))


async def _pass_on(reader: StreamReader, writer: StreamWriter, keeps: Callable[[int, int, bytes], bool]) -> None:
    while True:
        header = await reader.readexactly(HEADER.size)
        _, kind, length, xid = HEADER.unpack(header)
        body = await reader.readexactly(length - HEADER.size)
        if keeps(kind, xid, body):
            writer.write(header + body)
            await writer.drain()


async def main(controller: int) -> None:
    """Relay until the input ends."""
    server = await asyncio.start_server(Relay(controller).serve, "127.0.0.1", 0)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
