"""A reconciler with the tables beside it, in one process: what it wants loaded and compiled is done at once.

Tests speak of whole states and plans; the reconciler only of how many steps there are. This translates.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from portlb_app import compiler, topology
from portlb_app.config import Config, Link, Switch, load
from portlb_app.config.etag import ANY, Precondition
from portlb_app.openflow import SwitchState
from portlb_app.openflow.messages import Port
from portlb_app.reconcile import commands, events
from portlb_app.reconcile.commands import Log, ReadState, ReportOutcome
from portlb_app.reconcile.configuration import Configuration
from portlb_app.reconcile.happened import Happened
from portlb_app.reconcile.phases import Phase
from portlb_app.reconcile.plan import Plan
from portlb_app.reconcile.reading import Page
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.reconcile.results import Compiled, Target
from portlb_app.reconcile.tables import Tables
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions


@dataclass(frozen=True)
class Wanted:
    """What one switch shall hold."""

    name: str
    state: SwitchState
    depth: int = 0


@dataclass(frozen=True, eq=False)
class Whole:
    """A configuration with its tables, by datapath id, under some conditions."""

    text: str
    targets: Mapping[int, Wanted]
    config: Config = Config((), (), ())
    conditions: Conditions = AS_CONFIGURED
    is_real: bool = False

    @classmethod
    def of(cls, text: str) -> Whole:
        """Load and compile a text; ConfigError with every mistake in it."""
        config = load(text)
        return cls(text, _targets(config, AS_CONFIGURED), config, is_real=True)

    def without(self, down: frozenset[Link]) -> Whole:
        """The same configuration while these links are down, and no others."""
        return self.under(Conditions(links_down=down))

    def under(self, conditions: Conditions) -> Whole:
        """The same configuration under these conditions, as far as they are about it."""
        conditions = conditions.of(self.config)
        if not self.is_real:
            return replace(self, conditions=conditions)
        return replace(self, targets=_targets(self.config, conditions), conditions=conditions)


@functools.lru_cache(512)
def _targets(config: Config, conditions: Conditions) -> Mapping[int, Wanted]:
    states, graph = compiler.compile(config, conditions), topology.of(config, conditions.links_down)
    return {
        switch.dpid: Wanted(switch.name, states[switch.name], graph.depth(switch.name)) for switch in config.switches
    }


@dataclass(frozen=True)
class StateRead:
    """What a switch holds."""

    dpid: int
    state: SwitchState
    metered: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Applied:
    """A switch has taken what it was told."""

    dpid: int


@dataclass(frozen=True)
class Refused:
    """A switch has not."""

    dpid: int
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Propose:
    """Somebody wants this configuration."""

    ticket: int
    what: Whole
    patience: float = 15.0
    unverified: bool = False
    precondition: Precondition = ANY
    turn: float = 0.0
    atomic: bool = False


@dataclass(frozen=True)
class Apply:
    """What a switch is told, on the way to what, and which switches depended on each other then."""

    dpid: int
    plan: Plan
    towards: Whole | None = field(default=None, compare=False)
    parts: Mapping[int, int] = field(default_factory=dict, compare=False)


Fed = StateRead | Applied | Refused | Propose | events.Event
Wants = ReadState | Apply | ReportOutcome | Log
NO_PORTS: Mapping[int, Port] = {}


def up(ports: Iterable[int]) -> dict[int, Port]:
    """Ports that are there and up."""
    return {number: Port(number, f"eth{number}") for number in ports}


class _NoCodec:
    """Nothing is read or written as bytes here."""

    def decode(self, kind: object, message: bytes) -> Page:
        raise AssertionError

    def decode_counted(self, message: bytes) -> tuple[()]:
        raise AssertionError

    def encode(self, steps: object, xid: int, bundle: int | None) -> bytes:
        raise AssertionError


class Loop:
    """The reconciler `reconciler`, whose commands about tables are carried out. `slow`: they wait until `compute`."""

    def __init__(self, live: Whole, interval: float) -> None:
        self._known = {live.text: live}
        self.tables = Tables(_NoCodec(), self._load, self._compile)
        self.slow = False
        self.waiting: list[commands.Load | commands.Compile] = []
        self.happened: list[Happened] = []
        config = self.tables.load(live.text)
        compiled = self.tables.compile(1, live.text, AS_CONFIGURED, ())
        assert isinstance(config, Config) and isinstance(compiled, Compiled)
        self.reconciler = Reconciler(Configuration(live.text, config), compiled, interval)

    def _load(self, text: str) -> Config:
        """Each time another object, as if it were read; of switches that have tables, and the links between them."""
        known = self._known[text]
        named = {switch.dpid: switch for switch in known.config.switches}
        made = (named.get(dpid) or Switch(each.name, dpid, None) for dpid, each in known.targets.items())
        switches = tuple(sorted(made, key=lambda switch: switch.name))
        names = {switch.name for switch in switches}
        links = tuple(link for link in known.config.links if {end.switch for end in link} <= names)
        return replace(known.config, switches=switches, links=links)

    def _compile(self, config: Config, conditions: Conditions) -> dict[int, tuple[Target, SwitchState]]:
        text = next(text for text, each in self.tables._goals._loaded.items() if each is config)
        targets = self._known[text].under(conditions).targets
        return {dpid: (Target(len(each.state.flows), each.depth), each.state) for dpid, each in targets.items()}

    def whole(self, configuration: Configuration) -> Whole:
        """A configuration of the reconciler, with its tables."""
        return self._known[configuration.text].under(configuration.conditions)

    def lose(self) -> None:
        """The process with the tables ends, and another one begins."""
        self.tables = Tables(_NoCodec(), self._load, self._compile)
        self.waiting.clear()

    def handle(self, fed: Fed, now: float) -> list[Wants]:
        """Feed one event; what is wanted of others in the end."""
        event = self._translated(fed)
        return [] if event is None else self._carried_out(self.reconciler.handle(event, now), now)

    def compute(self, now: float) -> list[Wants]:
        """Do what is waiting to be loaded and compiled."""
        wants = []
        while self.waiting:
            wants += self._carried_out(self.reconciler.handle(self._computed(self.waiting.pop(0)), now), now)
        return wants

    def _translated(self, fed: Fed) -> events.Event | None:
        switch = self.reconciler._network.switches.get(getattr(fed, "dpid", -1))
        match fed:
            case Propose(ticket, what, patience, unverified, precondition, turn, atomic):
                self._known[what.text] = what
                return events.ConfigProposed(
                    ticket, what.text, patience, unverified, precondition, turn=turn, atomic=atomic
                )
            case StateRead(dpid, state, metered):
                expected = switch and switch.phase is Phase.READING
                return events.StateRead(dpid, self.tables.see(dpid, state, metered)) if expected else None
            case Applied(dpid):
                expected = switch and switch.phase is Phase.APPLYING
                return events.Applied(dpid, self.tables.applied(dpid)) if expected else None
            case Refused(dpid, errors):
                if switch and switch.phase is Phase.APPLYING:
                    self.tables.refused(dpid, ())
                return events.Refused(dpid, errors)
        return fed

    def _carried_out(self, given: Iterable[commands.Command], now: float) -> list[Wants]:
        wants: list[Wants] = []
        for command in given:
            match command:
                case commands.Load() | commands.Compile():
                    self.waiting.append(command)
                case Happened():
                    self.happened.append(command)
                case commands.Forget(dpid):
                    self.tables.forget(dpid)
                case commands.Apply(dpid, verbs):
                    self.tables.prepare(dpid, verbs)
                    network = self.reconciler._network
                    towards = self.whole(network.goal.configuration)
                    wants.append(Apply(dpid, self.tables._switches[dpid]._sent, towards, network.components))
                case _:
                    wants.append(command)
        return wants if self.slow else wants + self.compute(now)

    def _computed(self, command: commands.Load | commands.Compile) -> events.Event:
        if isinstance(command, commands.Load):
            return events.Loaded(command.ticket, self.tables.load(command.text))
        made = self.tables.compile(command.goal, command.text, command.conditions, command.keep)
        return events.GoalCompiled(command.goal, made)
