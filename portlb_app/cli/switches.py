"""``portlb switches``: the switches of the configuration, and how far each is."""

from __future__ import annotations

import argparse
from typing import Any

from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import Controller
from portlb_app.cli.table import Column
from portlb_app.cli.view import View, add_watch, listing, show

_WORST_FIRST = ("error", "absent", "reading", "applying", "synced")


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "switches",
        help=help_line,
        description="Show the switches of the configuration, those first that need a look, with what was last read of "
        "each. Exit codes: 0 shown, 1 the controller does not answer.",
    )
    add_watch(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""

    def look(controller: Controller) -> View | int:
        answer = controller.get("/v1/status")
        return answer.code or listing(
            "switches", worst_first(answer.body["switches"]), COLUMNS, lambda each: str(each["name"])
        )

    return show(options, look)


def worst_first(switches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Switches, those first that need a look."""
    return sorted(switches, key=lambda each: (_WORST_FIRST.index(each["state"]), not each["ports"], each["name"]))


def trouble(switch: dict[str, Any]) -> str:
    """What it refused, and what is wrong with its ports."""
    ports = (f"port {each['number']}: {each['problem']}" for each in switch["ports"])
    return "; ".join([*switch["errors"], *ports])


COLUMNS = (
    Column("SWITCH", lambda each, _: each["name"]),
    Column("STATE", lambda each, _: each["state"]),
    Column("DATAPATH", lambda each, _: each["dpid"]),
    Column("FLOWS", lambda each, _: each["flows"]),
    Column("GROUPS", lambda each, _: each["groups"]),
    Column("METERS", lambda each, _: each["meters"]),
    Column("DRIFT", lambda each, _: each["drift"]),
    Column("METERED", lambda each, _: sum(each["metered"].values()), wide=True),
    Column("READ", lambda each, style: style.since(each["read_age_seconds"])),
    Column("TROUBLE", lambda each, _: trouble(each)),
)
