"""The whole controller as a process, with a real switch: it installs, heals, survives; no mistake costs a table."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portlb_app.openflow import SwitchState
from portlb_app.pipeline import COOKIE, SELECTION, SERVICE, TABLES, pool_group
from tests.ovs.controller import ControllerProcess, free_port, wait_for
from tests.ovs.switch import Switch, changes_sent
from tests.support.reconciling import Whole

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
PORTS = 5
DPID = 0xFEDC_BA98_7654_3210
RESYNC = 0.5


def lb(dpid: int) -> str:
    """FIG. 2's configuration for the switch with this dpid."""
    text = FIG2.replace("{dpid: 1,", f"{{dpid: {dpid},")
    assert f"dpid: {dpid}," in text
    return text


def desired(text: str) -> SwitchState:
    (target,) = Whole.of(text).targets.values()
    return target.state


def differs(switch: Switch, bridge: str, text: str, *foreign: str) -> str:
    """How the bridge's flows differ from what a configuration compiles to, and somebody else's."""
    return switch.diff_flows(bridge, "\n".join([*map(str, desired(text).flows), *foreign]))


def has_groups(switch: Switch, bridge: str, text: str, *foreign: str) -> bool:
    """Whether the bridge has the groups that a configuration compiles to, and somebody else's."""
    return {line.split(",")[0] for line in switch.dump_groups(bridge)} == {
        *(f"group_id={group.number}" for group in desired(text).groups), *foreign
    }  # fmt: skip


