"""UDP on a host of a demo: ``python -m mininet_topos.demo.datagrams serve NAME PORT…``, ``ask …`` and ``probe …``.

``serve`` prints "ready" and answers every datagram with its name and what it got. ``ask ADDRESS PORT COUNT`` asks that
often, each time from another port and up to three times, and prints who answered, a name a line, or "-".

``probe ADDRESS PORT`` prints "ready" and sends a numbered datagram every millisecond until its input ends. Then it
prints, as JSON, how many it sent, how many were lost, and the longest outage in milliseconds: from the sending of a
lost one to that of the next one that was answered.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

INTERVAL = 0.001
PATIENCE = 0.7
"""Seconds an answer is waited for."""
TRIES = 3


def serve(name: str, ports: list[int]) -> None:
    """Answer for ever."""
    poll = select.epoll()
    sockets = {}
    for port in ports:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind(("", port))
        poll.register(one, select.EPOLLIN)
        sockets[one.fileno()] = one
    print("ready", flush=True)
    while True:
        for number, _ in poll.poll():
            data, sender = sockets[number].recvfrom(2048)
            sockets[number].sendto(f"{name} ".encode() + data, sender)


def ask(address: str, port: int) -> str:
    """Who answers; "-" for nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect((address, port))
        one.settimeout(PATIENCE)
        for _ in range(TRIES):
            try:
                one.send(b"ask")
                return one.recv(2048).decode().split()[0]
            except (TimeoutError, ConnectionRefusedError):
                continue
    return "-"


def probe(address: str, port: int) -> dict[str, float]:
    """Send until standard input ends; what became of it."""
    sent: list[float] = []
    answered: set[int] = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect((address, port))
        one.setblocking(False)
        poll = select.epoll()
        poll.register(one, select.EPOLLIN)
        poll.register(sys.stdin, select.EPOLLIN)
        print("ready", flush=True)
        due, end = time.monotonic(), float("inf")
        while (now := time.monotonic()) < end:
            if now >= due and end == float("inf"):
                _send(one, len(sent))
                sent.append(now)
                due = max(due + INTERVAL, now)
            for number, _ in poll.poll(INTERVAL if end < float("inf") else max(0.0, due - time.monotonic())):
                if number == one.fileno():
                    answered |= _received(one)
                else:
                    poll.unregister(sys.stdin)
                    end = now + PATIENCE
    return {"sent": len(sent), "lost": len(sent) - len(answered), "outage_ms": _outage(sent, answered) * 1000}


def _send(one: socket.socket, number: int) -> None:
    try:
        one.send(str(number).encode())
    except OSError:
        pass  # refused, or no room: one that is lost


def _received(one: socket.socket) -> set[int]:
    found = set()
    while True:
        try:
            found.add(int(one.recv(2048).split()[1]))
        except BlockingIOError:
            return found
        except OSError:
            continue  # what an ICMP error said of one before


def _outage(sent: list[float], answered: set[int]) -> float:
    """The longest time from a lost one to the next one that was answered."""
    longest, since = 0.0, None
    for number, moment in enumerate(sent):
        if number not in answered:
            since = moment if since is None else since
        elif since is not None:
            longest, since = max(longest, moment - since), None
    return longest if since is None else max(longest, sent[-1] - since)


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    if command == "serve":
        serve(words[0], [int(word) for word in words[1:]])
    elif command == "ask":
        for _ in range(int(words[2])):
            print(ask(words[0], int(words[1])))
    else:
        print(json.dumps(probe(words[0], int(words[1]))))
