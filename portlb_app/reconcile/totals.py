"""What has happened to servers, pools and switches since the controller started: sums that never get smaller.

Whatever switches count begins anew when they start, and again when a flow is added anew; here it goes on. What is no
more in the configuration is forgotten, so there is never more of it than of servers, pools and switches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from portlb_app.backends import Change
from portlb_app.backends.states import Cause, Seen
from portlb_app.compiler.traffic import Way
from portlb_app.config import Config
from portlb_app.pipeline import Reason, metered_reason
from portlb_app.reconcile.rates import Rates
from portlb_app.reconcile.results import Amount, Passed
from portlb_app.topology.conditions import HeldSlots, PoolKey

DRIFT = "drift"
"""The cause of moves that others have made in a switch, and of those that put them right."""


class Totals:
    """The sums. Switches are told by their datapath ids.

    - `state_changes`: by server and cause (`Judgement.cause`); `changed_at`: the time of the last one of each server.
    - `slot_moves`: by pool and cause, as switches were read.
    - `connections`: how often each switch has connected; `refusals`: errors with which it has refused something.
    - `metered`: packets that each switch has kept from being handed up, by reason.
    - `servers`, `pools`, `datagrams`: what has passed (`Passed`); `servers_at`, `pools_at`: when that was read last.
      `ports`: how much passes ports now.
    """

    def __init__(self) -> None:
        self.state_changes: Counter[tuple[str, str]] = Counter()
        self.changed_at: dict[str, float] = {}
        self.slot_moves: Counter[tuple[PoolKey, str]] = Counter()
        self.connections: Counter[int] = Counter()
        self.refusals: Counter[int] = Counter()
        self.metered: Counter[tuple[int, Reason]] = Counter()
        self.ports = Rates()
        self.servers: dict[Way, Amount] = {}
        self.pools: dict[PoolKey, Amount] = {}
        self.servers_at: dict[Way, float] = {}
        self.pools_at: dict[PoolKey, float] = {}
        self.datagrams: dict[str, Amount] = {}
        self._meters: dict[int, Mapping[int, int]] = {}
        """What each switch's meters had counted when it was last read."""
        self._tellers: dict[PoolKey, int] = {}
        """The switch that tells which slots of a pool have moved: several hold it, and one is enough."""
        self.causes: dict[PoolKey, Cause] = {}
        """By what the slots of each pool were moved last."""
        self._drifted: set[PoolKey] = set()

    def keep(self, config: Config) -> None:
        """Another configuration is live: forget what it has not."""
        servers, switches = config.server_by_name.keys(), {switch.dpid for switch in config.switches}
        vips = {vip.name for vip in config.vips}
        pools = {(vip.name, pool.port) for vip in config.vips for pool in vip.redirect_ports}

        def is_pool(key: PoolKey) -> bool:
            return key in pools or (key[1] == 0 and key[0] in vips)

        self.state_changes = Counter({key: each for key, each in self.state_changes.items() if key[0] in servers})
        self.changed_at = {name: at for name, at in self.changed_at.items() if name in servers}
        self.slot_moves = Counter({key: each for key, each in self.slot_moves.items() if is_pool(key[0])})
        self.connections = Counter({dpid: each for dpid, each in self.connections.items() if dpid in switches})
        self.refusals = Counter({dpid: each for dpid, each in self.refusals.items() if dpid in switches})
        self.metered = Counter({key: each for key, each in self.metered.items() if key[0] in switches})
        self.servers = {way: each for way, each in self.servers.items() if way[0] in servers}
        self.pools = {key: each for key, each in self.pools.items() if is_pool(key)}
        self.servers_at = {way: at for way, at in self.servers_at.items() if way[0] in servers}
        self.pools_at = {key: at for key, at in self.pools_at.items() if is_pool(key)}
        self.datagrams = {name: each for name, each in self.datagrams.items() if name in servers}
        self.ports.keep(switches)
        self._meters = {dpid: each for dpid, each in self._meters.items() if dpid in switches}
        self._tellers = {key: dpid for key, dpid in self._tellers.items() if is_pool(key) and dpid in switches}
        self._drifted = set(filter(is_pool, self._drifted))
        self.causes = {key: cause for key, cause in self.causes.items() if is_pool(key)}

    def count_changes(self, changes: Iterable[Change], now: float) -> None:
        """Servers are seen otherwise now. One that is in several pools counts once for each cause."""
        found = {
            (change.server, change.after.seen, change.after.cause)
            for change in changes
            if Seen.DOWN in (change.before.seen, change.after.seen)
        }
        for server, _, cause in found:
            self.state_changes[server, cause] += 1
            self.changed_at[server] = now

    def count_meters(self, dpid: int, metered: Mapping[int, int]) -> None:
        """The meters of a switch have dropped so many packets since they were made."""
        before, self._meters[dpid] = self._meters.get(dpid), metered
        for number, dropped in metered.items():
            reason = metered_reason(number)
            if reason is not None and before is not None:
                known = before.get(number, 0)
                self.metered[dpid, reason] += dropped - known if dropped >= known else dropped

    def count_passed(self, passed: Passed, now: float) -> None:
        """So much has passed by now."""
        for way, amount in passed.servers.items():
            self.servers[way], self.servers_at[way] = self.servers.get(way, Amount()).plus(amount), now
        for key, amount in passed.pools.items():
            self.pools[key], self.pools_at[key] = self.pools.get(key, Amount()).plus(amount), now
        for name, amount in passed.datagrams.items():
            self.datagrams[name] = self.datagrams.get(name, Amount()).plus(amount)

    def count_moves(
        self,
        dpid: int,
        before: Mapping[PoolKey, HeldSlots],
        after: Mapping[PoolKey, HeldSlots],
        telling: Collection[int],
        has_drifted: bool,
    ) -> None:
        """A switch was read that held other slots before. `telling`: the switches of which slots are known.

        `has_drifted`: others have changed what it holds.
        """
        for key in before.keys() & after.keys():
            teller = self._tellers.get(key)
            if teller is None or teller not in telling:
                teller = self._tellers[key] = dpid
            if teller == dpid and before[key] is not after[key]:
                moved = _moved(before[key].servers, after[key].servers)
                if moved:
                    self.slot_moves[key, self._cause(key, has_drifted)] += moved

    def _cause(self, key: PoolKey, has_drifted: bool) -> str:
        if has_drifted:
            self._drifted.add(key)
        elif key in self._drifted:
            self._drifted.discard(key)
        else:
            return self.causes.get(key, Cause.START).value
        return DRIFT


def _moved(before: tuple[str | None, ...], after: tuple[str | None, ...]) -> int:
    """How many slots have another server; all of them where there are more or fewer."""
    if len(before) != len(after):
        return max(len(before), len(after))
    return sum(old != new for old, new in zip(before, after, strict=True))
