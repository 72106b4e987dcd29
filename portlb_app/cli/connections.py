"""``portlb connections``: the log of connections."""

from __future__ import annotations

import argparse
import time
from typing import Any
from urllib.parse import urlencode

from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import Controller
from portlb_app.cli.table import Column, Style, span
from portlb_app.cli.times import duration
from portlb_app.cli.view import View, add_watch, listing, show
from portlb_app.config import moments

LIMIT = 100
MAX_LIMIT = 50_000
"""More than the log keeps."""


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "connections",
        help=help_line,
        description="Show the log of connections of VIPs with log: true, newest first. Exit codes: 0 shown, 1 the "
        "controller does not answer.",
    )
    parser.add_argument("--vip", metavar="NAME", help="only those of this VIP")
    parser.add_argument("--server", metavar="NAME", help="only those whose server is known to be this one")
    parser.add_argument("--client", metavar="ADDRESS[:PORT]", help="only those of this client")
    parser.add_argument("--since", type=duration, metavar="DURATION", help="only those of the last 10m, 2h, 1d")
    parser.add_argument(
        "--limit", type=_limit, default=LIMIT, metavar="N", help=f"at most so many, up to {MAX_LIMIT} (default {LIMIT})"
    )
    add_watch(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""

    def look(controller: Controller) -> View | int:
        chosen = {key: value for key in ("vip", "server", "client") if (value := getattr(options, key))}
        if options.since:
            chosen["since"] = moments.text(time.time() - options.since)
        query = urlencode(chosen, safe=":[]")
        answer = controller.listed(f"/v1/connections?{query}".rstrip("?"), "connections", options.limit)
        return answer.code or listing("connections", answer.body["connections"], COLUMNS, _client)

    return show(options, look)


def _client(connection: dict[str, Any]) -> str:
    address = connection["client"]
    return f"[{address}]:{connection['client_port']}" if ":" in address else f"{address}:{connection['client_port']}"


def _lasted(connection: dict[str, Any], style: Style) -> str:
    opened, closed = connection["opened"], connection["closed"]
    if opened is None or closed is None and connection["how"] is not None:
        return ""
    return span(max(0.0, (style.now if closed is None else closed) - opened))


def _known(value: object) -> object:
    return "-" if value is None else value


COLUMNS = (
    Column("CLIENT", lambda each, _: _client(each)),
    Column("VIP", lambda each, _: each["vip"]),
    Column("OPENED_ON", lambda each, _: _known(each["opened_on"])),
    Column("CONTINUED_ON", lambda each, _: _known(each["continued_on"])),
    Column("SERVER", lambda each, _: _known(each["server"])),
    Column("OPENED", lambda each, style: style.at(each["opened"])),
    Column("CLOSED", lambda each, style: style.at(each["closed"]), wide=True),
    Column("LASTED", _lasted),
    Column("END", lambda each, _: each["how"] or "open"),
)


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) <= MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MAX_LIMIT}")
    return int(text)
