"""What needs a person, worst first."""

from __future__ import annotations

from dataclasses import replace

from portlb_app.api.attention import problems
from portlb_app.backends.states import Seen
from portlb_app.config import Wanted
from portlb_app.reconcile.pool_status import HeldStatus, PoolStatus, ServerStatus
from portlb_app.reconcile.ports import PortProblem
from portlb_app.reconcile.status import Status, SwitchStatus
from portlb_app.topology.conditions import ALL_SERVERS

SWITCH = SwitchStatus("s1", 1, "synced", 10, 1, 1, 0, (), 1.0)
POOL = PoolStatus(("web", 22), {"a": 256}, (HeldStatus(("s1",), {"a": 256}, 0),))
WELL = Status(1, (SWITCH,), (), pools=(POOL,))


def told(status: Status) -> list[str]:
    return [f"{each['kind']} {each['name']}: {each['words']}" for each in problems(status)]


def test_all_is_well() -> None:
    assert told(WELL) == []


def test_what_is_wanted_is_no_problem() -> None:
    """A server that was taken out, one of which nothing is seen, and a switch that gets its tables."""
    drained = {
        "b": ServerStatus(Wanted.DRAIN, Seen.DOWN, "http 503", 9.0),
        "c": ServerStatus(Wanted.READY, Seen.UNKNOWN, "", 1.0),
    }
    held = (HeldStatus(("s1",), {"a": 256}, 100),)
    assert told(replace(WELL, pools=(replace(POOL, missing=drained),))) == []
    assert told(replace(WELL, switches=(replace(SWITCH, state="applying"),), pools=(replace(POOL, held=held),))) == []


def test_the_worst_comes_first() -> None:
    down = {"b": ServerStatus(Wanted.READY, Seen.DOWN, "http 503", 9.0)}
    pools = (
        replace(POOL, missing=down, held=(HeldStatus(("s1", "s2"), {"a": 256}, 4),)),
        replace(POOL, key=("web", 80), fails_open=True),
        replace(POOL, key=("dns", 53), slots={}),
        replace(POOL, key=("web", ALL_SERVERS), slots={}, missing=down),
    )
    switches = (
        replace(SWITCH, ports=(PortProblem(3, "veth3", "connector of b", "it has no carrier"),)),
        replace(SWITCH, name="s2", state="absent"),
        replace(SWITCH, name="s3", state="error", errors=("table is full",)),
    )
    status = Status(1, switches, (0x2A,), verified=False, problem="no path", pools=pools)
    assert told(status) == [
        "configuration : switches do not get it: no path",
        "switch s3: refused its tables: table is full",
        "pool dns:53: empty: no server gets a connection",
        "switch s2: not connected",
        "pool web:80: fails open: none of its servers works, so all keep their slots",
        "server b: down in web:22: http 503",
        "switch s1: port 3 (connector of b): it has no carrier",
        "pool web:22: 4 slots are others' on s1",
        "switch 0x2a: connected, but no switch of the configuration has this datapath id",
        "configuration : unverified: no switch was seen to hold it",
    ]
    assert next(each["seconds"] for each in problems(status) if each["kind"] == "server") == 9.0
