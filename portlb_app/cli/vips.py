"""``portlb vips``: VIPs, and how their pools are."""

from __future__ import annotations

import argparse
from typing import Any

from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import Controller
from portlb_app.cli.table import Column
from portlb_app.cli.view import View, add_watch, listing, show

_WORST_FIRST = ("empty", "fail_open", "degraded", "ok")


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "vips",
        help=help_line,
        description="Show VIPs, those first that need a look: a VIP is as bad as its worst pool. Exit codes: 0 shown, "
        "1 the controller does not answer.",
    )
    add_watch(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""

    def look(controller: Controller) -> View | int:
        answer = controller.get("/v1/vips")
        if answer.code:
            return answer.code
        found = sorted(answer.body["vips"], key=lambda each: (_WORST_FIRST.index(each["state"]), each["name"]))
        return listing("vips", found, COLUMNS, lambda each: str(each["name"]))

    return show(options, look)


def _ports(vip: dict[str, Any]) -> str:
    """Its redirect ports, and what is odd about them."""
    return ", ".join(port if state == "ok" else f"{port} ({state})" for port, state in vip["ports"].items())


COLUMNS = (
    Column("VIP", lambda each, _: each["name"]),
    Column("STATE", lambda each, _: each["state"]),
    Column("ADDRESSES", lambda each, _: ",".join(each["addresses"])),
    Column("MAC", lambda each, _: each["mac"], wide=True),
    Column("NUMBER", lambda each, _: each["number"], wide=True),
    Column("DEFAULT", lambda each, _: each["default_server"] or "-"),
    Column("SERVERS", lambda each, _: len(each["servers"])),
    Column("PORTS", lambda each, _: _ports(each)),
)
