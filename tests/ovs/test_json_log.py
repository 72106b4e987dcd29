"""``--log-format json``: every line of a controller's log is one object, whatever a peer says."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

from portlb_app.config import moments
from portlb_app.openflow import messages
from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.openflow_peer import Peer, message
from tests.ovs.switch import Switch
from tests.support.documents import ROOT

HOSTILE = b'"}\n{"level": "critical", "message": "\x1b[2Jall is lost"}\r\n'


def test_every_line_is_an_object(switch: Switch, tmp_path: Path) -> None:
    """A switch connects and is told of by name, a server is drained; a peer's error does not break out of its line."""
    shutil.copy(ROOT / "flows/fig2/lb.yaml", tmp_path)
    log = tmp_path / "json.log"
    bridge = Bridge(switch, range(1, 6))
    controller = ControllerProcess(tmp_path / "lb.yaml", "--log-format", "json", "--log-file", str(log))

    def entries() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    def found(**wanted: str) -> list[dict[str, Any]]:
        return [each for each in entries() if wanted.items() <= each.items()]

    try:
        text = (tmp_path / "lb.yaml").read_text().replace("dpid: 1,", f"dpid: {0x100 + int(bridge.name[2:])},")
        assert controller.request("PUT", "/v1/config?wait=accepted", text)[0] == 202
        switch.set_controller(bridge.name, controller.target)
        controller.wait_for_state("s1", "synced")
        assert controller.request("PUT", "/v1/servers/b/state", '{"state": "drain"}')[0] == 200
        peer = Peer(controller.openflow_port)
        peer.send(message(messages.HELLO), message(messages.ERROR, struct.pack("!HH", 0, 0) + HOSTILE))
        wait_for("its words are logged", lambda: [each for each in entries() if "all is lost" in each["message"]])
        peer.close()
    finally:
        bridge.close()
        assert controller.close() == 0
    assert [each["message"] for each in found(switch="s1", level="info")][0] == "s1 is connected"
    (drained,) = found(server="b")
    assert "drain is wanted" in drained["message"]
    for each in entries():
        assert {"time", "level", "logger", "message"} <= each.keys()
        assert moments.parse(each["time"]) and each["level"] in ("info", "warning", "error")
    assert not found(level="critical") and log.read_text().isascii()
