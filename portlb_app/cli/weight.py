"""``portlb weight``: a server's share of new connections."""

from __future__ import annotations

import argparse

from portlb_app.cli import wishing
from portlb_app.cli.output import Commands, WrongInput
from portlb_app.cli.rest_client import controller_of
from portlb_app.config.values import MAX_WEIGHT


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "weight",
        help=help_line,
        description=f"Give a server another share of new connections than lb.yaml says. {wishing.EXIT_CODES}",
    )
    parser.add_argument("name", metavar="NAME", help="a server")
    parser.add_argument("weight", nargs="?", type=_weight, metavar="N", help=f"0 (drain) to {MAX_WEIGHT}")
    parser.add_argument("--unset", action="store_true", help="the weight of lb.yaml again")
    wishing.add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Ask for it."""
    if (options.weight is None) is not options.unset:
        raise WrongInput("portlb: say a weight, or --unset")
    path, controller = wishing.server_path(options.name, "weight"), controller_of(options)
    if options.unset:
        return wishing.ask(controller, "DELETE", path, None, options, by=wishing.user()).code
    return wishing.ask(controller, "PUT", path, wishing.body(options, weight=options.weight), options).code


def _weight(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 3 or int(text) > MAX_WEIGHT:
        raise argparse.ArgumentTypeError(f"{text!r} is no weight from 0 to {MAX_WEIGHT}")
    return int(text)
