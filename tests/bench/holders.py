"""Opens many HTTP connections and keeps them: ``python -m tests.bench.holders ADDRESS PORT``, told what line by line.

``open N`` opens N more, each with one request, and prints how many are open that were answered; ``ask`` asks again on
each and prints how many still answer. A process may have about as many as its limit of open files.
"""

from __future__ import annotations

import resource
import selectors
import socket
import sys
import time

AT_A_TIME, BATCH = 64, 256
"""Requests, and connections that are being opened, at a time."""
PATIENCE = 20.0
"""Seconds without any progress after which what is on its way counts as lost."""
REQUEST = b"GET /name HTTP/1.1\r\nHost: vip\r\n\r\n"


def connecting(address: str, port: int) -> socket.socket:
    """A connection that is on its way."""
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((address, port))
    return one


def ask(connections: list[socket.socket]) -> list[socket.socket]:
    """Send a request on each as soon as it is connected; those that are answered."""
    waiting = connections[::-1]
    answered: list[socket.socket] = []
    with selectors.EpollSelector() as poll:
        busy, deadline = 0, time.monotonic() + PATIENCE
        while (waiting or busy) and time.monotonic() < deadline:
            while waiting and busy < AT_A_TIME:
                poll.register(waiting.pop(), selectors.EVENT_WRITE)
                busy += 1
            for key, events in poll.select(0.5):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                try:
                    if events & selectors.EVENT_WRITE:
                        one.send(REQUEST)
                        poll.modify(one, selectors.EVENT_READ)
                        continue
                    if one.recv(4096).startswith(b"HTTP/1.1 200"):
                        answered.append(one)
                except OSError:
                    pass
                poll.unregister(one)
                busy, deadline = busy - 1, time.monotonic() + PATIENCE
    return answered


def main(address: str, port: int) -> None:
    """Serve commands until standard input ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    connections: list[socket.socket] = []
    print("ready", flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "open":
            number = int(words[0])
            for begin in range(0, number, BATCH):
                fresh = [connecting(address, port) for _ in range(min(BATCH, number - begin))]
                connections += ask(fresh)
            print(len(connections), flush=True)
        else:
            print(len(ask(connections)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
