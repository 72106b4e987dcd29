"""New connections at a rate: ``python -m tests.soak.rate ADDRESS RATE SECONDS TURN OPEN PORT…``.

Each is opened, asks for /small by HTTP/1.0, and is read to its end; the server closes first. The ports take turns of
`TURN` seconds. It prints "ready", then a line of JSON for every turn: how many were begun, answered with the whole
file, failed, and hung, that is, had no answer within `PATIENCE`, and the longest time (s) of an answer. No more than
`OPEN` are open at a time, so a slow machine makes fewer than the rate.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

PATIENCE = 8.0
OPEN = 2_000
_REQUEST = b"GET /small HTTP/1.0\r\n\r\n"
_END = b"odd\n"
_BEHIND = 1.0
"""Seconds of connections that are made up for after a stall; those of a longer one are not begun at all."""


@dataclass
class Turn:
    """What became of the connections to one port in one turn."""

    port: int
    begun: int = 0
    answered: int = 0
    failed: int = 0
    hung: int = 0
    longest: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)


@dataclass
class _Connection:
    sock: socket.socket
    began: float
    turn: Turn
    got: bytes = b""
    asked: bool = False


class Client:
    """All connections of a run."""

    def __init__(self, address: str, most: int = OPEN) -> None:
        self._address, self._most = address, most
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._poll = select.epoll()
        self._open: dict[int, _Connection] = {}
        self._oldest: deque[_Connection] = deque()

    def run(self, port: int, rate: float, seconds: float) -> Turn:
        """Begin connections for so long."""
        turn, began, credit = Turn(port), time.monotonic(), 0.0
        last = began
        while (now := time.monotonic()) < began + seconds:
            credit = min(credit + (now - last) * rate, rate * _BEHIND)
            last = now
            while credit >= 1 and len(self._open) < self._most:
                self._begin(turn, now)
                credit -= 1
            self._handle(0.001)
            self._give_up(now)
        return turn

    def finish(self) -> None:
        """Wait for what is open."""
        while self._open:
            self._handle(0.05)
            self._give_up(time.monotonic())

    def _begin(self, turn: Turn, now: float) -> None:
        turn.begun += 1
        sock = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        each = _Connection(sock, now, turn)
        self._open[sock.fileno()] = each
        self._oldest.append(each)
        self._poll.register(sock, select.EPOLLOUT)
        try:
            sock.connect((self._address, turn.port))
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(each, error)

    def _handle(self, timeout: float) -> None:
        for number, _ in self._poll.poll(timeout):
            each = self._open[number]
            try:
                if not each.asked:
                    each.sock.send(_REQUEST)
                    each.asked = True
                    self._poll.modify(number, select.EPOLLIN)
                elif data := each.sock.recv(4096):
                    each.got += data
                else:
                    self._end(each, None if each.got.endswith(_END) else EOFError())
            except BlockingIOError:
                pass
            except OSError as error:
                self._end(each, error)

    def _end(self, each: _Connection, error: Exception | None) -> None:
        del self._open[each.sock.fileno()]
        each.sock.close()
        turn = each.turn
        if isinstance(error, TimeoutError) and time.monotonic() - each.began >= PATIENCE:
            turn.hung += 1
        elif error is not None:
            turn.failed += 1
            name = type(error).__name__
            turn.errors[name] = turn.errors.get(name, 0) + 1
        else:
            turn.answered += 1
            turn.longest = max(turn.longest, time.monotonic() - each.began)

    def _give_up(self, now: float) -> None:
        while self._oldest and (self._oldest[0].sock.fileno() < 0 or self._oldest[0].began < now - PATIENCE):
            each = self._oldest.popleft()
            if each.sock.fileno() >= 0:
                self._end(each, TimeoutError())


def main(address: str, rate: float, seconds: float, turn: float, most: int, ports: list[int]) -> None:
    """All turns."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    client, turns = Client(address, most), []
    print("ready", flush=True)
    for number in range(round(seconds / turn)):
        turns.append(client.run(ports[number % len(ports)], rate, turn))
        if number:  # connections of the turn before have had their time
            print(json.dumps(asdict(turns[number - 1])), flush=True)
    client.finish()
    print(json.dumps(asdict(turns[-1])), flush=True)


if __name__ == "__main__":
    address, rate, seconds, turn, most, *ports = sys.argv[1:]
    main(address, float(rate), float(seconds), float(turn), int(most), [int(port) for port in ports])
