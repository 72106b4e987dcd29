"""What the switches do and answer: connections, reads, changes; and how each one's round goes on."""

from __future__ import annotations

from typing import Literal

from portlb_app.reconcile import surroundings
from portlb_app.reconcile.commands import Forget
from portlb_app.reconcile.contest import WORDS, Contest
from portlb_app.reconcile.double import Double
from portlb_app.reconcile.events import Applied, Claimed, Interrupted, ReadWanted, Refused, StateRead
from portlb_app.reconcile.happened import Evidence
from portlb_app.reconcile.known_switch import KnownSwitch
from portlb_app.reconcile.network import Network
from portlb_app.reconcile.passed import looks
from portlb_app.reconcile.phases import Change, Phase
from portlb_app.reconcile.results import SHOWN, Steps
from portlb_app.reconcile.trials import Trials


class Rounds:
    """Moves switches through their phases."""

    def __init__(self, network: Network, trials: Trials, interval: float) -> None:
        self._network = network
        self._trials = trials
        self._interval = interval

    def connected(self, dpid: int) -> None:
        """A switch connects, or a new connection replaces its old one."""
        network = self._network
        switch = network.switches.setdefault(dpid, KnownSwitch(dpid))
        if switch.is_connected:
            self._tell(switch, "absent", "a new connection of it replaces the one before")
            self._trials.lost(dpid)
        self._reset(switch, Change.CONNECTED)
        if network.knows(dpid):
            network.totals.connections[dpid] += 1
            network.log("info", f"{network.name(dpid)} is connected", switch=network.name(dpid))
            self._tell(switch, "connected", "its OpenFlow connection is up")
            self._trials.connected(dpid)
        else:
            text = f"switch {dpid:#x} is not in the configuration and left alone"
            network.log("warning", text, switch=f"{dpid:#x}")

    def disconnected(self, dpid: int) -> None:
        """A switch is gone."""
        network = self._network
        switch = network.switches.get(dpid)
        if switch is None or not switch.is_connected:
            return
        self._reset(switch, Change.DISCONNECTED)
        network.totals.ports.forget(dpid)
        network.log("warning", f"{network.name(dpid)} is disconnected", switch=network.name(dpid))
        self._tell(switch, "absent", "its OpenFlow connection has ended; it forwards by the tables that it has")
        self._trials.lost(dpid)
        if not network.knows(dpid):
            del network.switches[dpid]

    def claimed(self, event: Claimed) -> None:
        """Another connection claims the datapath id of a connected switch, and was refused."""
        network = self._network
        switch = network.switches.get(event.dpid)
        if switch is None or not switch.is_connected or event.dpid not in network.live.names:
            return
        is_news = switch.double is None or not switch.double.is_recent(network.now)
        since = switch.double.since if switch.double and not is_news else network.now
        switch.double = Double(event.first, event.second, since, network.now)
        if is_news:
            name, words = network.name(event.dpid), switch.double.words
            self._log_of(switch, "error", f": {words}")
            evidence = {"first": str(event.first), "second": str(event.second)}
            network.tell("conflict", name, (None, "claimed_twice"), words, evidence)

    def state_read(self, event: StateRead) -> None:
        """A read is answered."""
        switch = self._answering(event.dpid, Phase.READING)
        if switch is None:
            return
        read = event.read
        switch.flows, switch.groups, switch.meters, switch.metered = read.flows, read.groups, read.meters, read.metered
        switch.last_read = self._network.now
        self._network.backends.count(event.dpid, read.counted, self._network.now)
        for key, packets in read.handed_back.items():
            if packets and packets != switch.handed_back.get(key):
                self._network.handed_back(*key)
        switch.handed_back = read.handed_back
        if event.dpid in self._network.live.names:
            surroundings.see(self._network, switch, event.forwarding, read.others)
        self._network.totals.count_meters(event.dpid, read.metered)
        self._network.totals.count_passed(read.passed, self._network.now)
        self._network.totals.ports.count(event.dpid, event.ports, self._network.now)
        self._network.backends.passed(looks(read.passed), self._network.now)
        if read.held is not None:
            has_drifted = bool(read.drift) and switch.changed_since_read != "read"
            self._network.read(event.dpid, read.held, has_drifted)
        self._count_drift(switch, read.drift)
        if not switch.changed_since_read:
            switch.contest.see(read.rewritten, not read.drift and not read.plan)
        is_after_change = switch.changed_since_read == "read" and switch.target == read.goal
        switch.changed_since_read = ""
        if read.goal != self._network.goal.number or not self._network.knows(event.dpid):
            switch.plan = None
            switch.change(Change.STALE)
            return
        switch.plan, switch.target, switch.plan_basis = read.plan, read.goal, "read"
        self._log_foreign(switch, str(read.surplus), str(read.foreign))
        if not read.plan:
            self._seen_synced(switch)
        elif is_after_change:
            still = "; ".join(read.plan.first)
            self._fail(switch, (f"took the change but still needs {read.plan.count} steps: {still}",))
        elif switch.contest.stops(read.rewritten, read.goal, self._network.now):
            self._leave(switch)
        else:
            switch.change(Change.DIFFERENT)

    def applied(self, event: Applied) -> None:
        """A change is taken."""
        switch = self._answering(event.dpid, Phase.APPLYING)
        if switch is None:
            return
        if switch.plan is None:
            switch.change(Change.STALE)
            return
        switch.changed_since_read = switch.plan_basis
        if switch.sent != ("delete",):
            switch.changed_at = self._network.now
        switch.change(Change.TOOK_PART if event.remaining.plan else Change.TOOK_ALL)
        if event.remaining.goal != self._network.goal.number:
            switch.forget_plan()
        elif switch.target == event.remaining.goal:
            switch.plan = event.remaining.plan
        else:
            self.begin(switch, event.remaining.plan)

    def refused(self, event: Refused) -> None:
        """A read or a change is refused. A plan that was no read's, or of another goal, says nothing about the goal."""
        if event.dpid in self._network.live.names:
            self._network.totals.refusals[event.dpid] += len(event.errors)
        switch = self._answering(event.dpid, Phase.READING)
        if switch is not None:
            self._fail(switch, event.errors)
            return
        switch = self._answering(event.dpid, Phase.APPLYING)
        if switch is None:
            return
        if switch.target == self._network.goal.number and switch.plan_basis == "read":
            self._fail(switch, event.errors)
        else:
            switch.plan = None
            switch.change(Change.STALE)

    def interrupted(self, event: Interrupted) -> None:
        """Forget what the switch holds."""
        switch = self._answering(event.dpid, Phase.READING) or self._answering(event.dpid, Phase.APPLYING)
        if switch is not None:
            switch.plan, switch.changed_since_read = None, ""
            switch.change(Change.STALE)

    def tables_lost(self) -> None:
        """Forget what every switch holds."""
        for switch in self._network.switches.values():
            switch.changed_since_read, switch.synced_with = "", 0
            switch.forget_plan()

    def begin(self, switch: KnownSwitch, plan: Steps | None) -> None:
        """Begin a round for a new goal, with the plan that follows from what the switch is known to hold.

        Switches that links join are changed by that, and all if it is urgent: if not the configuration is another one
        but something has happened. One that nothing changes for stays synced. All others are read before.
        """
        is_quick = self._network.is_urgent or switch.dpid in self._network.components
        if plan is None or switch.plan is None or not (is_quick or (not plan and switch.synced_with)):
            switch.forget_plan()
            return
        switch.plan, switch.target, switch.plan_basis = plan, self._network.goal.number, "memory"
        if switch.changed_since_read:
            switch.changed_since_read = "memory"
        if plan:
            change = Change.REPLANNED
        else:
            change = Change.CONFIRM if switch.changed_since_read else Change.UNCHANGED
        if switch.phase is not Phase.READING:  # else its answer decides
            switch.change(change)
        if change is Change.UNCHANGED:
            self._synced(switch)

    def read_wanted(self, event: ReadWanted) -> None:
        """Begin a switch's round, unless it is in one."""
        switch = self._network.switches.get(event.dpid)
        if switch is not None and self._network.knows(event.dpid):
            switch.next_round, switch.contest = self._network.now, Contest()
        self.start_by_timer()

    def start_by_timer(self) -> None:
        """Begin the rounds for which it is time."""
        for switch in self._network.members():
            if self._network.now >= switch.next_round and switch.phase in (Phase.SYNCED, Phase.FAILED):
                switch.change(Change.TIMER)

    def _answering(self, dpid: int, phase: Phase) -> KnownSwitch | None:
        """The switch whose answer this is; None for an answer that is not awaited any more."""
        switch = self._network.switches.get(dpid)
        if switch is None or switch.phase is not phase:
            return None
        if self._network.trial:
            self._network.trial.progressed(dpid, self._network.now)
        return switch

    def _reset(self, switch: KnownSwitch, change: Change) -> None:
        switch.reset(change)
        self._network.commands.append(Forget(switch.dpid))

    def _count_drift(self, switch: KnownSwitch, drift: int) -> None:
        """Count what others changed. After a change of ours from a read, a difference is none of theirs."""
        if switch.changed_since_read != "read" and drift:
            before, switch.drift = switch.drift, switch.drift + drift
            text = f"{drift} of our entries were changed by others; putting them right"
            self._log_of(switch, "warning", f": {text}")
            name, change = self._network.name(switch.dpid), (str(before), str(switch.drift))
            self._network.tell("drift", name, change, text, {"entries": drift})

    def _log_of(self, switch: KnownSwitch, level: Literal["info", "warning", "error"], text: str) -> None:
        """Log something about a switch: its name, and this behind it."""
        name = self._network.name(switch.dpid)
        self._network.log(level, f"{name}{text}", switch=name)

    def _log_foreign(self, switch: KnownSwitch, surplus: str, foreign: str) -> None:
        if surplus:
            self._log_of(switch, "warning", f" has {surplus} that nothing asks for: to be removed")
        if foreign:
            text = f"{foreign} of others, whose numbers are needed: to be overwritten"
            self._log_of(switch, "warning", f" has {text}")

    def _seen_synced(self, switch: KnownSwitch) -> None:
        if not self._network.has_goal(switch) or switch.errors:
            counts = f"{switch.flows} flows, {switch.groups} groups"
            self._log_of(switch, "info", f" is synced: {counts}")
        switch.next_round = self._network.now + self._interval
        switch.change(Change.EQUAL)
        self._synced(switch)

    def _synced(self, switch: KnownSwitch) -> None:
        network = self._network
        switch.synced_with = network.goal.number
        switch.holds_ours = switch.dpid in network.goal.targets
        switch.errors = ()
        if switch.holds_ours:
            counts = {"flows": switch.flows, "groups": switch.groups, "meters": switch.meters}
            self._tell(switch, "synced", "it was read to hold what is asked of it", counts)
        if network.goal.is_of(network.live) and switch.holds_ours:
            self._trials.verify()

    def _tell(self, switch: KnownSwitch, now: str, reason: str, evidence: Evidence | None = None) -> None:
        """What has become of a switch, unless that was told last."""
        if switch.told != now:
            self._network.tell("switch", self._network.name(switch.dpid), (switch.told, now), reason, evidence)
            switch.told, switch.told_at = now, self._network.now

    def _leave(self, switch: KnownSwitch) -> None:
        """Leave a switch to whatever writes to it."""
        network, is_news = self._network, switch.errors != (WORDS,)
        switch.fail((WORDS,), network.now + self._interval)
        if is_news:
            self._log_of(switch, "error", f": {WORDS}")
            evidence = {"rounds": switch.contest.rounds}
            network.tell("conflict", network.name(switch.dpid), (None, "other_controller"), WORDS, evidence)
        self._tell(switch, "error", WORDS)
        self._trials.refused(switch.dpid, switch.errors)

    def _fail(self, switch: KnownSwitch, errors: tuple[str, ...]) -> None:
        network = self._network
        if not network.knows(switch.dpid):
            switch.plan = None
            switch.change(Change.STALE)
            return
        for error in errors:
            self._log_of(switch, "error", f": {error}")
        switch.fail(errors, network.now + self._interval)
        self._tell(switch, "error", "it does not take what is asked of it", {"errors": list(errors[:SHOWN])})
        self._trials.refused(switch.dpid, errors)
