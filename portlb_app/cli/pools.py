"""``portlb pools``: the slots of every redirect port's pool."""

from __future__ import annotations

import argparse
import json
from typing import Any
from urllib.parse import quote

from portlb_app.cli import table
from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import add_flag, controller_of
from portlb_app.cli.servers import add_output

HEADING = ("POOL", "STATE", "SLOTS", "SERVERS")
_WORST_FIRST = ("empty", "fail_open", "degraded", "unknown", "ok")


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "pools",
        help=help_line,
        description="Show the pools of redirect ports, those first that need a look, with the slots of each server as "
        "the switches were read to hold them. Exit codes: 0 shown, 1 the controller does not answer, 2 there is no "
        "such VIP.",
    )
    parser.add_argument("--vip", metavar="NAME", help="only those of this VIP")
    add_output(parser)
    add_flag(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""
    path = f"/v1/pools?vip={quote(options.vip, safe='')}" if options.vip else "/v1/pools"
    answer = controller_of(options).ask("GET", path)
    answer.complain()
    if answer.code:
        return answer.code
    found = answer.body["pools"]
    if options.output == "json":
        print(json.dumps({"pools": found}, indent=2))
    elif found:
        found.sort(key=lambda each: (_WORST_FIRST.index(each["state"]), each["vip"], each["port"]))
        print(*table.lines([HEADING, *map(_row, found)]), sep="\n")
    return 0


def _row(pool: dict[str, Any]) -> tuple[object, ...]:
    shares = (f"{each['name']} {each['slots']}{_odd(each)}" for each in pool["servers"])
    return f"{pool['vip']}:{pool['port']}", pool["state"], pool["slots"], ", ".join(shares)


def _odd(server: dict[str, Any]) -> str:
    words = [word for word in (server["wanted"], server["seen"]) if word not in ("ready", "up", "unknown")]
    return f" ({', '.join(words)})" if words else ""
