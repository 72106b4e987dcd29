"""Several switches on real parts: two entrances, and a link that goes during redirected downloads.

The scenarios of `tests.net.test_end_to_end`, `test_modes`, `test_punt` and `test_connlog` run on trees, too.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from mininet_topos.demo.datagrams import INTERVAL
from portlb_app import topology
from portlb_app.config import Connector, Link
from portlb_app.net.packets import frames
from tests.net.balancer import Balancer, Downloads, balancer
from tests.net.network import ROOT, tcpdump, until
from tests.net.wiring import inside

LEAFSPINE = (ROOT / "flows/leafspine/lb.yaml").read_text().replace("10.0.0.100", '[10.0.0.100, "fd00::100"]')
DOWNLOADS = 200
OUTAGE_MS = 2000
"""What a link's end may cost at most, on a machine however busy; the test prints what it did."""


@pytest.fixture(scope="module")
def running() -> Iterator[Balancer]:
    """Two spines, two leaves; the router spreads the client's connections over both spines by their ports."""
    with balancer(LEAFSPINE) as made:
        made.client_agent()
        for name, host in made.servers.items():
            port = str(made.config.server_by_name[name].service_ports[0].port)
            host.popen_ready(sys.executable, "-m", "mininet_topos.demo.datagrams", "serve", name, port, cwd=ROOT)
        yield made


@contextlib.contextmanager
def wires(made: Balancer) -> Iterator[dict[str, list[bytes]]]:
    """The TCP frames at every port of every switch; there when the block ends."""
    names = [name for ports in made.ports.values() for name in ports]
    files = {name: made.network.directory / f"{name}-{time.monotonic_ns()}.pcap" for name in names}
    found: dict[str, list[bytes]] = {}
    with contextlib.ExitStack() as stack:
        for name, path in files.items():
            stack.enter_context(tcpdump(made.lb, name, "-U", "-s", "2000", "-w", str(path), "tcp"))
        yield found
    found |= {name: list(frames(path.read_bytes())) for name, path in files.items()}


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_t1_packets_pass_unchanged_whichever_entrance_they_came_by(running: Balancer, family: int) -> None:
    """T1: frames at entrances, on links and at servers are the same; replies leave by the leaf's way up."""
    made = running.speak(family)
    made.curl(made.url(22))
    with wires(made) as seen:
        names = made.curl(made.url(22, "name?[1-20]"), "--header", "Connection: close").split()
    assert len(names) == 20 and set(names) == set("abcd")
    servers = [inside(server.connector) for server in made.config.servers]
    outside, between, within = (
        Counter(frame for name in names for frame in seen[name]) for names in (made.sides, made.links, servers)
    )
    assert outside == between == within
    vip = made.vip.mac.to_bytes(6, "big")
    down = {name: sum(frame[:6] == vip for frame in seen[name]) for name in made.sides}
    up = {name: sum(frame[6:12] == vip for frame in seen[name]) for name in made.sides}
    assert all(down.values()), "clients come by both spines"
    leaves = {server.connector.switch for server in made.config.servers}
    parents = {end.switch for leaf in leaves for end in way_up(made, leaf)} - leaves
    assert {name for name, count in up.items() if count} == {inside(Connector(parent, 1)) for parent in parents}


def way_up(made: Balancer, leaf: str) -> Link:
    """The link that a leaf's packets to clients take."""
    port = topology.of(made.config).uplink(leaf)
    return next(link for link in made.config.links if Connector(leaf, port or 0) in link)


def settled(made: Balancer, link: Link, up: bool) -> bool:
    """Whether the controller takes a link to be up or down, and all switches have the tables for that."""
    status = made.status()
    (known,) = (each["up"] for each in status["links"] if each["ends"] == [str(end) for end in link])
    return known == up and all(each["state"] == "synced" for each in status["switches"])


@contextlib.contextmanager
def probe(made: Balancer, port: int) -> Iterator[dict[str, float]]:
    """A datagram every millisecond meanwhile; when the block ends: those sent and lost, and the longest outage."""
    words = ("-m", "mininet_topos.demo.datagrams", "probe", str(made.address), str(port))
    process = made.client.popen_ready(sys.executable, *words, cwd=ROOT)
    seen: dict[str, float] = {}
    yield seen
    seen.update(json.loads(process.finish()))


def test_a_cut_link_breaks_no_redirected_download(running: Balancer, capsys: pytest.CaptureFixture[str]) -> None:
    """T2: the link a leaf sends by goes down, and comes back, during 200 downloads: all arrive, and new ones work."""
    made = running.speak(4)
    server = made.config.server_by_name["a"]
    link = way_up(made, server.connector.switch)
    downloads = Downloads(made, 22, DOWNLOADS)
    told = []
    for state in ("down", "up"):
        with probe(made, server.service_ports[0].port) as seen:
            time.sleep(0.3)  # datagrams are to flow before, and after
            made.lb.run("ip", "link", "set", inside(link[0]), state)
            until(lambda up=state == "up": settled(made, link, up), f"the link is {state} for the controller")
            time.sleep(0.3)
        names = made.curl(made.url(22, "name?[1-20]"), "--header", "Connection: close", seconds=10).split()
        assert len(names) == 20 and len(set(names)) > 2, names
        assert seen["sent"] > 0.3 / INTERVAL / 2 and seen["outage_ms"] < OUTAGE_MS
        lost = f"{seen['lost']:.0f} of {seen['sent']:.0f} probes lost"
        told.append(f"{state}: {lost}, {seen['outage_ms']:.0f} ms at once")
    assert downloads.broken() == 0
    with capsys.disabled():
        print(f" {', '.join(told)}", end=" ")
