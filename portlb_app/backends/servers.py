"""What is known of the servers: what is wanted of each, what sources say about it, and what is seen of it in each pool.

What switches were read to hold is evidence, too (`take`): a server that should have slots there and has none is down.
"""

from __future__ import annotations

from dataclasses import dataclass

from portlb_app.backends.pools import Pools
from portlb_app.backends.reports import Reports
from portlb_app.backends.states import PORT, Cause, Evidence, Judgement, Known, Seen, judge
from portlb_app.backends.usable import ready_servers
from portlb_app.net.heartbeat import Heartbeat, State
from portlb_app.topology.conditions import ALL_SERVERS, PoolKey
from portlb_app.topology.damping import HOLD

HAS_SLOTS = "a switch has slots of it"
HAD_NONE = "no switch had slots of it when the controller started"
IS_NEW = "it is new, and no check of it has passed yet"
AGENT = "agent"
"""The source of what servers' agents say."""
SAYS_DOWN = "its agent says that it is down"


@dataclass(frozen=True)
class Change:
    """What is seen of a server has changed in one of its pools."""

    server: str
    pool: PoolKey
    before: Judgement
    after: Judgement


class Servers:
    """What is known of all servers of the live configuration.

    `pools`: the live ones. `known`: by server. `reports`: what agents say. `unsettled`: the pools whose servers have
    changed since their slots followed last, and why. `now`: the time of what happened last. `version`: another one
    whenever something has changed that slots may follow from.
    """

    def __init__(self, pools: Pools) -> None:
        self.pools = pools
        self.known: dict[str, Known] = {}
        self.reports = Reports()
        self.unsettled: dict[PoolKey, Cause] = {}
        self.now = 0.0
        self.version = 0
        self._assumed: set[str] = set()
        """The servers that are taken for down and may be up soon."""
        self._changes: list[Change] = []

    def adopt(self, pools: Pools, now: float, *, is_first: bool) -> None:
        """These pools are live. What is known of servers that they have not is forgotten."""
        before, self.pools = self.pools, pools
        self.known = {server.name: self.known.get(server.name, Known()) for server in pools.config.servers}
        self.reports.keep(self.known.keys())
        for name in self.known:
            self._judge(name, now)
        if not is_first:
            self._take_new(before, now)
        cause = Cause.START if is_first else Cause.ADMIN if pools.config is before.config else Cause.CONFIG
        self.unsettled = dict.fromkeys(pools, cause)
        self.version += 1

    def _take_new(self, before: Pools, now: float) -> None:
        """A server that joins a pool and is checked is down until a check has passed."""
        for key in self.pools.keys() & before.keys():
            for name in self.pools[key].checks.keys() - set(before[key].servers):
                judgement = self.known[name].judgements[key]
                if judgement.seen is Seen.UNKNOWN:
                    self.known[name].judgements[key] = Judgement(Seen.DOWN, IS_NEW, now)

    def see(self, server: str, evidence: Evidence, now: float) -> None:
        """A source says something about a server, in place of what it said before about the same pool."""
        known = self.known.get(server)
        if known is not None:
            known.evidence[evidence.source, evidence.pool] = evidence
            self._judge(server, now)

    def forget(self, server: str, source: str, now: float) -> None:
        """A source says nothing about a server any more."""
        known = self.known.get(server)
        if known is not None:
            known.evidence = {key: each for key, each in known.evidence.items() if each.source != source}
            self._judge(server, now)

    def hear(self, server: str, heartbeat: Heartbeat, now: float) -> None:
        """A server's agent says this. It holds until the next heartbeat, or until too many are missing."""
        if server in self.known:
            self.reports.hear(server, heartbeat, now)
            self._heed(server, now)

    def tick(self, now: float) -> None:
        """Time passes: agents fall silent, and servers that were taken for down may be up."""
        self.now = now
        for name in self.reports.expire(now):
            self._heed(name, now)
        for name in [name for name in self._assumed if now >= self.known[name].not_up_before]:
            self._assumed.discard(name)
            self._judge(name, now)

    def take(self, name: str, key: PoolKey, now: float, *, has_slots: bool, is_all_known: bool) -> None:
        """What follows for a server from the slots that a switch has of it, unless there is evidence against it.

        `is_all_known`: a switch was read that has the pool of all servers of the VIP.
        """
        server = self.known[name]
        before = server.judgements[key]
        if has_slots:
            if before.seen is Seen.UNKNOWN:
                server.judgements[key] = Judgement(Seen.UP, HAS_SLOTS, now)
        elif name in self.pools[key].foremost(ready_servers(self.known, self.pools, key)) and not server.is_down(key):
            after = server.judgements[key] = Judgement(Seen.DOWN, HAD_NONE, now)
            self._changes.append(Change(name, key, before, after))
            server.not_up_before = now + HOLD
            self._assumed.add(name)
        if not is_all_known:
            self._take_for_all(server, key, now)

    def _take_for_all(self, server: Known, key: PoolKey, now: float) -> None:
        """A server is taken for down in the pool of all servers if it is down in all others that are known."""
        every = key[0], ALL_SERVERS
        others = [each for port, each in server.judgements.items() if port != every]
        if key != every and every in server.judgements:
            is_down = all(each.seen is Seen.DOWN for each in others)
            if is_down and not server.is_down(every):
                server.judgements[every] = Judgement(Seen.DOWN, HAD_NONE, now)
                self.unsettled.setdefault(every, Cause.START)

    def seen(self, server: str, key: PoolKey) -> Seen:
        """What is seen of a server in a pool."""
        known = self.known.get(server)
        return known.judgements.get(key, Judgement()).seen if known else Seen.UNKNOWN

    def changes(self) -> list[Change]:
        """What has changed since this was asked last."""
        changes, self._changes = self._changes, []
        return changes

    # ---- inside ----

    def _heed(self, server: str, now: float) -> None:
        """Do as a server's agent says, if it says anything."""
        known, state = self.known[server], self.reports.state(server)
        if known.drains is not (state is State.DRAIN):
            known.drains = not known.drains
            self._touch(server, Cause.AGENT)
        said = (AGENT, None) in known.evidence
        if state is State.DOWN and not said:
            self.see(server, Evidence(AGENT, False, SAYS_DOWN, now), now)
        elif said and state is not State.DOWN:
            self.forget(server, AGENT, now)

    def _judge(self, name: str, now: float) -> None:
        """Look at all that is said about a server again."""
        self.now = now
        server, changed = self.known[name], False
        keys = self.pools.of(name)
        for key in server.judgements.keys() - set(keys):
            del server.judgements[key]
        for key in keys:
            before = server.judgements.get(key, Judgement())
            about = [each for each in server.evidence.values() if each.pool in (None, key)]
            after = judge(before, about, self.pools[key].checks.get(name, frozenset()) | {PORT}, now)
            if after.seen is Seen.UP and now < server.not_up_before:
                after = before
            server.judgements[key] = after
            if after.seen is not before.seen:
                self._changes.append(Change(name, key, before, after))
                changed = True
        if changed:
            self._touch(name, Cause.HEALTH)

    def _touch(self, name: str, cause: Cause) -> None:
        self.unsettled.update(dict.fromkeys(self.pools.of(name), cause))
        self.version += 1
