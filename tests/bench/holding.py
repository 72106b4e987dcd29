"""Connections that stay open for a while, drawn by chance: a server's program and a client's.

``python -m tests.bench.holding serve PORT SECONDS FILE`` accepts connections, answers one line after a time whose mean
is SECONDS, and closes; FILE has how many are open. ``… open ADDRESS PORT RATE FILE`` opens RATE a second, as they come
by chance; FILE has how many did not end with that answer.
"""

from __future__ import annotations

import heapq
import os
import random
import selectors
import socket
import sys
import time

ANSWER = b"done\n"
TELL = 0.25
"""Seconds between two times that a file is written."""


def tell(path: str, number: int) -> None:
    """Write a number to a file, in one step."""
    with open(f"{path}.new", "w", encoding="ascii") as file:
        file.write(f"{number}\n")
    os.replace(f"{path}.new", path)


def serve(port: int, seconds: float, path: str) -> None:
    """Serve until ended."""
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
    listener.setblocking(False)
    poll, due, told = selectors.DefaultSelector(), list[tuple[float, int, socket.socket]](), 0.0
    poll.register(listener, selectors.EVENT_READ)
    number = 0
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        while due and due[0][0] <= now:
            connection = heapq.heappop(due)[2]
            try:
                connection.send(ANSWER)
            except OSError:
                pass
            connection.close()
        if now >= told:
            tell(path, len(due))
            told = now + TELL
        for _ in poll.select(max(0.0, min(told, due[0][0] if due else told) - now)):
            try:
                while True:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    number += 1
                    heapq.heappush(due, (time.monotonic() + random.expovariate(1 / seconds), number, connection))
            except BlockingIOError:
                pass


def run(address: str, port: int, rate: float, path: str) -> None:
    """Open connections until ended."""
    poll, failed, told = selectors.DefaultSelector(), 0, 0.0
    following = time.monotonic()
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        while following <= now:
            following += random.expovariate(rate)
            connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            connection.setblocking(False)
            if connection.connect_ex((address, port)) not in (0, 115):
                failed += 1
                connection.close()
            else:
                poll.register(connection, selectors.EVENT_READ)
        if now >= told:
            tell(path, failed)
            told = now + TELL
        for key, _ in poll.select(max(0.0, min(told, following) - now)):
            connection = key.fileobj  # type: ignore[assignment]
            try:
                failed += connection.recv(64) != ANSWER
            except OSError:
                failed += 1
            poll.unregister(connection)
            connection.close()


def main(command: str, *words: str) -> None:
    """Do what the command line says."""
    if command == "serve":
        serve(int(words[0]), float(words[1]), words[2])
    else:
        run(words[0], int(words[1]), float(words[2]), words[3])


if __name__ == "__main__":
    main(*sys.argv[1:])
