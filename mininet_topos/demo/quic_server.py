"""HTTP/3 server whose clients continue on its own service port: an example, for portlb's demos and tests.

``portlb agent quic-parameters --config lb.yaml --server a --port 443 |
.venv/quic/bin/python mininet_topos/demo/quic_server.py a CERTIFICATE KEY DIRECTORY``

It reads its ports from standard input, serves the files of a directory (as ``x-server`` it says its name), prints
"ready", and at SIGTERM ends and prints as JSON what it has counted (`Counters`).

Any QUIC server needs three things for that, and aioquic 1.7 has options for none:

- It listens on both ports. Each socket is bound to the address that packets arrive at, so answers leave from the
  port that the client has sent to.
- A path is both addresses (RFC 9000, section 9). aioquic knows the client's only, and a client that moves keeps its
  own. So addresses have one more item here, the local port: the move is a new path, and is validated.
- It announces ``preferred_address`` (9.6, 18.2), whose connection ID has the number 1.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import sys
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.buffer import Buffer
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionId
from aioquic.quic.events import ConnectionIdIssued, HandshakeCompleted, ProtocolNegotiated, QuicEvent
from aioquic.quic.packet import (
    QuicPreferredAddress,
    pull_quic_transport_parameters,
    push_quic_transport_parameters,
)

MAX_FILE = 64 << 20  # bytes: an answer is kept in memory
ROOM = 2048  # bytes of transport parameters
Address = tuple[Any, ...]
"""Of a client as the socket has it, and then the local port that it has sent to."""


@dataclasses.dataclass
class Counters:
    """What has become of the connections of this server."""

    handshakes: int = 0
    moved: int = 0
    """Connections whose client has gone to the announced port, and was found to be there."""
    rebound: int = 0
    """Clients that came to the announced port from another address or port, and were found to be there."""


class Sockets:
    """All sockets of the server as one transport of asyncio: an address says by which one to send."""

    def __init__(self) -> None:
        """Without any."""
        self._sockets: dict[int, asyncio.DatagramTransport] = {}

    async def listen(self, host: str, port: int, server: QuicServer) -> None:
        """Add a socket; OSError if its address cannot be had."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Socket(server, port), local_addr=(host, port))
        self._sockets[port, ip_address(host).version] = transport

    def sendto(self, data: bytes, address: Address) -> None:
        """Send a datagram to a client, from the port it has sent to."""
        *peer, port = address
        self._sockets[port, ip_address(peer[0]).version].sendto(data, tuple(peer))

    def close(self) -> None:
        """Close all."""
        for transport in self._sockets.values():
            transport.close()


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, server: QuicServer, port: int) -> None:
        self._server, self._port = server, port

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Hand a datagram on, with the port it has come to."""
        self._server.datagram_received(data, (*addr, self._port))


def announce(connection: QuicConnection, ipv4: tuple[str, int] | None, ipv6: tuple[str, int] | None) -> None:
    """Have a new connection of a server announce its preferred address."""
    number_1 = QuicConnectionId(
        cid=os.urandom(8), sequence_number=1, stateless_reset_token=os.urandom(16), was_sent=True
    )
    connection._host_cids.append(number_1)
    connection._host_cid_seq = 2
    connection._events.append(ConnectionIdIssued(connection_id=number_1.cid))
    address = QuicPreferredAddress(ipv4, ipv6, number_1.cid, number_1.stateless_reset_token)
    of_library = connection._serialize_transport_parameters

    def with_address() -> bytes:
        parameters = pull_quic_transport_parameters(Buffer(data=of_library()))
        parameters.preferred_address = address
        buffer = Buffer(capacity=ROOM)
        push_quic_transport_parameters(buffer, parameters)
        return buffer.data

    connection._serialize_transport_parameters = with_address


def _address_and_port(given: dict[str, Any] | None) -> tuple[str, int] | None:
    return None if given is None else (given["address"], given["port"])


class Connection(QuicConnectionProtocol):
    """One client's requests."""

    def __init__(
        self, quic: QuicConnection, stream_handler: object, *, name: str, files: Path, ports: dict[str, Any],
        counters: Counters,
    ) -> None:  # fmt: skip
        super().__init__(quic)
        self._name, self._files, self._counters = name, files, counters
        self._http: H3Connection | None = None
        self._service_port = ports["service_port"]
        self._at: Address | None = None
        announce(quic, *(_address_and_port(ports["preferred_address"].get(key)) for key in ("ipv4", "ipv6")))

    def transmit(self) -> None:
        """Send what is to be sent, to clients without connection IDs (browsers) also on paths that they try."""
        nameless = [] if self._quic._peer_cid.cid else self._quic._network_paths[1:]
        for path in nameless:
            path.peer_cid = self._quic._peer_cid
        super().transmit()
        for path in nameless:
            path.peer_cid = None

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Take a datagram, and see whether it has moved the connection."""
        super().datagram_received(data, addr)
        path = self._quic._network_paths[0] if self._quic._network_paths else None
        if path is None or not path.is_validated or path.addr == self._at or path.addr[-1] != self._service_port:
            return
        if self._at is None:
            self._counters.moved += 1
        else:
            self._counters.rebound += 1
        self._at = path.addr

    def quic_event_received(self, event: QuicEvent) -> None:
        """Answer requests."""
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        if isinstance(event, HandshakeCompleted):
            self._counters.handshakes += 1
        if self._http is not None:
            for each in self._http.handle_event(event):
                if isinstance(each, HeadersReceived):
                    self._answer(self._http, each)

    def _answer(self, http: H3Connection, request: HeadersReceived) -> None:
        path = next((value for name, value in request.headers if name == b":path"), b"/").decode("ascii", "replace")
        file = self._files / Path(path).name
        found = file.is_file() and file.stat().st_size <= MAX_FILE
        body = file.read_bytes() if found else b""
        headers = [(b":status", b"200" if found else b"404"), (b"x-server", self._name.encode())]
        http.send_headers(request.stream_id, [*headers, (b"content-length", str(len(body)).encode())])
        http.send_data(request.stream_id, body, end_stream=True)


async def serve(options: argparse.Namespace, ports: dict[str, Any]) -> Counters:
    """Serve until SIGTERM; what was counted."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(options.certificate, options.key)
    counters, sockets, over = Counters(), Sockets(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    made = partial(Connection, name=options.name, files=options.directory, ports=ports, counters=counters)
    server = QuicServer(configuration=configuration, create_protocol=made)
    server.connection_made(sockets)
    for each in ports["listen"]:
        await sockets.listen(each["address"], each["port"], server)
    print("ready", flush=True)
    await over.wait()
    server.close()
    return counters


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("certificate", type=Path)
    parser.add_argument("key", type=Path)
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    print(json.dumps(dataclasses.asdict(asyncio.run(serve(options, json.load(sys.stdin))))))


if __name__ == "__main__":
    main()
