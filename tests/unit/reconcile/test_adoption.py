"""What a controller takes over when it starts; and servers whose ports go down and come back."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from portlb_app import compiler
from portlb_app.backends.states import Seen
from portlb_app.compiler.held import held_slots
from portlb_app.config import load
from portlb_app.openflow import SwitchState
from portlb_app.openflow.messages import Port
from portlb_app.pipeline import SLOTS
from portlb_app.reconcile.commands import Log, ReadState
from portlb_app.reconcile.events import PortsSeen, SwitchConnected, SwitchDisconnected, TablesLost, Tick
from portlb_app.reconcile.plan import apply
from portlb_app.reconcile.pool_status import PoolStatus
from portlb_app.selection import slots
from portlb_app.topology.conditions import Conditions, PoolKey, PoolSlots
from portlb_app.topology.damping import HOLD
from portlb_app.topology.links import HEARING
from tests.support.reconciling import Applied, Apply, Loop, StateRead, Whole, up

FLOWS = Path(__file__).parents[3] / "flows"
FIG2, LEAFSPINE = (
    (FLOWS / name / "lb.yaml").read_text().replace("legacy: balance", "legacy: balance, second_chance: false")
    for name in ("fig2", "leafspine")
)
PORTS = range(1, 10)
EMPTY = SwitchState()


def shuffled(text: str, seed: str = "one") -> dict[PoolKey, PoolSlots]:
    """For every pool other slots than it begins with; the same shares."""
    config = load(text)
    return {
        (vip.name, pool.port): PoolSlots(tuple(random.Random(seed).sample(slots(pool.servers), SLOTS)))
        for vip in config.vips
        for pool in vip.redirect_ports
    }


def holding(text: str, tables: Mapping[PoolKey, PoolSlots]) -> dict[int, SwitchState]:
    """What switches hold, by datapath id, if pools have these slots."""
    config = load(text)
    states = compiler.compile(config, Conditions(slots=tables))
    return {switch.dpid: states[switch.name] for switch in config.switches}


class Network:
    """A controller that starts, and switches that do as they are told at once."""

    def __init__(self, text: str, held: Mapping[int, SwitchState]) -> None:
        self.loop = Loop(Whole.of(text), 30.0)
        self.held = dict(held)
        self.ports = {dpid: up(PORTS) for dpid in held}
        self.now = 0.0
        self.told: list[int] = []
        self.logs: list[str] = []

    def feed(self, event: object, after: float = 0.0) -> None:
        self.now += after
        events = [event]
        while events:
            for command in self.loop.handle(events.pop(0), self.now):  # type: ignore[arg-type]
                match command:
                    case Log(_, text):
                        self.logs.append(text)
                    case ReadState(dpid):
                        events.append(StateRead(dpid, self.held[dpid]))
                    case Apply(dpid, plan):
                        self.told.append(dpid)
                        self.held[dpid] = apply(plan, self.held[dpid])
                        events.append(Applied(dpid))

    def connect(self, *dpids: int) -> None:
        for dpid in dpids:
            self.feed(SwitchConnected(dpid, self.ports[dpid]))

    def change(self, dpid: int, *without: int) -> None:
        """A switch tells of its ports, of which some have no carrier."""
        down = {number: Port(number, f"eth{number}", has_carrier=False) for number in without}
        self.ports[dpid] = {**up(PORTS), **down}
        self.feed(PortsSeen({dpid: self.ports[dpid]}), 0.1)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.feed(Tick(), 0.25)

    def pools(self) -> dict[PoolKey, PoolStatus]:
        return {each.key: each for each in self.loop.reconciler.status(self.now).pools}

    def states(self) -> list[str]:
        return [each.state for each in self.loop.reconciler.status(self.now).switches]


def slots_of(text: str, held: Mapping[int, SwitchState]) -> dict[int, dict[PoolKey, tuple[str | None, ...]]]:
    """The servers of pools' slots, as switches hold them; not which ones they had before."""
    config = load(text)
    return {
        switch.dpid: {
            key: each.servers for key, each in held_slots(config, switch, held[switch.dpid].group_by_number).items()
        }
        for switch in config.switches
    }


def differing(one: Iterable[object], other: Iterable[object]) -> int:
    return sum(here != there for here, there in zip(one, other, strict=True))


