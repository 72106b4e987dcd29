"""An agent's process on a host: what it says, what it has attached, and a connection that stays beside it."""

from __future__ import annotations

import os
import sys

from tests.net.network import ROOT, Namespace, Network, until
from tests.net.world import REDIRECTS, SERVICES, VIP, World, X

CLIENT = ("client", "--interface", "eth0", "--vip", VIP)
SERVER = ("server", "--interface", "eth0", "--vip", VIP, *(word for each in SERVICES for word in ("--service", each)),
          *(word for each in REDIRECTS for word in ("--redirect", each)))  # fmt: skip
FAST = (
    "from portlb_app.agent import process, source; process.SWEEP_EVERY = process.REPORT_EVERY = 0.3; "
    "process.FIRST_RETRY = 0.1; source.Controller.every = 0.3; import portlb_app.agent.__main__"
)
"""`python -c FAST` is `python -m portlb_app.agent` with shorter waits."""
OLD_KERNEL = f"from portlb_app.agent import hooks; hooks.has_tcx = lambda index: False; {FAST}"
"""The same on a kernel that knows no tcx."""
WAYS = {"tcx": FAST, "clsact": OLD_KERNEL}
ATTACHED = """
import sys
from portlb_app.agent import hooks, interface
index = interface.index_of(sys.argv[1])
for role in hooks.ROLES:
    print(*(prog_id for each in hooks.agents(index, role) for prog_id in each.programs.values()))
"""
IDLE = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=2)
connection.connect()
connection.auto_open = 0
print("ready", flush=True)
for line in sys.stdin:
    try:
        connection.request("GET", "/small")
        print(connection.getresponse().read().decode().strip() or "nothing", flush=True)
    except Exception as error:
        print(repr(error), flush=True)
"""


class Service:
    """An agent's process on a host, and what it says."""

    def __init__(self, network: Network, host: Namespace, *words: str, ready: bool = True, **environment: str) -> None:
        self._out, self._log = (network.directory / f"{id(self)}.{name}" for name in ("out", "log"))
        with open(self._out, "wb") as out, open(self._log, "wb") as log:
            self.process = host.popen(
                *words, cwd=ROOT, stdout=out, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1", **environment}
            )
        if ready:
            until(self.is_ready, f"{' '.join(words)} is ready: {self.log()}")

    def is_ready(self) -> bool:
        return self._out.read_text(encoding="utf-8") == "ready\n"

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def says(self, text: str) -> None:
        """Wait until the log has a text."""
        until(lambda: text in self.log(), f"the log has {text!r}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


def fast(
    world: World, host: Namespace, *words: str, ready: bool = True, program: str = FAST, **environment: str
) -> Service:
    return Service(world.network, host, sys.executable, "-c", program, *words, ready=ready, **environment)


def programs(host: Namespace, interface: str = "eth0") -> list[str]:
    """The ids of the agents' programs attached to an interface."""
    return host.run(sys.executable, "-c", ATTACHED, interface, cwd=ROOT).stdout.split()


class Idle:
    """One HTTP connection to X, kept open and used now and then."""

    def __init__(self, world: World) -> None:
        self._process = world.client.popen_ready(sys.executable, "-c", IDLE, VIP, str(X))
        assert self.answers()

    def answers(self) -> bool:
        """Whether the file arrives over it, within two seconds."""
        return self._process.tell("ask") == "odd"
