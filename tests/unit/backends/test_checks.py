"""What checks say about servers decides about pools: down, up, new, and when too few are up."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from portlb_app.backends import IS_NEW, Backends
from portlb_app.backends.states import PORT, Evidence, Seen, check_source
from portlb_app.config import Config, load
from portlb_app.topology.conditions import HeldSlots, PoolKey

WEB: PoolKey = ("web", 80)
OTHER: PoolKey = ("web", 443)
SOURCES = [check_source(80, 4), check_source(80, 6)]


def config(names: str = "abcd", check: dict[str, Any] | None = None, **vip: Any) -> Config:
    """A VIP with two versions of IP, a pool of port 80 with checks, and one of port 443 without."""
    data = {
        "switches": {"s1": {"dpid": 1, "network": 1}},
        "vips": {
            "web": {
                "address": ["10.0.0.100", "fd00::100"],
                "mac": "02:00:00:00:00:64",
                "redirect_ports": {
                    80: {"servers": list(names), "check": {} if check is None else check},
                    443: {"servers": list(names)},
                },
                **vip,
            }
        },
        "servers": {name: {"vip": "web", "connector": f"s1:{ord(name)}"} for name in names},
    }
    return load(yaml.safe_dump(data))


class Seeing:
    """Backends that hear of ports and checks."""

    def __init__(self, live: Config) -> None:
        self.live, self.backends, self.now = live, Backends(live), 0.0
        for server in live.servers:
            self.port(server.name, True)

    def port(self, name: str, is_up: bool) -> None:
        """A switch says something about a connector."""
        self.backends.see(name, Evidence(PORT, is_up, "port", self.now), self.now)

    def check(self, names: str, is_up: bool, sources: list[str] = SOURCES) -> None:
        """Checks of these servers pass or fail."""
        self.now += 1
        for name in names:
            for source in sources:
                said = Evidence(source, is_up, f"{source} says {is_up}", self.now, WEB)
                self.backends.see(name, said, self.now)

    def serving(self, key: PoolKey = WEB) -> str:
        """The servers that have slots."""
        return "".join(sorted(set(self.backends.tables()[key])))

    def seen(self, key: PoolKey = WEB) -> dict[str, str]:
        """What is seen of each server."""
        return {server.name: self.backends.seen(server.name, key).value for server in self.live.servers}


def test_any_check_makes_it_down_and_all_make_it_up() -> None:
    """Over either version of IP, and only in the pool that the check is about."""
    made = Seeing(config())
    assert made.serving() == "abcd", "nothing was heard yet"
    made.check("abcd", True)
    assert set(made.seen().values()) == {"up"}
    made.check("b", False, SOURCES[1:])
    assert (made.serving(), made.serving(OTHER)) == ("acd", "abcd")
    made.check("b", True, SOURCES[:1])
    assert made.serving() == "acd"
    made.check("b", True)
    assert made.serving() == "abcd"


def test_a_check_that_is_no_more() -> None:
    """The server's port alone decides then."""
    made = Seeing(config())
    made.check("abcd", True)
    made.check("b", False)
    for source in SOURCES:
        made.backends.forget("b", source, made.now)
    assert made.seen()["b"] == "down", "the configuration still asks for a check"
    made.backends.adopt(config(check={"kind": "none"}), made.now)
    assert made.serving() == "abcd"


def test_a_new_server_is_down_until_it_is_checked() -> None:
    """In a pool that has servers already; not where it is not checked, nor where a check only tells of errors."""
    made = Seeing(config("abc"))
    made.check("abc", True)
    made.live = config("abcd")
    made.backends.adopt(made.live, made.now)
    made.port("d", True)
    assert (made.serving(), made.serving(OTHER)) == ("abc", "abcd")
    state = next(each for each in made.backends.servers() if each.name == "d")
    assert (state.seen[WEB].seen, state.seen[WEB].reason) == (Seen.DOWN, IS_NEW)
    made.check("d", True, SOURCES[:1])
    assert made.serving() == "abc"
    made.check("d", True, SOURCES[1:])
    assert made.serving() == "abcd"
    quiet = Seeing(config("abc", {"kind": "udp"}))
    quiet.live = config("abcd", {"kind": "udp"})
    quiet.backends.adopt(quiet.live, 1.0)
    assert quiet.serving() == "abcd"


def test_all_are_used_when_none_is_up() -> None:
    """By default; until one is. A server whose port is down is not used even then."""
    made = Seeing(config())
    made.check("abcd", True)
    made.port("d", False)
    made.check("abc", False)
    assert made.serving() == "abc"
    assert made.backends.failing_open == {WEB}
    assert {each.key for each in made.backends.pools() if each.fails_open} == {WEB}
    made.check("b", True)
    assert made.serving() == "b" and made.backends.failing_open == set()
    made.port("abc"[1], False)
    assert made.serving() == "ac"


@pytest.mark.parametrize(("fail_open", "most"), [(1, 1), (2, 2), ("25%", 1), ("49%", 1), ("50%", 2), ("100%", 4)])
def test_all_are_used_when_too_few_are_up(fail_open: Any, most: int) -> None:
    """A number of servers, or a part of the pool."""
    made = Seeing(config(fail_open=fail_open))
    made.check("abcd", True)
    for down in range(1, 5):
        made.check("abcd"[down - 1], False)
        expected = "abcd" if 4 - down <= most else "abcd"[down:]
        assert made.serving() == expected, down


def test_never_drops() -> None:
    """A pool of which no server is up gets nothing, and the same slots as before when they are back."""
    made = Seeing(config(fail_open="never"))
    made.check("abcd", True)
    made.check("abcd", False)
    assert made.backends.conditions(made.live)[0][WEB].servers == ()
    assert made.backends.failing_open == set()
    assert not [each.key for each in made.backends.pools() if each.fails_open]
    made.check("abcd", True)
    assert made.serving() == "abcd"


def test_a_restart_with_servers_down() -> None:
    """The slots that a switch holds are the memory: who has none is down, and comes back by a check."""
    live = config()
    made = Seeing(live)
    made.check("abcd", True)
    made.check("b", False)
    held = HeldSlots(made.backends.tables()[WEB])
    after = Backends(live)
    after.held(WEB, held, 0.0)
    assert after.seen("b", WEB) is Seen.DOWN and after.seen("a", WEB) is Seen.UP
    assert after.tables()[WEB] == held.servers
    for source in SOURCES:
        after.see("b", Evidence(source, True, "x", 1.0, WEB), 1.0)
    after.see("b", Evidence(PORT, True, "x", 1.0), 1.0)
    after.tick(60.0)
    assert after.seen("b", WEB) is Seen.UP
