"""What a configuration without mistakes gives reason to say: it is allowed, but may not be what is wanted.

`portlb check` prints notices, and the controller logs them when a configuration becomes live; neither refuses anything.
"""

from __future__ import annotations

from portlb_app.config import health
from portlb_app.config.entries import ServerEntry
from portlb_app.config.file import File
from portlb_app.config.policies import Wanted

EPHEMERAL = range(32768, 61000)
"""Where Linux takes the ports of outgoing connections by default (ip-sysctl, ``ip_local_port_range``)."""


def add(file: File) -> None:
    """Add to the notices of a file; it has no problems."""
    _check_ports(file)
    _check_pins(file)
    _check_ready(file)
    health.notices(file)


def _check_ports(file: File) -> None:
    """A server's own connection from such a port is taken for an answer of the service that has it."""
    for name in file.vips:
        for port in file.redirect_ports[name]:
            _check_port(file, f"vips.{name}.redirect_ports.{port}", port)
    for name in file.servers:
        for position, entry in file.service_ports[name].items():
            if entry.port is not None:
                _check_port(file, f"servers.{name}.service_ports[{position}]", entry.port)


def _check_port(file: File, path: str, port: int) -> None:
    if port in EPHEMERAL:
        file.notice(
            path,
            f"{port} is one of the ports {EPHEMERAL[0]} to {EPHEMERAL[-1]} that Linux chooses from for connections of "
            "its own, and those fail on this one: reserve it on the servers (net.ipv4.ip_local_reserved_ports)",
        )


def _check_pins(file: File) -> None:
    """What ``pin`` once set is conntrack's to say now."""
    for name in file.vips:
        for port, pool in file.redirect_ports[name].items():
            if pool.pin is not None:
                file.notice(
                    f"vips.{name}.redirect_ports.{port}.pin",
                    "has no effect any more: Open vSwitch's conntrack remembers, and has limits and times of its own "
                    "(docs/config.md, legacy)",
                )


def _check_ready(file: File) -> None:
    """A pool whose servers all drain delivers nothing."""
    for name in file.vips:
        for port, pool in file.redirect_ports[name].items():
            servers = pool.servers or []
            if servers and not any(_is_ready(file.servers[server]) for server in servers):
                path = f"vips.{name}.redirect_ports.{port}.servers"
                file.notice(path, "none of them is ready and has a weight, so new connections get no server")


def _is_ready(entry: ServerEntry) -> bool:
    return entry.state in (None, Wanted.READY) and entry.weight != 0
