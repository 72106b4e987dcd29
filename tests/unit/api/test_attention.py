"""What needs a person, worst first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portlb_app import __version__
from portlb_app.api.attention import troubles
from portlb_app.backends.states import Seen
from portlb_app.config import Forwarding, Wanted
from portlb_app.net.heartbeat import Heartbeat
from portlb_app.reconcile.agents import Compared
from portlb_app.reconcile.foreign import Foreign, Shadow
from portlb_app.reconcile.pool_status import HeldStatus, PoolStatus, ServerStatus
from portlb_app.reconcile.ports import PortProblem
from portlb_app.reconcile.status import AgentStatus, Status, SwitchStatus
from portlb_app.topology.conditions import ALL_SERVERS

SWITCH = SwitchStatus("s1", 1, "synced", 10, 1, 1, 0, (), 1.0)
POOL = PoolStatus(("web", 22), {"a": 256}, (HeldStatus(("s1",), {"a": 256}, 0),))
WELL = Status(1, (SWITCH,), (), pools=(POOL,))


def told(status: Status) -> list[str]:
    return [f"{each.kind} {each.name}: {each.reason}" for each in troubles(status)]


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
        "switch s2: not connected; it forwards by the tables that it has",
        "pool web:80: fails open: none of its servers works, so all keep their slots",
        "server b: down in web:22: http 503",
        "switch s1: port 3 (connector of b): it has no carrier",
        "pool web:22: 4 slots are others' on s1",
        "switch 0x2a: connected, but no switch of the configuration has this datapath id",
        "configuration : unverified: no switch was seen to hold it",
    ]
    assert next(each.seconds for each in troubles(status) if each.kind == "server") == 9.0
    assert all(each.to_do for each in troubles(status))


def test_what_surrounds_the_tables_is_told() -> None:
    """Where a bridge forwards, flows of others that come first, and more of these than are looked at."""
    shadow = Shadow(40, "SERVICE", 250, "tcp,tcp_dst=80", 0x99, "ip of priority 100 (why)", 3, 100)
    foreign = Foreign(7, 2, 5, (shadow,) * 5)
    status = replace(WELL, switches=(replace(SWITCH, forwarding=Forwarding.KERNEL, foreign=foreign),))
    found = list(troubles(status))
    assert [each.word for each in found] == [*["foreign flow"] * 3, "foreign flows", "foreign flows", "datapath"]
    first, *_, more, unread, datapath = found
    assert "table 40, SERVICE, of priority 250 takes packets (tcp,tcp_dst=80) before ip of priority 100" in first.reason
    assert "and 2 more" in first.reason and "a priority below 100" in first.to_do and "cookie=0x99/-1" in first.to_do
    assert more.reason.startswith("2 more foreign flows") and unread.reason.startswith("2 more flows of others")
    assert "in the kernel" in datapath.reason and "datapath: kernel for s1" in datapath.to_do
    assert told(replace(WELL, switches=(replace(SWITCH, forwarding=Forwarding.USERSPACE, foreign=Foreign(7)),))) == []


@pytest.mark.parametrize(
    ("compared", "words"),
    [
        (Compared(__version__, 1.9), []),
        (Compared(__version__, -1.9, ("services",), counts=False), []),
        (Compared(__version__, None), []),
        (Compared(__version__, 12.0), ["its clock is 12.0 s ahead of the controller's"]),
        (Compared(__version__, -12.0), ["its clock is 12.0 s behind the controller's"]),
        (Compared("0.0.9", 0.0), [f"its agent is of version 0.0.9, the controller of {__version__}"]),
        (Compared(__version__, 0.0, ("addresses",)), ["its agent differs from lb.yaml in its addresses"]),
    ],
)
def test_differences_of_agents_are_told(compared: Compared, words: list[str]) -> None:
    """Once for each server; one with another configuration is bad, because its connections are not answered."""
    agents = (AgentStatus("a", Heartbeat(1, 2), 0.5, compared), AgentStatus("b", Heartbeat(1, 2), 0.5))
    found = list(troubles(replace(WELL, agents=agents)))
    assert [each.reason for each in found] == words
    assert all(each.name == "a" and each.to_do and each.is_bad is bool(compared.differs) for each in found)


def test_an_agent_that_is_missed_is_a_warning() -> None:
    (found,) = troubles(replace(WELL, silent={"a": 9.0}))
    assert (found.kind, found.name, found.seconds, found.is_bad) == ("server", "a", 9.0, False)
    assert "not heard any more" in found.reason and "agent health" in found.to_do
