"""Connections that come and go on changing ports through a client's and a server's programs: is any turned away?

    sudo .venv/bin/python -m tests.soak.churn [--seconds 600] [--rate 5000] [--open 1000]

The frames of each connection go through the programs (BPF_PROG_TEST_RUN) with the default table, `--rate` connections a
second or as many as this machine makes; `--open` are open at once, others stay open throughout. Each connection's data
must be translated in both directions and both roles, the first time and when it ends. Prints figures; exit code 1 if a
connection was turned away.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Sequence
from ipaddress import IPv4Address

from portlb_app.agent import client, server
from portlb_app.agent.loader import CONNECTIONS, Programs
from tests.net.frames import IN, MAPPING, OUT, PASS, V4, VIPS, Packet, Side, X, Y, option
from tests.net.network import ACK, CONFIRM, FIN, REDIRECT
from tests.net.programs import send

FIRST = 0x0B000000  # clients' addresses


class Pair:
    """One connection as both hosts see it."""

    def __init__(self, number: int) -> None:
        address, cport = IPv4Address(FIRST + number // 60000), 1024 + number % 60000
        self._c = Side(V4, OUT, IN, cport=cport, client=address)
        self._s = Side(V4, IN, OUT, cport=cport, client=address)

    def begin(self, clients: Programs, servers: Programs) -> None:
        """Shake hands."""
        c, s = self._c, self._s
        for programs, packets in (
            (clients, (c.syn(X), c.synack(X, CONFIRM, options=option(Y)), c.from_server(Y, ACK))),
            (servers, (s.syn(X, REDIRECT), s.synack(X), s.from_client(Y, ACK | CONFIRM, options=option(X)),
                       s.from_client(Y, ACK))),
        ):  # fmt: skip
            for packet in packets:
                assert send(programs, packet).verdict == PASS

    def check(self, clients: Programs, servers: Programs) -> None:
        """Data passes, translated."""
        c, s = self._c, self._s
        _same(clients, c.from_client(X, ACK, data=b"x"), c.from_client(Y, ACK, data=b"x"))
        _same(clients, c.from_server(Y, ACK, data=b"x"), c.from_server(X, ACK, data=b"x"))
        _same(servers, s.from_server(X, ACK, data=b"x"), s.from_server(Y, ACK, data=b"x"))

    def end(self, clients: Programs, servers: Programs) -> None:
        """Close both ways."""
        for programs, side in ((clients, self._c), (servers, self._s)):
            send(programs, side.from_client(X if side is self._c else Y, FIN | ACK))
            send(programs, side.from_server(Y if side is self._c else X, FIN | ACK))


def _same(programs: Programs, packet: Packet, wanted: Packet) -> None:
    result = send(programs, packet)
    assert (result.verdict, result.packet) == (PASS, wanted.frame), "a connection is not translated any more"


def run(seconds: float, rate: float, opened: int, room: int = CONNECTIONS) -> int:
    """Have connections come and go, and print figures; AssertionError if one is turned away or lost.

    Return how many came beside those that stay.
    """
    clients = Programs("client", client.settings(VIPS), room)
    servers = Programs("server", server.settings(MAPPING), room)
    kept = [Pair(number) for number in range(room // 2)]
    for each in kept:
        each.begin(clients, servers)
    live: deque[Pair] = deque()
    began = swept = time.monotonic()
    number = len(kept)
    while (now := time.monotonic()) < began + seconds:
        if (number - len(kept)) > (now - began) * rate:
            time.sleep(0.001)  # as many a second as asked for
            continue
        live.append(Pair(number))
        number += 1
        live[-1].begin(clients, servers)
        if len(live) > opened:
            oldest = live.popleft()
            oldest.check(clients, servers)
            oldest.end(clients, servers)
        if now - swept > 10:
            swept = now
            clients.sweep(time.monotonic_ns())
            servers.sweep(time.monotonic_ns())
    for each in (*live, *kept):
        each.check(clients, servers)
    figures = {name: (clients.counters()[name], servers.counters()[name])
               for name in ("map_full", "made_room", "swept_closing", "collision")}  # fmt: skip
    assert figures["map_full"] == (0, 0), figures
    clients.close()
    servers.close()
    came = number - len(kept)
    print(
        f"{came} connections in {seconds:.0f} s ({came / seconds:.0f} a second), {opened} open at once beside "
        f"{len(kept)} that stayed, {room} places; client and server: {figures}"
    )
    return came


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rate", type=float, default=5000.0)
    parser.add_argument("--open", type=int, default=1000, dest="opened")
    arguments = parser.parse_args(argv)
    run(arguments.seconds, arguments.rate, arguments.opened)
    return 0


if __name__ == "__main__":
    sys.exit(main())
