"""``portlb status``: one screen about everything, problems first."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from portlb_app.cli import pools, switches
from portlb_app.cli.output import ATTENTION, Commands
from portlb_app.cli.rest_client import Controller
from portlb_app.cli.table import Column, Style, table
from portlb_app.cli.view import View, add_watch, show
from portlb_app.config.problems import printable

SHOWN = 12
"""Lines of each table at most; the commands of their own have all."""


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "status",
        help=help_line,
        description="Show what needs a person, then pools and switches, worst first. Exit codes: 0 all is well, 4 "
        "something needs a person, 1 the controller does not answer.",
    )
    add_watch(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""
    return show(options, look)


def look(controller: Controller) -> View | int:
    """What there is to show."""
    status, of_pools = controller.get("/v1/status"), controller.listed("/v1/pools", "pools")
    if status.code or of_pools.code:
        return status.code or of_pools.code
    found = {**status.body, "pools": of_pools.body["pools"]}
    keys = ("version", "generation", "etag", "configuration", "problems", "pools", "switches", "links")
    names = (f"{each['kind']}/{each['name']}".rstrip("/") for each in found["problems"])
    code = ATTENTION if found["problems"] else 0
    return View({key: found[key] for key in keys}, names, lambda style: _lines(found, style), code)


def _lines(found: dict[str, Any], style: Style) -> Iterator[str]:
    count = len(found["problems"])
    word = f"{count} problem{'s' * (count != 1)}" if count else "all is well"
    configuration = f"configuration {found['generation']} is {found['configuration']}"
    yield printable(f"portlb {found['version']}: {word}; {configuration}")
    parts = (
        (PROBLEMS, found["problems"], "status -o json"),
        (pools.COLUMNS, pools.worst_first(found["pools"]), "pools"),
        (switches.COLUMNS, switches.worst_first(found["switches"]), "switches"),
    )
    for columns, items, command in parts:
        if items:
            yield ""
            head, *rows = table(columns, items[:SHOWN], style)
            yield head
            for each, row in zip(items, rows, strict=False):
                yield row
                if each.get("to_do"):
                    yield printable(f"  → {each['to_do']}")
            if len(items) > SHOWN:
                yield f"… and {len(items) - SHOWN} more: portlb {command}"


PROBLEMS = (
    Column("PROBLEM", lambda each, _: each["kind"]),
    Column("OF", lambda each, _: each["name"] or "-"),
    Column("SINCE", lambda each, style: style.since(each["seconds"])),
    Column("WHAT", lambda each, _: each["words"]),
)
