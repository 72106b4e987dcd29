"""Slots follow the load that agents report, a few at a time, and only where that is wanted."""

from __future__ import annotations

from collections import Counter

from portlb_app.backends import Backends
from portlb_app.backends.loads import AT_ONCE
from portlb_app.backends.states import PORT, Evidence
from portlb_app.config import Config, Wanted, load
from portlb_app.config.overrides import Override, Overrides
from portlb_app.net.heartbeat import Heartbeat, Order
from portlb_app.selection import slots
from portlb_app.topology.conditions import HeldSlots

NAMES = ("a", "b", "c", "d")
WEB = ("web", 80)


def config(more: str = "selection: least") -> Config:
    """Four servers in a pool."""
    servers = "\n".join(f'  {name}: {{vip: web, connector: "s1:{at + 2}"}}' for at, name in enumerate(NAMES))
    pool = f"{{servers: [a, b, c, d], {more}}}"
    return load(
        f'switches: {{s1: {{dpid: 1, network: 1}}}}\nvips: {{web: {{address: 10.0.0.100, mac: "02:00:00:00:00:64", '
        f"redirect_ports: {{80: {pool}}}}}}}\nservers:\n{servers}\n"
    )


class World:
    """Backends in virtual time; `open` are the connections that agents report."""

    def __init__(self, live: Config, held: tuple[str, ...] | None = None) -> None:
        self.live, self.now, self.sequence = live, 0.0, 0
        self.backends = Backends(live)
        table = held or slots(NAMES)
        self.backends.held(WEB, HeldSlots(table, is_default=held is None), 0.0)
        for name in NAMES:
            self.backends.see(name, Evidence(PORT, True, "its port is up", 0.0), 0.0)

    def table(self) -> tuple[str, ...]:
        """The slots that the pool shall have."""
        explicit = self.backends.conditions(self.live)[0]
        return explicit[WEB].servers if WEB in explicit else slots(NAMES)

    def shares(self) -> Counter[str]:
        """How many slots each server shall have."""
        return Counter(self.table())

    def run(self, seconds: int, **opened: int) -> list[int]:
        """Let time pass, four times a second, with these reports once a second; how many slots moved each second."""
        moved, before = [], self.table()
        for quarter in range(4 * seconds):
            self.now += 0.25
            if quarter % 4 == 0:
                self.sequence += 1
                for name, number in opened.items():
                    said = Heartbeat(1, self.sequence, open=number, openings=number / 5, by_port={80: number})
                    self.backends.hear(name, said, self.now)
            self.backends.tick(self.now)
            if quarter % 4 == 3:
                after = self.table()
                moved.append(sum(old != new for old, new in zip(before, after, strict=True)))
                before = after
        return moved


UNEQUAL = {"a": 100, "b": 100, "c": 100, "d": 300}


def test_slots_leave_a_loaded_server_one_a_second() -> None:
    """By default; the others share them."""
    world = World(config())
    moved = world.run(60, **UNEQUAL)
    assert max(moved) == 1 and sum(moved) > 20
    shares = world.shares()
    assert shares["d"] == 64 - sum(moved) and min(shares[name] for name in "abc") > 64 + sum(moved) // 3 - 2


def test_moves_sets_the_pace() -> None:
    """As many a second as it says; all that is wanted, but not everything at once; none."""
    assert 1 < max(World(config("selection: least, moves: 3/s")).run(60, **UNEQUAL)) <= 3
    assert 1 < max(World(config("selection: least, moves: free")).run(60, **UNEQUAL)) <= AT_ONCE
    assert max(World(config("selection: least, moves: never")).run(60, **UNEQUAL)) == 0


def test_other_pools_stay() -> None:
    """A hash follows no load; and without reports nothing follows anything."""
    assert max(World(config("legacy: drop")).run(60, **UNEQUAL)) == 0
    assert max(World(config()).run(60)) == 0


def test_a_server_that_leaves_and_comes_back_changes_no_other_share() -> None:
    """What was learnt of the others stays."""
    world = World(config())
    world.run(60, **UNEQUAL)
    before = world.shares()
    world.backends.see("a", Evidence(PORT, False, "its port is down", world.now), world.now)
    without = world.shares()
    assert without["a"] == 0 and without["d"] / sum(without.values()) < before["d"] / (256 - before["a"]) + 0.02
    world.backends.see("a", Evidence(PORT, True, "its port is up", world.now), world.now)
    after = world.shares()
    assert all(abs(after[name] - before[name]) <= 2 for name in NAMES)


def test_the_successor_of_a_controller_moves_no_slot() -> None:
    """Its factors are those of the slots that the switch has; it goes on from there."""
    world = World(config())
    world.run(90, **UNEQUAL)
    balanced = {name: round(100 * share / 64) for name, share in world.shares().items()}
    equal = dict.fromkeys(NAMES, sum(balanced.values()) // 4)
    successor = World(config(), world.table())
    assert successor.table() == world.table()
    assert sum(successor.run(30, **equal)) == 0
    assert World(config(), world.table()).run(9) == [0] * 9, "nor does it while no agent is heard"


def test_orders_of_a_server_that_drains() -> None:
    """Redirect when no slot is left; reset after the deadline; nothing for one that is ready."""
    world = World(config("legacy: drop"))
    assert world.backends.orders(0.0) == {}
    ready = Wanted.READY
    for said, expected in (
        (Override(Wanted.DRAIN, ready), Order(0)),
        (Override(Wanted.DRAIN, ready, move=True), Order.MOVE),
        (Override(Wanted.DRAIN, ready, deadline=1001.0), Order(0)),
        (Override(Wanted.DRAIN, ready, deadline=1000.0, move=True), Order.MOVE | Order.RESET),
    ):
        world.backends.override(Overrides({("a", "state"): said}), 1.0)
        assert world.backends.orders(1000.0) == ({"a": expected} if expected else {})
    every = {(name, "state"): Override(Wanted.DRAIN, ready, move=True) for name in NAMES}
    world.backends.override(Overrides(every), 2.0)  # type: ignore[arg-type]
    assert world.backends.orders(1000.0) == {}, "there is nowhere to go"
