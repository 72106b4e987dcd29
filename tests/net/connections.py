"""Keeps HTTP connections open on a host: ``python -m tests.net.connections ADDRESS``, told what to do line by line.

``open PORT`` opens one, asks for /name and prints the answer; ``ask`` asks again on each, in order, and prints a word
of 0 and 1: which of them still answer within two seconds.
"""

from __future__ import annotations

import http.client
import selectors
import sys
import time

PATIENCE = 2.0


def main(address: str) -> None:
    """Serve commands until standard input ends."""
    connections: list[http.client.HTTPConnection] = []
    print("ready", flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "open":
            connection = http.client.HTTPConnection(address, int(words[0]), timeout=PATIENCE)
            connection.request("GET", "/name")
            connections.append(connection)
            print(connection.getresponse().read().decode().strip(), flush=True)
        else:
            print("".join(map(str, map(int, ask(connections)))), flush=True)


def ask(connections: list[http.client.HTTPConnection]) -> list[bool]:
    """Ask on all connections at once; which ones answer with a whole response line in time."""
    with selectors.DefaultSelector() as selector:
        for number, connection in enumerate(connections):
            connection.sock.sendall(b"GET /name HTTP/1.1\r\nHost: vip\r\n\r\n")
            selector.register(connection.sock, selectors.EVENT_READ, number)
        answered = [False] * len(connections)
        deadline = time.monotonic() + PATIENCE
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                selector.unregister(key.fileobj)
                try:
                    answered[key.data] = connections[key.data].sock.recv(4096).startswith(b"HTTP/1.1 200")
                except OSError:
                    answered[key.data] = False
        return answered


if __name__ == "__main__":
    main(sys.argv[1])
