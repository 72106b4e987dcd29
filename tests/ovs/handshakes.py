"""Clients of TLS that say a part of what they have to say, and go."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from typing import Literal

Way = Literal["close", "reset", "shutdown", "silence"]
WAYS: tuple[Way, ...] = ("close", "reset", "shutdown", "silence")
"""How a client goes: by FIN, by RST, by FIN while it still reads, or not at all."""


class CutHandshake:
    """A client that sends so many bytes of a handshake and the request behind it, and then goes in this way."""

    def __init__(self, port: int, context: ssl.SSLContext, request: bytes, most: int, way: Way) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")
        self._left, self._way = most, way
        self._request = request
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)

    def step(self) -> bool:
        """Say what is to be said now, and hear what comes to it; False when it has gone."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            self._tls.write(self._request)
            self._request = b""
        data = self._out.read()
        said = data[: self._left]
        self._left -= len(said)
        try:
            self._socket.sendall(said)
            if len(said) < len(data) or not self._request:
                return self._go()
            heard = self._socket.recv(1 << 16)
        except OSError:  # it is the server that has gone
            heard = b""
        self._in.write(heard)
        return bool(heard) or self._go()

    def _go(self) -> bool:
        if self._way == "reset":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self._way == "shutdown":
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
        if self._way in ("reset", "close"):
            self._socket.close()
        return False

    def close(self) -> None:
        """It is over."""
        self._socket.close()
