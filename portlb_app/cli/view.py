"""What a command shows, in the form that was asked for: ``-o table|wide|json|yaml|name``, once or again and again.

A command has a function that asks the controller and gives a `View`; `show` does the rest.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from portlb_app.cli import colour, watch
from portlb_app.cli.output import flush
from portlb_app.cli.rest_client import Controller, add_flag, controller_of
from portlb_app.cli.table import Columns, Style, table
from portlb_app.config.problems import printable

FORMS = ("table", "wide", "json", "yaml", "name")


@dataclass(frozen=True)
class View:
    """What is shown. `value`: for programs. `names`: one a line. `lines`: for people. `code`: the exit code."""

    value: dict[str, Any]
    names: Iterable[str]
    lines: Callable[[Style], Iterable[str]]
    code: int = 0


Look = Callable[[Controller], View | int]
"""Asks a controller: what there is to show, or the exit code of what has been complained about."""


def listing(
    key: str, items: list[dict[str, Any]], columns: Columns, name: Callable[[dict[str, Any]], str], code: int = 0
) -> View:
    """The view of things of a kind, which programs get as a list below this key."""
    return View({key: items}, map(name, items), lambda style: table(columns, items, style), code)


def add_form(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how to print."""
    parser.add_argument(
        "-o", "--output", choices=FORMS, default="table",
        help="how to print (default %(default)s); wide: all columns, and times as moments; name: names only",
    )  # fmt: skip
    parser.add_argument("--no-headers", action="store_true", help="tables without headings")


def add_watch(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a command that looks: how to print, how often, and which controller."""
    add_form(parser)
    parser.add_argument("-w", "--watch", action="store_true", help="show it again when something happens, until ^C")
    add_flag(parser)


def show(options: argparse.Namespace, look: Look) -> int:
    """Ask the controller, and print; the exit code."""
    controller = controller_of(options)
    if options.watch:
        return watch.repeat(controller, lambda: _text(options, look(controller)))
    seen = look(controller)
    if isinstance(seen, int):
        return seen
    write(options, seen)
    return seen.code


def write(options: argparse.Namespace, view: View) -> None:
    """Print it once."""
    for line in _lines(options, view):
        print(line)
    flush()


def _text(options: argparse.Namespace, seen: View | int) -> tuple[list[str], int]:
    return ([], seen) if isinstance(seen, int) else (list(_lines(options, seen)), seen.code)


def _lines(options: argparse.Namespace, view: View) -> Iterator[str]:
    match options.output:
        case "json":
            yield json.dumps(view.value, indent=2)
        case "yaml":
            import yaml  # on use: a host that only runs agents need not load it

            yield yaml.safe_dump(view.value, sort_keys=False, width=120).rstrip("\n")
        case "name":
            yield from map(printable, view.names)
        case form:
            coloured = colour.is_wanted(sys.stdout)
            style = Style(time.time(), form == "wide", not options.no_headers, coloured)
            yield from view.lines(style)
