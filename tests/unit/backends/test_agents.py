"""What servers' agents say decides about new connections, as long as they say it."""

from __future__ import annotations

from collections import Counter

from portlb_app.backends import AGENT, SAYS_DOWN, Backends
from portlb_app.backends.states import PORT, Evidence, Seen
from portlb_app.config import Config, Wanted, load
from portlb_app.config.overrides import NONE, Override
from portlb_app.net.heartbeat import VALID, Heartbeat, State

TEXT = """
switches: {s1: {dpid: 1, network: 1}}
vips: {web: {address: 10.0.0.100, mac: "02:00:00:00:00:64", redirect_ports: {80: {servers: [a, b, c]}}}}
servers:
  a: {vip: web, connector: "s1:2"}
  b: {vip: web, connector: "s1:3"}
  c: {vip: web, connector: "s1:4"}
"""
WEB = ("web", 80)


def shares(backends: Backends, live: Config) -> Counter[str]:
    """How many slots each server has, if that does not follow from the configuration alone."""
    return Counter(backends.conditions(live)[0][WEB].servers) if WEB in backends.conditions(live)[0] else Counter()


def seen(backends: Backends, name: str) -> tuple[Seen, str]:
    """What is seen of a server, and why."""
    return next((each.seen[WEB].seen, each.seen[WEB].reason) for each in backends.servers() if each.name == name)


def made() -> tuple[Backends, Config]:
    """All servers are up."""
    live = load(TEXT)
    backends = Backends(live)
    for name in live.server_by_name:
        backends.see(name, Evidence(PORT, True, "its port is up", 0.0), 0.0)
    return backends, live


def test_a_server_that_is_ready_changes_nothing() -> None:
    """Its agent's word is no evidence that its programs work."""
    backends, live = made()
    backends.hear("a", Heartbeat(1, 1, open=7), 1.0)
    assert not backends.conditions(live)[0] and seen(backends, "a")[0] is Seen.UP
    assert [each.report and each.report.heartbeat.open for each in backends.servers()] == [7, None, None]


def test_one_that_drains_gets_nothing_new() -> None:
    """It is neither down nor wanted so; it ends with the word, or with the heartbeats."""
    backends, live = made()
    backends.hear("a", Heartbeat(1, 1, State.DRAIN), 1.0)
    assert set(shares(backends, live)) == {"b", "c"} and seen(backends, "a")[0] is Seen.UP
    assert backends.used is live
    backends.hear("a", Heartbeat(1, 2), 2.0)
    assert not shares(backends, live)
    backends.hear("a", Heartbeat(1, 3, State.DRAIN), 3.0)
    backends.tick(3.0 + VALID - 0.1)
    assert shares(backends, live)
    backends.tick(3.0 + VALID)
    assert not shares(backends, live) and seen(backends, "a")[0] is Seen.UP


def test_one_that_says_it_is_down_is_down() -> None:
    """Until it says something else, or nothing."""
    for last in (Heartbeat(1, 2), None):
        backends, live = made()
        backends.hear("a", Heartbeat(1, 1, State.DOWN), 1.0)
        assert seen(backends, "a") == (Seen.DOWN, SAYS_DOWN) and set(shares(backends, live)) == {"b", "c"}
        assert [each.source for each in next(iter(backends.servers())).evidence] == [PORT, AGENT]
        if last:
            backends.hear("a", last, 2.0)
        backends.tick(1.0 + VALID)
        assert seen(backends, "a")[0] is Seen.UP and not shares(backends, live)


def test_silence_is_not_down() -> None:
    """The agent may have been stopped; what else is known of the server decides."""
    backends, live = made()
    backends.hear("a", Heartbeat(1, 1), 1.0)
    backends.tick(100.0)
    assert seen(backends, "a")[0] is Seen.UP and not backends.conditions(live)[0]
    assert all(each.report is None for each in backends.servers())


def test_agents_do_not_empty_a_pool() -> None:
    """The last ones that drain keep what they have; an administrator's word is another thing."""
    backends, live = made()
    for name in live.server_by_name:
        backends.hear(name, Heartbeat(1, 1, State.DRAIN, valid=60), 1.0)
    assert set(shares(backends, live)) <= {"a", "b", "c"} and backends.conditions(live)[0].get(WEB) is None
    said = Override(Wanted.DRAIN, Wanted.DRAIN)
    backends.override(NONE.put(live.server_by_name["a"], "state", Wanted.DRAIN, said), 2.0)
    assert set(shares(backends, live)) == {"b", "c"}


def test_a_server_without_a_place_in_the_configuration_has_no_word() -> None:
    """It is not there any more, or not yet."""
    backends, live = made()
    backends.hear("z", Heartbeat(1, 1, State.DRAIN), 1.0)
    backends.hear("a", Heartbeat(1, 1, State.DRAIN), 1.0)
    smaller = load(TEXT.replace("[a, b, c]", "[b, c]").replace('  a: {vip: web, connector: "s1:2"}\n', ""))
    backends.adopt(smaller, 2.0)
    backends.tick(100.0)
    assert {each.name for each in backends.servers()} == {"b", "c"}
    backends.adopt(live, 101.0)
    assert all(each.report is None for each in backends.servers())
