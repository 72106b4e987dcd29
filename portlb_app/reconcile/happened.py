"""What has happened: a state that was one thing and is another, and why. The reconciler says each change once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal[
    "health",
    "admin",
    "weight",
    "agent",
    "drain",
    "pool",
    "slots",
    "switch",
    "drift",
    "conflict",
    "port",
    "link",
    "config",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What an event can be about:

- ``health``: what is seen of a server. ``admin``, ``weight``: what is wanted of it. ``agent``: whether its agent is
  heard. ``drain``: it is drained, or not in time.
- ``pool``: ok, degraded, fail_open or empty. ``slots``: switches were read to hold others than before.
- ``switch``: absent, connected, synced or error. ``drift``: entries of a switch that something else changed. ``port``:
  a port of the configuration is not as it should be, or is again. ``conflict``: what else claims to be a switch, or to
  keep it.
- ``link``: up or down. ``config``: what became of a configuration.
"""

Evidence = Mapping[str, Any]
"""Plain values, as JSON has them."""


@dataclass(frozen=True)
class Happened:
    """A change of state. `of`: what it is about, by name; `before` and `after`: words of its kind.

    `reason`: a sentence. `evidence`: what shows it, as JSON. `change`: the change of the configuration or of an
    override that led to it; empty if none did.
    """

    kind: Kind
    of: str
    before: str | None
    after: str
    reason: str
    evidence: Evidence = field(default_factory=dict)
    change: str = ""
