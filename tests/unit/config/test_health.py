"""Health checks in a configuration: what they mean, and every mistake with its path."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from portlb_app.config import Check, CheckKind, Config, ConfigError, FailOpen, Via, load
from portlb_app.config.health import RATE


def text(**given: Any) -> str:
    """A VIP with two pools and two servers; `given` are keys by their paths, such as ``vips__web__check``."""
    data: dict[str, Any] = {
        "switches": {"s1": {"dpid": 1, "network": 1}},
        "vips": {
            "web": {
                "address": "10.0.0.100",
                "mac": "02:00:00:00:00:64",
                "redirect_ports": {80: {"servers": ["a", "b"]}, 443: {"servers": ["b"]}},
            }
        },
        "servers": {
            "a": {"vip": "web", "connector": "s1:2", "service_ports": [{"port": 8001, "application": 80}]},
            "b": {"vip": "web", "connector": "s1:3"},
        },
    }
    for path, value in given.items():
        *way, last = path.split("__")
        place = data
        for step in way:
            place = place[int(step) if step.isdigit() else step]
        place[int(last) if last.isdigit() else last] = value
    return yaml.safe_dump(data)


def config(**given: Any) -> Config:
    """The configuration."""
    return load(text(**given))


def errors(**given: Any) -> list[str]:
    """Every mistake in it."""
    with pytest.raises(ConfigError) as caught:
        config(**given)
    return [str(problem) for problem in caught.value.errors]


def check(given: Config, server: str, port: int = 80) -> Check | None:
    """How a server is checked."""
    pool = given.vips[0].pool_on(port)
    assert pool is not None
    return pool.checked.get(server)


def test_nothing_is_checked_unless_it_is_said() -> None:
    """No check, and no address that checks come from."""
    given = config()
    assert given.vips[0].checked == frozenset()
    assert [pool.checks for pool in given.vips[0].redirect_ports] == [(), ()]
    assert [pool.fail_open for pool in given.vips[0].redirect_ports] == [FailOpen(), FailOpen()]


def test_a_check_has_defaults() -> None:
    """A bare mapping is a check of TCP."""
    given = config(vips__web__check={})
    assert check(given, "a") == check(given, "b", 443) == Check()
    assert Check().kind is CheckKind.TCP
    assert str(given.vips[0].check_address(4)) == "192.0.0.8"
    assert str(given.vips[0].check_address(6)) == "100::8"


def test_every_key_is_read() -> None:
    """As it stands in the file; fractions of seconds, too."""
    http = {
        "kind": "http",
        "port": 8081,
        "via": "connector",
        "interval": "2.5",
        "timeout": "0.5",
        "fall": 4,
        "rise": 1,
        "path": "/healthz?x=1",
        "host": "example.net",
        "method": "HEAD",
        "status": [204, "300-399"],
        "body": "ok",
    }
    assert check(config(vips__web__check=http), "a") == Check(
        CheckKind.HTTP,
        *(8081, Via.CONNECTOR, 2.5, 0.5, 4, 1, "/healthz?x=1", "example.net", "HEAD"),
        status=((204, 204), (300, 399)),
        body=b"ok",
    )
    udp = {"kind": "udp", "send": "0x00ff", "expect": "pong"}
    assert check(config(vips__web__check=udp), "a") == Check(CheckKind.UDP, send=b"\0\xff", expect=b"pong")


def test_the_more_special_comes_first() -> None:
    """The server's words before the port's before the VIP's, key by key; none switches off."""
    given = config(
        vips__web__check={"kind": "http", "path": "/healthz", "interval": 3, "status": 200},
        vips__web__redirect_ports__443__check={"kind": "tcp", "fall": 5},
        servers__b__check={"port": 8081},
    )
    assert check(given, "a") == Check(CheckKind.HTTP, interval=3.0, path="/healthz", status=((200, 200),))
    assert check(given, "b") == Check(CheckKind.HTTP, 8081, interval=3.0, path="/healthz", status=((200, 200),))
    assert check(given, "b", 443) == Check(CheckKind.TCP, 8081, interval=3.0, fall=5)
    given = config(vips__web__check={}, servers__b__check={"kind": "none"})
    assert given.vips[0].checked == {"a"}


def test_servers_share_a_check() -> None:
    """There may be 65,536 of them."""
    given = config(vips__web__check={"kind": "http"})
    assert check(given, "a") is check(given, "b")


@pytest.mark.parametrize(
    ("given", "means"),
    [(0, FailOpen()), (2, FailOpen(2)), (1024, FailOpen(1024)), ("30%", FailOpen(30, True)), ("never", FailOpen(None))],
)
def test_fail_open(given: Any, means: FailOpen) -> None:
    """Of the VIP, or of a port where it differs."""
    pools = config(vips__web__fail_open=given).vips[0].redirect_ports
    assert {pool.fail_open for pool in pools} == {means}
    pools = config(vips__web__fail_open=7, vips__web__redirect_ports__80__fail_open=given).vips[0].redirect_ports
    assert [pool.fail_open for pool in pools] == [means, FailOpen(7)]


def test_when_a_pool_fails_open() -> None:
    """At no more than so many; never where there is no server at all."""
    assert [FailOpen().applies(up, 4) for up in range(3)] == [True, False, False]
    assert [FailOpen(1).applies(up, 4) for up in range(3)] == [True, True, False]
    assert [FailOpen(50, True).applies(up, 4) for up in range(4)] == [True, True, True, False]
    assert not any(FailOpen(None).applies(up, 4) for up in range(4))
    assert not FailOpen().applies(0, 0)


