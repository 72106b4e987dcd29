"""``GET /v1/servers``: what is wanted and seen of servers, and what the switches hold: three words, never one.

- ``wanted``: ready, drain or maint, by the file or by an override, with its reason.
- ``seen``: up, down or unknown: the worst of its pools.
- ``held``: what the switches were read to have of it: slots, none (its service ports only), closed, or unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from portlb_app.api import counters, paging
from portlb_app.api.messages import Response, json_pieces, json_text
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call, Parameter
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.status import agent_facts
from portlb_app.backends.drained import Drain
from portlb_app.backends.states import Judgement, Seen
from portlb_app.config import Server, Wanted, moments
from portlb_app.config.overrides import Key, Override, word
from portlb_app.config.problems import printable
from portlb_app.topology.conditions import ALL_SERVERS, PoolKey

_WORST = (Seen.DOWN, Seen.UNKNOWN, Seen.UP)
_SEEN = tuple(each.value for each in Seen)
WORDS = (*(each.value for each in Wanted), *_SEEN, "slots", "none", "closed", "draining", "drained", "overridden")
STATE = Parameter("state", "Only those with this word", words=WORDS)
"""A server is chosen if one of its words is this one."""


def listed(call: Call) -> Response:
    """The servers that a query chooses, by name."""
    vip, view, after = call.query.get("vip"), View(call.snapshot), paging.position(call)
    if isinstance(after, Response):
        return after
    if refusal := no_vip(vip, call.snapshot):
        return refusal
    names = (server.name for server in call.snapshot.config.servers if vip in (None, server.vip))
    found = view.chosen((name for name in names if name > after), call.query.get("state"))
    shown = paging.Page(call, found, lambda each: str(each["name"]), after)
    return Response(200, json_pieces({"servers": iter(shown), "next": shown.next}))


def one(call: Call) -> Response:
    """One server."""
    return _part(call, lambda server: server)


def state(call: Call) -> Response:
    """What is wanted of one server."""
    return _part(call, lambda server: server["wanted"])


def weight(call: Call) -> Response:
    """The weight of one server."""
    return _part(call, lambda server: server["weight"])


def _part(call: Call, part: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
    name = call.names["server"]
    if name not in call.snapshot.config.server_by_name:
        return unknown(name)
    return Response(200, json_text(part(View(call.snapshot).server(name))))


def unknown(name: str) -> Response:
    """The answer about a server that there is not."""
    return failure("not-found", f"there is no server {printable(name)}")


def no_vip(name: str | None, snapshot: Snapshot) -> Response | None:
    """The answer about a VIP that there is not; None if there is, or none is asked for."""
    if name is None or any(each.name == name for each in snapshot.config.vips):
        return None
    return failure("not-found", f"there is no VIP {printable(name)}")


class View:
    """What there is to tell about servers and pools at one moment: found once for all of them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.used = snapshot.backends.used
        self.tables = snapshot.backends.tables()
        self.failing_open = snapshot.backends.failing_open
        self.seen = {each.name: each.seen for each in snapshot.backends.servers()}
        self.agents = {each.server: each for each in snapshot.status.agents}
        self.wanted_slots = {key: count(table) for key, table in self.tables.items()}
        self.held_slots = {
            switch.name: {key: count(slots.servers) for key, slots in switch.held.items()}
            for switch in snapshot.status.switches
            if switch.held is not None
        }
        self.pools_of: dict[str, list[PoolKey]] = {}
        for vip in snapshot.config.vips:
            for pool in vip.redirect_ports:
                for name in pool.servers:
                    self.pools_of.setdefault(name, []).append((vip.name, pool.port))

    def chosen(self, names: Iterable[str], state: str | None) -> Iterator[dict[str, Any]]:
        """These servers, or those of them that have a word."""
        for name in names:
            server = self.server(name)
            if state is None or state in _words(server):
                yield server

    def server(self, name: str) -> dict[str, Any]:
        """Everything about one server."""
        server, used = self.snapshot.config.server_by_name[name], self.used.server_by_name[name]
        overrides = self.snapshot.overrides.of(name)
        return {
            "name": name,
            "vip": server.vip,
            "connector": str(server.connector),
            "wanted": self._wanted(server, used, overrides),
            "seen": self._seen(name),
            "held": self._held(name),
            "weight": {
                "configured": server.weight,
                "override": _override(overrides.get("weight")),
                "used": used.weight if used.wanted is Wanted.READY else 0,
            },
            "drain": drain_value(self.snapshot.drains.get(name), self.snapshot),
            "counters": counters.of_server(name, self.snapshot),
            "agent": agent_facts(self.agents[name]) if name in self.agents else None,
        }

    def is_serving(self, name: str, key: PoolKey) -> bool:
        """Whether a server may get a pool's new connections: it is wanted ready, and not seen down there."""
        used = self.used.server_by_name[name]
        return used.wanted is Wanted.READY and self.judgement(name, key).seen is not Seen.DOWN

    def judgement(self, name: str, key: PoolKey) -> Judgement:
        """What is seen of a server in one pool."""
        return self.seen.get(name, {}).get(key, Judgement())

    def held_in(self, name: str, key: PoolKey) -> dict[str, int]:
        """How many slots of a pool each switch was read to have of a server."""
        return {switch: slots[key].get(name, 0) for switch, slots in self.held_slots.items() if key in slots}

    def moment(self, at: float) -> str | None:
        """A time of the controller's clock as text; None if it has not come about."""
        return moments.text(at + self.snapshot.epoch) if at else None

    def _wanted(self, server: Server, used: Server, overrides: Mapping[Key, Override]) -> dict[str, Any]:
        override = overrides.get("state") or (overrides.get("weight") if used.state is Wanted.READY else None)
        if override is not None and override.value not in (used.state, 0):
            override = None
        said = override or Override(server.state, server.state)
        return {
            "state": used.wanted.value,
            "configured": server.wanted.value,
            "source": "file" if override is None else "override",
            "reason": said.reason,
            "by": said.by,
            "since": None if override is None else moments.text(said.since),
            "until": None if said.until is None else moments.text(said.until),
            "deadline": None if said.deadline is None else moments.text(said.deadline),
            "move": said.move,
        }

    def _seen(self, name: str) -> dict[str, Any]:
        found = {key: each for key, each in self.seen.get(name, {}).items() if key[1] != ALL_SERVERS} or self.seen.get(
            name, {}
        )
        worst = min(found.values(), key=lambda each: _WORST.index(each.seen), default=Judgement())
        return {"state": worst.seen.value, "reason": worst.reason, "since": self.moment(worst.since)}

    def _held(self, name: str) -> dict[str, Any]:
        pools = [self._pool(name, key) for key in self.pools_of.get(name, ())]
        counts = [number for each in pools for number in each["held"].values()]
        closed = [each for each in self.snapshot.status.switches if each.closed is not None]
        state = "slots" if any(counts) else "none"
        if not self.held_slots:
            state = "unknown"
        elif state == "none" and closed and all(name in (each.closed or ()) for each in closed):
            state = "closed"
        most = sum(max(each["held"].values(), default=0) for each in pools)
        return {"state": state, "slots": most if self.held_slots else None, "pools": pools}

    def _pool(self, name: str, key: PoolKey) -> dict[str, Any]:
        held, wanted = self.held_in(name, key), self.wanted_slots.get(key, {})
        return {"vip": key[0], "port": key[1], "of": sum(wanted.values()), "wanted": wanted.get(name, 0), "held": held}


