"""B3: a server with downloads and idle connections is drained with `move`, in the short form; and by a deadline."""

from __future__ import annotations

import time

import pytest

from portlb_app.config import moments
from tests.net.balancer import Connections, balancer
from tests.net.network import until
from tests.soak import drain

TREE = """
switches: {root: {dpid: 1, network: 1}, leaf: {dpid: 2}}
links: [[root:2, leaf:1]]
vips:
  web: {address: "fd00::100", mac: "02:00:00:00:00:64", redirect_ports: {80: {servers: [a], legacy: balance}}}
servers:
  a: {vip: web, connector: "leaf:2", service_ports: [{port: 8001, application: 80}]}
  b: {vip: web, connector: "root:3", service_ports: [{port: 8002, application: 80}]}
"""


@pytest.mark.parametrize(
    ("text", "family"), [(drain.CONFIG, 4), (TREE, 6)], ids=["one switch over IPv4", "a tree over IPv6"]
)
def test_a_drain_that_moves_reaches_zero(text: str, family: int) -> None:
    """Idle connections read the end of the stream and open elsewhere, downloads arrive whole, and none is left."""
    figures = drain.run(40, 10, text, family)
    assert figures.broken == 0
    assert figures.idle == {"RemoteDisconnected": 10}
    assert figures.opened == {"b": 10}
    assert figures.state == "drained"


def test_what_is_left_at_the_deadline_is_reset() -> None:
    """Redirected connections are: before that they go on. Those of the other server do not notice."""
    with balancer(drain.CONFIG.replace("servers: [a]", "servers: [a, b]")) as made:
        made.client_agent()
        kept, others = Connections(made, made.client), Connections(made, made.client)
        kept.open_to("a", 80)
        others.open_to("b", 80)
        until(lambda: drain.said(made, "a").get("open", 0) >= 1, "a's agent counts it", drain.PATIENCE)
        body = {"state": "drain", "deadline": moments.text(int(time.time()) + 8)}
        drain.rest(made, "PUT", "/v1/servers/a/state", body)
        assert kept.ask()[-1], "it goes on until then"
        until(lambda: not kept.ask()[-1], "the deadline has come", drain.PATIENCE)
        until(lambda: drain.rest(made, "GET", "/v1/servers/a")["drain"]["state"] == "drained", "a is drained", 60)
        assert others.ask()[-1]
