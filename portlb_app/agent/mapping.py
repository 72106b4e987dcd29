"""What one server answers: the static table from which every connection's ports can be told again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import TYPE_CHECKING

from portlb_app.agent.errors import AgentError

if TYPE_CHECKING:
    from portlb_app.config import Config


@dataclass(frozen=True)
class ServerMapping:
    """One server's ports at the VIP (docs/protocol.md, "The connection").

    `answers`: port a client opens on -> service port announced to it (the same port is legal).
    `applications`: service port -> port its application listens on.
    Raises AgentError if a port is out of bounds, or if an announced port leads to another application.
    """

    vip: IPv4Address
    answers: Mapping[int, int] = field(default_factory=dict)
    applications: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every port and freeze the tables."""
        for name in ("answers", "applications"):
            table = dict(getattr(self, name))
            for key, value in table.items():
                for port in (key, value):
                    if not 1 <= port <= 65535:
                        raise AgentError(f"{name} {key}={value}: a port is a number from 1 to 65535, not {port}")
            object.__setattr__(self, name, MappingProxyType(table))
        for opened, announced in self.answers.items():
            if announced not in self.applications:
                raise AgentError(f"answers {opened}={announced}: {announced} is none of this server's service ports")
            if self.application_of(opened) != self.application_of(announced):
                raise AgentError(
                    f"answers {opened}={announced}: port {opened} is answered by the application on "
                    f"{self.application_of(opened)}, service port {announced} by the one on "
                    f"{self.application_of(announced)}; both must be the same"
                )

    def application_of(self, port: int) -> int:
        """Return the port that the application behind a port of the wire listens on."""
        return self.applications.get(port, port)


def mapping_of(config: Config, name: str) -> ServerMapping:
    """Return what the server `name` of a configuration answers."""
    raise NotImplementedError