def buckets(state: SwitchState) -> list[object]:
    return [bucket for group in state.ordered_groups for bucket in group.buckets]


def test_a_successor_sends_nothing() -> None:
    """The switch holds slots that no file says; they stay, and the switch is read once."""
    network = Network(FIG2, holding(FIG2, shuffled(FIG2)))
    network.connect(1)
    network.pass_time(60)
    assert network.told == [] and network.states() == ["synced"]
    assert all(pool.held[0].differ == 0 for pool in network.pools().values())
    assert sum("they stay" in line for line in network.logs) == len(network.pools())


def test_in_a_tree_it_sends_nothing_either() -> None:
    """Whichever switch is read first: each tells the whole pools."""
    tables = shuffled(LEAFSPINE)
    for order in ((1, 2, 3, 4), (4, 3, 2, 1), (3, 1, 4, 2)):
        network = Network(LEAFSPINE, holding(LEAFSPINE, tables))
        network.connect(*order)
        network.pass_time(60)
        assert network.told == [] and network.states() == ["synced"] * 4


def test_one_switch_is_enough() -> None:
    """The others come later, as they were."""
    network = Network(LEAFSPINE, holding(LEAFSPINE, shuffled(LEAFSPINE)))
    entrances = [switch.dpid for switch in load(LEAFSPINE).switches if switch.network is not None]
    first = entrances[0]
    network.connect(first)
    network.pass_time(HEARING + 20)
    assert network.told == []
    network.connect(*({1, 2, 3, 4} - {first}))
    network.pass_time(20)
    assert network.told == [] and network.states() == ["synced"] * 4


def test_the_entrance_is_waited_for() -> None:
    """A switch that has lost its tables connects first: it is told nothing until the others had time to speak."""
    config = load(LEAFSPINE)
    entrance = next(switch.dpid for switch in config.switches if switch.network is not None)
    network = Network(LEAFSPINE, holding(LEAFSPINE, shuffled(LEAFSPINE)))
    network.held[entrance] = EMPTY
    network.connect(entrance)
    network.pass_time(HEARING / 2)
    assert network.told == []
    network.connect(*(switch.dpid for switch in config.switches if switch.dpid != entrance))
    network.pass_time(20)
    assert set(network.told) == {entrance} and network.states() == ["synced"] * 4
    assert network.held == holding(LEAFSPINE, shuffled(LEAFSPINE))


def test_nothing_is_held_anywhere() -> None:
    """A first start: after all have said so, or the time is over, pools begin with slots of their own."""
    empty = dict.fromkeys((1, 2, 3, 4), EMPTY)
    network = Network(LEAFSPINE, empty)
    network.connect(1, 2, 3, 4)
    network.pass_time(5)
    assert network.held == holding(LEAFSPINE, {})
    alone = Network(LEAFSPINE, empty)
    alone.connect(1)
    alone.pass_time(HEARING - 1)
    assert alone.told == []
    alone.pass_time(3)
    assert alone.held[1] == holding(LEAFSPINE, {})[1]


def test_a_switch_that_connects_late() -> None:
    """It is the first one, so nobody knows better, however long that takes."""
    network = Network(FIG2, holding(FIG2, shuffled(FIG2)))
    network.pass_time(HEARING + 5)
    network.connect(1)
    network.pass_time(5)
    assert network.told == [] and network.states() == ["synced"]


def test_switches_that_differ() -> None:
    """The nearest to a network side decides, and the log says so."""
    config = load(LEAFSPINE)
    near = [switch.dpid for switch in config.switches if switch.network is not None]
    far = [switch.dpid for switch in config.switches if switch.network is None]
    one, other = (holding(LEAFSPINE, shuffled(LEAFSPINE, seed)) for seed in ("one", "other"))
    network = Network(LEAFSPINE, {**{dpid: one[dpid] for dpid in near}, **{dpid: other[dpid] for dpid in far}})
    network.connect(*far, *near)
    network.pass_time(20)
    assert network.held == one and set(network.told) <= set(far)


