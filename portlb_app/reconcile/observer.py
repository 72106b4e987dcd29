"""What has become of servers, pools and agents in one step, as events: compared with what was told of them last.

Whatever leads to it, a change is seen here once, and only when it is so. The slots of a pool are told when a switch was
read to hold them: to have moved in the controller is not to have moved. Slots that move by themselves all the time (by
load, turns, a slow start) are told once in `SELDOM` seconds for each pool, with all that moved since.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from portlb_app.backends.states import Cause
from portlb_app.config.overrides import Overrides, word
from portlb_app.reconcile.happened import Kind
from portlb_app.reconcile.network import Network
from portlb_app.reconcile.pool_status import pool_word
from portlb_app.topology.conditions import ALL_SERVERS, HeldSlots, PoolKey

SELDOM = 60.0
SHOWN_SERVERS = 16
"""Servers whose numbers of slots an event has, at most."""
_BY_THEMSELVES = (Cause.LOAD, Cause.TURN, Cause.PACE)


@dataclass
class _Told:
    """What was told last of a pool: its word, the slots that switches hold, and when."""

    word: str | None = None
    held: HeldSlots | None = None
    at: float = 0.0
    cause: Cause = Cause.START
    change: str = ""


class Observer:
    """Call `proceed` at the end of every step."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._used = network.backends.used
        self._overrides = network.overrides
        self._pools: dict[PoolKey, _Told] = {}
        self._waiting: set[PoolKey] = set()
        """Pools whose slots were read to be others than those that were told."""
        self._looked_at = 0.0
        self._heard: frozenset[str] = frozenset()

    def proceed(self) -> None:
        """Tell what has changed."""
        self._servers()
        self._agents()
        self._pool_words()
        self._slots()

    def _servers(self) -> None:
        used, before, overrides = self._network.backends.used, self._used, self._overrides
        if used is before:
            return
        self._used, self._overrides = used, self._network.overrides
        for server in used.servers:
            known = before.server_by_name.get(server.name)
            if known is None or known is server:
                continue
            if known.wanted is not server.wanted:
                self._tell_wanted("state", server.name, known.wanted.value, server.wanted.value, overrides)
            if known.weight != server.weight:
                self._tell_wanted("weight", server.name, str(known.weight), str(server.weight), overrides)

    def _tell_wanted(self, key: str, name: str, before: str, after: str, overrides: Overrides) -> None:
        network = self._network
        now = network.overrides.of(name)
        override = now.get("state") or now.get("weight")
        if override is not None and word(override.value) in (after, "0"):
            by, why = override.by or "somebody", f": {override.reason}" if override.reason else ""
            reason, evidence = f"asked for by {by}{why}", {"source": "override", "by": override.by}
        elif overrides.of(name) and not now:
            reason, evidence = "its override has ended, and the configuration's value holds again", {"source": "file"}
        else:
            reason, evidence = "the configuration says so", {"source": "file"}
        kind: Kind = "admin" if key == "state" else "weight"
        network.tell(kind, name, (before, after), reason, evidence, by=network.change)

    def _agents(self) -> None:
        heard = self._network.backends.heard
        if heard == self._heard:
            return
        before, self._heard = self._heard, frozenset(heard)
        for name in sorted(self._heard - before):
            self._network.tell("agent", name, ("silent", "heard"), "its agent's heartbeats come")
        for name in sorted((before - self._heard).intersection(self._used.server_by_name)):
            reason = "no heartbeat of its agent came for longer than the last one was to count"
            self._network.tell("agent", name, ("heard", "silent"), reason)

    def _pool_words(self) -> None:
        """Look at the pools whose servers or slots have changed."""
        backends = self._network.backends
        causes = backends.take_causes()
        self._network.totals.causes.update(causes)
        for key, cause in causes.items():
            state = backends.pool(key) if key[1] != ALL_SERVERS else None
            if state is None:
                self._pools.pop(key, None)
                self._waiting.discard(key)
                continue
            told = self._pools.setdefault(key, _Told())
            told.cause = cause
            told.change = self._network.change if cause in (Cause.CONFIG, Cause.ADMIN) else ""
            now, missing = pool_word(state, self._network)
            if told.word is not None and now != told.word:
                reason = _SENTENCES[now]
                evidence = {"missing": missing, "cause": cause.value}
                self._network.tell("pool", _name(key), (told.word, now), reason, evidence, by=told.change)
            told.word = now

    def _slots(self) -> None:
        network = self._network
        read = network.take_read()
        if not read and network.now < self._looked_at + 1.0:
            return
        self._looked_at = network.now
        self._waiting.update(read)
        for key in sorted(self._waiting):
            held, told = network.held(key), self._pools.get(key)
            if told is None or held is None or (told.held is not None and held.servers == told.held.servers):
                self._waiting.discard(key)
                continue
            if not network.backends.holds(key, held):
                continue  # some switch is behind, or ahead: what is right will be read
            is_first, is_due = told.held is None, network.now >= told.at + SELDOM
            if not is_first and told.cause in _BY_THEMSELVES and not is_due:
                continue
            self._waiting.discard(key)
            if told.held is not None:
                self._tell_slots(key, told, told.held, held)
            told.held, told.at = held, network.now

    def _tell_slots(self, key: PoolKey, told: _Told, before: HeldSlots, held: HeldSlots) -> None:
        was, now = Counter(before.servers), Counter(held.servers)
        if len(before.servers) == len(held.servers):
            moved = sum(one != other for one, other in zip(before.servers, held.servers, strict=True))
        else:
            moved = max(len(before.servers), len(held.servers))
        others = sorted((name or "?" for name in was.keys() | now.keys() if was[name] != now[name]))[:SHOWN_SERVERS]
        counts = [{name or "?": count for name, count in each.items()} for each in (was, now)]
        change = tuple(", ".join(f"{name} {each.get(name, 0)}" for name in others) for each in counts)
        evidence = {"cause": told.cause.value, "moved": moved, "slots": len(held.servers)}
        reason = f"{moved} of {len(held.servers)} slots have moved, by {_CAUSES[told.cause]}"
        self._network.tell("slots", _name(key), (change[0], change[1]), reason, evidence, by=told.change)


_SENTENCES = {
    "ok": "all of its servers serve",
    "degraded": "some of its servers get no new connections",
    "fail_open": "too few of its servers are up, so all are used",
    "empty": "no server has a slot: new connections are dropped",
}
_CAUSES = {
    Cause.START: "what switches were found to hold",
    Cause.CONFIG: "a new configuration",
    Cause.ADMIN: "an override",
    Cause.HEALTH: "health",
    Cause.AGENT: "the word of an agent",
    Cause.LOAD: "load",
    Cause.TURN: "turns",
    Cause.PACE: "time",
}


def _name(key: PoolKey) -> str:
    return f"{key[0]}:{key[1]}"
