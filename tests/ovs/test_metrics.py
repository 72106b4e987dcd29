"""GET /metrics of a real controller with a real switch: what is there and what it counts; no counter goes down."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from portlb_app.metrics.table import LIBRARY, METRICS
from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess, wait_for
from tests.support.generate import CLIENT_MAC, frame
from tests.support.reference import ACK, REDIRECT, SYN, TCP, UDP, Ip, Packet
from tests.support.scrapes import Scrape, read_scrape

NETWORK = 1
CONNECTORS = {"a": 2, "b": 3, "c": 4}
VIP_MAC = 0x020000000064
VIP, CLIENT = ip_address("10.0.0.100"), ip_address("192.0.2.7")
SYNS = 200


def text(dpid: int) -> str:
    """Three servers of one pool, and one of another that is checked."""
    servers = {
        name: {
            "vip": "web",
            "connector": f"s1:{port}",
            "service_ports": [{"port": 8000 + port, "application": 80}],
        }
        for name, port in CONNECTORS.items()
    }
    servers["d"] = {"vip": "name", "connector": "s1:5"}
    mac = "02:00:00:00:00:64"
    vips = {
        "web": {"address": str(VIP), "mac": mac, "redirect_ports": {80: {"servers": list(CONNECTORS)}}, "log": True},
        "name": {
            "address": "10.0.0.101",
            "mac": mac,
            "redirect_ports": {53: {"servers": ["d"], "check": {"kind": "tcp", "interval": 1, "timeout": 0.2}}},
        },
    }
    return json.dumps({"switches": {"s1": {"dpid": dpid, "network": NETWORK}}, "vips": vips, "servers": servers})


class Stage:
    """A bridge whose tables a controller keeps."""

    def __init__(self, switch: ovs.Switch, directory: Path) -> None:
        self.switch = switch
        self.bridge = Bridge(switch, (NETWORK, *CONNECTORS.values(), 5))
        self.path = directory / "lb.yaml"
        self.path.write_text(text(0x100 + int(self.bridge.name[2:])))
        self.controller = ControllerProcess(self.path, resync=0.3)
        switch.set_controller(self.bridge.name, self.controller.target)
        self.controller.wait_for_state("s1", "synced")

    def close(self) -> None:
        self.bridge.close()
        assert self.controller.close() == 0
        assert "Traceback" not in self.controller.log.read_text()

    def metrics(self) -> str:
        code, body = self.controller.request("GET", "/metrics")
        assert code == 200, body
        return body

    def scrape(self) -> Scrape:
        return read_scrape(self.metrics())

    def send(self, port: int, flags: int, count: int = SYNS) -> None:
        """So many segments from clients, each of a connection of its own."""
        frames = []
        for number in range(count):
            ip = Ip(CLIENT, VIP, TCP, source_port=20000 + number, destination_port=port, tcp_flags=flags)
            frames.append(frame(Packet(NETWORK, CLIENT_MAC, ip, VIP_MAC)))
        self.bridge.send(NETWORK, frames)

    def send_datagrams(self, port: int, count: int) -> None:
        """So many datagrams of one client."""
        ip = Ip(CLIENT, VIP, UDP, source_port=20000, destination_port=port)
        self.bridge.send(NETWORK, [frame(Packet(NETWORK, CLIENT_MAC, ip, VIP_MAC))] * count)

    def answer(self, name: str, count: int) -> None:
        """So many segments from a server."""
        at = CONNECTORS[name]
        ip = Ip(VIP, CLIENT, TCP, source_port=8000 + at, destination_port=40000, tcp_flags=ACK)
        self.bridge.send(at, [frame(Packet(at, VIP_MAC, ip, CLIENT_MAC))] * count)


@pytest.fixture(scope="module")
def stage(switch: ovs.Switch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    found = Stage(switch, tmp_path_factory.mktemp("metrics"))
    yield found
    found.close()


def test_every_metric_is_as_the_table_says_and_there_is_no_other(stage: Stage) -> None:
    """Names, types and help texts; labels of those that have values."""
    scrape = stage.scrape()
    assert scrape.kinds == {
        **{name: metric.kind for name, metric in METRICS.items()},
        **{name: kind for name, (kind, _) in LIBRARY.items()},
    }
    for name, metric in METRICS.items():
        assert scrape.meanings[name] == metric.meaning
        assert scrape.labels.get(name, set()) <= {frozenset(metric.labels)}, name


def test_promtool_finds_nothing_to_say(stage: Stage) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=stage.metrics(), text=True, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_counters_go_on_when_flows_and_groups_are_added_anew(stage: Stage) -> None:
    """All that passes is counted once, by server, direction and pool; also after the switch has lost its tables."""
    def told() -> tuple[float, ...]:
        scrape = stage.scrape()
        return (
            scrape.total("server_packets_total", vip="web", direction="to_server"),
            scrape.total("pool_packets_total", vip="web"),
            scrape.total("server_packets_total", server="b", direction="from_server"),
            scrape.total("server_service_datagrams_total", server="b"),
            scrape.total("server_packets_total", server="c", direction="to_server"),
        )

    wait_for("a first read", lambda: stage.scrape().value("server_packets_total", vip="web", server="a",
                                                          direction="to_server") is not None)  # fmt: skip
    to, pool, from_b, datagrams, to_c = told()
    stage.send(80, SYN | REDIRECT)
    stage.send(8004, ACK, 30)
    stage.send_datagrams(8003, 10)
    stage.answer("b", 20)
    wait_for("all are counted", lambda: told()[:4] == (to + SYNS + 40, pool + SYNS, from_b + 20, datagrams + 10))
    assert told()[4] - to_c - 30 == pytest.approx(SYNS / 3, abs=SYNS / 6)
    octets = stage.scrape().value("server_bytes_total", vip="web", server="b", direction="from_server")
    assert octets and octets % (from_b + 20) == 0

    drift = stage.scrape().total("switch_drift_total")
    stage.switch.ofctl("del-flows", stage.bridge.name)
    stage.switch.ofctl("del-groups", stage.bridge.name)
    wait_for("it is put right", lambda: stage.scrape().total("switch_drift_total") > drift)
    stage.controller.wait_for_state("s1", "synced")
    before = told()
    assert before[:4] == (to + SYNS + 40, pool + SYNS, from_b + 20, datagrams + 10)
    stage.send(80, SYN | REDIRECT, 50)
    stage.send_datagrams(8003, 5)
    stage.answer("b", 7)
    wait_for("it goes on", lambda: told()[:4] == (before[0] + 55, before[1] + 50, before[2] + 7, before[3] + 5))


def test_a_server_whose_port_fails_is_counted(stage: Stage) -> None:
    """Health, its cause, the slots that move by it, and what is wanted beside it."""
    before = stage.scrape()
    stage.bridge.command("netdev-dummy/set-admin-state", stage.bridge.port_name(4), "down")
    try:
        wait_for("c is down", lambda: stage.scrape().value("server_up", vip="web", server="c") == 0)
        scrape = stage.scrape()
        assert scrape.value("server_state_changes_total", vip="web", server="c", cause="port") == 1
        assert scrape.value("server_admin_state", vip="web", server="c", state="ready") == 1
        moved = wait_for("its slots move", lambda: stage.scrape().total("pool_slot_moves_total", cause="health"))
        assert moved == before.value("pool_slots", vip="web", port="80", server="c")
        assert stage.scrape().value("pool_slots", vip="web", port="80", server="c") == 0
        assert stage.scrape().total("pool_slots", vip="web") == 256
    finally:
        stage.bridge.command("netdev-dummy/set-admin-state", stage.bridge.port_name(4), "up")
    assert scrape.value("switch_port_problems", switch="s1") == 1


def test_changes_and_requests_are_counted(stage: Stage) -> None:
    """A wish, a refused configuration, and a path that nobody has: routes are templates."""
    assert stage.controller.request("PUT", "/v1/servers/a/state", '{"state": "drain"}')[0] == 200
    assert stage.controller.request("PUT", "/v1/config", "{}")[0] == 422
    assert stage.controller.request("GET", "/v1/servers/nobody")[0] == 404
    assert stage.controller.request("GET", "/x/%0a")[0] == 404
    scrape = stage.scrape()
    assert scrape.value("changes_total", source="admin", outcome="live") == 1
    assert scrape.value("changes_total", source="rest", outcome="invalid") == 1
    assert scrape.value("server_admin_state", vip="web", server="a", state="drain") == 1
    assert scrape.value("server_effective_weight", vip="web", server="a") == 0
    routes = {dict(key)["route"] for key in scrape.values["portlb_rest_requests_total"]}
    assert "" in routes and routes & {"/v1/servers/NAME", "/v1/servers/{server}"} and "/x/%0a" not in routes
    assert scrape.total("event_loop_lateness_seconds_count") > 0
    assert scrape.total("compile_duration_seconds_count") > 0
    assert scrape.total("pool_slot_moves_total", cause="admin") > 0


def test_checks_are_counted(stage: Stage) -> None:
    """Nobody answers them here: they time out."""
    wait_for("some have failed", lambda: stage.scrape().total("check_failures_total", check="tcp", reason="timeout"))
    scrape = stage.scrape()
    assert scrape.total("check_results_total", result="failed") == scrape.total("check_failures_total")
    assert scrape.total("check_duration_seconds_count", check="tcp") == scrape.total("check_results_total")
    assert scrape.total("check_duration_seconds_bucket", le="+Inf") == scrape.total("check_results_total")
    assert scrape.total("check_last_duration_seconds", server="d") > 0
