"""`portlb agent mptcp`."""

from __future__ import annotations

import argparse
import functools
import sys

from portlb_app.agent.commands import arguments
from portlb_app.agent.commands.register import AddCommand
from portlb_app.agent.commands.sources import add_sources, named_sources
from portlb_app.agent.errors import AgentError
from portlb_app.agent.log_lines import add_format, log_to_stderr
from portlb_app.agent.mptcp import process
from portlb_app.agent.mptcp.announced import Announced
from portlb_app.agent.source import Source, WrongConfiguration

WRONG_INPUT = 2  # exit code


def register(add_command: AddCommand) -> None:
    """Add the command."""
    parser = add_command("mptcp", "have the kernel tell MPTCP clients this server's own port")
    add_sources(parser)
    parser.add_argument(
        "--vip", action="append", default=[], type=arguments.address, metavar="ADDRESS",
        help="without a configuration: the address served, which this host has; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=arguments.port, metavar="PORT",
        help="without a configuration: the service port at which MPTCP connections go on",
    )  # fmt: skip
    add_format(parser)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    by_hand = tuple(Announced(vip, vip, given.port) for vip in given.vip)
    named = named_sources(given)
    if bool(by_hand) == bool(named) or bool(given.vip) != (given.port is not None):
        raise AgentError(
            "say one of: --config LB.YAML --server NAME; --controller URL --server NAME; --vip ADDRESS --port PORT"
        )
    log_to_stderr(given.log_format)
    sources: dict[str, process.Source] = {name: functools.partial(told, name, its) for name, its in named.items()}
    try:
        every = next((source.every for source in named.values()), None)
        return process.serve(sources or {"": lambda: by_hand}, every)
    except WrongConfiguration as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT


def told(name: str, source: Source) -> tuple[Announced, ...]:
    """Return what clients of a server are told; AgentError if the configuration does not say."""
    found = source.mapping().mptcp
    if not found:
        raise AgentError(f"server {name} has no `mptcp` in the configuration: name one of its service ports")
    return found
