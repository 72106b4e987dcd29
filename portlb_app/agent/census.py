"""Counts this host's open connections to its VIPs, by the port on the wire.

From two places: the kernel's sockets of this network namespace, which plain connections have, too; and the agent's
entries, which know the port on the wire, and connections whose programs are in other network namespaces.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from portlb_app.agent import server
from portlb_app.agent.kernel import sock_diag
from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.kernel.sock_diag import Tcp
from portlb_app.agent.mapping import Address
from portlb_app.agent.record import pack_address, reader, unpack_address
from portlb_app.agent.versions import this_version

_KEY = struct.Struct("!16s16sHH")  # struct key in connection.h


@dataclass(frozen=True)
class Counted:
    """Open connections in all and by the port on the wire; `new`: those of them that were not there before."""

    open: int = 0
    by_port: dict[int, int] = field(default_factory=dict)
    new: int = 0


class Census:
    """Counts again and again."""

    def __init__(self) -> None:
        self._served: set[int] = set()
        """Ports on which a program has listened here. It may have stopped listening, and go on with its connections."""
        self._known: set[bytes] = set()

    def count(self, connections: Map, settings: bytes, vips: Collection[Address]) -> Counted:
        """Count the connections to `vips`; OSError if the kernel does not tell.

        `connections`: the agent's entries; `settings`: its constants. Connections that this host has opened itself do
        not count: no program listens at their port.
        """
        ours = {pack_address(vip) for vip in vips}
        wires, elsewhere = _entries(connections)
        known = self._served | server.applications(settings)
        found: dict[bytes, int] = {}
        sockets = list(sock_diag.listing())
        known |= {each.local_port for each in sockets if each.state == sock_diag.LISTEN}
        for each in sockets:
            if each.state != sock_diag.LISTEN and each.local in ours and each.local_port in known:
                key = _KEY.pack(each.remote, each.local, each.remote_port, each.local_port)
                found[key] = wires.get(key, each.local_port)
        for key in elsewhere - found.keys():
            found[key] = wires[key]
        self._served = known
        new, self._known = len(found.keys() - self._known), set(found)
        return Counted(len(found), dict(Counter(found.values())), new)

    def connections(self) -> list[Tcp]:
        """Return those that were there at the last count."""
        ends = map(_KEY.unpack, self._known)
        return [Tcp(unpack_address(vip), port, unpack_address(its), its_port) for its, vip, its_port, port in ends]


def _entries(connections: Map) -> tuple[dict[bytes, int], set[bytes]]:
    """The port on the wire of each open connection that the agent knows, and those whose sockets are elsewhere."""
    version = this_version()
    read, flags = reader(version, {"connections": connections}), version.types.values("flag")
    wires, elsewhere = {}, set()
    for key, value in _once(connections):
        if not read.is_over(value):
            wires[key] = _port(read.number(value, "wire"))
            if read.number(value, "flags") & flags["SOCKET_ELSEWHERE"]:
                elsewhere.add(key)
    return wires, elsewhere


def _once(connections: Map) -> Iterator[tuple[bytes, bytes]]:
    """One walk, however many connections come meanwhile."""
    for number, entry in enumerate(connections.entries()):
        if number >= 2 * connections.layout.max_entries:
            return
        yield entry


def _port(endpoint: int) -> int:
    """The port of an endpoint (locator.h)."""
    return socket.ntohs(endpoint & 0xFFFF)
