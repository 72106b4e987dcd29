"""``portlb why``: why a server gets new connections, or gets none, in sentences."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

from portlb_app.cli import table
from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import add_flag, controller_of
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
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="how to print (default %(default)s)"
    )
    add_flag(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""
    answer = controller_of(options).get(server_path(options.server, "why"))
    if not answer.code:
        said = json.dumps(answer.body, indent=2) if options.output == "json" else "\n".join(_lines(answer.body))
        print(said)
    return answer.code


def _lines(why: dict[str, Any]) -> Iterator[str]:
    now = time.time()
    yield printable(why["answer"])
    said = [*why["because"], *([{**why["last_change"], "about": "last change"}] if why["last_change"] else [])]
    rows = [(each["about"], _with_age(each, now)) for each in said]
    yield from (f"  {line}" for line in table.lines([("", ""), *rows]) if line)
    for each in why["would_change"]:
        yield f"  to change that: {printable(each)}"


def _with_age(each: dict[str, Any], now: float) -> str:
    return f"{each['words']}, {table.ago(each['since'], now)} ago" if each["since"] else str(each["words"])
