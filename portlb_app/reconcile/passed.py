"""What has passed servers and pools since a switch was read before, by the counters of its flows and groups.

The counters of a switch go down: a flow or group that is added anew begins at 0, and so do all when the switch starts
again. So each is compared with itself: one that has gone down has counted since it was made, and one that is new to a
switch that was read before has, too. What passed between the last read and the end of a flow or group is not known, so
these sums are never too large.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from portlb_app.compiler.traffic import Account, Direction, Traffic, Way
from portlb_app.openflow import Group, SwitchState
from portlb_app.openflow.flows import FlowKey
from portlb_app.reconcile.results import Amount, Counted, Passed
from portlb_app.topology.conditions import PoolKey

Counts = Iterator[tuple[Account, Amount]]


class Counters:
    """The counters of one switch as they were when it was last read."""

    def __init__(self) -> None:
        self._is_first = True
        self._flows: dict[FlowKey, Amount] = {}
        self._groups: dict[int, tuple[Group, Counted]] = {}

    def compare(
        self,
        traffic: Traffic,
        state: SwitchState,
        flows: Mapping[FlowKey, Amount],
        groups: Mapping[int, Counted] | None,
    ) -> Passed:
        """What has passed since the last time; nothing the first time, but then it is said of what.

        `groups`: None if not all were asked. Then it is not known what servers got, and nothing is said of it.
        """
        servers, pools = dict[Way, Amount](), dict[PoolKey, Amount]()
        found = [*self._of_flows(traffic, state, flows)]
        if groups is None:
            found = [(account, amount) for account, amount in found if account.way[1] is Direction.FROM_SERVER]
        else:
            found += self._of_groups(traffic, state, groups)
        is_first, self._is_first = self._is_first, False
        for account, amount in found:
            new = Amount() if is_first else amount
            servers[account.way] = servers.get(account.way, Amount()).plus(new)
            if account.pool is not None:
                pools[account.pool] = pools.get(account.pool, Amount()).plus(new)
        return Passed(servers, pools)

    def _of_flows(self, traffic: Traffic, state: SwitchState, flows: Mapping[FlowKey, Amount]) -> Counts:
        before, self._flows = self._flows, {}
        for flow in state.flows:
            now = flows.get(flow.key)
            if now is not None and (account := traffic.of_flow(flow)) is not None:
                self._flows[flow.key] = now
                yield account, _since(before.get(flow.key, Amount()), now)

    def _of_groups(self, traffic: Traffic, state: SwitchState, groups: Mapping[int, Counted]) -> Counts:
        before, self._groups = self._groups, {}
        for group, accounts in traffic.of_groups(state.group_by_number):
            now = groups.get(group.number)
            if now is None:
                continue
            self._groups[group.number] = group, now
            known, earlier = before.get(group.number, (None, now))
            olds = list(_buckets(earlier)) if known == group else [Amount()] * len(now.packets)
            for account, old, new in zip(accounts, olds, _buckets(now), strict=False):
                if account is not None:
                    yield account, _since(old, new)


def _buckets(counted: Counted) -> Iterator[Amount]:
    return map(Amount, counted.packets, counted.octets)


def _since(before: Amount, now: Amount) -> Amount:
    """What has been added; a counter that has gone down began anew."""
    if now.packets < before.packets:
        return now
    return Amount(now.packets - before.packets, max(0, now.octets - before.octets))
