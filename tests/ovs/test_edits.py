"""Parts of the configuration are changed while it is live: in the file, and in the switch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portlb_app.config import load
from tests.ovs.controller import ControllerProcess
from tests.ovs.stage import controlled, fig2
from tests.ovs.switch import Switch

DPID = 0x0ED1
TEXT = fig2(DPID).replace("  b:\n", "  # b is slow\n  b:\n")


@pytest.fixture
def controller(switch: Switch, tmp_path: Path) -> Iterator[ControllerProcess]:
    """A controller with FIG. 2's switch, synced."""
    with controlled(switch, tmp_path, TEXT, "e", DPID) as controller:
        yield controller


def change(controller: ControllerProcess, method: str, path: str, body: Any = None, code: int = 200) -> Any:
    """Ask for a change; the answer."""
    text = None if body is None else json.dumps(body)
    answered, said = controller.request(method, path, text, 60.0, **{"Content-Type": "application/json"})
    assert answered == code, said
    return json.loads(said)


def history(controller: ControllerProcess) -> list[dict[str, Any]]:
    """The changes of the configuration, the first one first; none without an end."""
    found: list[dict[str, Any]] = json.loads(controller.request("GET", "/v1/changes?what=config")[1])["changes"]
    assert not [each for each in found if each["outcome"] == "begun"]
    return found[::-1]


def test_a_server_comes_and_goes(switch: Switch, controller: ControllerProcess, tmp_path: Path) -> None:
    """With a pool that names it; what was in the file before is there at the end, and every comment always."""
    entry = {"connector": "s1:6", "service_ports": [13], "weight": 2}
    change(controller, "PUT", "/v1/vips/web/servers/e", entry)
    assert any("tp_dst=13 " in line for line in switch.dump_flows("e"))
    change(controller, "PUT", "/v1/vips/web/ports/23", {"servers": ["d", "e"], "legacy": "balance"})
    told = json.loads(controller.request("GET", "/v1/vips/web/ports/23")[1])
    assert [(each["name"], each["slots"]) for each in told["servers"]] == [("d", 85), ("e", 171)]
    text = (tmp_path / "lb.yaml").read_text()
    assert text == controller.request("GET", "/v1/config")[1] and load(text).server_by_name["e"].weight == 2
    assert set(TEXT.splitlines()) <= set(text.splitlines()), "only lines were added"
    change(controller, "DELETE", "/v1/vips/web/ports/23")
    change(controller, "DELETE", "/v1/vips/web/servers/e")
    made = history(controller)
    assert [each["outcome"] for each in made] == ["live"] * 5 and made[-1]["config"] == made[0]["config"]
    assert [each["config"] for each in made[:-1]] == [each["before"] for each in made[1:]], "each on the one before it"
    assert (tmp_path / "lb.yaml").read_text() == TEXT
    assert not any("tp_dst=13 " in line for line in switch.dump_flows("e"))


def test_a_server_that_goes_leaves_its_pools(controller: ControllerProcess, tmp_path: Path) -> None:
    told = change(controller, "DELETE", "/v1/vips/web/servers/c?dry_run=1")
    assert told["service_ports_lost"] == {"c": [3, 7, 11]}
    change(controller, "DELETE", "/v1/vips/web/servers/c")
    text = (tmp_path / "lb.yaml").read_text()
    assert "# b is slow" in text and "21: {servers: [b, d]}" in text
    assert "c" not in load(text).server_by_name


def test_patches_at_once_do_not_undo_each_other(controller: ControllerProcess, tmp_path: Path) -> None:
    """Each names one value; all are in the end what was asked for, without a precondition."""
    values = {name: number for number, name in enumerate("abcd", 2)}
    patches = [
        threading.Thread(target=change, args=(controller, "PATCH", "/v1/config", {"servers": {name: {"weight": each}}}))
        for name, each in values.items()
    ]
    for patch in patches:
        patch.start()
    for patch in patches:
        patch.join()
    assert [each["outcome"] for each in history(controller) if each["source"] == "rest"].count("live") == len(values)
    live = load((tmp_path / "lb.yaml").read_text())
    assert {server.name: server.weight for server in live.servers} == values


def test_what_is_wrong_is_said(controller: ControllerProcess) -> None:
    refused = change(controller, "PUT", "/v1/vips/web/servers/e", {"connector": "s9:6"}, 422)
    assert {each["path"] for each in refused["errors"]} == {"servers.e.connector"}
    change(controller, "PUT", "/v1/vips/x/servers/e", {}, 404)
    change(controller, "DELETE", "/v1/vips/web/servers/x", None, 404)
    change(controller, "DELETE", "/v1/vips/web/ports/99", None, 404)
    change(controller, "PATCH", "/v1/config", ["no"], 422)
    assert controller.request("GET", "/v1/config")[1] == TEXT
