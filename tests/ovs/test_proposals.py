"""Configurations that are put while others are, and while a switch is sick."""

from __future__ import annotations

import http.client
import json
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.openflow_peer import Claims
from tests.ovs.stage import controlled, fig2
from tests.ovs.switch import Switch

DPID, SICK = 0x0B0E, 0x0B0F
TEXT = fig2(DPID).replace("  s1:", f"  s2: {{dpid: {SICK}, network: 1}}\n  s1:")
PUTS = 20


def text_with(port: int) -> str:
    """The configuration with one more service port."""
    return TEXT.replace("22}, 9]", f"22}}, 9, {port}]")


@pytest.fixture
def controller(switch: Switch, tmp_path: Path) -> Iterator[ControllerProcess]:
    """A controller with FIG. 2's switch, synced, and one that never was there."""
    with controlled(switch, tmp_path, TEXT, "p", DPID) as controller:
        yield controller


@pytest.fixture
def sick(controller: ControllerProcess) -> Iterator[Claims]:
    """A switch that connects and answers nothing of what it is asked about its tables."""
    peer = Claims(controller.openflow_port)
    peer.connect_as(SICK)
    controller.wait_for_state("s2", "reading")
    yield peer
    peer.close()


def test_many_at_once_end_in_one_order(switch: Switch, controller: ControllerProcess, tmp_path: Path) -> None:
    """All become live, one after the other; the last one is in the switch and in the file."""
    answers: list[tuple[int, str]] = []
    texts = [text_with(900 + number) for number in range(PUTS)]
    puts = [
        threading.Thread(target=lambda text=text: answers.append(controller.request("PUT", "/v1/config", text, 90.0)))
        for text in texts
    ]
    for put in puts:
        put.start()
    for put in puts:
        put.join()
    assert [code for code, _ in answers] == [200] * PUTS, answers
    live = re.findall(r"configuration (\d+) is live", controller.log.read_text())
    assert live == [str(number) for number in range(2, PUTS + 2)]
    code, text = controller.request("GET", "/v1/config")
    assert code == 200 and text in texts and text == (tmp_path / "lb.yaml").read_text()
    port = re.search(r", 9, (\d+)\]", text)
    assert port and any(f"tp_dst={port[1]} " in line or f"tp_dst={port[1]}," in line for line in switch.dump_flows("p"))
    assert controller.status()["generation"] == PUTS + 1


@pytest.mark.parametrize("query", ["timeout=1", ""], ids=["late", "lost"])
def test_a_sick_switch_holds_up_none_of_the_others(
    switch: Switch, controller: ControllerProcess, sick: Claims, query: str
) -> None:
    """What landed where is said. One that answers nothing is late, or, in the end, lost."""
    code, body = controller.request("PUT", f"/v1/config?{query}", text_with(950), 60.0)
    assert (code, json.loads(body)["landed"]) == (202, {"s1": "has it", "s2": "late" if query else "lost"}), body
    assert any("tp_dst=950" in line for line in switch.dump_flows("p"))
    assert controller.request("GET", "/v1/config") == (200, text_with(950))


def test_all_or_none_is_asked_for(switch: Switch, controller: ControllerProcess, sick: Claims) -> None:
    code, body = controller.request("PUT", "/v1/config?timeout=1&atomic=network", text_with(950), 60.0)
    assert (code, json.loads(body)["switches"]) == (504, ["s2"])
    assert controller.request("GET", "/v1/config") == (200, TEXT)
    controller.wait_for_state("s1", "synced")
    assert not any("tp_dst=950" in line for line in switch.dump_flows("p"))


def held_slots(controller: ControllerProcess) -> list[str]:
    """The servers of the slots of web:22, as s1 was read."""
    held: list[str] = json.loads(controller.request("GET", "/v1/vips/web/ports/22/slots")[1])["held"]["s1"]
    return held


def test_a_dry_run_says_what_a_put_does(switch: Switch, controller: ControllerProcess, tmp_path: Path) -> None:
    """The steps that it tells are what changes then, and until then nothing does."""
    before, file = set(switch.dump_flows("p")), (tmp_path / "lb.yaml").read_text()
    smaller = text_with(950).replace("servers: [a, b, c, d], legacy: balance", "servers: [a, b, c], legacy: balance")
    code, body = controller.request("PUT", "/v1/config?dry_run=1&steps=1", smaller)
    told = json.loads(body)
    assert (code, told["dry_run"], told["changes"], told["switches"]["s2"]) == (200, True, True, None), body
    steps = told["switches"]["s1"]
    assert len(steps["steps"]) == steps["add"] + steps["modify"] + steps["delete"]
    (pool,) = told["pools"]
    assert (pool["port"], pool["least_possible"], pool["servers"]["d"]) == (22, 64, [64, 0])
    slots = held_slots(controller)
    assert pool["breaks_plain"] and pool["redirected_connections_broken"] == 0
    assert {"path": "switches.s2", "message": "it is not connected, and gets the change when it connects"} in (
        told["warnings"]
    )
    assert set(switch.dump_flows("p")) == before and (tmp_path / "lb.yaml").read_text() == file
    assert controller.status()["generation"] == 1

    assert controller.request("PUT", "/v1/config", smaller)[0] == 200
    assert pool["moved"] == sum(old != new for old, new in zip(slots, held_slots(controller), strict=True))
    added = [step for step in steps["steps"] if step.startswith("add flow")]
    assert len(set(switch.dump_flows("p")) - before) >= len(added) > 0
    code, body = controller.request("PUT", "/v1/config?dry_run=1", smaller)
    told = json.loads(body)
    assert not told["changes"] and told["switches"]["s1"] == {"add": 0, "modify": 0, "delete": 0}
    code, body = controller.request("PUT", "/v1/config?dry_run=1", TEXT)
    assert json.loads(body)["service_ports_lost"] == {"a": [950]}


