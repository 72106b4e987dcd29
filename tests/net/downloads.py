"""Downloads that last as long as a test needs: ``python -m tests.net.downloads ADDRESS PORT PATH NUMBER LIMIT SHA256``.

Opens so many connections, asks on each for the path, prints "ready" when all have had data, and goes on reading slowly,
up to so many bytes of each. When its input ends it reads the rest, and prints on how many all came, with that digest,
and how many were reset.
"""

from __future__ import annotations

import hashlib
import select
import socket
import sys
import time

PATIENCE = 30.0
PERIOD = 0.1
PIECE = 500
"""Bytes that are read of each in a period."""
BUFFER = 16384
"""Of the kernel's for each, so that most of a file waits at its server."""
AT_ONCE = 16
"""How many are read to their end together: more would lose packets, and wait for them."""


def opened(address: str, port: int, path: str) -> socket.socket:
    """A connection on which a path was asked for."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    one.settimeout(PATIENCE)
    one.connect((address, port))
    one.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    return one


def received(one: socket.socket, most: int, resets: set[socket.socket]) -> bytes:
    """What there is of one, which may be its end."""
    try:
        return one.recv(most, socket.MSG_DONTWAIT)
    except ConnectionResetError:
        resets.add(one)
    except OSError:
        pass
    return b""


def dawdle(connections: dict[socket.socket, bytearray], limit: int, resets: set[socket.socket]) -> None:
    """Read a little of each now and then until standard input ends."""
    waiting = set(connections)
    while True:
        ready, _, _ = select.select([sys.stdin, *waiting], [], [], PERIOD)
        if sys.stdin in ready:
            return
        for one in ready:
            data = received(one, PIECE, resets)
            connections[one] += data
            if not data or len(connections[one]) > limit:
                waiting.discard(one)
        time.sleep(PERIOD)  # or it would be over before the test is


def finish(connections: dict[socket.socket, bytearray], resets: set[socket.socket]) -> None:
    """Read the rest of each, a few at a time, until it ends or breaks, or nothing comes any more."""
    left = list(connections)
    reading: set[socket.socket] = set()
    while left or reading:
        while left and len(reading) < AT_ONCE:
            reading.add(left.pop())
        ready, _, _ = select.select(reading, [], [], PATIENCE)
        if not ready:  # they are broken; those that were not read yet may work
            reading.clear()
        for one in ready:
            data = received(one, 1 << 20, resets)
            connections[one] += data
            if not data:
                reading.discard(one)


def main(address: str, port: int, path: str, number: int, limit: int, digest: str) -> None:
    """Open, read slowly, read all, and say how many are whole."""
    connections = {opened(address, port, path): bytearray() for _ in range(number)}
    for one, content in connections.items():
        content += one.recv(PIECE)
    print("ready", flush=True)
    resets: set[socket.socket] = set()
    dawdle(connections, limit, resets)
    finish(connections, resets)
    bodies = (bytes(content).partition(b"\r\n\r\n")[2] for content in connections.values())
    print(sum(hashlib.sha256(body).hexdigest() == digest for body in bodies), len(resets), flush=True)


if __name__ == "__main__":
    address, port, path, number, limit, digest = sys.argv[1:]
    main(address, int(port), path, int(number), int(limit), digest)
