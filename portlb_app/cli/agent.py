"""``portlb agent``: the one subcommand that needs libbpf."""

from __future__ import annotations

import argparse

from portlb_app.agent.errors import AgentError
from portlb_app.cli.output import Commands, Failed


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser; Failed if libbpf is missing."""
    try:
        from portlb_app.agent import cli
    except OSError as error:
        raise Failed(f"portlb agent: a library is missing: {error} (Debian's package libbpf1)") from error
    cli.register(commands)


def run(options: argparse.Namespace) -> int:
    """Run what the subcommand names."""
    try:
        code: int = options.run(options)
    except AgentError as error:
        raise Failed(f"portlb: {error}") from error
    return code
