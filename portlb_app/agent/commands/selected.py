"""The agents of an interface that a command is about."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator

from portlb_app.agent.errors import AgentError
from portlb_app.agent.hooks import ROLES
from portlb_app.agent.running import Running, words

Found = list[tuple[str, Running]]
"""Agents with their roles."""


def add_role(parser: argparse.ArgumentParser) -> None:
    """Add --role."""
    parser.add_argument("--role", choices=ROLES, help="only the agent of this role (default: both roles)")


def by_role(found: Found) -> list[tuple[str, Found]]:
    """Group agents by role."""
    return [(role, list(its)) for role, its in itertools.groupby(found, lambda each: each[0])]


def titled(interface: str, found: Found) -> Iterator[tuple[str, str, Running]]:
    """Yield each agent with its role, and words that tell it from the others."""
    for role, its in by_role(found):
        for _, each in its:
            which = f" for {words(each.vips)}" if len(its) > 1 else ""
            yield f"{role} agent on {interface}{which}", role, each


def chosen(given: argparse.Namespace, found: Found) -> Found:
    """Return the agents of the given role; AgentError if none is attached."""
    selected = [(role, each) for role, each in found if given.role in (None, role)]
    if not selected:
        raise AgentError(f"no {given.role} agent is attached to {given.interface} in this network namespace")
    return selected
