"""`portlb agent move`."""

from __future__ import annotations

import argparse

from portlb_app.agent import redirect
from portlb_app.agent.commands import arguments
from portlb_app.agent.commands.redirect import report
from portlb_app.agent.commands.register import AddCommand


def register(add_command: AddCommand) -> None:
    """Add the command."""
    parser = add_command("move", "on a client: go on from another local port, in place")
    parser.add_argument(
        "--local-port", required=True, type=arguments.port, metavar="PORT", help="local port of the connections"
    )  # fmt: skip
    parser.add_argument(
        "--to", required=True, type=arguments.port, metavar="PORT", help="a port that programs do not get"
    )  # fmt: skip
    arguments.add_timeout(parser, "")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    return report(redirect.move(given.interface, given.local_port, given.to, given.timeout))
