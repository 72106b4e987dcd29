"""Reports of agents: how long they count, and the load that they mean."""

from __future__ import annotations

from portlb_app.backends.reports import Reports, open_in_pool
from portlb_app.config import load
from portlb_app.net.heartbeat import VALID, Heartbeat, State

CONFIG = load(
    """
switches: {s1: {dpid: 1, network: 1}}
vips: {web: {address: 10.0.0.100, mac: "02:00:00:00:00:64", redirect_ports: {80: {servers: [a, b, c]}}}}
servers:
  a: {vip: web, connector: "s1:2", service_ports: [{port: 8001, application: 80}, {port: 9001, application: 22}]}
  b: {vip: web, connector: "s1:3", service_ports: [{port: 8002, application: 80}], weight: 2}
  c: {vip: web, connector: "s1:4"}
"""
)
POOL, SERVERS = ("web", 80), ("a", "b", "c")


def test_three_heartbeats_may_be_missing() -> None:
    """Then nothing is known; a server is silent once."""
    reports = Reports()
    reports.hear("a", Heartbeat(1, 1, State.DRAIN, open=7), 100.0)
    assert reports.expire(100.0 + VALID - 0.01) == [] and VALID > 3
    assert (reports.state("a"), reports.open("a")) == (State.DRAIN, 7)
    assert reports.expire(100.0 + VALID) == ["a"]
    assert (reports.state("a"), reports.open("a"), reports.of("a")) == (None, None, None)
    assert reports.expire(1000.0) == []


def test_a_last_word_counts_for_longer() -> None:
    """As long as it says; a later one takes its place."""
    reports = Reports()
    reports.hear("a", Heartbeat(1, 1, State.DRAIN, valid=60), 0.0)
    assert reports.expire(59.0) == []
    reports.hear("a", Heartbeat(2, 1), 59.0)
    assert reports.state("a") is State.READY
    assert reports.expire(59.0 + VALID) == ["a"]


def test_servers_that_are_gone_are_forgotten() -> None:
    """With the configuration that named them."""
    reports = Reports()
    for name in SERVERS:
        reports.hear(name, Heartbeat(1, 1), 0.0)
    reports.keep({"b"})
    assert [name for name in SERVERS if reports.of(name)] == ["b"]


def test_a_pools_connections_are_at_its_port_and_at_service_ports_of_its_application() -> None:
    """Others of the server do not count."""
    said = Heartbeat(1, 1, open=100, by_port={80: 5, 8001: 40, 9001: 30, 8002: 9})
    assert [open_in_pool(CONFIG, POOL, name, said) for name in SERVERS] == [45, 14, 5]


def heard(**by_server: Heartbeat) -> Reports:
    """These, at 0, after others 20 s before."""
    reports = Reports()
    for name, said in by_server.items():
        reports.hear(name, Heartbeat(1, 1, valid=60), -20.0)
        reports.hear(name, said, 0.0)
    return reports


def test_load_is_open_connections_by_weight() -> None:
    """With their age, and what opens at the pool."""
    reports = heard(
        a=Heartbeat(1, 1, open=80, openings=16.0, by_port={8001: 40, 9001: 40}),
        b=Heartbeat(1, 1, open=40, openings=8.0, by_port={8002: 40}),
    )
    loads = reports.loads(CONFIG, POOL, SERVERS, 3.0)
    assert loads.keys() == {"a", "b"}
    assert [(each.load, each.open, each.openings) for each in loads.values()] == [(40, 40, 8), (20, 40, 8)]
    assert {(each.age, each.up_for) for each in loads.values()} == {(3.0, 23.0)}


def test_what_ends_at_once_more_than_elsewhere_is_load() -> None:
    """A server that refuses everything is not idle. Where all connections are short, none of them is."""
    well = Heartbeat(1, 1, open=40, openings=8.0, by_port={80: 40})
    hole = Heartbeat(1, 1, open=0, openings=0.0, resets=8.0)
    quick = Heartbeat(1, 1, open=0, openings=8.0, short=8.0)
    for broken in (hole, quick):
        loads = heard(a=well, c=broken, b=well).loads(CONFIG, POOL, SERVERS, 0.0)
        assert loads["c"].load > 20 and loads["a"].load == 40
    loads = heard(a=quick, b=quick, c=quick).loads(CONFIG, POOL, SERVERS, 0.0)
    assert {each.load for each in loads.values()} == {0}


def test_a_stuck_host_is_loaded() -> None:
    """Up to twice as much; half of the time is nothing unusual."""
    said = [Heartbeat(1, 1, open=40, openings=8.0, cpu=cpu, io=io, by_port={80: 40}) for cpu, io in PRESSURES]
    loads = [heard(a=each).loads(CONFIG, POOL, SERVERS, 0.0)["a"].load for each in said]
    assert loads == [40, 40, 80, 60]


PRESSURES = ((0xFFFF, 0xFFFF), (500, 100), (100, 1000), (750, 0xFFFF))
