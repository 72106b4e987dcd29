"""``portlb why``: why a server gets new connections, or gets none, in sentences."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import Controller
from portlb_app.cli.table import Style, pairs
from portlb_app.cli.view import View, add_watch, show
from portlb_app.cli.wishing import server_path
from portlb_app.config.problems import printable


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "why",
        help=help_line,
        description="Say why a server gets new connections, or gets none: what is wanted of it, what each source says "
        "of it, the slots that follow and those that switches hold, what has changed last, and what would change it. "
        "Exit codes: 0 said, 1 the controller does not answer, 2 there is no such server.",
    )
    parser.add_argument("server", metavar="SERVER", help="its name")
    add_watch(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""

    def look(controller: Controller) -> View | int:
        answer = controller.get(server_path(options.server, "why"))
        return answer.code or View(answer.body, [options.server], lambda style: _lines(answer.body, style))

    return show(options, look)


def _lines(why: dict[str, Any], style: Style) -> Iterator[str]:
    yield printable(why["answer"])
    said = [*why["because"], *([{**why["last_change"], "about": "last change"}] if why["last_change"] else [])]
    yield from (f"  {line}" for line in pairs(((each["about"], _with_time(each, style)) for each in said), style))
    for each in why["would_change"]:
        yield f"  to change that: {printable(each)}"


def _with_time(each: dict[str, Any], style: Style) -> str:
    if not each["since"]:
        return str(each["words"])
    since = style.time(each["since"])
    return f"{each['words']}, {f'since {since}' if style.wide else f'{since} ago'}"
