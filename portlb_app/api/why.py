"""``GET /v1/servers/{server}/why``: why a server gets new connections, or gets none, in sentences.

A chain of evidence: what is wanted of it, what each source says, the weight that follows, the slots that it is to have
and those that each switch was read to hold; then what has changed last, and what would change it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portlb_app.api.messages import Response, json_text
from portlb_app.api.routing import Call
from portlb_app.api.servers import View, unknown
from portlb_app.api.snapshot import Snapshot
from portlb_app.backends import ServerState
from portlb_app.backends.states import PORT, Seen
from portlb_app.config import Vip, Wanted, moments
from portlb_app.health.line_state import LineState
from portlb_app.net.heartbeat import State
from portlb_app.topology.conditions import PoolKey

_AGENT_SAYS = {
    State.READY: "it is ready",
    State.DRAIN: "it is to get no new connections",
    State.DOWN: "it is down",
}


def read(call: Call) -> Response:
    """Why one server is as it is."""
    name = call.names["server"]
    if name not in call.snapshot.config.server_by_name:
        return unknown(name)
    return Response(200, json_text(why(name, call.snapshot)))


def why(name: str, snapshot: Snapshot) -> dict[str, Any]:
    """The whole answer about a server of the live configuration, as JSON values."""
    return _Why(name, snapshot).value()


class _Why:
    """One server at one moment."""

    def __init__(self, name: str, snapshot: Snapshot) -> None:
        self.name, self.snapshot, self.view = name, snapshot, View(snapshot)
        self.told = self.view.server(name)
        self.used = self.view.used.server_by_name[name]
        self.pools: list[PoolKey] = self.view.pools_of.get(name, [])
        empty = ServerState(name, {}, ())
        self.state = next((each for each in snapshot.backends.servers() if each.name == name), empty)
        self.checks = [each for each in snapshot.checks if each.line.server == name]

    def value(self) -> dict[str, Any]:
        """All of it."""
        gets, answer = self._answer()
        return {
            "server": self.name,
            "vip": self.told["vip"],
            "gets": gets,
            "answer": answer,
            "because": list(self._because()),
            "last_change": self._last_change(),
            "would_change": list(self._would_change(gets)),
        }

    # ---- the answer ----

    def _answer(self) -> tuple[str, str]:
        pools = self.told["held"]["pools"]
        wanted, of = sum(each["wanted"] for each in pools), sum(each["of"] for each in pools)
        held = self.told["held"]["slots"]
        if not pools:
            return "none", f"{self.name} is in no pool: only packets to its service ports reach it"
        if not wanted:
            return "none", f"{self.name} gets no new connections: {self._cause()}"
        share = f"{wanted} of {of} slots of {_pools_text(len(pools))}"
        if not held:
            return "not yet", f"{self.name} is to get new connections, {share}, but no switch was read to hold that"
        if any(each["wanted"] == 0 for each in pools):
            return "some", f"{self.name} gets new connections of some pools: {share}"
        return "all", f"{self.name} gets new connections: {share}"

    def _cause(self) -> str:
        """Why it has no slot: the strongest reason there is."""
        if self.used.wanted is not Wanted.READY:
            return f"it is wanted {self.used.wanted.value}"
        if self.told["seen"]["state"] == Seen.DOWN.value:
            return f"it is seen down: {self.told['seen']['reason']}"
        if self.state.report is not None and self.state.report.heartbeat.state is State.DRAIN:
            return "its agent says that it is to get none"
        if self._is_backup():
            return "it is a backup, and servers with a lower priority work"
        return "its weight gives it no slot"

    def _is_backup(self) -> bool:
        others = [self.view.used.server_by_name[each] for key in self.pools for each in self._members(key)]
        return any(each.priority < self.used.priority for each in others)

    def _members(self, key: PoolKey) -> tuple[str, ...]:
        pool = self._vip.pool_on(key[1])
        return () if pool is None else pool.servers

    @property
    def _vip(self) -> Vip:
        return next(each for each in self.snapshot.config.vips if each.name == self.told["vip"])

    # ---- evidence ----

    def _because(self) -> Iterator[dict[str, Any]]:
        yield self._wanted()
        yield from self._evidence()
        for check in self.checks:
            yield self._check(check)
        yield self._agent()
        yield self._weight()
        for each in self.told["held"]["pools"]:
            yield from self._pool(each)
        yield self._services()

    def _wanted(self) -> dict[str, Any]:
        said = self.told["wanted"]
        by = "by lb.yaml" if said["source"] == "file" else "by an override"
        more = [f"of {said['by']}"] if said["by"] else []
        more += [f"until {said['until']}"] if said["until"] else []
        reason = f": {said['reason']}" if said["reason"] else ""
        return _line("wanted", f"{said['state']} {' '.join((by, *more))}{reason}", said["since"])

    def _evidence(self) -> Iterator[dict[str, Any]]:
        for each in sorted(self.state.evidence, key=lambda each: (each.is_up, each.source)):
            about = "" if each.pool is None else f" ({each.pool[0]}:{each.pool[1]})"
            up = "up" if each.is_up else "down"
            yield _line(f"seen by {each.source}", f"{up}{about}: {each.reason}", self.view.moment(each.since))
        if not self.state.evidence:
            seen = self.told["seen"]
            yield _line("seen", f"{seen['state']}: {seen['reason']}", seen["since"])

    def _check(self, check: LineState) -> dict[str, Any]:
        judge, passes = check.judge, check.judge.streak > 0
        result = "none has come back yet" if check.result is None else check.result.reason
        row = f"{abs(judge.streak)} in a row {'passed' if passes else 'failed'}, " if judge.streak else ""
        held = f"; nothing follows: {check.held}" if check.held else ""
        at = moments.text(check.at + self.snapshot.epoch) if check.result is not None else None
        return _line("check", f"{check.what}: {row}last: {result}{held}", at)

    def _agent(self) -> dict[str, Any]:
        report = self.state.report
        if report is None:
            return _line("agent", "none is heard", None)
        says, count = _AGENT_SAYS.get(report.heartbeat.state, "nothing known"), report.heartbeat.open
        return _line("agent", f"it says that {says}; {count} connections are open", self.view.moment(report.first))

    def _weight(self) -> dict[str, Any]:
        weight = self.told["weight"]
        words = f"{weight['used']}"
        if weight["override"] is not None:
            words += f", by an override; {weight['configured']} by lb.yaml"
            return _line("weight", words, weight["override"]["since"])
        return _line("weight", f"{words}, by lb.yaml", None)

    def _pool(self, pool: dict[str, Any]) -> Iterator[dict[str, Any]]:
        key = pool["vip"], pool["port"]
        name = f"pool {key[0]}:{key[1]}"
        judged = self.view.judgement(self.name, key)
        if judged.seen is Seen.DOWN and self.used.wanted is Wanted.READY:
            state = self.snapshot.backends.pool(key)
            is_open = state is not None and state.fails_open
            open_text = "; the pool uses it all the same, because too few of its servers are up" if is_open else ""
            yield _line(name, f"it is down there: {judged.reason}{open_text}", self.view.moment(judged.since))
        held = ", ".join(f"{switch} holds {count}" for switch, count in pool["held"].items()) or "no switch was read"
        yield _line(name, f"{pool['wanted']} of {pool['of']} slots are wanted; {held}", None)

    def _services(self) -> dict[str, Any]:
        ports = [str(each.port) for each in self.used.service_ports]
        if self.told["held"]["state"] == "closed" or self.used.wanted is Wanted.MAINT:
            return _line("service ports", "closed: nothing of clients reaches it", None)
        return _line("service ports", f"{', '.join(ports) or 'none'}: forwarded to it alone", None)

    # ---- changes ----

    def _last_change(self) -> dict[str, Any] | None:
        found, _ = self.snapshot.events.after(0)
        mine = [each for each in found if each.what.of == self.name]
        if not mine:
            return None
        last = mine[-1]
        before = "" if last.what.before is None else f" (was {last.what.before})"
        return _line(last.what.kind, f"{last.what.after}{before}: {last.what.reason}", moments.text(last.at))

    def _would_change(self, gets: str) -> Iterator[str]:
        """What has to happen so that it gets new connections; nothing if it does."""
        if gets == "all":
            return
        yield from self._would_be_wanted()
        for each in self.state.evidence:
            if not each.is_up and each.source == PORT:
                yield f"its connector {self.told['connector']} comes up"
        for check in self.checks:
            if check.judge.is_up is False:
                needed = max(1, check.judge.needed(check.at) - max(0, check.judge.streak))
                yield f"{check.what} passes {needed} more times in a row"
        if self.state.report is not None and self.state.report.heartbeat.state is not State.READY:
            yield "its agent says that it is ready"
        if not self.pools:
            yield f"a redirect port of {self.told['vip']} names it in its servers"
        if gets == "not yet":
            missing = [each.name for each in self.snapshot.status.switches if each.state != "synced"]
            yield f"switches take it: {', '.join(missing) or 'they are read next'}"

    def _would_be_wanted(self) -> Iterator[str]:
        wanted = self.told["wanted"]
        if self.used.wanted is Wanted.READY:
            if self.told["seen"]["state"] != Seen.DOWN.value and self._is_backup():
                yield "the servers before it stop working"
        elif self.used.state is Wanted.READY:
            yield f"it gets a weight: portlb weight {self.name} 1"
        else:
            ends = f", or {wanted['until']} comes" if wanted["until"] else ""
            file = f", or lb.yaml says servers.{self.name}.state: ready" if wanted["source"] == "file" else ""
            yield f"portlb ready {self.name}{file}{ends}"


def _line(about: str, words: str, since: str | None) -> dict[str, Any]:
    return {"about": about, "words": words, "since": since}


def _pools_text(count: int) -> str:
    return "1 pool" if count == 1 else f"{count} pools"
