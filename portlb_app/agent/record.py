"""Reads an agent's record of its connections from its map (row D10)."""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

from portlb_app.agent.kernel.btf import Field, Types
from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.kernel.sock_diag import Tcp
from portlb_app.agent.locator import ADDRESS, LABEL, MAC, NONE
from portlb_app.agent.mapping import Address
from portlb_app.agent.versions import Version

KEY_SIZE = 36  # struct key in connection.h
_KEY = struct.Struct("!16s16sHH")
_STATES = {"OPENING": "opening", "PLAIN": "plain", "BOUND": "bound"}
_TICK = (1 << 30) / 1e9  # seconds


@dataclass(frozen=True)
class Record:
    """One connection. Ports are the programs' (`client_port`, `port`) and the wire's (`opened`: by the SYN).

    `state`: "opening", "plain" (goes on at the port it opened on), "bound" (at an announced one) or "closing";
    `name`: the locator: a service address, MAC address or label on a client, the kind of it on a server; "" if none.
    `leaving`: to be opened elsewhere; `moving`: announced to go on at `target`; `idle`: seconds, within about 8.
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


def tcp_of(connection: Record) -> Tcp:
    """Return a connection as this host's kernel knows it."""
    return Tcp(connection.vip, connection.port, connection.client, connection.client_port)


def reader(version: Version, maps: Mapping[str, Map]) -> Reader:
    """Return what reads the entries of maps that `version` reads alike."""
    return Reader(version.types, maps["connections"].fields())


class Walk:
    """One walk over the connections of a running agent's maps, each connection once.

    `cut`: it ended early, because more connections came meanwhile than the maps have room for.
    """

    def __init__(self, version: Version, maps: Mapping[str, Map]) -> None:
        """Walk over maps that `version` reads alike: half-open ones first, where they have a map of their own."""
        self._reader, self._maps = reader(version, maps), maps
        self.cut = False

    def __iter__(self) -> Iterator[Record]:
        now = time.monotonic()
        seen: set[bytes] = set()
        for key, value in self._entries():
            if key not in seen:
                seen.add(key)
                yield self._reader.read(key, value, now)

    def _entries(self) -> Iterator[tuple[bytes, bytes]]:
        if "half_open" in self._maps:
            yield from half_open_entries(self._maps["half_open"], self._reader)
        connections = self._maps["connections"]
        for number, entry in enumerate(connections.entries()):
            if number >= 2 * connections.layout.max_entries:
                self.cut = True
                return
            yield entry


def half_open_entries(half_open: Map, reader: Reader) -> Iterator[tuple[bytes, bytes]]:
    """Yield the places of a server's half-open connections that are taken: about 1 ms per 1000."""
    size = KEY_SIZE + reader.size
    for index in range(half_open.layout.max_entries):
        bucket = half_open.lookup(struct.pack("=I", index)) or b""
        for at in range(0, len(bucket) - size + 1, size):
            key, value = bucket[at : at + KEY_SIZE], bucket[at + KEY_SIZE : at + size]
            if reader.number(value, "state"):
                yield key, value


class Reader:
    """Reads entries by the names that the programs' own types give to what is in them."""

    def __init__(self, types: Types, fields: Mapping[str, Field]) -> None:
        """Take the enumerations of the object file, and where a connection's members are."""
        self._fields, self._flags = fields, types.values("flag")
        self._states = {number: name for name, number in types.values("state").items()}
        self.size = max(each.offset + each.size for each in fields.values())

    def number(self, value: bytes, name: str) -> int:
        """Return a member that is a number."""
        return int.from_bytes(self._bytes(value, name), sys.byteorder)

    def is_over(self, value: bytes) -> bool:
        """Tell whether a connection is closed: by FIN both ways, or by a reset."""
        flags, both = self.number(value, "flags"), self._flags["FIN_LOCAL"] | self._flags["FIN_REMOTE"]
        return bool(flags & self._flags["RESET_SEEN"]) or flags & both == both

    def read(self, key: bytes, value: bytes, now: float) -> Record:
        """Return the connection of an entry as of `now` (monotonic seconds)."""
        state = self._states.get(self.number(value, "state"), str(self.number(value, "state")))
        client, vip, client_port, port = _KEY.unpack(key)
        flags, wire = self.number(value, "flags"), self.number(value, "wire")
        is_set = {name: bool(flags & bit) for name, bit in self._flags.items()}
        return Record(
            client=unpack_address(client),
            client_port=client_port,
            vip=unpack_address(vip),
            port=port,
            opened=_port(self.number(value, "opened")),
            wire=_port(wire),
            name=_locator(wire >> 16, self._bytes(value, "locator")),
            client_wire=int.from_bytes(self._bytes(value, "client_port"), "big") or client_port,
            state="closing" if self.is_over(value) else _STATES.get(state, state),
            leaving=is_set["LEAVING"],
            moving=is_set["SERVER_PORT_MOVING"],
            target=_port(self.number(value, "target")),
            idle=max(0.0, now - self.number(value, "last_used") * _TICK),
        )

    def _bytes(self, value: bytes, name: str) -> bytes:
        field = self._fields[name]
        return value[field.offset : field.offset + field.size]


def _port(endpoint: int) -> int:
    """Return the port of an endpoint (locator.h)."""
    return socket.ntohs(endpoint & 0xFFFF)


def _locator(kind: int, locator: bytes) -> str:
    """Return a locator in words; a server's entries have the kind only."""
    if kind == NONE or not any(locator):
        return {NONE: "", ADDRESS: "address", MAC: "MAC address", LABEL: "label"}.get(kind, str(kind))
    if kind == ADDRESS:
        return str(unpack_address(locator))
    return locator[:6].hex(":") if kind == MAC else f"label {int.from_bytes(locator[:4], 'big'):#x}"
