"""``portlb changes``: who changed what, and what became of it."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from portlb_app.cli import table
from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import add_flag, controller_of
from portlb_app.config import moments
from portlb_app.config.problems import printable

HEADING = ("ID", "AGE", "WHAT", "SOURCE", "BY", "OUTCOME", "SECONDS", "ABOUT")


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "changes", help=help_line,
        description="List the changes of the configuration and of overrides, the last one first; or show one, with "
        "what it changed. portlb rollback ID makes a configuration live again.",
    )  # fmt: skip
    parser.add_argument("id", nargs="?", type=int, metavar="ID", help="one change")
    parser.add_argument("--text", action="store_true", help="only the text of its configuration")
    parser.add_argument("-n", "--limit", type=int, default=20, metavar="NUMBER", help="so many (%(default)s)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how it is shown")
    add_flag(parser)


def run(options: argparse.Namespace) -> int:
    """Show them, or one."""
    is_one = options.id is not None
    path = f"/v1/changes/{options.id}" if is_one else f"/v1/changes?limit={min(1000, max(1, options.limit))}"
    answer = controller_of(options).ask("GET", path)
    answer.complain()
    if answer.code:
        return answer.code
    if options.output == "json":
        print(json.dumps(answer.body, indent=2))
    elif is_one:
        _show(answer.body, options.text)
    else:
        now = time.time()
        for line in table.lines([HEADING, *(_row(each, now) for each in answer.body["changes"])]):
            print(line)
    return 0


def _row(change: dict[str, Any], now: float) -> tuple[object, ...]:
    seconds = "-" if change["seconds"] is None else f"{change['seconds']:.1f}"
    about = change["subject"] or change["config"][:12]
    return (
        *(change["id"], table.span(now - change["at"]), change["what"], change["source"], change["by"] or "-"),
        *(change["outcome"], seconds, about if change["outcome"] != "refused" else f"{about}: {change['reason']}"),
    )


def _show(change: dict[str, Any], only_text: bool) -> None:
    if only_text:
        print(change["text"] or "", end="")
        return
    print(f"change {change['id']} ({change['what']}, {change['source']}) at {moments.text(change['at'])}")
    for key in ("subject", "by", "from", "outcome", "reason", "problem"):
        if change[key]:
            print(f"{key}: {printable(str(change[key]))}")
    for name, each in change["switches"].items():
        errors = "".join(f"; {error}" for error in each["errors"])
        print(printable(f"switch {name}: {each['state']}{errors}"))
    for line in (change["diff"] or "").splitlines():
        print(printable(line))
