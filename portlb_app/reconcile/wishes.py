"""Overrides of states and weights while the controller runs: those that are wished for, and those that end."""

from __future__ import annotations

from typing import NamedTuple

from portlb_app.config import Config
from portlb_app.reconcile.commands import ReportWish, SaveOverrides
from portlb_app.reconcile.events import OverridesWanted, Tick
from portlb_app.reconcile.network import Network
from portlb_app.reconcile.outcomes import Carried, Lacking, WishOutcome


class _Waiting(NamedTuple):
    """A wish whose outcome somebody waits for."""

    ticket: int
    deadline: float
    seconds: float


class Wishes:
    """Overrides take the place of those before at once; what follows for tables is compiled like any condition.

    A wish is carried out when all connected switches were seen to have it, and stands in any case.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._waiting: list[_Waiting] = []
        self._settled_for: Config | None = None

    def want(self, event: OverridesWanted) -> None:
        """These are the overrides from now on."""
        network = self._network
        network.overrides, network.change = event.overrides, event.change
        self._waiting.append(_Waiting(event.ticket, network.now + event.patience, event.patience))

    def tick(self, event: Tick) -> None:
        """Time passes."""
        if event.unix is not None:
            self._network.unix_at_zero = event.unix - self._network.now
            self._settled_for = None

    def settle(self) -> None:
        """Drop the overrides that have ended, by time or because another configuration is live."""
        network = self._network
        if self._settled_for is network.live.config:
            return
        self._settled_for = network.live.config
        kept, notes = network.overrides.settle(network.live.config, network.unix_at_zero + network.now)
        for note in notes:
            network.log(note.level, note.text)
        if notes:
            network.overrides = kept
            network.commands.append(SaveOverrides())

    def report(self) -> None:
        """Tell those that wait what has become of their wishes, once it is known."""
        if not self._waiting:
            return
        lacking = self._lacking()
        has_failed = bool(lacking) and all(lacking.values())
        still = []
        for each in self._waiting:
            outcome: WishOutcome
            if not lacking:
                outcome = Carried(self._absent())
            elif has_failed or self._network.now >= each.deadline:
                outcome = Lacking(lacking, each.seconds)
            else:
                still.append(each)
                continue
            self._network.commands.append(ReportWish(each.ticket, outcome))
        self._waiting = still

    def _lacking(self) -> dict[str, tuple[str, ...]]:
        """The connected switches that were not seen to have what is wanted now, each with its errors."""
        network = self._network
        is_compiled = network.goal.is_for(network.wanted)
        lacking = [each for each in network.members() if not (is_compiled and network.has_goal(each))]
        return {network.name(each.dpid): each.errors for each in sorted(lacking, key=lambda each: each.dpid)}

    def _absent(self) -> tuple[str, ...]:
        network = self._network
        connected = {each.dpid for each in network.members()}
        return tuple(sorted(name for dpid, name in network.live.names.items() if dpid not in connected))
