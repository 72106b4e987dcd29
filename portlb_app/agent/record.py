"""The record an agent keeps of its connections (row D10), read from its map."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

from portlb_app.agent import libbpf
from portlb_app.agent.mapping import Address
from portlb_app.agent.naming import ADDRESS, LABEL, MAC, NONE

KEY_SIZE = 36  # struct key in maps.h
VALUE_SIZE = 76  # struct connection in maps.h
BUCKET_SIZE = 4  # places in an element of half_open in server.h
_VALUE = struct.Struct("=9I4I16s2s2x2xBx")
_STATES = {1: "opening", 2: "plain", 3: "bound"}
_FIN_LOCAL, _FIN_REMOTE, _DOUBTFUL, _MOVING, _LEAVING = 1 << 4, 1 << 5, 1 << 6, 1 << 10, 1 << 11
_TICK = (1 << 30) / 1e9  # seconds


@dataclass(frozen=True)
class Record:
    """One connection. Ports are the programs' (`client_port`, `port`) and the wire's (`opened`: by the SYN).

    `state`: "opening", "plain" (goes on at the port it opened on), "bound" (at an announced one) or "closing";
    `name`: what names the server on the wire beside its port: a service address, MAC address or label on a client,
    which of them on a server; "" if nothing does.
    `leaving`: told to open again elsewhere; `moving`: told to go on at `target`; `idle`: seconds, to about 8.
    """

    client: Address
    client_port: int
    vip: Address
    port: int
    opened: int
    wire: int
    name: str
    client_wire: int
    state: str
    leaving: bool
    moving: bool
    target: int
    idle: float


def pack_address(address: Address) -> bytes:
    """Return `struct address`: 16 bytes, an IPv4 address mapped (RFC 4291, 2.5.5.2)."""
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


def unpack_address(data: bytes) -> Address:
    """Return the address in 16 bytes."""
    address = IPv6Address(data)
    return address.ipv4_mapped or address


def connections(fd: int) -> Iterator[Record]:
    """Yield every connection in the map behind `fd`; one that changes meanwhile may be missed, or come twice."""
    now = time.monotonic()
    for key in libbpf.keys(fd, KEY_SIZE):
        value = libbpf.lookup(fd, key, VALUE_SIZE)
        if value is not None:
            yield parse(key, value, now)


def half_open(fd: int) -> Iterator[Record]:
    """Yield every half-open connection of a server, likewise."""
    now = time.monotonic()
    for key, value in half_open_entries(fd):
        yield parse(key, value, now)


def half_open_entries(fd: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the places of the map behind `fd` that are taken: about 1 ms per 1000."""
    _, layout = libbpf.map_info(fd)
    size = KEY_SIZE + VALUE_SIZE
    for index in range(layout.max_entries):
        bucket = libbpf.lookup(fd, struct.pack("=I", index), layout.value_size) or b""
        for at in range(0, len(bucket) - size + 1, size):
            key, value = bucket[at : at + KEY_SIZE], bucket[at + KEY_SIZE : at + size]
            if _VALUE.unpack(value)[-1]:
                yield key, value


def parse(key: bytes, value: bytes, now: float) -> Record:
    """Return the connection of an entry as of `now` (monotonic seconds)."""
    seen, _, _, _, _, _, _, _, flags, opened, wire, _, target, name, packed_port, state = _VALUE.unpack(value)
    client_wire = int.from_bytes(packed_port, "big")
    client_port, port = struct.unpack_from("!HH", key, 32)
    over = flags & _DOUBTFUL or flags & _FIN_LOCAL and flags & _FIN_REMOTE
    return Record(
        client=unpack_address(key[:16]),
        client_port=client_port,
        vip=unpack_address(key[16:32]),
        port=port,
        opened=_port(opened),
        wire=_port(wire),
        name=_name(wire >> 16, name),
        client_wire=client_wire or client_port,
        state="closing" if over else _STATES.get(state, str(state)),
        leaving=bool(flags & _LEAVING),
        moving=bool(flags & _MOVING),
        target=_port(target),
        idle=max(0.0, now - seen * _TICK),
    )


def _port(spot: int) -> int:
    """Return the port of a spot (naming.h)."""
    return socket.ntohs(spot & 0xFFFF)


def _name(naming: int, name: bytes) -> str:
    """Return the name of a spot: a server's own names are not in its entries."""
    if naming == NONE or not any(name):
        return {NONE: "", ADDRESS: "address", MAC: "MAC address", LABEL: "label"}.get(naming, str(naming))
    if naming == ADDRESS:
        return str(unpack_address(name))
    return name[:6].hex(":") if naming == MAC else f"label {int.from_bytes(name[:4], 'big'):#x}"
