"""Clients of REST that mean no good: ``python -m tests.soak.crowd PORT SILENT DRIPPING OVERSIZED SECONDS``.

Silent ones say nothing, dripping ones a byte of a head each second, oversized ones a head or a body beyond every bound,
as fast as it is taken. One that is cut comes again at once. It prints "ready", begins when it is told, and in the end
prints how many connections of each kind there were, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter

HEAD = b"PUT /v1/config HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\n"
OVERSIZED = (
    HEAD + b"Content-Length: 9000000\r\n\r\n" + b"#" * (9 << 20),
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b"#" * 0x8000 + b"\r\n",
    b"GET /" + b"a" * (64 << 10),
    HEAD + b"X: " + b"a" * (64 << 10),
)


async def _silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter, _number: int) -> None:
    await reader.read()


async def _dripping(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
    for byte in HEAD:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def _oversized(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(OVERSIZED[number % len(OVERSIZED)])
    await writer.drain()
    await reader.read()


async def _again(port: int, kind: str, number: int, made: Counter[str]) -> None:
    behave = {"silent": _silent, "dripping": _dripping, "oversized": _oversized}[kind]
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            made[kind] += 1
            try:
                await behave(reader, writer, number)
            finally:
                writer.close()
        await asyncio.sleep(0.05)


async def _run(port: int, counts: dict[str, int], seconds: float) -> Counter[str]:
    made: Counter[str] = Counter()
    tasks = [asyncio.create_task(_again(port, kind, n, made)) for kind, count in counts.items() for n in range(count)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return made


def main(port: int, silent: int, dripping: int, oversized: int, seconds: int) -> None:
    """Begin when told, and say what was done."""
    print("ready", flush=True)
    sys.stdin.readline()
    counts = {"silent": silent, "dripping": dripping, "oversized": oversized}
    print(json.dumps(asyncio.run(_run(port, counts, seconds))), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
