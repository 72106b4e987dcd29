"""`portlb_app.explain` follows packets as Open vSwitch does: the long proof of tests/soak/explain.py, in short."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portlb_app.explain.lookup import Tables
from portlb_app.openflow import SwitchState
from portlb_app.pipeline import NEIGHBOUR, TABLES
from tests.ovs import switch as ovs
from tests.ovs.fabric import Fabric
from tests.soak import explain
from tests.support import generate, trees

PACKETS = 600


@pytest.fixture(scope="module")
def fabric(switch: ovs.Switch) -> Iterator[Fabric]:
    """Bridges for the largest network."""
    fabric = Fabric(switch, trees.SWITCHES, generate.CONNECTORS)
    yield fabric
    fabric.close()


def test_explain_agrees_with_the_switch(fabric: Fabric, capsys: pytest.CaptureFixture[str]) -> None:
    """Random networks, random packets: what leaves where, looking like what, by which slot; what is handed up."""
    found = explain.compare(fabric, PACKETS, seed=20261128, of_each=40)
    with capsys.disabled():
        print(f" {found.packets} packets: {dict(found.kinds)}", end=" ")
    assert found.differences == []
    assert found.packets == PACKETS
    kinds = ("port", "controller", "dropped", "by its slot", "several outcomes", "leaves another switch", "changed")
    for kind in (*kinds, "IPv4", "IPv6", "ARP"):
        assert found.kinds[kind] > PACKETS // 60, kind
    assert found.kinds["pools by address"] and found.kinds["pools led to others"]
    tried = {table.name for table in TABLES if found.kinds[table.name]}
    assert len(tried) >= len(TABLES) - 4, f"tables are not tried: {({table.name for table in TABLES}) - tried}"


def test_a_difference_is_found(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the flows of one table, what follows is not what the switch does."""

    def of(state: SwitchState) -> Tables:
        return Tables((flow for flow in state.flows if flow.table != NEIGHBOUR.number), state.groups)

    monkeypatch.setattr(explain.Tables, "of", of)
    assert explain.compare(fabric, 20, seed=1).differences
