"""Who asks, and what role that has."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Role(enum.IntEnum):
    """Roles; each may do what those before it may."""

    AGENT = 0
    """To be told the configuration, and about its own servers."""
    READ = 1
    """To be told."""
    OPERATOR = 2
    """Also states and weights of servers, and to have switches read."""
    ADMIN = 3
    """Also the configuration, and everything of Ryu's other applications."""


@dataclass(frozen=True)
class Identity:
    """The one who asks. `name`: "uid 1000" by a Unix socket, else that of the token or certificate; empty if nothing
    says who it is. `servers`: those that an agent is of.
    """

    name: str
    role: Role
    servers: frozenset[str] = frozenset()


UNKNOWN = Identity("", Role.ADMIN)
"""Any program of this machine, where loopback is asked without a login."""
