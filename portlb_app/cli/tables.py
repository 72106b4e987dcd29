"""``portlb tables``: flows, groups and meters of a switch, as it shall have them, or as it was read."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from portlb_app.cli.output import NOT_YET, Commands
from portlb_app.cli.rest_client import Controller, add_flag, controller_of
from portlb_app.cli.table import Style
from portlb_app.cli.view import View, add_form, write
from portlb_app.config.problems import printable

PAGE = 1000
MAX_PAGES = 2000
"""Pages of an answer at most: 2,000,000 entries."""


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "tables",
        help=help_line,
        description="Print what a switch shall hold, as ovs-ofctl writes it, with the reason of each flow. Exit codes: "
        "0 printed, 1 the controller does not answer or has not got them yet, 2 there is no such switch, 3 with "
        "--diff: they differ.",
    )
    parser.add_argument("switch", metavar="SWITCH", help="its name, or its datapath id (decimal, or 0x…)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--actual", action="store_true", help="what the switch was read to hold")
    which.add_argument("--diff", action="store_true", help="what it lacks (+), and what it has too much (-)")
    parser.add_argument("--vip", metavar="NAME", help="only flows of this VIP")
    add_form(parser)
    add_flag(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""
    controller = controller_of(options)
    if options.diff:
        wanted, held = (_entries(controller, options, which) for which in ("wanted", "held"))
        if isinstance(wanted, int) or isinstance(held, int):
            return max(code for code in (wanted, held) if isinstance(code, int))
        view = _difference(options.switch, wanted, held)
    else:
        which = "held" if options.actual else "wanted"
        found = _entries(controller, options, which)
        if isinstance(found, int):
            return found
        value = {"switch": options.switch, "which": which, "entries": found}
        view = View(value, (each["text"] for each in found), lambda _: map(line, found))
    write(options, view)
    return view.code


def _entries(controller: Controller, options: argparse.Namespace, which: str) -> list[dict[str, Any]] | int:
    """All entries, page by page, or the exit code."""
    path: str | None = f"/v1/switches/{quote(options.switch, safe='')}/tables?which={which}&limit={PAGE}"
    found: list[dict[str, Any]] = []
    for _ in range(MAX_PAGES):
        if path is None:
            break
        answer = controller.get(path)
        if answer.code:
            return answer.code
        found += answer.body["entries"]
        path = answer.body["next"]
    if options.vip is not None:
        found = [each for each in found if each["kind"] == "flow" and each["cookie"]["vip"] == options.vip]
    return found


def line(entry: dict[str, Any]) -> str:
    """An entry, and why it is there."""
    if entry["kind"] != "flow":
        return printable(f"{entry['kind']} {entry['text']}")
    cookie = entry["cookie"]
    port = f":{cookie['port']}" if cookie["port"] else ""
    about = f" {cookie['vip']}{port}" if cookie["vip"] else ""
    return printable(f"{entry['text']}  # {entry['table']}: {cookie['reason'] or 'not ours'}{about}")


def _difference(switch: str, wanted: list[dict[str, Any]], held: list[dict[str, Any]]) -> View:
    """What is on one side only, in the order of tables."""
    shall, has = (Counter(map(_key, entries)) for entries in (wanted, held))
    missing, extra = shall - has, has - shall
    lacks = [each for each in wanted if missing[_key(each)]]
    surplus = [each for each in held if extra[_key(each)]]

    def lines(_style: Style) -> Iterator[str]:
        yield from (f"+ {line(each)}" for each in lacks)
        yield from (f"- {line(each)}" for each in surplus)

    value = {"switch": switch, "lacks": lacks, "surplus": surplus}
    return View(value, (each["text"] for each in (*lacks, *surplus)), lines, NOT_YET if lacks or surplus else 0)


def _key(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["kind"], entry["text"]