def drain_value(drain: Drain | None, snapshot: Snapshot) -> dict[str, Any] | None:
    """How far a server is that drains."""
    if drain is None:
        return None
    since = drain.since if drain.drained_at is None else drain.drained_at
    return {
        "state": "draining" if drain.drained_at is None else "drained",
        "open": drain.open,
        "source": drain.source or None,
        "since": moments.text(since + snapshot.epoch),
        "quiet_seconds": None if drain.quiet is None else round(drain.quiet, 1),
        "reason": drain.reason,
    }


def count(table: Iterable[str | None]) -> dict[str, int]:
    """How many slots each server has."""
    found: dict[str, int] = {}
    for server in table:
        if server is not None:
            found[server] = found.get(server, 0) + 1
    return found


def _override(given: Override | None) -> dict[str, Any] | None:
    if given is None:
        return None
    return {
        "value": given.value if isinstance(given.value, int) else word(given.value),
        "reason": given.reason,
        "by": given.by,
        "since": moments.text(given.since),
        "until": None if given.until is None else moments.text(given.until),
    }


def _words(server: Mapping[str, Any]) -> set[str]:
    words = {server[key]["state"] for key in ("wanted", "seen", "held")}
    if server["drain"] is not None:
        words.add(server["drain"]["state"])
    if server["wanted"]["source"] == "override" or server["weight"]["override"] is not None:
        words.add("overridden")
    return words