def test_an_address_of_its_own() -> None:
    """One for each version of IP; the other one is the default."""
    vip = config(vips__web__check={}, vips__web__check_address="10.0.0.9").vips[0]
    assert str(vip.check_address(4)) == "10.0.0.9"
    assert str(vip.check_address(6)) == "100::8"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("kind", "https", "should be 'tcp', 'http', 'udp', 'ping' or 'none'"),
        ("interval", "soon", "a number of seconds like 2 or 0.5 is expected"),
        ("interval", True, "a number of seconds like 2 or 0.5 is expected"),
        ("interval", "1e3", "a number of seconds like 2 or 0.5 is expected"),
        ("interval", "0.1", "should be greater than or equal to 0.2"),
        ("interval", 3601, "should be less than or equal to 3600"),
        ("timeout", 0, "should be greater than or equal to 0.1"),
        ("timeout", 3, "the timeout, 3 s, is longer than the interval, 2 s"),
        ("fall", 0, "should be greater than or equal to 1"),
        ("rise", 33, "should be less than or equal to 32"),
        ("rise", "two", "a number is expected"),
        ("port", 65536, "should be less than or equal to 65535"),
        ("via", "tunnel", "should be 'service' or 'connector'"),
        ("via", "service", "b has no service port for 80, nor a service address"),
        ("path", "/", "needs kind: http"),
        ("send", "x", "needs kind: udp"),
        ("user", "x", "unknown key"),
    ],
)
def test_mistakes(key: str, value: Any, message: str) -> None:
    """Each with its path, for a VIP."""
    assert f"vips.web.check.{key}: {message}" in errors(vips__web__check={key: value})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("path", "healthz", "a path like /healthz, of printable ASCII without spaces, is expected"),
        ("path", "/a b", "a path like /healthz, of printable ASCII without spaces, is expected"),
        ("path", "/\r\nHost: x", "a path like /healthz, of printable ASCII without spaces, is expected"),
        ("host", "a b", "a host's name of printable ASCII without spaces is expected"),
        ("method", "get", "a method like GET or HEAD is expected"),
        ("status", [], "1 to 16 status codes or ranges are expected"),
        ("status", 600, "status codes like 200, or ranges like 200-399, are expected"),
        ("status", "399-200", "399-200 is a range from its lower to its higher end"),
        ("body", 7, "a text is expected"),
        ("expect", "x", "needs kind: udp"),
    ],
)
def test_mistakes_of_http(key: str, value: Any, message: str) -> None:
    """No key of the file puts another header into a request."""
    assert errors(vips__web__check={"kind": "http", key: value}) == [f"vips.web.check.{key}: {message}"]


def test_mistakes_of_servers_and_ports() -> None:
    """Once each, however many pools have the server."""
    found = errors(
        vips__web__check={"kind": "ping"},
        vips__web__redirect_ports__80__check={"via": "service", "port": 7},
        servers__b__check={"kind": "http", "timeout": 5, "send": "x"},
        vips__web__fail_open="many",
        vips__web__redirect_ports__443__fail_open="101%",
    )
    assert sorted(found) == [
        "servers.b.check.send: needs kind: udp",
        "servers.b.check.timeout: the timeout, 5 s, is longer than the interval, 2 s",
        'vips.web.fail_open: a number of servers from 0 to 1024, a percentage like "30%", or never is expected',
        "vips.web.redirect_ports.443.fail_open: a number of servers from 0 to 1024, a percentage like "
        '"30%", or never is expected',
        "vips.web.redirect_ports.80.check.port: a ping has no port",
        "vips.web.redirect_ports.80.check.via: a ping has no port that could name the server: connector",
        "vips.web.redirect_ports.80.check.via: b has no service port for 7, nor a service address",
    ]
    assert errors(servers__a__check="tcp")[0].startswith("servers.a.check: ")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("10.0.0.100", "10.0.0.100 is the address of VIP web"),
        ("fd00::1", "VIP web has no IPv6 address"),
        ("127.0.0.1", "127.0.0.1 cannot be a host's address"),
        (["10.0.0.8", "10.0.0.9"], "one address of each family is expected, at least one"),
    ],
)
def test_mistakes_of_the_address(address: Any, message: str) -> None:
    """It is nobody else's."""
    assert errors(vips__web__check={}, vips__web__check_address=address) == [f"vips.web.check_address: {message}"]


def test_servers_on_the_network_side_need_an_address() -> None:
    """Without a gateway their answers go to the router of their network."""
    given: dict[str, Any] = {
        "vips__web__rewrite": "mac",
        "vips__web__check": {"kind": "ping"},
        "servers__a__connector": "s1:1",
        "servers__a__mac": "02:00:00:00:00:0a",
        "servers__b__mac": "02:00:00:00:00:0b",
    }
    assert errors(**given) == [
        "vips.web.check_address: is missing: servers on the network side answer to free addresses of their own "
        "network only"
    ]
    assert config(**given, vips__web__check_address="10.0.0.9").vips[0].checked == {"a", "b"}


def test_many_checks_are_told() -> None:
    """A controller has not time for any number of them."""
    assert not [each for each in config(vips__web__check={}).notices if "checks a second" in each.message]
    many = {f"s{number}": {"vip": "web", "connector": f"s1:{number + 10}"} for number in range(256)}
    data = yaml.safe_load(text(vips__web__check={"interval": "0.2", "timeout": "0.2"}))
    data["servers"] |= many
    data["vips"]["web"]["redirect_ports"][80]["servers"] = list(many)
    (notice,) = load(yaml.safe_dump(data)).notices
    assert notice.message.startswith("1285 checks a second")
    assert RATE < 1285
