"""Counters in the resources: what was read, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from portlb_app.api.models.counters import BothWays, Counter, OfPorts
from portlb_app.api.snapshot import Snapshot
from portlb_app.compiler.traffic import Direction
from portlb_app.openflow.messages import PortCounts
from portlb_app.reconcile.results import Amount, Passed
from portlb_app.reconcile.totals import Totals
from tests.support.fig2_rest import FIG2, NOW, reply, snapshot

TO, FROM = Direction.TO_SERVER, Direction.FROM_SERVER


def view(totals: Totals) -> Snapshot:
    """FIG. 2, with these; its clock was 0 at NOW - 1000."""
    return replace(snapshot(), totals=totals)


def counters(path: str, totals: Totals) -> Any:
    return reply("GET", path, view=view(totals))[1]["counters"]


def test_what_was_not_read_is_null() -> None:
    fresh = Totals()
    for path in ("/v1/servers/a", "/v1/vips/web"):
        assert counters(path, fresh) == {"to_server": None, "from_server": None}
    assert counters("/v1/vips/web/ports/22", fresh) is None
    assert counters("/v1/switches/s1", fresh) is None


def test_what_was_read_has_its_time() -> None:
    """Sums go on; a VIP has those of its servers, of which the first reading is said."""
    totals = Totals()
    totals.count_passed(Passed({("a", TO): Amount(3, 300), ("b", TO): Amount()}, {("web", 22): Amount(3, 300)}), 900.0)
    totals.count_passed(Passed({("a", TO): Amount(2, 50), ("a", FROM): Amount(7, 70)}, {}), 930.0)
    of_a = counters("/v1/servers/a", totals)
    assert of_a == {
        "to_server": {"packets": 5, "bytes": 350, "at": NOW - 70},
        "from_server": {"packets": 7, "bytes": 70, "at": NOW - 70},
    }
    BothWays.model_validate(of_a)
    assert counters("/v1/servers/b", totals) == {
        "to_server": {"packets": 0, "bytes": 0, "at": NOW - 100}, "from_server": None,
    }  # fmt: skip
    assert counters("/v1/vips/web", totals) == {
        "to_server": {"packets": 5, "bytes": 350, "at": NOW - 100},
        "from_server": {"packets": 7, "bytes": 70, "at": NOW - 70},
    }
    of_pool = counters("/v1/vips/web/ports/22", totals)
    assert of_pool == {"packets": 3, "bytes": 300, "at": NOW - 100}
    Counter.model_validate(of_pool)
    pools = reply("GET", "/v1/pools", view=view(totals))[1]["pools"]
    assert [each["counters"] for each in pools] == [None, None, of_pool]


def test_what_leaves_the_configuration_is_forgotten() -> None:
    totals = Totals()
    totals.count_passed(Passed({("a", TO): Amount(3, 300)}, {("web", 22): Amount(3, 300)}), 900.0)
    (vip,) = FIG2.vips
    totals.keep(replace(FIG2, vips=(replace(vip, redirect_ports=()),), servers=()))
    totals.keep(FIG2)
    assert counters("/v1/servers/a", totals)["to_server"] is None
    assert counters("/v1/vips/web/ports/22", totals) is None


def test_ports_of_a_switch() -> None:
    """Without the bridge's own, by which everything would count twice."""
    totals = Totals()
    own = PortCounts(1000, 1000, 100, 100, 10)
    counted = {1: PortCounts(500, 60, 5, 6, 1), 2: PortCounts(50, 600, 1, 2, 0), 0xFFFFFFFE: own}
    totals.ports.count(1, counted, 990.0)
    found = counters("/v1/switches/s1", totals)
    assert found == {
        "received": {"packets": 6, "bytes": 550}, "sent": {"packets": 8, "bytes": 660}, "lost": 1, "at": NOW - 10,
    }  # fmt: skip
    OfPorts.model_validate(found)
