"""States and weights with a real switch and a real controller: they reach the switch, and outlive the controller."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess, wait_for
from tests.support.generate import CLIENT_MAC, frame
from tests.support.reference import ACK, REDIRECT, SYN, TCP, Ip, Packet

NETWORK = 1
CONNECTORS = {"a": 2, "b": 3, "c": 4}
VIP_MAC = 0x020000000064
VIP, CLIENT = ip_address("10.0.0.100"), ip_address("192.0.2.7")
SYNS = 1000


def text(dpid: int, **of_b: Any) -> str:
    """Three servers of one pool, and what the file says about b."""
    servers = {
        name: {
            "vip": "web",
            "connector": f"s1:{port}",
            "service_ports": [{"port": 8000 + port, "application": 80}],
            **(of_b if name == "b" else {}),
        }
        for name, port in CONNECTORS.items()
    }
    vip = {"address": str(VIP), "mac": "02:00:00:00:00:64", "redirect_ports": {80: {"servers": list(CONNECTORS)}}}
    return json.dumps(
        {"switches": {"s1": {"dpid": dpid, "network": NETWORK}}, "vips": {"web": vip}, "servers": servers}
    )


class Stage:
    """A bridge whose tables a controller keeps, which may be killed and started again."""

    def __init__(self, switch: ovs.Switch, directory: Path) -> None:
        self.switch = switch
        self.bridge = Bridge(switch, (NETWORK, *CONNECTORS.values()))
        self.dpid = 0x100 + int(self.bridge.name[2:])
        self.path = directory / "lb.yaml"
        self.path.write_text(text(self.dpid))
        self.start()

    def start(self) -> None:
        """Start the controller, and wait until the switch has what it shall have."""
        self.controller = ControllerProcess(self.path, resync=0.5)
        self.switch.set_controller(self.bridge.name, self.controller.target)
        self.controller.wait_for_state("s1", "synced")

    def close(self) -> None:
        self.bridge.close()
        assert self.controller.close() == 0
        assert "Traceback" not in self.controller.log.read_text()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One REST request and its answer."""
        code, answer = self.controller.request(method, path, None if body is None else json.dumps(body))
        return code, json.loads(answer)

    def want(self, name: str, state: str, **more: Any) -> dict[str, Any]:
        """Have a state, in the switches."""
        code, answer = self.ask("PUT", f"/v1/servers/{name}/state", {"state": state, **more})
        assert code == 200, answer
        found: dict[str, Any] = answer
        return found

    def server(self, name: str) -> dict[str, Any]:
        code, answer = self.ask("GET", f"/v1/servers/{name}")
        assert code == 200
        found: dict[str, Any] = answer
        return found

    def groups(self) -> list[str]:
        """What the switch itself says of its groups."""
        return sorted(self.switch.dump_groups(self.bridge.name))

    def flows(self) -> list[str]:
        """Its flows, without counters."""
        lines = self.switch.ofctl("dump-flows", self.bridge.name, "--no-stats").splitlines()
        return sorted(line.strip() for line in lines if "cookie" in line)

    def opened(self) -> Counter[str]:
        """Which servers get the connections of so many SYNs with REDIRECT."""
        frames = [self.segment(80, SYN | REDIRECT, 20000 + 2 * number) for number in range(SYNS)]
        return self.delivered(frames)

    def delivered(self, frames: list[bytes]) -> Counter[str]:
        """Which servers get these. What the datapath remembers of the tables before is forgotten at once."""
        names = {port: name for name, port in CONNECTORS.items()}
        self.bridge.command("revalidator/purge")
        gone = self.bridge.send(NETWORK, frames)
        return Counter({names[port]: len(each) for port, each in gone.items() if port in names})

    def segment(self, port: int, flags: int, client: int = 40000) -> bytes:
        ip = Ip(CLIENT, VIP, TCP, source_port=client, destination_port=port, tcp_flags=flags)
        return frame(Packet(NETWORK, CLIENT_MAC, ip, VIP_MAC))


