"""The ``portlb`` command. Exit codes: 0 done, 1 it could not be done, 2 the input is wrong."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from portlb_app import __version__
from portlb_app.agent import cli as agent_cli
from portlb_app.agent.errors import AgentError

if TYPE_CHECKING:
    from portlb_app.config import Config

WRONG_INPUT = 2


class _WrongInput(Exception):
    """The input is wrong; the message says all that is."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is returned, and errors are printed to standard error."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    options, rest = parser.parse_known_args(words)
    if options.run is not _controller and rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    try:
        code: int = options.run(options)
    except _WrongInput as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT
    except (AgentError, OSError, UnicodeDecodeError) as error:
        print(f"portlb: {error}", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="portlb", description="A stateless layer-4 load balancer for Open vSwitch.")
    parser.add_argument("--version", action="version", version=f"portlb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser("check", help="report every mistake in a configuration, each with its path")
    check.add_argument("config", type=Path, metavar="lb.yaml")
    check.set_defaults(run=_check)

    tables = commands.add_parser("compile", help="write the tables of every switch as ovs-ofctl text")
    tables.add_argument("config", type=Path, metavar="lb.yaml")
    tables.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    tables.set_defaults(run=_compile)

    controller = commands.add_parser(
        "controller",
        help="run the OpenFlow controller and its REST interface",
        epilog="Other flags are ryu-manager's and pass through, such as --ofp-tcp-listen-port and --wsapi-port.",
    )
    controller.add_argument("config", type=Path, metavar="lb.yaml")
    controller.set_defaults(run=_controller)

    agent_cli.register(commands)
    return parser


def _load(path: Path) -> Config:
    from portlb_app.config import ConfigError, load  # not on hosts that only run agents: it takes a while

    try:
        return load(path.read_text(encoding="utf-8"))
    except ConfigError as error:
        raise _WrongInput(error) from error


def _check(options: argparse.Namespace) -> int:
    config = _load(options.config)
    print(
        f"{options.config}: no mistakes; VIPs: {len(config.vips)}, servers: {len(config.servers)}, "
        f"switches: {len(config.switches)}"
    )
    return 0


def _compile(options: argparse.Namespace) -> int:
    from portlb_app.compiler import compile, flows_text, groups_text, meters_text

    states = compile(_load(options.config))
    options.output.mkdir(parents=True, exist_ok=True)
    for name, state in states.items():
        (options.output / f"{name}.meters").write_text(meters_text(name, state), encoding="utf-8")
        (options.output / f"{name}.groups").write_text(groups_text(name, state), encoding="utf-8")
        (options.output / f"{name}.flows").write_text(flows_text(name, state), encoding="utf-8")
        print(f"{name}: {len(state.flows)} flows, {len(state.groups)} groups, {len(state.meters)} meters")
    return 0


def _controller(options: argparse.Namespace) -> int:
    from portlb_app.config import ConfigError
    from portlb_app.launcher import run  # imports Ryu, which patches the standard library

    try:
        return run(options.config, options.rest)
    except ConfigError as error:
        raise _WrongInput(error) from error


if __name__ == "__main__":
    sys.exit(main())