def test_a_switch_that_was_away_gets_the_present_slots() -> None:
    """And has no say about them."""
    network = Network(FIG2, holding(FIG2, {}))
    network.connect(1)
    network.feed(SwitchDisconnected(1))
    network.held[1] = holding(FIG2, shuffled(FIG2))[1]
    network.connect(1)
    network.pass_time(5)
    assert network.held == holding(FIG2, {})


def test_a_port_goes_down_and_comes_back() -> None:
    """Its server's slots leave without a read before, and no others; they are back when it was up for a second."""
    network = Network(FIG2, holding(FIG2, {}))
    network.connect(1)
    before = buckets(network.held[1])
    (connector,) = (each.connector.port for each in load(FIG2).servers if each.name == "b")
    network.change(1, connector)
    assert network.told == [1]
    pools = {key: each for key, each in network.pools().items() if "b" in each.missing}
    assert pools and all("b" not in each.slots and each.held[0].differ == 0 for each in pools.values())
    assert all(each.missing["b"].reason == f"port s1:{connector} has no carrier" for each in pools.values())
    lost = sum(SLOTS // len(pool.servers) + 1 for pool in load(FIG2).vips[0].redirect_ports if "b" in pool.servers)
    assert 0 < differing(before, buckets(network.held[1])) <= lost
    network.change(1)
    network.pass_time(HOLD / 2)
    assert network.told == [1]
    network.pass_time(HOLD)
    assert slots_of(FIG2, network.held) == slots_of(FIG2, holding(FIG2, {})) and network.told == [1, 1]
    assert network.states() == ["synced"]
    lines = [line for line in network.logs if "server b" in line]
    assert lines[0] == f"server b is down: port s1:{connector} has no carrier"
    assert lines[1].startswith(f"server b is up again: port s1:{connector} is up; it was down for 1.")


def test_a_successor_of_one_that_died_while_a_port_was_down() -> None:
    """The port is still down: nothing is sent. It is up by then: its server is used again a second later."""
    first = Network(FIG2, holding(FIG2, {}))
    first.connect(1)
    (connector,) = (each.connector.port for each in load(FIG2).servers if each.name == "b")
    first.change(1, connector)
    second = Network(FIG2, first.held)
    second.ports = first.ports
    second.connect(1)
    second.pass_time(30)
    assert second.told == []
    third = Network(FIG2, first.held)
    third.connect(1)
    assert third.told == []
    third.pass_time(HOLD + 1)
    assert slots_of(FIG2, third.held) == slots_of(FIG2, holding(FIG2, {}))


def test_all_ports_are_down() -> None:
    """The slots stay as they were before the last one went, and the status says so."""
    network = Network(FIG2, holding(FIG2, {}))
    network.connect(1)
    connectors = sorted({each.connector.port for each in load(FIG2).servers})
    for count in range(1, len(connectors)):
        network.change(1, *connectors[:count])
    last = network.held[1]
    network.change(1, *connectors)
    assert network.held[1] == last
    assert all(each.fails_open for each in network.pools().values())


def test_the_process_with_the_tables_ends() -> None:
    """Another one reads everything; which slots pools have is not forgotten with it."""
    network = Network(FIG2, holding(FIG2, shuffled(FIG2)))
    network.connect(1)
    network.loop.lose()
    network.feed(TablesLost("gone"))
    network.pass_time(60)
    assert network.told == [] and network.states() == ["synced"]


@pytest.mark.parametrize("late", [0.0, HEARING + 5])
def test_ports_are_evidence_from_the_start(late: float) -> None:
    """Also for servers on a switch that connects later."""
    network = Network(LEAFSPINE, holding(LEAFSPINE, {}))
    leaf = next(switch for switch in load(LEAFSPINE).switches if switch.name == "leaf1")
    server = next(each for each in load(LEAFSPINE).servers if each.connector.switch == "leaf1")
    network.connect(*({1, 2, 3, 4} - {leaf.dpid}))
    network.pass_time(late)
    down = Port(server.connector.port, "x", has_carrier=False)
    network.ports[leaf.dpid] = {**up(PORTS), server.connector.port: down}
    network.connect(leaf.dpid)
    network.pass_time(10)
    judged = {each.name: each.seen for each in network.loop.reconciler._network.backends.servers()}
    assert {each.seen for each in judged[server.name].values()} == {Seen.DOWN}
    assert network.states() == ["synced"] * 4
