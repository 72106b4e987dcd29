"""``portlb server``: everything about one server."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import Answer, Controller
from portlb_app.cli.servers import agent_clock, agent_serves, open_connections, reasons
from portlb_app.cli.table import Column, Style, pairs, table
from portlb_app.cli.view import View, add_watch, show
from portlb_app.cli.wishing import server_path


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "server",
        help=help_line,
        description="Show everything about one server: what is wanted and seen of it and why, its checks, what its "
        "agent says, and its slots of each pool on each switch. Exit codes: 0 shown, 1 the controller does not answer, "
        "2 there is no such server.",
    )
    parser.add_argument("name", metavar="NAME", help="a server")
    add_watch(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""

    def look(controller: Controller) -> View | int:
        path = server_path(options.name)
        asked = [controller.get(path), _checks(controller, options.name), controller.get("/v1/status")]
        if code := max(answer.code for answer in asked):
            return code
        server, checks, status = (answer.body for answer in asked)
        found = {
            **server,
            "checks": checks["checks"],
            "agent": next((each for each in status["agents"] if each["server"] == options.name), None),
        }
        return View(found, [options.name], lambda style: _lines(found, style))

    return show(options, look)


def _checks(controller: Controller, name: str) -> Answer:
    return controller.listed(f"/v1/checks?server={quote(name, safe='')}", "checks")


def _lines(server: dict[str, Any], style: Style) -> Iterator[str]:
    yield from pairs(_facts(server, style), style)
    if server["checks"]:
        yield ""
        yield from table(CHECKS, server["checks"], style)
    if held := [*_held(server)]:
        yield ""
        yield from table(HELD, held, style)


def _facts(server: dict[str, Any], style: Style) -> Iterator[tuple[str, object]]:
    wanted, seen, weight, agent = (server[key] for key in ("wanted", "seen", "weight", "agent"))
    override = weight["override"]
    by_default = "" if wanted["source"] == "file" else f", in place of {wanted['configured']}"
    yield "server", server["name"]
    yield "vip", server["vip"]
    yield "connector", server["connector"]
    yield "wanted", f"{wanted['state']} (by {wanted['source']}{by_default}{_since(wanted['since'], style)})"
    yield "seen", f"{seen['state']}{_since(seen['since'], style)}"
    yield "held", server["held"]["state"]
    yield "why", "; ".join(reasons(server))
    yield "weight", f"{weight['used']}" + (f" (in place of {weight['configured']})" if override else "")
    if server["drain"] is not None:
        yield "drain", f"{server['drain']['state']}, {open_connections(server)} open"
    if agent is not None:
        yield "agent", agent["state"] + (f", version {agent['version']}" if agent["version"] else "")
        yield "serves", agent_serves(server)
        yield "clock", f"{agent_clock(server)} s"
        yield "heard", style.since(agent["age_seconds"])
        yield "open", agent["open"]
        yield "openings", f"{agent['per_second']['openings']:.1f} a second"


def _since(moment: str | None, style: Style) -> str:
    if moment is None:
        return ""
    return f", since {moment}" if style.wide else f", for {style.time(moment)}"


def _held(server: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for pool in server["held"]["pools"]:
        name = f"{pool['vip']}:{pool['port']}"
        for switch, count in sorted(pool["held"].items()) or [("-", None)]:
            yield {"pool": name, "switch": switch, "of": pool["of"], "wanted": pool["wanted"], "held": count}


def _verdict(check: dict[str, Any]) -> str:
    return {True: "up", False: "down", None: "unknown"}[check["up"]]


CHECKS = (
    Column("CHECK", lambda each, _: each["check"]),
    Column("PORTS", lambda each, _: ",".join(map(str, each["ports"]))),
    Column("IP", lambda each, _: f"v{each['version']}", wide=True),
    Column("SEEN", lambda each, _: _verdict(each)),
    Column("STREAK", lambda each, _: f"{each['streak']:+d}" if each["streak"] else "-"),
    Column("LAST", lambda each, style: style.at(each["last"] and each["last"]["at"])),
    Column("RESULT", lambda each, _: each["last"] and f"{each['last']['verdict']}: {each['last']['reason']}"),
    Column("REASON", lambda each, _: each["held"] or each["reason"]),
)
HELD = (
    Column("POOL", lambda each, _: each["pool"]),
    Column("SWITCH", lambda each, _: each["switch"]),
    Column("HELD", lambda each, _: "-" if each["held"] is None else each["held"]),
    Column("WANTED", lambda each, _: each["wanted"]),
    Column("OF", lambda each, _: each["of"]),
)
