"""``turns: controller`` (row L1): the controller says which server gets a SYN, and slots do while it does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from portlb_app.net.packets import REDIRECT
from portlb_app.pipeline import PRESENCE
from tests.net.network import SYN
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.pools import ACK, ENTRANCE, Network, clients, networks, packet
from tests.ovs.switch import Switch

SERVERS = "abcdefghij"
"""a and b are on the switch where clients come in, all others on the one behind it."""
SYNS = 200
WAITING = 100
"""Packets that Open vSwitch keeps for a controller (`controller_queue_size`), unless it is told otherwise."""
FEW = 20
"""SYNs a second that are matters of turns at port 81."""


class Stage:
    """A tree and its controller."""

    def __init__(self, made: Network, controller: ControllerProcess) -> None:
        self.made, self.controller = made, controller
        self.name_of = {server.connector: server.name for server in made.config.servers}

    def send(self, frames: list[bytes]) -> dict[bytes, str]:
        """Which server gets each of some frames, all of which arrive once.

        They go out a few at a time: Open vSwitch drops what is handed up while 100 wait for a controller that is slow.
        """
        got: dict[bytes, str] = {}
        for first in range(0, len(frames), WAITING // 2):
            got.update(self._send(frames[first : first + WAITING // 2]))
        return got

    def _send(self, frames: list[bytes]) -> dict[bytes, str]:
        got: list[tuple[bytes, str]] = []
        first = self.made.bridges["s1"].send(ENTRANCE, frames)
        collected = [("s1", first)]

        def all_have_arrived() -> bool:
            for switch, found in collected or ((name, each.collect()) for name, each in self.made.bridges.items()):
                named = ((self.name_of.get((switch, port)), each) for port, some in found.items() for each in some)
                got.extend((frame, name) for name, frame in named if name is not None)
            collected.clear()
            return len(got) >= len(frames)

        wait_for("all packets arrive", all_have_arrived)
        assert sorted(frame for frame, _ in got) == sorted(frames), "each once"
        return dict(got)

    def knows_of_turns(self, port: int) -> bool:
        """Whether the switch has learned that the controller takes the turns of a port, for both of its addresses."""
        bridge = self.made.bridges["s1"]
        flows = bridge.switch.ofctl("dump-flows", bridge.name, f"table={PRESENCE.number}").splitlines()
        learned = [each for each in flows if "hard_timeout=2," in each and f"tp_dst={port} " in each]
        return len([each for each in learned if "set_field:0x1->" in each]) == 2

    def handed_up(self) -> int:
        """How many SYNs the controller has judged."""
        return sum(self.controller.status()["punted"]["signal"].values())


@pytest.fixture
def stage(switch: Switch, tmp_path: Path) -> Iterator[Stage]:
    """Two ports whose turns the controller takes."""
    turns = {"kind": "round-robin", "turns": "controller"}
    pools = {
        80: {"servers": list(SERVERS), "legacy": "balance", "selection": turns},
        81: {"servers": list("cdef"), "legacy": "drop", "selection": {**turns, "rate": FEW}},
    }
    with networks(switch, is_tree=True) as make:
        made = make(pools, SERVERS, applications=pools)
        (tmp_path / "lb.yaml").write_text(made.text)
        controller = ControllerProcess(tmp_path / "lb.yaml", resync=0.5)
        made.control(controller)
        yield Stage(made, controller)
        controller.close()
        assert "Traceback" not in controller.log.read_text()


def test_l1_the_controller_takes_turns(stage: Stage) -> None:
    """Ten servers get 200 SYNs by turns, 20 each, and the same SYN again the same one; all else goes by its slot.

    Nobody takes what the switch has learned for a change by others. When the controller is gone, slots decide.
    """
    wait_for("the switch knows that the controller is there", lambda: stage.knows_of_turns(80))
    everyone = [*clients(SYNS // 2, 4), *clients(SYNS // 2, 6)]
    syns = [packet(client, 4000) for client in everyone]
    got = stage.send(syns)
    assert Counter(got.values()) == dict.fromkeys(SERVERS, SYNS // len(SERVERS))
    assert stage.send(syns[::7]) == {frame: got[frame] for frame in syns[::7]}, "repeated"
    judged = stage.handed_up()
    assert judged == SYNS + len(syns[::7])

    by_slot = [stage.send([packet(client, 4000, flags=flags) for client in everyone]) for flags in (SYN, ACK)]
    later = stage.send([packet(client, 4000, flags=ACK | REDIRECT) for client in everyone])
    assert [*by_slot[0].values()] == [*by_slot[1].values()] == [*later.values()] and stage.handed_up() == judged
    assert [*got.values()] != [*later.values()]
    for name in stage.made.bridges:
        switch = stage.controller.wait_for_state(name, "synced")
        assert (switch["drift"], switch["errors"]) == (0, [])

    stage.controller.kill()
    wait_for("the switch knows that it is gone", lambda: not stage.knows_of_turns(80))
    assert [*stage.send(syns).values()] == [*later.values()]


def test_too_many_syns_are_no_matter_of_turns(stage: Stage) -> None:
    """All of them arrive, and soon no more are handed up; the log says so. A controller that ends takes none."""
    wait_for("the switch knows that the controller is there", lambda: stage.knows_of_turns(81))
    sent = [packet(client, 5000, 81) for client in clients(SYNS, 4)]
    stage.send(sent)
    wait_for("the controller takes no turns", lambda: not stage.knows_of_turns(81))
    assert stage.handed_up() > FEW

    def slots_decide() -> bool:
        judged = stage.handed_up()
        got = stage.send(sent)
        return stage.handed_up() == judged and set(got.values()) == set("cdef")

    wait_for("slots decide", slots_decide)
    assert f"web:81: more than {FEW} SYNs a second; its slots decide for 10 s" in stage.controller.log.read_text()
    assert stage.knows_of_turns(80), "another port's turns go on"
    assert stage.controller.close() == 0
    assert not stage.knows_of_turns(80), "told at its end: else it would know for seconds"
