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
    """Return what the server `name` of a configuration answers.

    It announces, for a redirect port, its first service port whose application listens there. Being in the port's
    pool or not makes no difference: the load balancer decides who is asked, and a pool can change before the agent
    hears of it. A service port that is a redirect port too is announced only where plain packets to it reach its owner.
    """
    from portlb_app.config import Legacy

    server = config.server_by_name.get(name)
    if server is None:
        raise AgentError(f"there is no server {name} in the configuration; it has {', '.join(config.server_by_name)}")
    vip = next(vip for vip in config.vips if vip.name == server.vip)
    legacy = {pool.port: pool.legacy for pool in vip.redirect_ports}
    answers: dict[int, int] = {}
    for owned in server.service_ports:
        if owned.application in legacy and legacy.get(owned.port, Legacy.OWNER) is Legacy.OWNER:
            answers.setdefault(owned.application, owned.port)
    return ServerMapping(vip.address, answers, {owned.port: owned.application for owned in server.service_ports})
