"""HTTP/3 client of aioquic: ``.venv/quic/bin/python tests/net/quic_client.py ADDRESS PORT PATH``.

It prints as JSON, for each connection that it made, the SHA-256 and the size of what it got, the error if there was
one, the server's name, and its port at the end. It is a stock client: what it does about a preferred address is
aioquic's own.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import ssl
from typing import Any

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, QuicEvent

WINDOW = 8 << 20  # bytes


class Client(QuicConnectionProtocol):
    """One connection, and one request."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self._http: H3Connection | None = None
        self._digest = hashlib.sha256()
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._server = ""
        self._size = 0

    async def get(self, authority: str, path: str) -> dict[str, Any]:
        """Ask for a file, and read it to its end or the connection's."""
        assert self._http is not None
        names = {":method": "GET", ":scheme": "https", ":authority": authority, ":path": path}
        headers = [(name.encode(), value.encode()) for name, value in names.items()]
        self._http.send_headers(self._quic.get_next_available_stream_id(), headers, end_stream=True)
        self.transmit()
        error = await self._over
        port = self._quic._network_paths[0].addr[1]
        got = {"digest": self._digest.hexdigest(), "size": self._size, "error": error}
        return got | {"server": self._server, "port": port}

    def quic_event_received(self, event: QuicEvent) -> None:
        """Take what has come."""
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        if isinstance(event, ConnectionTerminated):
            self._end(event.reason_phrase or hex(event.error_code))
        for each in self._http.handle_event(event) if self._http else ():
            if isinstance(each, HeadersReceived):
                self._server = dict(each.headers).get(b"x-server", b"").decode()
            elif isinstance(each, DataReceived):
                self._digest.update(each.data)
                self._size += len(each.data)
                if each.stream_ended:
                    self._end("")

    def _end(self, error: str) -> None:
        if not self._over.done():
            self._over.set_result(error)


async def fetch(options: argparse.Namespace) -> dict[str, Any]:
    """What became of one request."""
    configuration = QuicConfiguration(is_client=True, verify_mode=ssl.CERT_NONE, idle_timeout=options.silence)
    configuration.max_data = configuration.max_stream_data = WINDOW
    configuration.alpn_protocols = [*H3_ALPN, *(f"none-{number:04}" for number in range(options.names))]
    try:
        async with connect(options.address, options.port, configuration=configuration, create_protocol=Client) as one:
            return await one.get(options.address, options.path)
    except ConnectionError as error:
        return {"digest": "", "size": 0, "error": repr(error), "server": "", "port": 0}


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--silence", type=float, required=True, help="seconds until it gives up")
    parser.add_argument("--names", type=int, default=0, help="further protocols it offers, ten bytes each")
    parser.add_argument("--times", type=int, default=1, help="connections, one after the other")
    options = parser.parse_args()
    print(json.dumps([asyncio.run(fetch(options)) for _ in range(options.times)]))


if __name__ == "__main__":
    main()
