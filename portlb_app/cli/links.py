"""``portlb links``: the links between switches, and which are used."""

from __future__ import annotations

import argparse

from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import Controller
from portlb_app.cli.table import Column
from portlb_app.cli.view import View, add_watch, listing, show


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "links",
        help=help_line,
        description="Show the links between switches, those first that are not used. HOLD is how many seconds one must "
        "stay up before it is used again. Exit codes: 0 shown, 1 the controller does not answer.",
    )
    add_watch(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""

    def look(controller: Controller) -> View | int:
        answer = controller.get("/v1/status")
        if answer.code:
            return answer.code
        found = sorted(answer.body["links"], key=lambda each: (each["up"], each["ends"]))
        return listing("links", found, COLUMNS, lambda each: "-".join(each["ends"]))

    return show(options, look)


COLUMNS = (
    Column("LINK", lambda each, _: " - ".join(each["ends"])),
    Column("STATE", lambda each, _: each["seen"]),
    Column("HOLD", lambda each, _: "-" if each["up"] else each["hold_seconds"]),
)
