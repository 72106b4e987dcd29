"""Service ports that the configuration does not give a server any more, and that its agent may still announce."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from portlb_app.config import Config, ServicePort

Leaving = frozenset[tuple[str, ServicePort]]
"""By the server's name."""
NOTHING: Leaving = frozenset()


def with_leaving(config: Config, leaving: Collection[tuple[str, ServicePort]]) -> Config:
    """The configuration whose tables still forward these ports to these servers, whoever is to have them next."""
    if not leaving:
        return config
    by_server: dict[str, list[ServicePort]] = {}
    lent: dict[str, set[int]] = {}
    for name, port in sorted(leaving):
        if (server := config.server_by_name.get(name)) is not None:
            by_server.setdefault(name, []).append(port)
            lent.setdefault(server.vip, set()).add(port.port)
    servers = []
    for server in config.servers:
        gone = lent.get(server.vip, set())
        own = tuple(port for port in server.service_ports if port.port not in gone)
        servers.append(replace(server, service_ports=(*own, *by_server.get(server.name, ()))) if gone else server)
    return replace(config, servers=tuple(servers))
