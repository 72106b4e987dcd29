"""`selection: least` with real agents: slots leave a slow server. `python -m tests.bench.least` is the whole proof."""

from __future__ import annotations

import sys

import pytest

from tests.net.balancer import balancer
from tests.net.network import ROOT, until

CONFIG = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web:
    address: 10.0.0.100
    mac: "02:00:00:00:00:64"
    redirect_ports: {80: {servers: [a, b], selection: least, moves: 4/s}}
servers:
  a: {vip: web, connector: "s1:2", service_ports: [{port: 8001, application: 80}]}
  b: {vip: web, connector: "s1:3", service_ports: [{port: 8002, application: 80}]}
"""
TREE = """
switches: {root: {dpid: 1, network: 1}, leaf: {dpid: 2}}
links: [[root:2, leaf:1]]
vips:
  web:
    address: "fd00::100"
    mac: "02:00:00:00:00:64"
    redirect_ports: {80: {servers: [a, b], selection: least, moves: 4/s}}
servers:
  a: {vip: web, connector: "root:3", service_ports: [{port: 8001, application: 80}]}
  b: {vip: web, connector: "leaf:2", service_ports: [{port: 8002, application: 80}]}
"""


@pytest.mark.parametrize(("text", "family"), [(CONFIG, 4), (TREE, 6)], ids=["one switch over IPv4", "a tree over IPv6"])
def test_slots_leave_the_slow_server(text: str, family: int) -> None:
    """Connections live 1 s at a and 6 s at b: b has more of them open, and gets fewer slots. None fails."""
    with balancer(text, nginx=False) as made:
        made.speak(family)
        counts = made.network.directory
        program = (sys.executable, "-m", "tests.bench.holding")
        for name, lives in (("a", 1.0), ("b", 6.0)):
            made.servers[name].popen_ready(*program, "serve", "80", str(lives), str(counts / f"{name}.open"), cwd=ROOT)
        made.client_agent()
        failed = counts / "failed"
        made.client.popen_ready(*program, "open", str(made.address), "80", "60", str(failed), cwd=ROOT)

        def shares() -> dict[str, int]:
            (pool,) = (each for each in made.status()["pools"] if each["port"] == 80)
            slots: dict[str, int] = pool["slots"]
            return slots

        assert shares() == {"a": 128, "b": 128}
        until(lambda: shares()["b"] <= 124, "four slots have left b", 90)
        assert shares()["a"] == 256 - shares()["b"]
        assert failed.read_text() == "0\n"
