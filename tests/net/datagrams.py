"""Datagrams that a host answers, UDP and SCTP: ``python -m tests.net.datagrams serve …`` and ``… ask …``.

``serve NAME PORT… -- ADDRESS…`` prints "ready" and answers every datagram with its name, from the address it came to.
``ask udp|sctp ADDRESS PORT COUNT`` asks that often, each time from another port, and prints a name a line; ``-`` where
no right answer came in time.

SCTP is spoken by raw sockets, because kernels without it are common: an INIT, and an INIT ACK whose state cookie is the
server's name (RFC 9260, 3.3.2). Both ends check ports, tag and checksum; one that is wrong is no answer.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address

PATIENCE = 2.0
SCTP = 132
INIT, INIT_ACK, STATE_COOKIE = 1, 2, 7
_COMMON = struct.Struct("!HHI4s")
_INIT = struct.Struct("!BBHIIHHI")


def crc32c(data: bytes) -> bytes:
    """The checksum of SCTP as it stands in a packet (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def sctp_packet(sport: int, dport: int, tag: int, chunk: int, own_tag: int, parameters: bytes = b"") -> bytes:
    """An SCTP packet with an INIT or INIT ACK chunk."""
    body = _INIT.pack(chunk, 0, _INIT.size + len(parameters), own_tag, 65536, 1, 1, 1) + parameters
    body += bytes(-len(body) % 4)
    checksum = crc32c(_COMMON.pack(sport, dport, tag, bytes(4)) + body)
    return _COMMON.pack(sport, dport, tag, checksum) + body


def sctp_parsed(packet: bytes) -> tuple[int, int, int, int, int, bytes] | None:
    """Ports, tag, kind of chunk, the sender's tag and parameters; None unless it is whole and its checksum right."""
    if len(packet) < _COMMON.size + _INIT.size:
        return None
    sport, dport, tag, checksum = _COMMON.unpack_from(packet)
    if checksum != crc32c(packet[:8] + bytes(4) + packet[12:]):
        return None
    kind, _, length, own_tag, *_ = _INIT.unpack_from(packet, _COMMON.size)
    return sport, dport, tag, kind, own_tag, packet[_COMMON.size + _INIT.size : _COMMON.size + length]


def _raw(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_RAW, SCTP)


def _received(sock: socket.socket) -> tuple[bytes, str]:
    """A packet from a raw socket without its IP header, and where it came from."""
    packet, (source, *_) = sock.recvfrom(65536)
    return (packet[(packet[0] & 15) * 4 :] if sock.family == socket.AF_INET else packet), source


def _family(address: str) -> int:
    return socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6


# --- the server -------------------------------------------------------------------------------------------------------


def serve(name: str, ports: list[int], addresses: list[str]) -> None:
    """Answer for ever."""
    with selectors.DefaultSelector() as selector:
        for address in addresses:
            raw = _raw(_family(address))
            raw.bind((address, 0))
            selector.register(raw, selectors.EVENT_READ, _answer_sctp)
            for port in ports:
                sock = socket.socket(_family(address), socket.SOCK_DGRAM)
                sock.bind((address, port))
                selector.register(sock, selectors.EVENT_READ, _answer_udp)
        print("ready", flush=True)
        while True:
            for key, _ in selector.select():
                with contextlib.suppress(OSError):
                    key.data(key.fileobj, name)


def _answer_udp(sock: socket.socket, name: str) -> None:
    data, peer = sock.recvfrom(65536)
    sock.sendto(f"{name} {len(data)}".encode(), peer)


def _answer_sctp(sock: socket.socket, name: str) -> None:
    packet, source = _received(sock)
    parsed = sctp_parsed(packet)
    if parsed is None or parsed[3] != INIT:
        return
    sport, dport, _, _, tag, _ = parsed
    cookie = struct.pack("!HH", STATE_COOKIE, 4 + len(name)) + name.encode()
    sock.sendto(sctp_packet(dport, sport, tag, INIT_ACK, 1, cookie), (source, 0))


# --- the client -------------------------------------------------------------------------------------------------------

_ports = itertools.count(20000 + os.getpid() % 20000)


def ask_udp(address: str, port: int, size: int = 100) -> str:
    """Who answers a datagram of `size` bytes."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((address, port))  # an answer from elsewhere is not heard
        try:
            sock.send(bytes(size))
            name, length = sock.recv(65536).decode().split()
        except OSError:
            return "-"
        return name if int(length) == size else "-"


def ask_sctp(address: str, port: int) -> str:
    """Who answers an INIT."""
    own, tag = next(_ports), 0x01020304
    with _raw(_family(address)) as sock:
        sock.sendto(sctp_packet(own, port, 0, INIT, tag), (address, 0))
        deadline = time.monotonic() + PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                packet, source = _received(sock)
            except OSError:
                break
            parsed = sctp_parsed(packet)
            if parsed and parsed[:4] == (port, own, tag, INIT_ACK) and ip_address(source) == ip_address(address):
                return parsed[5][4:].decode()
    return "-"


ASK: dict[str, Callable[[str, int], str]] = {"udp": ask_udp, "sctp": ask_sctp}


def main(words: list[str]) -> None:
    """See the top of the file."""
    if words[0] == "serve":
        middle = words.index("--")
        serve(words[1], [int(port) for port in words[2:middle]], words[middle + 1 :])
    _, protocol, address, port, count = words
    for _ in range(int(count)):
        print(ASK[protocol](address, int(port)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
