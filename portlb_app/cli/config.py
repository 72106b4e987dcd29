"""``portlb config``: the configuration that is live, as it was given, or value by value."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from portlb_app.cli.output import FAILED, Commands, WrongInput
from portlb_app.cli.rest_client import Controller, controller_of
from portlb_app.cli.table import Column, Style, table
from portlb_app.cli.view import View, add_watch, show

SOURCES = ("file", "default", "override")


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "config",
        help=help_line,
        description="Print the text of the configuration that is live. With --effective show every value that is used, "
        "and where it comes from: the file, a default, or an override; and what pools make of their servers. Exit "
        "codes: 0 shown, 1 the controller does not answer, 2 there is nothing at PATH.",
    )
    parser.add_argument("path", nargs="?", metavar="PATH", help="only values there or below, such as servers.a")
    parser.add_argument("--effective", action="store_true", help="every value that is used; so does a PATH")
    parser.add_argument("--source", choices=SOURCES, help="only values that come from there")
    add_watch(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""
    if options.effective or options.path or options.source:
        return show(options, lambda controller: _values(controller, options))
    if options.output != "table" or options.watch:
        raise WrongInput("portlb: the text is printed as it is; say --effective for another form")
    status, content = controller_of(options).text("GET", "/v1/config")
    if status != 200:
        print(f"portlb: the controller answers {status}", file=sys.stderr)
        return FAILED
    sys.stdout.write(content.decode(errors="replace"))
    return 0


def _values(controller: Controller, options: argparse.Namespace) -> View | int:
    keys = (("under", options.path), ("source", options.source))
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in keys if value)
    answer = controller.listed(f"/v1/config/effective?{query}".rstrip("?"), "values")
    if answer.code:
        return answer.code
    found = answer.body["values"]
    value = {"etag": answer.body["etag"], "values": found}
    return View(value, (each["path"] for each in found), lambda style: _lines(found, style))


def _lines(found: list[dict[str, Any]], style: Style) -> Iterator[str]:
    yield from table(COLUMNS, found, style)
    members = [{"path": each["path"], **member} for each in found for member in each["used"] or ()]
    if members:
        yield ""
        yield from table(MEMBERS, members, style)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _about(value: dict[str, Any]) -> str:
    """What an override is in place of, and why."""
    said = value["override"]
    if said is None:
        return ""
    words = [f"in place of {_written(said['replaced'])}", said["reason"], f"by {said['by']}"]
    return "; ".join([*filter(None, words), *([f"until {said['until']}"] if said["until"] else [])])


COLUMNS = (
    Column("PATH", lambda each, _: each["path"]),
    Column("SOURCE", lambda each, _: each["source"]),
    Column("VALUE", lambda each, _: _written(each["value"])),
    Column("ABOUT", lambda each, _: _about(each)),
)
MEMBERS = (
    Column("POOL", lambda each, _: each["path"].removesuffix(".servers")),
    Column("SERVER", lambda each, _: each["server"]),
    Column("WEIGHT", lambda each, _: each["weight"]),
    Column("SLOTS", lambda each, _: each["slots"]),
    Column("REASON", lambda each, _: each["reason"]),
)
