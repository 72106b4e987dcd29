"""``portlb diff``: what a configuration would change, if it were applied now."""

from __future__ import annotations

import argparse
from pathlib import Path

from portlb_app.cli import effects
from portlb_app.cli.output import NOT_YET, Commands
from portlb_app.cli.rest_client import add_flag, controller_of
from portlb_app.cli.view import add_form, write
from portlb_app.store.file import read_text

DRY_RUN = "/v1/config?dry_run=1"
DRY_SECONDS = 150.0
"""How long it may take: loading and compiling have 120 s."""


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "diff",
        help=help_line,
        description="Say what a configuration would change: entries of each switch, slots that move, and whose "
        "connections that breaks. Nothing is changed. Exit codes: 0 nothing differs, 3 something does, 1 the "
        "controller does not answer or cannot compute it, 2 the configuration has mistakes.",
    )
    parser.add_argument("config", type=Path, metavar="lb.yaml", help="a configuration (docs/config.md)")
    add_form(parser)
    add_flag(parser)


def run(options: argparse.Namespace) -> int:
    """Ask for the dry run, and print."""
    answer = controller_of(options).ask("PUT", DRY_RUN, read_text(options.config), seconds=DRY_SECONDS)
    answer.complain()
    if answer.code:
        return answer.code
    code = NOT_YET if answer.body["changes"] else 0
    write(options, effects.view(answer.body, code))
    return code
