"""`portlb agent quic-parameters`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from portlb_app.agent.commands import arguments
from portlb_app.agent.commands.register import AddCommand
from portlb_app.agent.commands.sources import add_sources, named_sources
from portlb_app.agent.errors import AgentError
from portlb_app.agent.quic import QuicPort, quic_port_of
from portlb_app.agent.source import WrongConfiguration

WRONG_INPUT = 2  # exit code
FORMATS: dict[str, Callable[[QuicPort], str]] = {
    "json": QuicPort.as_json,
    "env": QuicPort.as_environment,
    "hex": lambda port: port.encoded().hex(),
}


def register(add_command: AddCommand) -> None:
    """Add the command."""
    parser = add_command("quic-parameters", "print what a QUIC server is to announce: its own port of the VIP")
    add_sources(parser)
    parser.add_argument(
        "--port", type=arguments.port, metavar="PORT",
        help="redirect port that QUIC clients open on (default: the server's only one)",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=tuple(FORMATS), default="json",
        help="json: everything; env: the same as variables for a shell or systemd; hex: the first 24 bytes of the "
        "transport parameter preferred_address (default %(default)s)",
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    sources = list(named_sources(given).values())
    if len(sources) != 1:
        raise AgentError("say one --server NAME, and --config LB.YAML or --controller URL")
    try:
        print(FORMATS[given.format](quic_port_of(sources[0].mapping(), given.port)))
    except WrongConfiguration as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT
    return 0
