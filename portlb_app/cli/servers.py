"""``portlb servers``: what is wanted and seen of servers, and what the switches hold of them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from portlb_app.cli import table
from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import add_flag, controller_of
from portlb_app.cli.wishing import server_path

HEADING = ("SERVER", "VIP", "WANTED", "SEEN", "HELD", "WEIGHT", "SLOTS", "OPEN", "SINCE", "REASON")


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "servers",
        help=help_line,
        description="Show servers, those first that need a look: what is wanted of each, what is seen of it, and what "
        "the switches were read to hold. Exit codes: 0 shown, 1 the controller does not answer, 2 there is no such "
        "server or VIP.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--vip", metavar="NAME", help="only those of this VIP")
    parser.add_argument("--state", metavar="WORD", help="only those with this word: ready, drain, maint, up, down, …")
    add_output(parser)
    add_flag(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the flag that says how to print."""
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="how to print (default %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""
    controller, found, code = controller_of(options), [], 0
    query = "&".join(f"{key}={quote(value, safe='')}" for key in ("vip", "state") if (value := getattr(options, key)))
    if options.names:
        for name in options.names:
            answer = controller.ask("GET", server_path(name))
            answer.complain()
            if answer.code:
                code = max(code, answer.code)
            else:
                found.append(answer.body)
    else:
        answer = controller.ask("GET", f"/v1/servers?{query}" if query else "/v1/servers")
        answer.complain()
        if answer.code:
            return answer.code
        found = answer.body["servers"]
    if options.output == "json":
        print(json.dumps({"servers": found}, indent=2))
    elif found:
        now = time.time()
        print(*table.lines([HEADING, *(row(each, now) for each in sorted(found, key=urgency))]), sep="\n")
    return code


def urgency(server: dict[str, Any]) -> tuple[int, str]:
    """A place in the order of servers: what is broken, what is out of service, what lacks something, the rest."""
    wanted, seen, held = server["wanted"]["state"], server["seen"]["state"], server["held"]["state"]
    places = (seen == "down", wanted == "maint", wanted == "drain", held != "slots")
    return (places.index(True) if True in places else len(places)), server["name"]


def row(server: dict[str, Any], now: float) -> tuple[object, ...]:
    """A line about one server. The reason and the time are those of what is out of the ordinary."""
    wanted, seen, drain = server["wanted"], server["seen"], server["drain"]
    is_odd = wanted["state"] != "ready" or wanted["source"] == "override"
    about = seen if seen["state"] == "down" or not is_odd else wanted
    return (
        *(server["name"], server["vip"], wanted["state"], seen["state"], server["held"]["state"]),
        *(server["weight"]["used"], server["held"]["slots"]),
        "-" if drain is None or drain["open"] is None else drain["open"],
        *(table.ago(about["since"], now), "; ".join(_reasons(about, drain))),
    )


def _reasons(about: dict[str, Any], drain: dict[str, Any] | None) -> Iterator[str]:
    if about["reason"]:
        yield about["reason"]
    if about.get("by"):
        yield f"by {about['by']}"
    if about.get("until"):
        yield f"until {about['until']}"
    if drain is not None:
        yield drain["state"]