@pytest.fixture
def stage(switch: ovs.Switch, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(switch, tmp_path)
    yield stage
    stage.close()


def test_a_server_that_drains_gets_no_connection_and_keeps_its_port(stage: Stage) -> None:
    """And ready again it has the same slots, to the slot."""
    groups, flows = stage.groups(), stage.flows()
    assert set(stage.opened()) == {"a", "b", "c"}
    answer = stage.want("b", "drain", reason="kernel")
    assert (answer["wanted"]["state"], answer["held"]["state"]) == ("drain", "none")
    assert answer["pools"][0]["moved"] == answer["pools"][0]["servers"]["b"][0] > 0
    assert stage.opened().keys() == {"a", "c"}
    assert stage.delivered([stage.segment(8003, ACK), stage.segment(8002, ACK)]) == {"b": 1, "a": 1}
    assert stage.groups() != groups and stage.flows() == flows, "nothing but slots has changed"
    stage.want("b", "ready")
    assert (stage.groups(), stage.flows()) == (groups, flows)
    assert stage.ask("GET", "/v1/servers?state=overridden") == (200, {"servers": [], "next": None})
    code, answer = stage.ask("PATCH", "/v1/servers", {"servers": {name: {"state": "drain"} for name in "ac"}})
    assert code == 200 and [each["held"]["state"] for each in answer["servers"]] == ["none", "none"]
    assert stage.opened().keys() == {"b"}, "both at once"
    code, answer = stage.ask("PATCH", "/v1/servers", {"select": {"pool": "web:80"}, "set": {"state": "maint"}})
    assert code == 409 and "a, b, c are the last serving servers of web:80" in answer["error"]
    assert stage.ask("PATCH", "/v1/servers", {"servers": {"a": {"state": "ready"}, "c": {"state": None}}})[0] == 200
    assert (stage.groups(), stage.flows()) == (groups, flows)


def test_maintenance_closes_its_port(stage: Stage) -> None:
    flows = stage.flows()
    code, refused = stage.ask("PUT", "/v1/servers/b/state", {"state": "maint"})
    assert code == 409 and "b is not drained" in refused["error"]
    assert stage.flows() == flows
    answer = stage.want("b", "maint", force=True)
    assert answer["held"]["state"] == "closed"
    assert stage.delivered([stage.segment(8003, ACK), stage.segment(8002, ACK)]) == {"a": 1}
    assert stage.opened().keys() == {"a", "c"}
    stage.want("b", "ready")
    assert stage.flows() == flows


def test_the_last_server_of_a_pool_needs_force(stage: Stage) -> None:
    stage.want("a", "drain")
    stage.want("b", "drain")
    code, refused = stage.ask("PUT", "/v1/servers/c/state", {"state": "drain"})
    assert (code, refused["error"].partition(";")[0]) == (
        409, "c is the last serving server of web:80 (a drain, b drain)",
    )  # fmt: skip
    assert stage.opened() == {"c": SYNS}
    stage.want("c", "drain", force=True)
    assert stage.opened() == {}
    assert [each["state"] for each in stage.ask("GET", "/v1/pools")[1]["pools"]] == ["empty"]


def test_weights_reach_the_switch(stage: Stage) -> None:
    assert stage.ask("PUT", "/v1/servers/b/weight", {"weight": 2})[0] == 200
    (pool,) = stage.ask("GET", "/v1/pools")[1]["pools"]
    assert {each["name"]: each["held"]["s1"] for each in pool["servers"]} == {"a": 64, "b": 128, "c": 64}
    assert stage.ask("DELETE", "/v1/servers/b/weight")[0] == 200
    assert stage.server("b")["weight"] == {"configured": 1, "override": None, "used": 1}


def test_a_killed_controller_leaves_its_wishes(stage: Stage) -> None:
    """Its successor sends nothing: not one flow or group is touched, and the state is what it was."""
    stage.want("b", "drain", reason="kernel", by="root")
    before = stage.server("b")["wanted"]
    stage.switch.ofctl("add-flow", stage.bridge.name, "table=0,priority=1,in_port=77,actions=drop")
    groups, flows = stage.groups(), stage.flows()
    durations = _ages(stage)
    stage.controller.kill()
    assert stage.opened().keys() == {"a", "c"}
    stage.start()
    wait_for("it is read twice", lambda: stage.controller.switch("s1")["read_age_seconds"] is not None)
    assert stage.server("b")["wanted"] == before
    assert (stage.groups(), stage.flows()) == (groups, flows)
    assert {flow: age >= durations[flow] for flow, age in _ages(stage).items()} == dict.fromkeys(durations, True)
    assert stage.controller.switch("s1")["drift"] == 0
    log = stage.controller.log.read_text().rpartition("ready:")[2]
    assert "to be removed" not in log and "put right" not in log


def _ages(stage: Stage) -> dict[str, float]:
    """How old each flow is: one that is written anew is younger."""
    text = stage.switch.ofctl("dump-flows", stage.bridge.name)
    found = re.findall(r"cookie=(\S+), duration=([\d.]+)s, (table=\d+),.*?((?:priority=\d+)?\S*) actions=", text)
    return {f"{cookie} {table} {match}": float(age) for cookie, age, table, match in found}


def test_an_edited_file_ends_the_override(stage: Stage) -> None:
    stage.want("b", "drain")
    assert stage.ask("PUT", "/v1/config", json.loads(text(stage.dpid, weight=3)))[0] == 200
    assert stage.server("b")["wanted"]["state"] == "drain", "another key"
    assert stage.ask("PUT", "/v1/config", json.loads(text(stage.dpid, weight=3, state="maint")))[0] == 200
    wanted = stage.server("b")["wanted"]
    assert (wanted["state"], wanted["source"]) == ("maint", "file")
    saved = stage.path.with_name("lb.yaml.overrides")
    wait_for("it is saved", lambda: json.loads(saved.read_text())["overrides"] == [])
    assert "server b: the file says state maint now" in stage.controller.log.read_text()


def test_wishes_queue(stage: Stage) -> None:
    """Many at once are all carried out, in some order, and none is refused as busy."""
    codes: list[int] = []

    def ask(number: int) -> None:
        body = {"weight": 1 + number}
        codes.append(stage.ask("PUT", f"/v1/servers/{'abc'[number % 3]}/weight", body)[0])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 18
    used = {each["name"]: each["weight"]["used"] for each in stage.ask("GET", "/v1/servers")[1]["servers"]}
    assert all(used[name] % 3 == (1 + at) % 3 for at, name in enumerate("abc"))
    (pool,) = stage.ask("GET", "/v1/pools")[1]["pools"]
    assert all(each["slots"] == each["wanted_slots"] for each in pool["servers"])


def test_packets_of_a_server_are_counted(stage: Stage) -> None:
    """A server that drains and still sends is quiet for 0 s; nothing is asked about the others."""
    stage.want("b", "drain")
    drain = wait_for("its packets are counted", lambda: stage.server("b")["drain"]["quiet_seconds"] is not None)
    assert drain
    assert stage.server("b")["drain"]["source"] == "counters"
    assert stage.server("a")["drain"] is None


def test_a_torn_file_of_overrides_is_not_used(stage: Stage) -> None:
    stage.want("b", "drain")
    stage.controller.kill()
    saved = stage.path.with_name("lb.yaml.overrides")
    whole = saved.read_text()
    saved.write_text(whole[:-20])
    with pytest.raises(AssertionError, match=r"lb\.yaml\.overrides cannot be used: .*Mend it, or remove it"):
        ControllerProcess(stage.path)
    saved.write_text(whole)
    stage.start()
    assert stage.server("b")["wanted"]["state"] == "drain"


def test_what_is_no_request_changes_nothing(stage: Stage) -> None:
    """Hostile bodies; a client that goes away in the middle."""
    for body in (b"\xff\xfe", b"{" * 100_000, b'{"state": NaN}', b"x" * (5 << 20)):
        code, _ = stage.controller.request("PUT", "/v1/servers/b/state", body)
        assert code in (413, 422)
    gone = http.client.HTTPConnection("127.0.0.1", stage.controller.rest_port, timeout=10)
    gone.putrequest("PUT", "/v1/servers/b/state")
    gone.putheader("Content-Type", "application/json")
    gone.putheader("Content-Length", "100")
    gone.endheaders(b'{"state": "drain"}')
    gone.close()
    assert stage.server("b")["wanted"]["state"] == "ready"
    assert not stage.path.with_name("lb.yaml.overrides").exists()
