"""Proposed configurations: from the proposal to its outcome, and what becomes of an unverified one.

One is on trial at a time; others wait for their turn. A switch that refuses a proposal withdraws it: that speaks
against the proposal. A switch that is lost or too slow is sick, and holds up none of the others: they get the proposal,
and it does when it can; unless no switch is left that shows that the proposal works, or all or none is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from portlb_app.config.etag import etag
from portlb_app.reconcile.commands import Load, ReadFile, ReportOutcome
from portlb_app.reconcile.configuration import Configuration
from portlb_app.reconcile.events import ConfigProposed, FileRead, Loaded
from portlb_app.reconcile.happened import Evidence
from portlb_app.reconcile.known_switch import KnownSwitch
from portlb_app.reconcile.network import Network
from portlb_app.reconcile.outcomes import (
    Busy,
    Landed,
    Live,
    LostSwitches,
    Mistaken,
    NoSwitch,
    Outcome,
    Outdated,
    RefusedBySwitches,
    TimedOut,
    TurnMissed,
    told,
)
from portlb_app.reconcile.ports import Ports
from portlb_app.reconcile.results import Mistakes, Steps
from portlb_app.reconcile.trial import Trial
from portlb_app.reconcile.waiting import Waiting


class Trials:
    """One trial at a time. Which switches have a vote is decided when the proposal becomes the goal."""

    def __init__(self, network: Network, ports: Ports) -> None:
        self._network = network
        self._ports = ports
        self._waiting = Waiting()

    def propose(self, event: ConfigProposed) -> None:
        """Begin a trial, now or when its turn has come."""
        if self._network.trial is None and not self._waiting:
            self._try(event)
        elif not self._waiting.join(event, self._network.now):
            self._network.commands.append(ReportOutcome(event.ticket, Busy()))

    def proceed(self) -> None:
        """Begin the next trial if none is going on."""
        while self._waiting and self._network.trial is None:
            self._try(self._waiting.next())

    def _try(self, event: ConfigProposed) -> None:
        """Begin a trial by loading the text, or reading it first, unless the precondition does not hold."""
        network = self._network
        if not event.precondition.holds(network.live.text):
            network.commands.append(ReportOutcome(event.ticket, Outdated()))
        else:
            network.trial = Trial(event)
            is_file = event.text is None
            network.commands.append(ReadFile(event.ticket) if is_file else Load(event.ticket, network.trial.text))

    def read(self, event: FileRead) -> None:
        """The text of the file, or that it cannot be read."""
        trial = self._network.trial
        if trial is None or trial.ticket != event.ticket or trial.is_read:
            return
        if isinstance(event.read, Mistakes):
            self.withdraw(Mistaken(event.read))
            return
        trial.text, trial.change, trial.is_read = event.read, event.change, True
        self._network.commands.append(Load(event.ticket, trial.text))

    def loaded(self, event: Loaded) -> None:
        """A proposed text is loaded, or has mistakes."""
        trial = self._network.trial
        if trial is None or trial.ticket != event.ticket:
            return
        if isinstance(event.loaded, Mistakes):
            self.withdraw(Mistaken(event.loaded))
        else:
            trial.configuration = Configuration(trial.text, event.loaded)

    def begin(self, plans: Mapping[int, Steps]) -> None:
        """The proposal is the goal now. Every connected switch has a vote, but for those that are in error already.

        If it was the goal before, under other conditions, there is other work.
        """
        network, trial = self._network, self._network.trial
        if trial is None or trial.configuration is None or not network.goal.is_for(network.wanted):
            return
        members = network.members()
        if trial.has_begun:
            voters = [switch.dpid for switch in members if trial.counts(switch.dpid)]
            trial.compiled_anew(network.now, *self._work(voters, plans))
            return
        if not any(switch.dpid in network.goal.targets for switch in members) and not trial.unverified:
            self.withdraw(NoSwitch())
            return
        excused = {switch.dpid for switch in members if switch.errors and not self._is_needed(switch, plans)}
        if len(excused) == len(members):
            excused = set()
        voters = [switch.dpid for switch in members if switch.dpid not in excused]
        trial.concerned = {dpid for dpid in voters if plans.get(dpid, True)}
        trial.begin(voters, excused, network.now, *self._work(voters, plans))

    def connected(self, dpid: int) -> None:
        """A switch that connects during a trial has a vote, too."""
        if self._network.trial:
            self._network.trial.joined(dpid, self._network.now, self._network.target(dpid).entries)

    def lost(self, dpid: int) -> None:
        """A switch that is lost has no vote any more; if no other has one, or all are needed, the trial is over."""
        trial = self._network.trial
        if trial is None or not trial.counts(dpid):
            return
        if not trial.lapse(dpid) or trial.atomic:
            self.withdraw(LostSwitches(tuple(sorted(map(self._network.name, trial.lost)))))

    def refused(self, dpid: int, errors: tuple[str, ...]) -> None:
        """A switch that fails withdraws the trial in which it has a vote, or what was never verified."""
        network = self._network
        if self._has_vote(dpid):
            self.withdraw(RefusedBySwitches({network.name(dpid): errors}))
        elif network.last_good and not network.is_verified and not network.trial:
            self._fall_back(network.name(dpid))

    def expire(self) -> None:
        """End a trial whose time is up, and the waiting of those whose turn has not come."""
        network, trial = self._network, self._network.trial
        for event in self._waiting.expire(network.now):
            network.commands.append(ReportOutcome(event.ticket, TurnMissed(event.turn)))
        if trial is None or not trial.is_over(network.now, network.is_compiling):
            return
        waiting = [network.name(each.dpid) for each in self._lacking(trial) if not trial.excuses(each.dpid)]
        if waiting and (trial.atomic or not self._is_shown(trial)):
            self.withdraw(TimedOut(tuple(sorted(waiting)), trial.seconds))
        else:
            self._accept(trial)

    def accept_if_all_have_it(self) -> None:
        """Make the proposal live if no switch lacks it."""
        network, trial = self._network, self._network.trial
        if trial and trial.has_begun and network.goal.is_for(network.wanted) and not self._lacking(trial):
            self._accept(trial)

    def withdraw(self, outcome: Outcome) -> None:
        """End the trial; what was live stays live."""
        trial = self._network.trial
        assert trial is not None
        self._end(trial, outcome)
        if trial.has_begun:
            self._tell(trial, *told(outcome))
            text = "the proposed configuration is withdrawn; the last good one stays live"
            self._network.log("warning", text, change=trial.change)

    def verify(self) -> None:
        """A switch holds the live configuration."""
        network = self._network
        if not network.is_verified:
            text = f"configuration {network.generation} is verified: a switch has it"
            network.log("info", text, change=network.change)
            if network.last_good is not None:
                self._tell_live("verified", "a switch has it", "unverified")
        network.is_verified, network.last_good = True, None

    def _has_vote(self, dpid: int) -> bool:
        return self._network.trial is not None and self._network.trial.counts(dpid)

    def _work(self, dpids: Iterable[int], plans: Mapping[int, Steps]) -> tuple[int, int]:
        """How many messages these switches must be told, and how many entries read from them, to have the goal."""
        messages = entries = 0
        for dpid in dpids:
            target = self._network.target(dpid)
            messages += plans[dpid].count if dpid in plans else target.entries
            entries += target.entries
        return messages, entries

    def _is_needed(self, switch: KnownSwitch, plans: Mapping[int, Steps]) -> bool:
        """Whether the proposal changes switches that links join to this one, which is in error."""
        components, switches = self._network.components, self._network.switches
        here = components.get(switch.dpid)
        others = (dpid for dpid, number in components.items() if number == here and dpid != switch.dpid)
        connected = (dpid for dpid in others if dpid in switches and switches[dpid].is_connected)
        return here is not None and any(plans.get(dpid, True) for dpid in connected)

    def _lacking(self, trial: Trial) -> list[KnownSwitch]:
        """The switches that a trial waits for; also one that has no vote, until it was told."""
        network = self._network
        if not network.goal.is_for(network.wanted):
            return network.members()
        lacking = [switch for switch in network.members() if not network.has_goal(switch)]
        return [each for each in lacking if not (each.errors and trial.excuses(each.dpid))]

    def _accept(self, trial: Trial) -> None:
        network = self._network
        assert trial.configuration is not None
        is_verified = any(network.has_goal(each) and each.dpid in network.goal.targets for each in network.members())
        if not is_verified and not trial.unverified:
            self.withdraw(NoSwitch())
            return
        if network.is_verified:
            network.last_good = network.live
        if is_verified:
            network.last_good = None
        network.change = trial.change
        self._make_live(trial.configuration, is_verified)
        self._end(trial, Live(is_verified, self._landed(trial)))
        what = "is live" if is_verified else "is live, but unverified: no switch is connected that has it"
        text, level = f"configuration {network.generation} {what}", "info" if is_verified else "warning"
        network.log(level, text, change=trial.change)  # type: ignore[arg-type]
        self._tell_live("live" if is_verified else "unverified", f"it {what}")

    def _is_shown(self, trial: Trial) -> bool:
        """Whether a switch has the proposal that is changed by it: nothing else shows that it works."""
        network = self._network
        members = (each for each in network.members() if network.has_goal(each) and trial.can_show(each.dpid))
        return network.goal.is_for(network.wanted) and any(each.dpid in network.goal.targets for each in members)

    def _landed(self, trial: Trial) -> dict[str, Landed]:
        """What each switch has made of a proposal that is accepted."""
        assert trial.configuration is not None
        named, switches = trial.configuration.names, self._network.switches
        return {name: self._on(trial, dpid, switches.get(dpid)) for dpid, name in named.items()}

    def _on(self, trial: Trial, dpid: int, switch: KnownSwitch | None) -> Landed:
        if switch is None or not switch.is_connected:
            return "lost" if dpid in trial.lost else "absent"
        if self._network.has_goal(switch):
            return "has it"
        return "in error" if switch.errors or trial.excuses(dpid) else "late"

    def _fall_back(self, name: str) -> None:
        """The first switch that tries what was never verified refuses it."""
        network = self._network
        assert network.last_good is not None
        text = f"{name} refuses configuration {network.generation}, which no switch has verified"
        network.log("error", f"{text}; the last good one is live again, the file is left as it is")
        last_good, network.last_good = network.last_good, None
        network.change = ""
        self._make_live(last_good, True)
        self._tell_live("live", f"{text}; the last good one is live again", "unverified")

    def _make_live(self, configuration: Configuration, is_verified: bool) -> None:
        network = self._network
        network.live, network.is_verified = configuration, is_verified
        network.generation += 1
        self._ports.adopt(configuration.config)
        network.backends.adopt(configuration.config, network.now)
        network.totals.keep(configuration.config)
        network.live = network.under_conditions(configuration)

    def _tell(self, trial: Trial, word: str, reason: str, evidence: Evidence) -> None:
        """What became of a proposal that switches have seen."""
        self._network.tell("config", etag(trial.text), ("on_trial", word), reason, evidence, by=trial.change)

    def _tell_live(self, word: str, reason: str, before: str = "on_trial") -> None:
        network = self._network
        evidence = {"generation": network.generation}
        network.tell("config", etag(network.live.text), (before, word), reason, evidence, by=network.change)

    def _end(self, trial: Trial, outcome: Outcome) -> None:
        self._network.commands.append(ReportOutcome(trial.ticket, outcome))
        self._network.trial = None
