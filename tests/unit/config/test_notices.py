"""Notices: what is allowed, but may not be wanted, is said and refuses nothing."""

from __future__ import annotations

from portlb_app.config import load
from portlb_app.config.file import MAX_NOTICES

LB = """
switches: {{s1: {{dpid: 1, network: 1}}}}
vips:
  web:
    address: 10.0.0.100
    mac: "02:00:00:00:00:64"
    redirect_ports: {{{redirect}: {{servers: [a]}}}}
servers:
  a: {{vip: web, connector: s1:2, service_ports: {ports}}}
"""


def paths(ports: str, redirect: int = 80) -> list[str]:
    """The paths of what is said about a server's service ports and a redirect port."""
    return [notice.path for notice in load(LB.format(ports=ports, redirect=redirect)).notices]


def test_ports_linux_chooses_from_are_noticed() -> None:
    """A server's own connection from such a port would not get its answers."""
    assert paths("[32767, 32768, {port: 60999, application: 80}, 61000]") == [
        "servers.a.service_ports[1]",
        "servers.a.service_ports[2]",
    ]
    assert paths("[1]", redirect=40000) == ["vips.web.redirect_ports.40000"]
    (notice,) = load(LB.format(ports="[40001]", redirect=80)).notices
    assert str(notice).startswith("servers.a.service_ports[0]: 40001 is one of the ports 32768 to 60999 that Linux")
    assert "ip_local_reserved_ports" in notice.message


def test_a_notice_changes_nothing_that_a_configuration_means() -> None:
    with_notice, without = load(LB.format(ports="[40001]", redirect=80)), load(LB.format(ports="[1]", redirect=80))
    assert with_notice.notices and not without.notices
    assert load(LB.format(ports="[40001]", redirect=80)) == with_notice


def test_notices_have_an_end() -> None:
    assert len(paths(str(list(range(40000, 45000))))) == MAX_NOTICES + 1


def test_what_conntrack_says_now_is_told() -> None:
    """Settings of ``legacy: pin`` from older files are read, and said to be without effect."""
    pinned = "80: {servers: [a], legacy: pin, pin: {idle: 10}}"
    with_settings = load(LB.format(ports="[8001]", redirect=80).replace("80: {servers: [a]}", pinned))
    assert [notice.path for notice in with_settings.notices] == ["vips.web.redirect_ports.80.pin"]


def test_a_pool_without_a_ready_server_is_noticed() -> None:
    """It is allowed, and nothing is delivered."""
    text = LB.format(ports="[1]", redirect=80)
    for left in ("state: drain", "state: maint", "weight: 0"):
        (notice,) = load(text.replace("connector", f"{left}, connector")).notices
        path, _, message = str(notice).partition(": ")
        assert path == "vips.web.redirect_ports.80.servers"
        assert message == "none of them is ready and has a weight, so new connections get no server"
    assert not load(text.replace("connector", "state: ready, weight: 1, connector")).notices
