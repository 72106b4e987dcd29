"""A controller with one bridge, for tests that ask it for changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.ovs.controller import ControllerProcess
from tests.ovs.switch import Switch

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
PORTS = 6
"""Those of FIG. 2's switch, and one that is free."""


def fig2(dpid: int) -> str:
    """The configuration of FIG. 2, for a switch with this datapath id."""
    return FIG2.replace("s1: {dpid: 1,", f"s1: {{dpid: {dpid},")


@contextlib.contextmanager
def controlled(switch: Switch, directory: Path, text: str, bridge: str, dpid: int) -> Iterator[ControllerProcess]:
    """A controller of a configuration whose s1 is this bridge, and synced."""
    path = directory / "lb.yaml"
    path.write_text(text)
    controller = ControllerProcess(path)
    try:
        switch.add_bridge(bridge, dpid, {f"{bridge}{number}": number for number in range(1, PORTS + 1)})
        switch.set_controller(bridge, controller.target)
        controller.wait_for_state("s1", "synced")
        yield controller
    finally:
        controller.close()
        switch.delete_bridge(bridge)
