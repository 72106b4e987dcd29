"""Many TCP connections at once: ``python -m tests.net.many serve PORT`` and ``… talk ADDRESS PORT NUMBER SECONDS``.

`serve` echoes. `talk` opens them, prints "ready", sends eight bytes on each about every five seconds until the time
is over, each time once the last echo has come, and then prints how many have had an answer to all they sent.
"""

from __future__ import annotations

import resource
import selectors
import socket
import sys
import time

PERIOD = 5.0
PATIENCE = 20.0


def serve(port: int) -> None:
    """Echo on every connection, for ever."""
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
    poll = selectors.EpollSelector()
    poll.register(server, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in poll.select():
            if key.fileobj is server:
                poll.register(server.accept()[0], selectors.EVENT_READ)
                continue
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            try:
                data = connection.recv(4096)
                if data:
                    connection.send(data)
                    continue
            except OSError:
                pass
            poll.unregister(connection)
            connection.close()


def talk(address: str, port: int, number: int, seconds: float) -> None:
    """Open, talk, and print "N of N"."""
    poll = selectors.EpollSelector()
    connections = []
    for _ in range(number):
        connections.append(socket.create_connection((address, port), PATIENCE))
        poll.register(connections[-1], selectors.EVENT_READ, len(connections) - 1)
    print("ready", flush=True)
    began = time.monotonic()
    waiting = [0] * number  # bytes of echo
    broken: set[int] = set()
    due = [began + PERIOD * index / number for index in range(number)]
    turn = 0
    while (now := time.monotonic()) < began + seconds or (any(waiting) and now < began + seconds + PATIENCE):
        while now < began + seconds and due[turn] <= now:
            if turn not in broken and not waiting[turn]:
                try:
                    connections[turn].send(b"question")
                    waiting[turn] = 8
                except OSError:
                    broken.add(turn)
            due[turn] += PERIOD
            turn = (turn + 1) % number
        for key, _ in poll.select(0.005):
            try:
                data = connections[key.data].recv(4096)
            except OSError:
                data = b""
            if not data:
                broken.add(key.data)
                poll.unregister(key.fileobj)
            waiting[key.data] -= len(data)
    print(f"{sum(not left and index not in broken for index, left in enumerate(waiting))} of {number}", flush=True)


if __name__ == "__main__":
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        talk(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
