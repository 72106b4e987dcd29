"""``portlb events``: what has happened, and what happens."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import Controller, add_flag, controller_of
from portlb_app.cli.times import duration
from portlb_app.config import moments
from portlb_app.config.problems import printable


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "events", help=help_line,
        description="Show the last events, a line each; with -f also those that come, until it is interrupted.",
    )  # fmt: skip
    parser.add_argument("-f", "--follow", action="store_true", help="go on with those that come")
    parser.add_argument("--kinds", metavar="KIND,…", help="only of these kinds, such as health,switch")
    parser.add_argument("--since", type=duration, metavar="DURATION", help="only those of the last 10m, 2h, 1d")
    parser.add_argument("-n", "--limit", type=int, default=100, metavar="NUMBER", help="so many (%(default)s)")
    parser.add_argument("-o", "--output", choices=("lines", "json"), default="lines", help="json: an object a line")
    add_flag(parser)


def run(options: argparse.Namespace) -> int:
    """Show them."""
    controller = controller_of(options)
    chosen = {"kinds": options.kinds} if options.kinds else {}
    since = {"since": moments.text(time.time() - options.since)} if options.since else {}
    query = urlencode({**chosen, **since, "limit": min(1000, max(1, options.limit))}, safe=",:")
    answer = controller.ask("GET", f"/v1/events?{query}")
    answer.complain()
    if answer.code:
        return answer.code
    for each in answer.body["events"]:
        _show(each, options.output)
    if options.follow:
        for kind, each in _stream(controller, urlencode({**chosen, "cursor": answer.body["last"]}, safe=",:")):
            if kind == "reset":
                print(f"portlb: {printable(each['reason'])}; some may be missing here")
            else:
                _show(each, options.output)
    return 0


def _show(event: dict[str, Any], output: str) -> None:
    if output == "json":
        print(json.dumps(event), flush=True)
        return
    before = f"{event['from']} -> " if event["from"] is not None else ""
    change = f" (change {event['change']})" if event["change"] else ""
    line = f"{event['kind']} {event['object']}: {before}{event['to']}: {event['reason']}{change}"
    print(f"{moments.text(event['at'])} {printable(line)}", flush=True)


def _stream(controller: Controller, query: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a stream, each with its kind; Failed when it ends."""
    kind = ""
    for raw in controller.stream(f"/v1/events?{query}"):
        name, _, value = raw.decode(errors="replace").rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)
