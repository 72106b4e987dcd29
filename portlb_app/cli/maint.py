"""``portlb maint``: servers get nothing from clients, at their service ports either."""

from __future__ import annotations

import argparse

from portlb_app.cli import wishing
from portlb_app.cli.output import Commands


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "maint",
        help=help_line,
        description="Take servers out of service: no new connections, and no service ports. A server that is not "
        f"drained needs --force, which ends its open connections. {wishing.EXIT_CODES}",
    )
    wishing.add_servers(parser)
    wishing.add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Ask for it."""
    return wishing.set_state(options, "maint").code
