"""What a QUIC server of a VIP announces, so that its clients continue on its service port (RFC 9000, 9.6; row B2).

Its agent takes no part: programs speak QUIC, and the service port is one that they listen on.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from portlb_app.agent.errors import AgentError
from portlb_app.agent.mapping import Address, ServerMapping


@dataclass(frozen=True)
class QuicPort:
    """A redirect port that QUIC clients open on, and the service port of one server for it.

    `own`: the addresses that packets have when they reach the server, `vip`: those that clients know.
    """

    port: int
    service_port: int
    own: tuple[Address, ...]
    vip: tuple[Address, ...]

    @property
    def listen(self) -> tuple[tuple[Address, int], ...]:
        """Addresses and ports of the server's sockets: bound to these, each answers from where it was asked."""
        return tuple((address, port) for address in self.own for port in (self.port, self.service_port))

    @property
    def preferred(self) -> tuple[tuple[Address, int], ...]:
        """The preferred address: one of each IP version at most."""
        return tuple((address, self.service_port) for address in self.vip)

    def encoded(self) -> bytes:
        """Return the first 24 bytes of the transport parameter 0x0d, those that all connections share.

        They are an IPv4 address and port, an IPv6 address and port; all 0 for a version that the VIP lacks (RFC 9000,
        18.2). What follows is of one connection: a length, a connection ID and its stateless reset token (16 bytes).
        """
        fields = {4: bytes(4 + 2), 6: bytes(16 + 2)}
        for address, port in self.preferred:
            fields[address.version] = address.packed + port.to_bytes(2, "big")
        return fields[4] + fields[6]

    def as_json(self) -> str:
        """Return all of it as one JSON object."""
        return json.dumps(
            {
                "port": self.port,
                "service_port": self.service_port,
                "listen": [{"address": str(address), "port": port} for address, port in self.listen],
                "preferred_address": {
                    f"ipv{address.version}": {"address": str(address), "port": port} for address, port in self.preferred
                },
                "encoded": self.encoded().hex(),
            },
            indent=2,
        )

    def as_environment(self) -> str:
        """Return it as lines that a shell and systemd's `EnvironmentFile` read."""
        return "\n".join(f"{name}={shlex.quote(value)}" for name, value in self._variables())

    def _variables(self) -> Iterator[tuple[str, str]]:
        yield "QUIC_LISTEN", " ".join(_with_port(*each) for each in self.listen)
        for address, port in self.preferred:
            yield f"QUIC_PREFERRED_IPV{address.version}", _with_port(address, port)
        yield "QUIC_PREFERRED_ENCODED", self.encoded().hex()


def _with_port(address: Address, port: int) -> str:
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def quic_port_of(mapping: ServerMapping, port: int | None = None) -> QuicPort:
    """Return what a server announces to clients that open on a redirect port, its only one if None.

    AgentError if it has no other service port for the redirect port, or if it has several and none is chosen.
    """
    found = {opened: service for opened, service in mapping.announced_ports.items() if opened != service}
    if port is None and len(found) == 1:
        (port,) = found
    if port is None or port not in found:
        ports = ", ".join(map(str, sorted(found))) or "none"
        raise AgentError(f"say --port: redirect ports for which the server has a service port of its own: {ports}")
    return QuicPort(port, found[port], mapping.vips, mapping.known_as)
