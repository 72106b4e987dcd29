"""Servers without a check that answer nothing, or reset all, are found by what a real switch counts."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import Any

from tests.net.balancer import REST, Balancer, balancer
from tests.net.network import until

SECONDS = 40
CONFIG = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web:
    address: [10.0.0.100, "fd00::100"]
    mac: "02:00:00:00:00:64"
    redirect_ports: {80: {servers: [a, b], legacy: balance}, 81: {servers: [c, d], legacy: balance}}
servers:
  a: {vip: web, connector: "s1:2"}
  b: {vip: web, connector: "s1:3"}
  c: {vip: web, connector: "s1:4"}
  d: {vip: web, connector: "s1:5"}
"""
_CLIENTS = """
import select, socket, sys
# clients that open a connection, ask, and give up after a while: 100 at a time, whatever becomes of them
held = []
while True:
    each = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
    each.setblocking(False)
    each.connect_ex((sys.argv[1], int(sys.argv[2])))
    held.append(each)
    for ready in select.select([], held, [], 0.01)[1]:
        try:
            ready.send(b"GET /name HTTP/1.0\\r\\n\\r\\n")
        except OSError:
            pass
    if len(held) > 100:
        held.pop(0).close()
"""


def missing(made: Balancer, port: int) -> dict[str, Any]:
    """The servers that a pool lacks, and why."""
    (pool,) = (each for each in made.status()["pools"] if each["port"] == port)
    found: dict[str, Any] = pool["missing"]
    return found


def packets_from(made: Balancer, server: str) -> int:
    """Packets from a server to clients, as its switch was read last."""
    done = made.lb.run("curl", "--silent", "--fail", f"http://127.0.0.1:{REST}/metrics")
    line = rf'^portlb_server_packets_total{{vip="web",server="{server}",direction="from_server"}} (\d+)'
    found = re.search(line, done.stdout, re.MULTILINE)
    return int(found[1]) if found else 0


def test_servers_that_do_not_answer_are_taken_out() -> None:
    """One that drops what comes by IPv4, one whose program is gone by IPv6; as long as nothing comes nobody is out, nor
    who answers.
    """
    with balancer(CONFIG, agents=frozenset()) as made:
        made.plain.popen(sys.executable, "-c", _CLIENTS, "10.0.0.100", "80")
        until(lambda: packets_from(made, "b") > 0, "b was read to answer", SECONDS)
        made.servers["b"].nft("table inet silent { chain input { type filter hook input priority 0; policy drop; }; }")
        made.servers["d"].nft("table inet silent { chain input { type filter hook input priority 0; policy drop; }; }")
        until(lambda: "b" in missing(made, 80), "b is out", SECONDS)
        assert " and none from it, while others answer; " in missing(made, 80)["b"]["reason"]
        assert missing(made, 80)["b"]["seen"] == "down" and missing(made, 80).keys() == {"b"}
        assert missing(made, 81) == {}, "nothing came"
        made.servers["d"].run("nft", "delete", "table", "inet", "silent")

        os.kill(int((made.network.directory / "nginx-d" / "pid").read_text()), signal.SIGTERM)
        made.plain.popen(sys.executable, "-c", _CLIENTS, "fd00::100", "81")
        until(lambda: "d" in missing(made, 81), "d is out", SECONDS)
        assert " bare ones, such as resets, from it, while others answer; " in missing(made, 81)["d"]["reason"]
        assert missing(made, 81).keys() == {"d"}