def test_a_dry_run_of_a_state_counts_steps(controller: ControllerProcess) -> None:
    code, body = controller.request("PUT", "/v1/servers/b/state?dry_run=1&steps=1", '{"state": "drain"}')
    told = json.loads(body)
    steps = told["switches"]["s1"]
    assert code == 200 and steps["modify"] == 3, "a group for each pool"
    assert len(steps["steps"]) == steps["add"] + steps["modify"] + steps["delete"]
    assert json.loads(controller.request("GET", "/v1/servers/b/state")[1])["state"] == "ready"


def test_a_dry_run_is_refused_like_what_it_is_about(controller: ControllerProcess) -> None:
    code, body = controller.request("PUT", "/v1/config?dry_run=1", TEXT.replace("s1:2", "s9:2"))
    assert (code, json.loads(body)["type"]) == (422, "/docs/problems#invalid-configuration")
    code, body = controller.request("PUT", "/v1/config?dry_run=1", TEXT, **{"If-Match": '"x"'})
    assert (code, json.loads(body)["type"]) == (412, "/docs/problems#precondition-failed")


def test_a_put_that_nothing_waits_for(switch: Switch, controller: ControllerProcess, tmp_path: Path) -> None:
    """It is answered with its change, and becomes live all the same; the change says so in its end, where it is."""
    outcomes = {}
    for text in (text_with(960), text_with(960).replace("s1:2", "s9:2")):
        connection = http.client.HTTPConnection("127.0.0.1", controller.rest_port, timeout=20)
        connection.request("PUT", "/v1/config?wait=none", text, {"Content-Type": "application/yaml"})
        answer = connection.getresponse()
        place, told = urlsplit(answer.headers["Location"]).path, json.loads(answer.read())
        connection.close()
        assert (answer.status, place) == (202, f"/v1/changes/{told['change']}"), told
        outcomes[place] = wait_for("it ends", lambda place=place: outcome(controller, place))
    assert list(outcomes.values()) == [("live", text_with(960)), ("invalid", text_with(960).replace("s1:2", "s9:2"))]
    assert controller.request("GET", "/v1/config")[1] == text_with(960) == (tmp_path / "lb.yaml").read_text()
    assert any("tp_dst=960" in line for line in switch.dump_flows("p"))


def outcome(controller: ControllerProcess, place: str) -> tuple[str, str] | None:
    """What became of a change, and its text; None until it has ended."""
    told = json.loads(controller.request("GET", place)[1])
    return None if told["outcome"] == "begun" else (told["outcome"], told["text"])


def test_a_rollback_restores_the_tables(switch: Switch, controller: ControllerProcess, tmp_path: Path) -> None:
    """All of them, at a switch that had others meanwhile; no slot has moved, and no port is leaving. And the text."""
    before = sorted(switch.dump_flows("p")), sorted(switch.dump_groups("p"))
    other = TEXT.replace("servers: [a, b, c, d], legacy: balance", "servers: [a, b, c, d], legacy: drop")
    assert controller.request("PUT", "/v1/config", other)[0] == 200
    assert (sorted(switch.dump_flows("p")), sorted(switch.dump_groups("p"))) != before
    first = json.loads(controller.request("GET", "/v1/changes?what=config")[1])["changes"][-1]
    asked = {"Content-Type": "application/json"}
    code, body = controller.request("POST", f"/v1/changes/{first['id']}/rollback", "{}", 60.0, **asked)
    assert code == 200, body
    assert (sorted(switch.dump_flows("p")), sorted(switch.dump_groups("p"))) == before
    assert controller.request("GET", "/v1/config")[1] == TEXT == (tmp_path / "lb.yaml").read_text()
    last = json.loads(controller.request("GET", "/v1/changes?what=config")[1])["changes"][0]
    assert (last["source"], last["outcome"], last["config"]) == ("rollback", "live", first["config"])


def test_the_file_is_read_again_although_puts_never_end(controller: ControllerProcess) -> None:
    """SIGHUP takes its turn among them: there always is one on trial, and one that waits."""
    over, answers = threading.Event(), list[int]()

    def put_again(port: int) -> None:
        while not over.is_set():
            answers.append(controller.request("PUT", "/v1/config", text_with(port), 60.0)[0])

    puts = [threading.Thread(target=put_again, args=(970 + number,)) for number in range(4)]
    for put in puts:
        put.start()
    try:
        wait_for("they have begun", lambda: len(answers) > 4)
        controller.process.send_signal(signal.SIGHUP)
        wait_for("it is read again", lambda: "lb.yaml is read again and is live" in controller.log.read_text())
    finally:
        over.set()
        for put in puts:
            put.join()
    assert {*answers} == {200}


def test_who_has_an_answer_already_gets_none(controller: ControllerProcess) -> None:
    """Every GET has an entity tag; one of another answer is another one."""
    connection = http.client.HTTPConnection("127.0.0.1", controller.rest_port, timeout=20)
    tags = []
    for path in ("/v1/vips", "/v1/links", "/v1/openapi.json", "/v1/config/schema"):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        tags.append(response.headers["ETag"])
        connection.close()
        assert controller.request("GET", path, None, 20, **{"If-None-Match": f'"x", {tags[-1]}'}) == (304, "")
        assert controller.request("GET", path, None, 20, **{"If-None-Match": 'W/"x"'})[0] == 200
    assert len(set(tags)) == len(tags) and all(tag.startswith("W/") for tag in tags)
