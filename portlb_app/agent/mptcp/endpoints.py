"""MPTCP endpoints and limits of this network namespace, as `ip mptcp` tells and changes them (ip-mptcp(8))."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from portlb_app.agent.errors import AgentError
from portlb_app.agent.mptcp import programs

_FLAGS = ("signal", "subflow", "backup", "fullmesh", "implicit")
_LIMITS = re.compile(r"\badd_addr_accepted\W{1,4}\d{1,3}\W{1,4}subflows\W{1,4}(\d{1,3})\b")
_MOST = 256  # as many as there are ids


class Endpoint(NamedTuple):
    """An endpoint; `port` 0: none. `id` is the kernel's number for it, 1 to 255."""

    id: int
    address: IPv4Address | IPv6Address
    port: int
    flags: frozenset[str]


def parse_endpoints(text: str) -> list[Endpoint]:
    """Return the endpoints in the output of `ip -j mptcp endpoint show`; AgentError if it is something else."""
    try:
        told = json.loads(text or "[]")
        return [_endpoint(each) for each in told[:_MOST]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise AgentError(f"'ip mptcp endpoint show' tells something that cannot be read: {error}") from error


def _endpoint(told: dict[str, object]) -> Endpoint:
    number, port = told["id"], told.get("port", 0)
    if not isinstance(number, int) or not 0 < number < _MOST:
        raise ValueError(f"id {number!r}")
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(f"port {port!r}")
    flags = frozenset(flag for flag in _FLAGS if told.get(flag))
    return Endpoint(number, ip_address(str(told["address"])), port, flags)


def parse_subflows(text: str) -> int:
    """Return how many subflows more a connection may have, by `ip mptcp limits show`; AgentError if it does not say."""
    found = _LIMITS.search(text)
    if found is None:
        raise AgentError("'ip mptcp limits show' tells something that cannot be read")
    return int(found[1])


def endpoints() -> list[Endpoint]:
    """Ask the kernel; AgentError if it does not tell."""
    return parse_endpoints(_ip("-j", "mptcp", "endpoint", "show"))


def subflows() -> int:
    """Ask the kernel for the limit; AgentError if it does not tell."""
    return parse_subflows(_ip("mptcp", "limits", "show"))


def announce(address: IPv4Address | IPv6Address, port: int) -> None:
    """Have the kernel listen at an address and port, and tell each client of them; ProgramError if it does not."""
    _ip("mptcp", "endpoint", "add", str(address), "port", str(port), "signal")


def add_backup(address: IPv4Address | IPv6Address) -> None:
    """Have subflows to an address carry data only if no other can (RFC 8684, 3.3.8)."""
    _ip("mptcp", "endpoint", "add", str(address), "backup")


def set_backup(endpoint: Endpoint, backup: bool) -> None:
    """The same for an address that is an endpoint already, or no longer."""
    _ip("mptcp", "endpoint", "change", "id", str(endpoint.id), "backup" if backup else "nobackup")


def delete(endpoint: Endpoint) -> None:
    """Delete an endpoint; the kernel closes the subflows at its address and port."""
    _ip("mptcp", "endpoint", "delete", "id", str(endpoint.id))


def set_subflows(number: int) -> None:
    """Set the limit."""
    _ip("mptcp", "limits", "set", "subflows", str(number))


def on_loopback(address: IPv4Address | IPv6Address, words: Sequence[str]) -> None:
    """Add or delete an address of `lo`."""
    _ip("address", *words, f"{address}/{address.max_prefixlen}", "dev", "lo")


def _ip(*words: str) -> str:
    return programs.run("ip", *words)
