"""What has passed servers and pools since a switch was read before, by the counters of its flows and groups.

The counters of a switch go down: a flow or group that is added anew begins at 0, and so do all when the switch starts
again. So each is compared with itself: one that has gone down has counted since it was made, and one that is new to a
switch that was read before has, too. What passed between the last read and the end of a flow or group is not known, so
these sums are never too large.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, repeat

from portlb_app.backends.passive import Look
from portlb_app.compiler.traffic import Account, Direction, Traffic, Way
from portlb_app.openflow import Group
from portlb_app.reconcile.results import Amount, Counted, FlowCount, Passed
from portlb_app.topology.conditions import PoolKey

Counts = Iterator[tuple[Account, Amount]]
_NOTHING, _BEGIN = Amount(), Counted(0, ())


class Counters:
    """The counters of one switch as they were when it was last read."""

    def __init__(self) -> None:
        self._is_first = True
        self._flows: dict[int, tuple[Account, Amount]] = {}
        """By a flow's hash, which is that of what identifies it; two of a million have the same once in 10 million."""
        self._accounts: frozenset[Account] = frozenset()
        """Those of all flows."""
        self._groups: dict[int, tuple[Group, Counted]] = {}

    def compare(
        self,
        traffic: Traffic,
        flows: Iterable[FlowCount],
        groups: Mapping[int, Group],
        counted: Mapping[int, Counted] | None,
        only_changed: bool = False,
    ) -> Passed:
        """What has passed since the last time; nothing the first time, but then it is said of what.

        `only_changed`: all other flows are as they were, and count for the same.
        `counted`: None if not all groups were asked. Then it is not known what servers got, and nothing is said of it.
        """
        servers, pools = dict[Way, Amount](), dict[PoolKey, Amount]()
        by_ipv6, datagrams = dict[str, int](), dict[str, Amount]()
        found = [*(self._of_changed(flows) if only_changed else self._of_flows(traffic, flows))]
        if counted is None:
            found = [(account, amount) for account, amount in found if account.way[1] is Direction.FROM_SERVER]
        else:
            found += self._of_groups(traffic, groups, counted)
        is_first, self._is_first = self._is_first, False
        for account, amount in found:
            new = Amount() if is_first else amount
            servers[account.way] = servers.get(account.way, Amount()).plus(new)
            if account.pool is not None:
                pools[account.pool] = pools.get(account.pool, Amount()).plus(new)
            if account.is_ipv6:
                by_ipv6[account.way[0]] = by_ipv6.get(account.way[0], 0) + new.packets
            if account.datagrams:
                datagrams[account.way[0]] = datagrams.get(account.way[0], Amount()).plus(new)
        return Passed(servers, pools, by_ipv6, datagrams)

    def _of_flows(self, traffic: Traffic, flows: Iterable[FlowCount]) -> Counts:
        before, self._flows = self._flows, {}
        for flow, now in flows:
            if (account := traffic.of_flow(flow)) is not None and hash(flow) not in self._flows:
                self._flows[hash(flow)] = account, now
                yield account, _since(before[hash(flow)][1] if hash(flow) in before else _NOTHING, now)
        self._accounts = frozenset(account for account, _ in self._flows.values())

    def _of_changed(self, flows: Iterable[FlowCount]) -> Counts:
        for flow, now in flows:
            if (known := self._flows.get(hash(flow))) is not None:
                account, before = known
                self._flows[hash(flow)] = account, now
                yield account, _since(before, now)
        yield from ((account, _NOTHING) for account in self._accounts)

    def _of_groups(self, traffic: Traffic, groups: Mapping[int, Group], counted: Mapping[int, Counted]) -> Counts:
        before, self._groups = self._groups, {}
        for group, parts in traffic.of_groups(groups):
            now = counted.get(group.number)
            if now is None:
                continue
            self._groups[group.number] = group, now
            known, earlier = before.get(group.number, (None, now))
            added = _added(earlier if known == group else _BEGIN, now)
            for account, buckets in parts:
                some = [added[bucket] for bucket in buckets if bucket in added] if added else ()
                yield account, Amount(sum(each.packets for each in some), sum(each.octets for each in some))


def looks(passed: Passed) -> dict[str, Look]:
    """What has passed, by server: of those of which both directions are known."""
    found = {}
    for (name, direction), to in passed.servers.items():
        come = passed.servers.get((name, Direction.FROM_SERVER))
        if direction is Direction.TO_SERVER and come is not None:
            found[name] = Look(to.packets, to.octets, come.packets, come.octets, passed.by_ipv6.get(name, 0))
    return found


def _added(before: Counted, now: Counted) -> dict[int, Amount]:
    """What has been added to buckets, where anything has."""
    if before.packets == now.packets:
        return {}
    pairs = zip(now.packets, now.octets, chain(before.packets, repeat(0)), chain(before.octets, repeat(0)))
    return {
        bucket: _since(Amount(old, old_octets), Amount(new, new_octets))
        for bucket, (new, new_octets, old, old_octets) in enumerate(pairs)
        if new != old
    }


def _since(before: Amount, now: Amount) -> Amount:
    """What has been added; a counter that has gone down began anew."""
    if now.packets < before.packets:
        return now
    return Amount(now.packets - before.packets, max(0, now.octets - before.octets))
