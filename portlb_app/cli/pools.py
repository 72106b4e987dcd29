"""``portlb pools``: the slots of every redirect port's pool."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import Controller
from portlb_app.cli.table import Column
from portlb_app.cli.view import View, add_watch, listing, show

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
    add_watch(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""

    def look(controller: Controller) -> View | int:
        path = f"/v1/pools?vip={quote(options.vip, safe='')}" if options.vip else "/v1/pools"
        answer = controller.listed(path, "pools")
        return answer.code or listing("pools", worst_first(answer.body["pools"]), COLUMNS, pool_name)

    return show(options, look)


def worst_first(pools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pools, those first that need a look."""
    return sorted(pools, key=lambda each: (_WORST_FIRST.index(each["state"]), each["vip"], each["port"]))


def pool_name(pool: dict[str, Any]) -> str:
    """Such as web:80."""
    return f"{pool['vip']}:{pool['port']}"


def shares(pool: dict[str, Any]) -> str:
    """The slots of each server, and what is odd about it."""
    return ", ".join(f"{each['name']} {_held(each['slots'])}{_odd(each)}" for each in pool["servers"])


def _held(slots: int | None) -> str:
    return "-" if slots is None else str(slots)


def _odd(server: dict[str, Any]) -> str:
    words = [word for word in (server["wanted"], server["seen"]) if word not in ("ready", "up", "unknown")]
    return f" ({', '.join(words)})" if words else ""


COLUMNS = (
    Column("POOL", lambda each, _: pool_name(each)),
    Column("STATE", lambda each, _: each["state"]),
    Column("LEGACY", lambda each, _: each["legacy"], wide=True),
    Column("SLOTS", lambda each, _: each["slots"]),
    Column("SERVERS", lambda each, _: shares(each)),
)
