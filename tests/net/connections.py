"""Keeps HTTP connections open on a host: ``python -m tests.net.connections ADDRESS``, told what to do line by line.

``open PORT`` opens one, asks for /name and prints the answer; ``drop`` closes all, and prints how many those were;
``ask`` asks again on each, and prints a word for each in order: the answer, or what came instead of one, such as
``ConnectionResetError`` or ``TimeoutError``. A reset is an answer at any point: it comes as soon as a packet of the
connection reaches another server, be it an acknowledgement.
"""

from __future__ import annotations

import http.client
import sys
import time

PATIENCE = 5.0
"""Seconds for an answer, of all connections together."""


def main(address: str) -> None:
    """Serve commands until standard input ends."""
    connections: list[http.client.HTTPConnection] = []
    print("ready", flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "open":
            connection = http.client.HTTPConnection(address, int(words[0]), timeout=PATIENCE)
            connections.append(connection)
            print(*ask([connection]), flush=True)
            connection.auto_open = False  # it is this connection that is asked about
        elif command == "drop":
            print(len(connections), flush=True)
            while connections:
                connections.pop().close()
        else:
            print(*ask(connections), flush=True)


def ask(connections: list[http.client.HTTPConnection]) -> list[str]:
    """Ask on all connections at once; what each answers, or the error that it ends with."""
    deadline = time.monotonic() + PATIENCE
    errors: dict[http.client.HTTPConnection, Exception] = {}
    for connection in connections:
        try:
            connection.request("GET", "/name", headers={"Host": "vip"})
        except (OSError, http.client.HTTPException) as error:
            errors[connection] = error
    return [_answer(connection, errors.get(connection), deadline) for connection in connections]


def _answer(connection: http.client.HTTPConnection, error: Exception | None, deadline: float) -> str:
    """The whole body of the answer, which is one word."""
    if error is None:
        try:
            connection.sock.settimeout(max(0.05, deadline - time.monotonic()))
            return connection.getresponse().read().decode().strip() or "nothing"
        except (OSError, http.client.HTTPException) as late:
            error = late
    connection.close()
    return type(error).__name__


if __name__ == "__main__":
    main(sys.argv[1])
