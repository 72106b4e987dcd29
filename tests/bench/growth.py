"""Case e: the same new connections with more and more service ports in the tables."""

from __future__ import annotations

import re

from portlb_app.compiler import compile as compile_tables
from portlb_app.config import load
from portlb_app.openflow import SwitchState
from tests.bench import connections
from tests.bench.alternative import Alternative
from tests.bench.controllers import configuration
from tests.bench.figures import Case
from tests.bench.load import Sampler
from tests.bench.stage import BRIDGE, Stage

CLIENTS = 256
"""Client addresses from all over, that the client's host takes in turns."""


class Grown(Alternative):
    """portlb's tables with so many service ports, as its compiler makes them; no controller."""

    def __init__(self, stage: Stage, ports: int, clients: int = 1) -> None:
        super().__init__(stage)
        self.name, self.clients = f"{ports} service ports", clients
        self.name += f", {clients} clients" if clients > 1 else ""
        self.about = f"portlb's tables for {ports} service ports of four servers, without a controller and agents"
        self.about += f"; {clients} client addresses from everywhere" if clients > 1 else ""
        state = compile_tables(load(configuration(self.weights, "balance", ports)))[BRIDGE]
        self.masks = masks(state)
        self._tables = [
            [str(each) for each in of] for of in (state.ordered_flows, state.ordered_groups, state.ordered_meters)
        ]

    def start(self) -> None:
        """Fill the bridge."""
        self.stage.clear()
        self.stage.take_addresses(self.clients)
        self.recover()

    def stop(self) -> None:
        """The client has its own address again."""
        self.stage.take_addresses(1)

    def recover(self) -> None:
        """Fill the bridge."""
        self.stage.install(*self._tables)


def masks(state: SwitchState) -> dict[int, int]:
    """How many different sets of fields and masks each table has: the subtables of its classifier."""
    found: dict[int, set[str]] = {}
    for flow in state.flows:
        shape = ",".join(sorted(f"{name}/{mask}" for name, _, mask in flow.match))
        found.setdefault(flow.table, set()).add(shape)
    return {table: len(shapes) for table, shapes in found.items()}


def case(sizes: list[int]) -> Case:
    """An empty one."""
    made = connections.case()
    made.name, made.title = "growth", "Growth"
    made.about = f"New connections to the redirect port, as above, with {', '.join(map(str, sizes))} service ports."
    return made


def measure(found: Case, sampler: Sampler, alternative: Grown, base: str) -> None:
    """One round of one size."""
    connections.measure(found, sampler, alternative, base)
    held = sampler.stage.held()
    found.figure("OpenFlow flows", "1").add(alternative.name, held["OpenFlow flows"])
    found.figure("subtables of the tables, all together", "1").add(alternative.name, sum(alternative.masks.values()))
    found.figure("masks of the datapath", "1").add(alternative.name, datapath_masks(sampler.stage))


def datapath_masks(stage: Stage) -> int:
    """How many different shapes the datapath's flows have; values are left out, masks are not."""
    shapes = set()
    for line in stage.switch.appctl("dpctl/dump-flows", "-m").splitlines():
        match = re.sub(r"^ufid:\S+, ", "", line).partition(", packets:")[0]
        exact = re.sub(r"(?<=[=(])[0-9a-fx.:]+(?=[,)])", "1", match)
        shapes.add(re.sub(r"(?<=[=(])[0-9a-fx.:]+/", "", exact))
    return len(shapes)
