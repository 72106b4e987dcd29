"""``portlb ready``: servers get new connections again."""

from __future__ import annotations

import argparse

from portlb_app.cli import wishing
from portlb_app.cli.output import Commands


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "ready",
        help=help_line,
        description=f"Give servers new connections again. {wishing.EXIT_CODES}",
    )
    wishing.add_servers(parser)
    wishing.add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Ask for it."""
    return wishing.set_state(options, "ready").code
