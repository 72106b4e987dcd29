"""`portlb agent redirect`."""

from __future__ import annotations

import argparse

from portlb_app.agent import redirect
from portlb_app.agent.announcer import How
from portlb_app.agent.commands import arguments
from portlb_app.agent.commands.register import AddCommand


def register(add_command: AddCommand) -> None:
    """Add the command."""
    parser = add_command("redirect", "on a server: tell clients to go on at another port of the VIP")
    parser.add_argument(
        "--from", dest="selection", required=True, metavar="WHICH",
        help="the connections: ADDRESS[:PORT] of a client ([IPV6]:PORT), or :PORT of this server",
    )  # fmt: skip
    parser.add_argument(
        "--to", required=True, type=arguments.port, metavar="PORT", help="service port or redirect port"
    )  # fmt: skip
    how = parser.add_mutually_exclusive_group()
    for name, value, text in (
        ("--close", How.CLOSE, "the client closes by FIN once the connection is quiet, and opens anew (default)"),
        ("--reset", How.RESET, "the client resets at once, and opens anew"),
        ("--in-place", How.IN_PLACE, "the connection goes on; to a service port of this server only"),
    ):
        how.add_argument(name, dest="how", action="store_const", const=value, help=text)
    arguments.add_timeout(parser, "; a connection that has not followed is then reset, or in place stays as it is")
    parser.set_defaults(run=_run, how=How.CLOSE)


def _run(given: argparse.Namespace) -> int:
    wanted = redirect.selection(given.selection)
    return report(redirect.redirect(given.interface, wanted, given.to, given.how, given.timeout))


def report(outcome: redirect.Outcome) -> int:
    """Print an outcome; return the exit code."""
    print(outcome)
    return 0 if outcome.complete else 1
