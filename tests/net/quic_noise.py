"""Datagrams that no QUIC client means: ``python -m tests.net.quic_noise ADDRESS COUNT PORT…``.

It sends that many to each port by turns: Initials with long tokens and unknown versions, with nothing behind their
headers, cut short, packets of connections that do not exist, and random bytes. After each `ROUND` it says so, and waits
for a line before it goes on, from another port of its own: what comes faster than a switch reads is lost.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
from collections.abc import Callable
from ipaddress import ip_address

ROUND = 100
FULL = 1200  # bytes that a client's first datagram has at least
Source = random.Random


def long_header(source: Source, first: int, version: int, token: bytes) -> bytes:
    """An Initial, its payload random: its length is that of a full datagram (RFC 9000, 17.2.2)."""
    ids = bytes([8]) + source.randbytes(8) + bytes([8]) + source.randbytes(8)
    head = bytes([first]) + struct.pack("!I", version) + ids + struct.pack("!H", 0x4000 | len(token)) + token
    rest = max(20, FULL - len(head) - 2)
    return head + struct.pack("!H", 0x4000 | rest) + source.randbytes(rest)


KINDS: tuple[Callable[[Source], bytes], ...] = (
    lambda source: long_header(source, 0xC0, 1, source.randbytes(1100)),
    lambda source: long_header(source, 0xC3, source.choice((0x1A2A3A4A, 0xFFFFFFFF, 0x709A50C4)), b""),
    lambda source: long_header(source, 0xC0, 1, b""),
    lambda source: long_header(source, 0xC0, 1, source.randbytes(40))[: source.randrange(1, 60)],
    lambda source: bytes([0x40]) + source.randbytes(source.randrange(20, FULL)),
    lambda source: source.randbytes(source.randrange(1, FULL)),
)


def main(words: list[str]) -> None:
    """See the top of the file."""
    address, count, ports = words[0], int(words[1]), [int(word) for word in words[2:]]
    source = random.Random(1)
    family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6
    wanted = [(KINDS[number % len(KINDS)], port) for number in range(count) for port in ports]
    for begin in range(0, len(wanted), ROUND):
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            for made, port in wanted[begin : begin + ROUND]:
                one.sendto(made(source), (address, port))
        print("sent", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1:])
