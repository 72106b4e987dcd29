"""Connections that stay: ``python -m tests.soak.streams serve PORT``, ``… keep ADDRESS PORT COUNT``.

The client sends a line on each every 0.2 s and reads it back. At the end of its input it prints one line of JSON: how
many streams there were, how many broke (an error, or no answer in `PATIENCE`), and how many lines came back.
"""

from __future__ import annotations

import asyncio
import json
import sys

EVERY = 0.2
PATIENCE = 8.0


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
    writer.close()


async def serve(port: int) -> None:
    """Echo lines."""
    server = await asyncio.start_server(_echo, None, port)
    print("ready", flush=True)
    await server.serve_forever()


class Streams:
    """All of them."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port
        self.broken = self.lines = self.ready = 0

    async def keep(self, over: asyncio.Event) -> None:
        """One, until `over`."""
        try:
            reader, writer = await asyncio.open_connection(self._address, self._port)
            while not over.is_set():
                writer.write(b"odd\n")
                if await asyncio.wait_for(reader.readline(), PATIENCE) != b"odd\n":
                    raise EOFError
                self.lines += 1
                await asyncio.sleep(EVERY)
            writer.close()
        except (OSError, EOFError):
            self.broken += 1


async def keep(address: str, port: int, count: int) -> None:
    """Keep `count` of them until the input ends."""
    streams, over, loop = Streams(address, port), asyncio.Event(), asyncio.get_running_loop()
    tasks = [asyncio.create_task(streams.keep(over)) for _ in range(count)]
    while streams.lines < count and not streams.broken:
        await asyncio.sleep(EVERY)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    over.set()
    await asyncio.gather(*tasks)
    print(json.dumps({"streams": count, "broken": streams.broken, "lines": streams.lines}), flush=True)


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    asyncio.run(serve(int(words[0])) if what == "serve" else keep(words[0], int(words[1]), int(words[2])))
