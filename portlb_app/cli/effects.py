"""What a configuration would change, for people: the answer to a dry run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portlb_app.cli.table import Column, Style, table
from portlb_app.cli.view import View
from portlb_app.config.problems import printable


def view(found: dict[str, Any], code: int) -> View:
    """The view of an answer."""
    names = [*(each for each in found["switches"]), *(_pool(each) for each in found["pools"])]
    return View(found, names, lambda style: _lines(found, style), code)


def _lines(found: dict[str, Any], style: Style) -> Iterator[str]:
    if not found["changes"]:
        yield "nothing would change"
    else:
        yield from table(SWITCHES, [{"name": name, "plan": plan} for name, plan in found["switches"].items()], style)
        if found["pools"]:
            yield ""
            yield from table(POOLS, found["pools"], style)
    for each in found["warnings"]:
        yield printable(f"warning: {each['path']}: {each['message']}")


def _pool(pool: dict[str, Any]) -> str:
    return f"{pool['vip']}:{pool['port']}"


def _moves(pool: dict[str, Any]) -> str:
    """Slots of each server before and after, where they are not the same."""
    counts = pool["servers"].items()
    return ", ".join(f"{name} {before} to {after}" for name, (before, after) in counts if before != after)


def _hurt(pool: dict[str, Any]) -> str:
    """Which connections that breaks."""
    who = ["UDP"] if pool["udp_slots_moved"] else []
    return ", ".join([*(["plain clients"] if pool["breaks_plain"] else []), *who]) or "none"


def _steps(verb: str) -> Column:
    return Column(verb.upper(), lambda each, _: "-" if each["plan"] is None else each["plan"][verb])


SWITCHES = (Column("SWITCH", lambda each, _: each["name"]), _steps("add"), _steps("modify"), _steps("delete"))
POOLS = (
    Column("POOL", lambda each, _: _pool(each)),
    Column("SLOTS", lambda each, _: each["slots"]),
    Column("MOVED", lambda each, _: each["moved"]),
    Column("LEAST", lambda each, _: each["least_possible"], wide=True),
    Column("BREAKS", lambda each, _: _hurt(each)),
    Column("SERVERS", lambda each, _: _moves(each)),
)
