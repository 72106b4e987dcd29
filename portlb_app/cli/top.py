"""``portlb top``: what servers and pools have of the traffic at the moment, drawn again and again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

from portlb_app.cli import colour, watch
from portlb_app.cli.output import Commands
from portlb_app.cli.pools import pool_name
from portlb_app.cli.rates import Rates, share, slot_share
from portlb_app.cli.rest_client import Controller, add_flag, controller_of
from portlb_app.cli.scrape import samples
from portlb_app.cli.table import Column, Style, clock, span, table
from portlb_app.cli.times import duration

USUAL_SECONDS = 2.0
SHOWN = 40
"""Servers, and pools, at most."""


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "top",
        help=help_line,
        description="Show servers and pools with their parts of slots and of packets, and packets and bits a second "
        "between the last two reads of their switches (--resync-interval of portlb controller), the busiest first, "
        "until ^C. OPEN and NEW/S are what agents say. Exit codes: 0 ended, 1 the controller does not answer.",
    )
    parser.add_argument("--vip", metavar="NAME", help="only this VIP")
    parser.add_argument(
        "--interval", type=_interval, default=USUAL_SECONDS, metavar="DURATION", help="draw it so often (default 2s)"
    )
    parser.add_argument("--count", type=_count, default=0, metavar="N", help="end after so many times")
    add_flag(parser)


def run(options: argparse.Namespace) -> int:
    """Draw it until it is interrupted."""
    controller, rates = controller_of(options), Rates()
    return watch.repeat(controller, lambda: _look(controller, rates, options.vip), options.interval, options.count)


def _look(controller: Controller, rates: Rates, vip: str | None) -> tuple[list[str], int]:
    answers = [controller.listed(f"/v1/{kind}", kind) for kind in ("servers", "pools")]
    answers.append(controller.get("/v1/status"))
    if code := max(answer.code for answer in answers):
        return [], code
    servers, pools, status = (answer.body for answer in answers)
    _, text = controller.text("GET", "/metrics")
    switch_of = {each["name"]: each["connector"].partition(":")[0] for each in servers["servers"]}
    rates.take(samples(text.decode(errors="replace")), switch_of)
    agents = {each["server"]: each for each in status["agents"]}
    shown = [
        _server(each, rates, agents.get(each["name"]), switch_of)
        for each in servers["servers"]
        if vip in (None, each["vip"])
    ]
    _add_shares(shown)
    of_pools = [
        {**each, "rate": rates.of_pool(each["vip"], each["port"])}
        for each in pools["pools"]
        if vip in (None, each["vip"])
    ]
    return [*_lines(shown, of_pools)], 0


def _server(
    server: dict[str, Any], rates: Rates, agent: dict[str, Any] | None, switch_of: dict[str, str]
) -> dict[str, Any]:
    name = server["name"]
    return {
        **server,
        "in": rates.of_server(name, "to_server"),
        "out": rates.of_server(name, "from_server"),
        "bits_in": rates.bits_of_server(name, "to_server"),
        "bits_out": rates.bits_of_server(name, "from_server"),
        "open": None if agent is None else agent["open"],
        "new": None if agent is None else agent["per_second"]["openings"],
        "read_at": rates.read_at.get(switch_of[name]),
    }


def _add_shares(servers: list[dict[str, Any]]) -> None:
    """Each server's part of the packets of its VIP."""
    totals: dict[str, float] = {}
    for each in servers:
        totals[each["vip"]] = totals.get(each["vip"], 0.0) + (each["in"] or 0.0)
    for each in servers:
        each["part"] = share(each["in"], totals[each["vip"]])


def _lines(servers: list[dict[str, Any]], pools: list[dict[str, Any]]) -> Iterator[str]:
    style = Style(time.time(), coloured=colour.is_wanted(sys.stdout))
    servers.sort(key=lambda each: (-(each["in"] or 0), each["name"]))
    pools.sort(key=lambda each: (-(each["rate"] or 0), each["vip"], each["port"]))
    yield f"{clock(style.now)}  {len(servers)} servers, {len(pools)} pools"
    yield ""
    yield from table(SERVERS, servers[:SHOWN], style)
    yield ""
    yield from table(POOLS, pools[:SHOWN], style)


def number(value: float | None) -> str:
    """A number with three figures, such as 1.2k or 340M; - for none."""
    if value is None:
        return "-"
    for unit in ("", "k", "M", "G"):
        if value < 999.5:
            return f"{value:.1f}{unit}" if value < 99.95 and (unit or value % 1) else f"{value:.0f}{unit}"
        value /= 1000
    return f"{value:.1f}T"


def _age(server: dict[str, Any], style: Style) -> str:
    return "-" if not server["read_at"] else span(max(0.0, style.now - server["read_at"]))


SERVERS = (
    Column("SERVER", lambda each, _: each["name"]),
    Column("VIP", lambda each, _: each["vip"]),
    Column("SEEN", lambda each, _: each["seen"]["state"]),
    Column("SLOTS%", lambda each, _: number(slot_share(each))),
    Column("PKTS%", lambda each, _: number(each["part"])),
    Column("PKT/S_IN", lambda each, _: number(each["in"])),
    Column("PKT/S_OUT", lambda each, _: number(each["out"])),
    Column("BIT/S_IN", lambda each, _: number(each["bits_in"])),
    Column("BIT/S_OUT", lambda each, _: number(each["bits_out"])),
    Column("OPEN", lambda each, _: number(each["open"])),
    Column("NEW/S", lambda each, _: number(each["new"])),
    Column("READ", _age),
)
POOLS = (
    Column("POOL", lambda each, _: pool_name(each)),
    Column("STATE", lambda each, _: each["state"]),
    Column("PKT/S", lambda each, _: number(each["rate"])),
)


def _interval(text: str) -> float:
    seconds = duration(text)
    if seconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: at least a second")
    return seconds


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of times")
    return int(text)
