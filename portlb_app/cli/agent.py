"""``portlb agent``: the host agents."""

from __future__ import annotations

import argparse

from portlb_app.agent import cli
from portlb_app.agent.errors import AgentError
from portlb_app.cli.output import Commands, Failed


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser, which has its own line of the help."""
    cli.register(commands)


def run(options: argparse.Namespace) -> int:
    """Run what the subcommand names."""
    try:
        code: int = options.run(options)
    except AgentError as error:
        raise Failed(f"portlb: {error}") from error
    return code
