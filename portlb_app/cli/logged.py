"""``portlb explain connection``: where a connection is, by the log and the data path, and what would move it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from portlb_app.cli.output import WrongInput
from portlb_app.cli.rest_client import Answer, Controller
from portlb_app.cli.table import span

SHOWN = 5
"""Connections from the same address and port, the last ones."""
PLAIN = {
    "drop": "plain packets to {port} are dropped (legacy: drop): it is a redirected one, or none",
    "owner": "a plain one is at the owner of port {port} (legacy: owner), whatever slots do",
    "default": "a plain one is at the default server (legacy: default), whatever slots do",
    "pin": "a plain one is pinned by its switch (legacy: pin), and keeps its server when slots move",
    "balance": "a plain one has the server of its slot (legacy: balance): it breaks when the slot moves{chance}",
}
CHANCE = ", unless the server that had the slot before has an agent (second chance, {seconds} s)"


def explain(controller: Controller, client: str) -> tuple[dict[str, Any], int]:
    """What is known of the connections of a client, for programs; and the exit code, 2 if the log has none."""
    query = urlencode({"client": client, "limit": SHOWN}, safe=":[]")
    answer = controller.get(f"/v1/connections?{query}")
    if answer.code == 1 and answer.status == 400:
        raise WrongInput("portlb: say the client as ADDRESS:PORT, or [ADDRESS]:PORT")
    if answer.code:
        return {}, answer.code
    found = answer.body["connections"]
    if not found:
        raise WrongInput(f"portlb: the log has no connection of {client}; it has those of VIPs with log: true")
    return {"client": client, "connections": [_whole(controller, each) for each in found]}, 0


def lines(found: Mapping[str, Any], now: float | None = None) -> Iterator[str]:
    """The same for people."""
    now = time.time() if now is None else now
    for each in found["connections"]:
        yield f"{found['client']} of {each['vip']}: {_course(each, now)}"
        yield from (f"  {line}" for line in each["says"])


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Say in the help that there is this, too."""
    parser.epilog = (
        "portlb explain connection ADDRESS:PORT: where a client's connections are, by the log (VIPs with log: true) "
        "and by the slot that the data path gives them, and what would move them."
    )


def _whole(controller: Controller, record: dict[str, Any]) -> dict[str, Any]:
    """A record, with what follows from it."""
    port = record["opened_on"]
    if record["how"] is not None or port is None:
        return {**record, "slot": None, "slot_of": None, "says": [*_ended(record)]}
    vip, client = record["vip"], {"source": record["client"], "source_port": record["client_port"]}
    pool = _known(controller, f"/v1/vips/{quote(vip, safe='')}/ports/{port}")
    if pool is None:
        says = [f"{port} is no redirect port: all its packets name the server that owns it"]
        return {**record, "slot": None, "slot_of": None, "says": says}
    asked = _known(controller, f"/v1/ask?{urlencode({'vip': vip, 'port': port, **client}, safe=':')}")
    slots = {each["slot"] for each in (asked or {}).get("switches", ()) if each["slot"] is not None}
    slot, server = (slots.pop() if len(slots) == 1 else None), (asked or {}).get("server")
    own = _own_ports(controller, server, port) if server else []
    return {**record, "slot": slot, "slot_of": server, "says": [*_open(pool, slot, server, own)]}


def _ended(record: Mapping[str, Any]) -> Iterator[str]:
    if record["continued_on"] is not None and record["continued_on"] != record["opened_on"]:
        whose = f" of {record['server']}" if record["server"] else ""
        yield f"it was redirected: it went on at port {record['continued_on']}{whose}"


def _open(pool: Mapping[str, Any], slot: int | None, server: str | None, own: list[int]) -> Iterator[str]:
    port = pool["port"]
    if slot is not None and server:
        yield f"its slot is {slot}, as the switches say: {server} has it now"
    elif slot is not None:
        yield f"its slot is {slot}, as the switches say"
    else:
        yield "its slot is not known: no switch that has the pool has told it"
    names = f" (port {' or '.join(map(str, own))}, if {server} had the slot when it opened)" if own else ""
    yield f"a redirected one names its server{names}: no change of the pool moves it, and it ends with its service port"
    seconds = pool["second_chance"]
    yield PLAIN[pool["legacy"]].format(port=port, chance=CHANCE.format(seconds=seconds) if seconds else "")


def _own_ports(controller: Controller, server: str, application: int) -> list[int]:
    """The service ports of a server that lead to the program of a redirect port."""
    path = quote(f"servers.{server}.service_ports", safe="")
    found = _known(controller, f"/v1/config/effective?under={path}")
    values = found["values"][0]["value"] if found else []
    return [each["port"] for each in values if each["application"] == application]


def _known(controller: Controller, path: str) -> dict[str, Any] | None:
    """What a resource says; None if there is none."""
    answer: Answer = controller.ask("GET", path)
    return None if answer.code else answer.body


def _course(record: Mapping[str, Any], now: float) -> str:
    """When it opened and ended, as far as the log knows."""
    opened, closed = record["opened"], record["closed"]
    words = []
    if opened is not None:
        words.append(f"opened on {record['opened_on']} {span(max(0.0, now - opened))} ago")
    if record["how"] is None:
        words.append("open")
    elif closed is not None:
        words.append(f"ended {span(max(0.0, now - closed))} ago ({record['how']})")
    else:
        words.append("nothing was heard of its end")
    return ", ".join(words) + (f", at {record['server']}" if record["server"] else "")