Start = Callable[..., ControllerProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a controller for a configuration's text; its file is tmp_path/lb.yaml."""
    started = []

    def start(text: str | None, **options: float) -> ControllerProcess:
        path = tmp_path / "lb.yaml"
        if text is not None:
            path.write_text(text)
        started.append(ControllerProcess(path, **options))
        return started[-1]

    yield start
    for controller in started:
        controller.close()


@pytest.fixture
def bridge(switch: Switch) -> Iterator[tuple[str, int]]:
    """A bridge with FIG. 2's ports: (name, dpid)."""
    switch.add_bridge("b", DPID, {f"b{number}": number for number in range(1, PORTS + 1)})
    yield "b", DPID
    switch.delete_bridge("b")


def test_installs_exactly_what_is_compiled_and_ends_cleanly(
    switch: Switch, bridge: tuple[str, int], start: Start
) -> None:
    name, dpid = bridge
    controller = start(lb(dpid))
    assert controller.switch("s1")["state"] == "absent"
    switch.set_controller(name, controller.target)
    synced = controller.wait_for_state("s1", "synced")
    state = desired(lb(dpid))
    assert (synced["flows"], synced["groups"]) == (len(state.flows), len(state.groups))
    assert (synced["drift"], synced["errors"]) == (0, [])
    assert differs(switch, name, lb(dpid)) == ""
    assert has_groups(switch, name, lb(dpid))
    assert "drop" in switch.trace(name, "in_port=77,tcp")
    assert controller.close() == 0
    assert differs(switch, name, lb(dpid)) == ""


def test_heals_what_somebody_changed_and_leaves_alone_what_is_not_ours(
    switch: Switch, bridge: tuple[str, int], start: Start
) -> None:
    name, dpid = bridge
    controller = start(lb(dpid), resync=RESYNC)
    switch.set_controller(name, controller.target)
    controller.wait_for_state("s1", "synced")
    foreign_flow = "cookie=0x99, table=150, priority=7,in_port=1 actions=output:2"
    switch.ofctl("add-flow", name, foreign_flow)
    switch.ofctl("add-group", name, "group_id=9,type=all,bucket=actions=output:1")

    ours = f"cookie={COOKIE:#x}"
    pool = desired(lb(dpid)).ordered_groups[0].number
    switch.ofctl("del-flows", name, f"table={SERVICE.number}")
    switch.ofctl("mod-flows", name, f"table={TABLES[0].number},in_port=2 actions=drop")
    switch.ofctl("add-flow", name, f"{ours},table=200,priority=5,ipv6,ipv6_dst=fe80::/10 actions=normal")
    switch.ofctl("add-flow", name, f"{ours},table={SERVICE.number},idle_timeout=60,priority=0 actions=flood")
    switch.ofctl("add-flow", name, f"{ours},table={SERVICE.number},priority=200,tcp,tcp_dst=0x10/0xf0 actions=drop")
    switch.ofctl("mod-group", name, f"group_id={pool},type=all,bucket=actions=output:3")
    switch.ofctl("del-groups", name, f"group_id={desired(lb(dpid)).ordered_groups[1].number}")
    number = pool_group(4095, 1, version=6)
    switch.ofctl("add-group", name, f"group_id={number},type=ff,bucket=watch_port:1,actions=output:1")
    marked = f"type=select,selection_method=dp_hash,selection_method_param={SELECTION.parameter}"
    switch.ofctl("add-group", name, f"group_id={number + 1},{marked},bucket=actions=output:1")

    foreign_group = "group_id=9,type=all,bucket=bucket_id:0,actions=output:1"
    others = ("group_id=9", f"group_id={number}")  # without our mark it is somebody's, whatever its number
    wait_for("flows are healed", lambda: differs(switch, name, lb(dpid), foreign_flow) == "")
    wait_for("groups are healed", lambda: has_groups(switch, name, lb(dpid), *others))
    assert foreign_flow in switch.dump_flows(name) and foreign_group in switch.dump_groups(name)
    drift = controller.switch("s1")["drift"]
    assert drift > 5
    healed = time.monotonic()
    wait_for("a later look", lambda: (controller.switch("s1")["read_age_seconds"] or 1e9) < time.monotonic() - healed)
    assert controller.switch("s1")["drift"] == drift, "what is healed is not drift"
    assert "entries were changed by others" in controller.log.read_text()


def test_a_killed_controller_comes_back_with_what_was_put_and_sends_nothing(
    switch: Switch, bridge: tuple[str, int], start: Start, tmp_path: Path
) -> None:
    name, dpid = bridge
    switch.appctl("vlog/set", "vconn:file:dbg")
    switch.appctl("vlog/disable-rate-limit", "vconn")
    port = free_port()
    controller = start(lb(dpid), openflow_port=port)
    switch.set_controller(name, controller.target)
    controller.wait_for_state("s1", "synced")
    (tmp_path / "lb.yaml").chmod(0o640)
    put = lb(dpid).replace("21: {servers: [b, c, d]}", "21: {servers: [b, c]}")
    code, body = controller.request("PUT", "/v1/config", put)
    assert code == 200, body
    assert json.loads(body)["generation"] == 2
    assert controller.request("GET", "/v1/config") == (200, put)
    assert (tmp_path / "lb.yaml").read_text() == put
    assert (tmp_path / "lb.yaml").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    controller.kill()

    sent = changes_sent(switch)
    assert sent > 5, "the log must show changes, or the next assertion proves nothing"
    again = start(None, openflow_port=port)
    again.wait_for_state("s1", "synced")
    assert changes_sent(switch) == sent
    assert again.request("GET", "/v1/config") == (200, put)
    assert differs(switch, name, put) == ""
    switch.appctl("vlog/set", "vconn:file:info")


def test_a_refused_or_wrong_configuration_leaves_the_last_good_one_live(
    switch: Switch, bridge: tuple[str, int], start: Start, tmp_path: Path
) -> None:
    name, dpid = bridge
    controller = start(lb(dpid))
    switch.set_controller(name, controller.target)
    controller.wait_for_state("s1", "synced")
    full = sum(flow.table == SERVICE.number for flow in desired(lb(dpid)).flows)
    switch.vsctl(
        *("set", "bridge", name, f"flow_tables:{SERVICE.number}=@limited", "--"),
        *("--id=@limited", "create", "Flow_Table", f"flow_limit={full}", "overflow_policy=refuse"),
    )
    larger = lb(dpid).replace("22}, 9]", "22}, 9, 900, 901]")
    code, body = controller.request("PUT", "/v1/config", larger)
    assert code == 409, body
    (reason, *_) = json.loads(body)["switches"]["s1"]
    assert reason.startswith("add flow cookie=0x504c")
    assert "OFPFMFC_TABLE_FULL" in reason and "flow_limit" in reason
    controller.wait_for_state("s1", "synced")
    assert differs(switch, name, lb(dpid)) == ""
    assert controller.request("GET", "/v1/config") == (200, lb(dpid))
    assert (tmp_path / "lb.yaml").read_text() == lb(dpid)
    assert controller.status()["generation"] == 1
    assert controller.switch("s1")["drift"] == 0

    code, body = controller.request("PUT", "/v1/config", lb(dpid).replace("connector: s1:3", "connector: s9:3"))
    assert code == 422
    assert json.loads(body)["errors"] == [{"path": "servers.b.connector", "message": "there is no switch s9"}]
    assert controller.request("PUT", "/v1/config", b"\xff")[0] == 422
    assert controller.request("PUT", "/v1/config", b"#" * (4 << 20) + b"#")[0] == 413
    assert controller.request("GET", "/v1/config") == (200, lb(dpid))

    switch.vsctl("clear", "bridge", name, "flow_tables")
    code, body = controller.request("PUT", "/v1/config", larger)
    assert code == 200, body
    assert differs(switch, name, larger) == ""


def test_a_reload_takes_the_file_and_keeps_the_last_good_configuration_on_a_mistake(
    switch: Switch, bridge: tuple[str, int], start: Start, tmp_path: Path
) -> None:
    name, dpid = bridge
    controller = start(lb(dpid))
    switch.set_controller(name, controller.target)
    controller.wait_for_state("s1", "synced")
    (tmp_path / "lb.yaml").write_text("switches: 7")
    controller.process.send_signal(signal.SIGHUP)
    wait_for("the mistake is logged", lambda: "not reloaded" in controller.log.read_text())
    assert controller.request("GET", "/v1/config") == (200, lb(dpid))
    smaller = lb(dpid).replace("20: {servers: [a, b]}", "20: {servers: [a]}")  # no plain clients, no former servers
    (tmp_path / "lb.yaml").write_text(smaller)
    controller.process.send_signal(signal.SIGHUP)
    wait_for("the second one is live", lambda: controller.status()["generation"] == 2)
    assert differs(switch, name, smaller) == ""


def test_a_switch_that_restarts_empty_gets_its_tables_back(
    switch: Switch, bridge: tuple[str, int], start: Start
) -> None:
    name, dpid = bridge
    controller = start(lb(dpid))
    switch.set_controller(name, controller.target)
    controller.wait_for_state("s1", "synced")
    switch.stop_vswitchd()
    controller.wait_for_state("s1", "absent")
    switch.start_vswitchd()
    synced = controller.wait_for_state("s1", "synced")
    assert synced["drift"] == 0
    assert differs(switch, name, lb(dpid)) == ""


def test_a_switch_nobody_configured_and_one_of_another_version_are_told_apart_and_left_alone(
    switch: Switch, bridge: tuple[str, int], start: Start
) -> None:
    name, dpid = bridge
    controller = start(lb(dpid + 1), resync=0.1)
    switch.set_controller(name, controller.target)
    wait_for("it is known as unknown", lambda: controller.status()["unknown_switches"] == [f"{dpid:#x}"])
    switch.ofctl("add-flow", name, f"cookie={COOKIE:#x},priority=7 actions=drop")
    time.sleep(0.5)  # it is left alone, although it is time for five rounds
    assert len(switch.dump_flows(name)) == 1

    code, body = controller.request("PUT", "/v1/config", lb(dpid))
    assert code == 200, body
    assert differs(switch, name, lb(dpid)) == ""
    code, body = controller.request("PUT", "/v1/config", lb(dpid + 1))
    assert code == 409 and "?wait=accepted" in body, body
    code, body = controller.request("PUT", "/v1/config?wait=accepted", lb(dpid + 1))
    assert code == 202 and json.loads(body)["configuration"] == "unverified", body
    wait_for("a switch that is configured no more is emptied of what is ours", lambda: not switch.dump_flows(name))

    switch.vsctl("set", "bridge", name, "protocols=OpenFlow13")
    refused = wait_for("its version is refused", lambda: controller.status()["refused_connections"]["last"])
    assert "it speaks OpenFlow 1.3, not 1.5" in refused[0]["reason"]
    assert controller.status()["unknown_switches"] == []


def test_only_one_configuration_is_on_trial_at_a_time(switch: Switch, bridge: tuple[str, int], start: Start) -> None:
    name, dpid = bridge
    controller = start(lb(dpid))
    switch.set_controller(name, controller.target)
    controller.wait_for_state("s1", "synced")
    vswitchd = int((switch.directory / "ovs-vswitchd.pid").read_text())
    os.kill(vswitchd, signal.SIGSTOP)
    answers: list[tuple[int, str]] = []
    changed = lb(dpid).replace("21: {servers: [b, c, d]}", "21: {servers: [b, c]}")  # else there is nothing to wait for
    first = threading.Thread(target=lambda: answers.append(controller.request("PUT", "/v1/config", changed)))
    first.start()
    try:
        wait_for("the first is on trial", lambda: controller.switch("s1")["state"] != "synced")
        code, body = controller.request("PUT", "/v1/config?timeout=1", lb(dpid))
        assert code == 504 and "nothing was changed" in json.loads(body)["error"], body
        for _ in range(4):
            controller.process.send_signal(signal.SIGHUP)
            time.sleep(0.25)  # each is taken as one of its own: the controller looks every 0.2 s
    finally:
        os.kill(vswitchd, signal.SIGCONT)
        first.join()
    assert answers[0][0] == 200
    wait_for("the file is read again", lambda: "is read again" in controller.log.read_text())
    assert controller.status()["generation"] == 3, "once, when its turn has come"
    assert controller.log.read_text().count("is read again") == 1


def run(path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """A controller that is expected to end by itself."""
    command = [sys.executable, "-m", "portlb_app.cli", "controller", str(path), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)


def test_what_is_wrong_at_the_start_is_said_plainly(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(FIG2.replace("s1:2", "s9:2").replace("s1:3", "s9:3"))
    ended = run(path)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "servers.a.connector: there is no switch s9",
        "servers.b.connector: there is no switch s9",
    ]
    path.write_text(FIG2)
    ended = run(path, "--wsapi-host", "0.0.0.0")
    assert (ended.returncode, ended.stderr) == (
        2,
        "portlb: --wsapi-host 0.0.0.0: other hosts need --wsapi-tls and --wsapi-access\n",
    )
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:  # as another controller may have it
        port = taken.getsockname()[1]
        ended = run(path, "--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", str(port))
        assert ended.returncode == 1
        assert f"cannot listen for switches on 127.0.0.1 port {port}: Address already in use" in ended.stderr
        ended = run(path, "--ofp-tcp-listen-port", "0", "--wsapi-port", str(port))
        assert ended.returncode == 1
        assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in ended.stderr
    assert run(tmp_path / "none.yaml").returncode == 1


def raw(controller: ControllerProcess, request: bytes) -> bytes:
    """What comes back for bytes that need not be HTTP."""
    with socket.create_connection(("127.0.0.1", controller.rest_port), timeout=5) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_http_that_is_odd_or_broken_is_answered_and_costs_nobody_else(start: Start) -> None:
    controller = start(FIG2)
    head = b"PUT /v1/config?wait=accepted HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    assert raw(controller, head + b"Content-Length: 0\r\n\r\n").startswith(b"HTTP/1.1 415 "), "of no type"
    head += b"Content-Type: application/yaml\r\n"
    text = FIG2.encode()
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(text), text)
    assert raw(controller, chunked).startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert raw(controller, head + b"Content-Length: 9999999\r\n\r\n").startswith(b"HTTP/1.1 4")
    for length in (b"-5", b"abc"):
        assert raw(controller, head + b"Content-Length: %s\r\n\r\nabc" % length).split()[1].startswith(b"4")
    cut = FIG2[: FIG2.index("  d:")].replace("default_server: d", "default_server: a").replace(", d]", "]").encode()
    interrupted = raw(controller, head + b"Content-Length: %d\r\n\r\n%s" % (len(cut) + 99, cut))
    assert interrupted.startswith(b"HTTP/1.1 400 "), "a cut configuration may be a valid one"
    none = raw(controller, b"GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert none.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b'"error": "the path and the query are UTF-8"' in none
    odd = raw(controller, b"GET /%c3%bf%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert odd.startswith(b"HTTP/1.1 404 Not Found\r\n") and b'"error": "there is no /' in odd
    assert b"Allow: GET\r\n" in raw(controller, b"HEAD /v1/status HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert raw(controller, b"GET /v1/status HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    raw(controller, b"\x16\x03\x01" + bytes(300))
    assert controller.request("GET", "/v1/config") == (200, FIG2)


def test_of_two_changes_to_one_configuration_the_second_is_refused(start: Start, tmp_path: Path) -> None:
    """GET, GET, PUT, PUT: the first change is not lost."""
    controller = start(FIG2)
    tag = controller.status()["etag"]
    first, second = FIG2.replace("12]", "12, 13]"), FIG2.replace("12]", "12, 14]")
    code, body = controller.request("PUT", "/v1/config?wait=accepted", first, **{"If-Match": tag})
    assert code == 202, body
    assert json.loads(body)["etag"] != tag
    code, body = controller.request("PUT", "/v1/config?wait=accepted", second, **{"If-Match": tag})
    assert (code, json.loads(body)["etag"]) == (412, controller.status()["etag"])
    assert controller.request("PUT", "/v1/config?wait=accepted", second, **{"If-Match": '"1"'})[0] == 412
    assert controller.request("PUT", "/v1/config?wait=accepted", second, **{"If-None-Match": "*"})[0] == 412
    assert controller.request("GET", "/v1/config") == (200, first)
    assert (tmp_path / "lb.yaml").read_text() == first
    foreign = {"If-Match": "*", "Origin": "http://example.org"}
    assert controller.request("PUT", "/v1/config", second, **foreign)[0] == 403
    now = {"If-Match": controller.status()["etag"]}
    assert controller.request("PUT", "/v1/config?wait=accepted", second, **now)[0] == 202
    assert (tmp_path / "lb.yaml").read_text() == second
