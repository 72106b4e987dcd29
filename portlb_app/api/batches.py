"""``PATCH /v1/servers``: states and weights of several servers as one: all of them, or none.

The body names servers, each with a state, a weight, or both; null is the file's. Or it selects servers by what they
have in common, and says once what is to be set::

    {"servers": {"a": {"state": "drain", "move": true}, "b": {"weight": null}}, "reason": "kernel"}
    {"select": {"switch": "s1", "pool": "web:22"}, "set": {"state": "maint"}}

It needs no precondition, as a wish for one server does not (`wishes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from portlb_app.api.messages import Response
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call
from portlb_app.api.waiting import Waiting, waiting
from portlb_app.api.wishes import SaidEntry, Weight, Wish, check_drain, check_until, mistaken, who
from portlb_app.config import Config, ConfigError, Server, Wanted
from portlb_app.config.entries import Entry, Truth, read
from portlb_app.config.overrides import MAX_OVERRIDES, Key, Override, Value, word
from portlb_app.config.overrides_text import Moment
from portlb_app.config.problems import Problem, Problems, printable
from portlb_app.config.strict_json import parse
from portlb_app.config.text import below

MAX_BATCH = 512 << 10
"""Bytes of a body."""
SHOWN = 8
"""Names of servers in a sentence; of more, how many."""


@dataclass(frozen=True)
class Batch:
    """Wishes that are carried out together, in the order of the servers' names; `Wish` says what the others are."""

    wishes: tuple[Wish, ...]
    force: bool = False
    dry_run: bool = False
    steps: bool = False
    came_from: str = ""
    waiting: Waiting = Waiting()


class _ServerEntry(Entry):
    """``servers.NAME`` and ``set``. What is given as null is the file's."""

    state: Wanted | None = None
    weight: Weight | None = None
    deadline: Moment = None
    move: Truth = False


class _SelectEntry(Entry):
    """``select``: what all of them have in common."""

    vip: str | None = None
    pool: str | None = None
    switch: str | None = None
    connector: str | None = None


class _BatchEntry(SaidEntry):
    servers: dict[str, Any] | None = Field(default=None, max_length=MAX_OVERRIDES)
    select: dict[str, Any] | None = None
    set: dict[str, Any] | None = None


def batch(call: Call) -> Batch | Response:
    """What is asked for, or why nothing is."""
    if len(call.request.body) > MAX_BATCH:
        return failure("too-large", f"a request for several servers has at most {MAX_BATCH} bytes; nothing was changed")
    problems, snapshot = Problems(), call.snapshot
    try:
        entry = read(_BatchEntry, "", parse(call.request.body.decode()), problems)
        check_until(entry.until, snapshot.unix, problems)
        problems.raise_any()
        found = dict(_asked(entry, snapshot.config, snapshot.unix, problems))
        problems.raise_any()
    except UnicodeDecodeError as error:
        return mistaken((Problem("", f"byte {error.start} is not UTF-8"),))
    except ConfigError as error:
        return mistaken(error.errors)
    said = Override(0, 0, entry.reason, who(call.request, entry.by), snapshot.unix, entry.until)
    made = tuple(wish for name in sorted(found) for wish in _wishes(name, found[name], said))
    asked = Batch(made, entry.force, came_from=call.request.came_from)
    return replace(asked, dry_run="dry_run" in call.query, steps="steps" in call.query, waiting=waiting(call))


def _asked(
    entry: _BatchEntry, config: Config, now: float, problems: Problems
) -> Iterator[tuple[str, _ServerEntry]]:
    """The servers that are meant, and what for each."""
    if (entry.servers is None) is (entry.select is None) or (entry.select is None) is not (entry.set is None):
        problems.add("", "servers is expected, or select and set")
        return
    if entry.select is not None:
        given = _read("set", entry.set, now, problems)
        yield from ((server.name, given) for server in _selected(entry.select, config, problems))
    elif not entry.servers:
        problems.add("servers", "names none")
    for name, each in (entry.servers or {}).items():
        path = below("servers", name)
        if name not in config.server_by_name:
            problems.add(path, f"there is no server {printable(name)}")
            if problems.too_many:
                return
        else:
            yield name, _read(path, each, now, problems)


def _read(path: str, data: Any, now: float, problems: Problems) -> _ServerEntry:
    given = read(_ServerEntry, path, data, problems)
    if isinstance(data, Mapping) and not {"state", "weight"} & data.keys():
        problems.add(path, "state or weight is missing")
    check_drain(path, given.state, given.deadline, given.move, now, problems)
    return given


def _selected(data: dict[str, Any], config: Config, problems: Problems) -> Iterator[Server]:
    """The servers that have all of that."""
    entry = read(_SelectEntry, "select", data, problems)
    switch, ports = {each.name for each in config.switches}, _pools(config)
    connectors = {str(server.connector) for server in config.servers}
    known = {"vip": {vip.name for vip in config.vips}, "pool": ports, "switch": switch, "connector": connectors}
    wanted = {key: value for key in known if (value := getattr(entry, key)) is not None}
    for key, value in wanted.items():
        if value not in known[key]:
            problems.add(f"select.{key}", f"there is no {key} {printable(value)}")
    if problems.count:
        return
    if not wanted:
        problems.add("select", "says nothing; say a vip, a pool (vip:port), a switch or a connector (switch:port)")
        return
    found = [server for server in config.servers if all(_has(server, *each, ports) for each in wanted.items())]
    if not found:
        problems.add("select", "no server is like that")
    elif len(found) > MAX_OVERRIDES:
        problems.add("select", f"{len(found)} servers are like that; at most {MAX_OVERRIDES} are changed as one")
        return
    yield from found


def _pools(config: Config) -> dict[str, frozenset[str]]:
    return {f"{vip.name}:{pool.port}": frozenset(pool.servers) for vip in config.vips for pool in vip.redirect_ports}


def _has(server: Server, key: str, value: str, pools: Mapping[str, frozenset[str]]) -> bool:
    match key:
        case "vip":
            return server.vip == value
        case "pool":
            return server.name in pools[value]
        case "switch":
            return server.connector.switch == value
    return str(server.connector) == value


def _wishes(name: str, entry: _ServerEntry, said: Override) -> Iterator[Wish]:
    """What is wished for one server."""
    values: dict[Key, Value | None] = {"state": entry.state, "weight": entry.weight}
    for key, value in values.items():
        if key in entry.model_fields_set:
            about = replace(said, value=value or 0, replaced=0)
            if key == "state":
                about = replace(about, deadline=entry.deadline, move=entry.move)
            yield Wish(name, key, value, about)


def subject(asked: Wish | Batch) -> str:
    """What is asked for, in words: server b: state drain; servers a, c: weight 3."""
    values: dict[str, list[str]] = {}
    for wish in asked.wishes:
        value = "the file's" if wish.value is None else word(wish.value)
        values.setdefault(f"{wish.key} {value}", []).append(wish.server)
    return "; ".join(f"server{'s' * (len(each) > 1)} {names(each)}: {value}" for value, each in values.items())


def names(servers: list[str]) -> str:
    """Names in a sentence."""
    more = len(servers) - SHOWN
    return ", ".join(servers[:SHOWN]) + (f" and {more} others" if more > 0 else "")
