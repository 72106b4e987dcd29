"""Many TCP connections at once: ``python -m tests.net.many serve PORT`` and ``… talk ADDRESS PORT NUMBER``.

`serve` echoes. `talk` opens them, prints "ready", and sends eight bytes on each about every two seconds, each time once
the last echo has come. For a line of input it prints how many have had an answer to something they sent since then:
when all have, or after a while.
"""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import sys
import time

PERIOD = 2.0
PATIENCE = 20.0
QUESTION = b"question"


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


def talk(address: str, port: int, number: int) -> None:
    """Open, talk, and print "N of N" for each line of input; end with the input."""
    poll = selectors.EpollSelector()
    connections = []
    for _ in range(number):
        connections.append(socket.create_connection((address, port), PATIENCE))
        poll.register(connections[-1], selectors.EVENT_READ, len(connections) - 1)
    print("ready", flush=True)
    poll.register(sys.stdin, selectors.EVENT_READ, None)
    waiting = [0] * number  # bytes of echo
    asked = [0] * number  # the line of input since which the latest question was sent
    counted = [0] * number  # the latest line for which an answer was counted
    lines, answered, deadline, turn = 0, number, 0.0, 0
    began = time.monotonic()
    due = [began + PERIOD * index / number for index in range(number)]
    while True:
        now = time.monotonic()
        while due[turn] <= now:
            if not waiting[turn]:
                with contextlib.suppress(OSError):  # then there is no answer
                    connections[turn].send(QUESTION)
                waiting[turn], asked[turn] = len(QUESTION), lines
            due[turn] = now + PERIOD
            turn = (turn + 1) % number
        for key, _ in poll.select(0.005):
            if key.data is None:
                if not sys.stdin.readline():
                    return
                lines, answered, deadline = lines + 1, 0, now + PATIENCE
                continue
            try:
                data = connections[key.data].recv(4096)
            except OSError:
                data = b""
            if not data:
                poll.unregister(key.fileobj)
            waiting[key.data] -= len(data)
            if data and not waiting[key.data] and asked[key.data] == lines > counted[key.data]:
                counted[key.data] = lines
                answered += 1
        if deadline and (answered == number or now > deadline):
            print(f"{answered} of {number}", flush=True)
            deadline = 0.0


if __name__ == "__main__":
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        talk(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
