"""``portlb servers``: what is wanted and seen of servers, and what the switches hold of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import Controller
from portlb_app.cli.table import Column
from portlb_app.cli.view import View, add_watch, listing, show
from portlb_app.cli.wishing import server_path


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
    add_watch(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""
    query = "&".join(f"{key}={quote(value, safe='')}" for key in ("vip", "state") if (value := getattr(options, key)))

    def look(controller: Controller) -> View | int:
        if options.names:
            return _named(controller, options.names)
        answer = controller.listed(f"/v1/servers?{query}" if query else "/v1/servers", "servers")
        return answer.code or _view(answer.body["servers"], 0)

    return show(options, look)


def _named(controller: Controller, names: list[str]) -> View:
    answers = [controller.get(server_path(name)) for name in names]
    return _view([answer.body for answer in answers if not answer.code], max(answer.code for answer in answers))


def _view(found: list[dict[str, Any]], code: int) -> View:
    return listing("servers", sorted(found, key=urgency), COLUMNS, lambda each: str(each["name"]), code)


def urgency(server: dict[str, Any]) -> tuple[int, str]:
    """A place in the order of servers: what is broken, what is out of service, what lacks something, the rest."""
    wanted, seen, held = server["wanted"]["state"], server["seen"]["state"], server["held"]["state"]
    places = (seen == "down", wanted == "maint", wanted == "drain", held != "slots")
    return (places.index(True) if True in places else len(places)), server["name"]


def about(server: dict[str, Any]) -> dict[str, Any]:
    """What is out of the ordinary: what is seen of a server, or what is wanted of it."""
    wanted, seen = server["wanted"], server["seen"]
    is_odd = wanted["state"] != "ready" or wanted["source"] == "override"
    found: dict[str, Any] = seen if seen["state"] == "down" or not is_odd else wanted
    return found


def reasons(server: dict[str, Any]) -> Iterator[str]:
    """Why it is as it is, in words."""
    found, drain = about(server), server["drain"]
    if found["reason"]:
        yield found["reason"]
    if found.get("by"):
        yield f"by {found['by']}"
    if found.get("until"):
        yield f"until {found['until']}"
    if drain is not None:
        yield drain["state"]


def open_connections(server: dict[str, Any]) -> object:
    """How many connections one that drains has, if that is known."""
    drain = server["drain"]
    return "-" if drain is None or drain["open"] is None else drain["open"]


def agent_version(server: dict[str, Any]) -> str:
    """The version of a server's agent; "heard" for one that does not tell, "-" without one."""
    agent = server["agent"]
    return "-" if agent is None else agent["version"] or "heard"


def agent_clock(server: dict[str, Any]) -> str:
    """How far its clock is ahead, in seconds."""
    offset = server["agent"] and server["agent"]["clock_offset_seconds"]
    return "-" if offset is None else f"{offset:+.1f}"


def agent_serves(server: dict[str, Any]) -> str:
    """Whether it serves what the configuration says."""
    differs = server["agent"] and server["agent"]["differs"]
    return "-" if differs is None else "other " + "+".join(differs) if differs else "same"


COLUMNS = (
    Column("SERVER", lambda each, _: each["name"]),
    Column("VIP", lambda each, _: each["vip"]),
    Column("CONNECTOR", lambda each, _: each["connector"], wide=True),
    Column("WANTED", lambda each, _: each["wanted"]["state"]),
    Column("SEEN", lambda each, _: each["seen"]["state"]),
    Column("HELD", lambda each, _: each["held"]["state"]),
    Column("WEIGHT", lambda each, _: each["weight"]["used"]),
    Column("OF", lambda each, _: each["weight"]["configured"], wide=True),
    Column("SLOTS", lambda each, _: each["held"]["slots"]),
    Column("OPEN", lambda each, _: open_connections(each)),
    Column("AGENT", lambda each, _: agent_version(each), wide=True),
    Column("CLOCK", lambda each, _: agent_clock(each), wide=True),
    Column("SERVES", lambda each, _: agent_serves(each), wide=True),
    Column("SINCE", lambda each, style: style.time(about(each)["since"])),
    Column("REASON", lambda each, _: "; ".join(reasons(each))),
)
