"""A server is drained with `move` while it has many connections: it reaches zero, and no download is damaged (row B3).

    sudo .venv/bin/python -m tests.soak.drain [--downloads 500] [--idle 50]

Two servers, and all connections at one of them, redirected to its service port. Half of the pool's slots then go to the
other one, and the first is drained: its agent redirects what is idle, which the client's agent closes by the end of the
stream; downloads go on to their end. `tests/net/test_drain.py` is the short form.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.net.balancer import REST, Balancer, Downloads, balancer, changed
from tests.net.network import ROOT, until
from tests.support.helper import Helper

CONFIG = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web: {address: 10.0.0.100, mac: "02:00:00:00:00:64", redirect_ports: {80: {servers: [a], legacy: balance}}}
servers:
  a: {vip: web, connector: "s1:2", service_ports: [{port: 8001, application: 80}]}
  b: {vip: web, connector: "s1:3", service_ports: [{port: 8002, application: 80}]}
"""
PATIENCE = 60.0


@dataclass
class Figures:
    """What came of it: downloads that did not arrive whole; what idle connections read; where new ones went; seconds
    until all idle ones had been redirected, and until none was open after the downloads' end.
    """

    broken: int
    idle: Counter[str]
    opened: Counter[str]
    moved_within: float
    zero_within: float
    state: str


def rest(made: Balancer, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a request to the controller is answered."""
    words = ("--request", method, *(("--json", json.dumps(body)) if body else ()))
    done = made.lb.run("curl", "--silent", "--fail-with-body", *words, f"http://127.0.0.1:{REST}{path}", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def said(made: Balancer, name: str) -> dict[str, Any]:
    """What a server's agent says, nothing if that is not known."""
    found: dict[str, Any] = next((each for each in made.status()["agents"] if each["server"] == name), {})
    return found


def opened(process: Helper, number: int) -> Counter[str]:
    """Open so many connections; the servers that answered."""
    return Counter(process.tell("open 80") for _ in range(number))


def run(downloads: int, idle: int, text: str = CONFIG, family: int = 4) -> Figures:
    """Drain a server with so many connections; `family`: the version of IP of the only address in `text`."""
    with balancer(text) as made:
        made.speak(family).client_agent()
        running = Downloads(made, 80, downloads)
        words = (sys.executable, "-m", "tests.net.connections", str(made.address))
        kept = made.client.popen_ready(*words, cwd=ROOT)
        assert opened(kept, idle) == {"a": idle}
        made.put(changed(text, {80: ["a", "b"]}))
        until(lambda: said(made, "a").get("open", 0) >= downloads + idle, "a's agent counts all of them", PATIENCE)
        began = time.monotonic()
        rest(made, "PUT", "/v1/servers/a/state", {"state": "drain", "move": True, "reason": "a new disk"})
        until(lambda: said(made, "a").get("moved", 0) >= idle, "idle connections are redirected", PATIENCE)
        moved_within = time.monotonic() - began
        words_of_idle = Counter(kept.tell("ask").split())
        others = opened(made.client.popen_ready(*words, cwd=ROOT), 10)
        broken = running.broken()
        ended = time.monotonic()
        until(lambda: rest(made, "GET", "/v1/servers/a")["drain"]["state"] == "drained", "a is drained", PATIENCE)
        assert said(made, "a")["open"] == 0
        state = rest(made, "GET", "/v1/servers/a")["drain"]["state"]
        return Figures(broken, words_of_idle, others, moved_within, time.monotonic() - ended, state)


def main() -> int:
    """Run it, and print what came of it; exit code 1 if a connection was damaged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--downloads", type=int, default=500)
    parser.add_argument("--idle", type=int, default=50)
    options = parser.parse_args()
    figures = run(options.downloads, options.idle)
    print(f"{options.downloads} downloads, {figures.broken} broken; {options.idle} idle: {dict(figures.idle)}")
    print(f"idle ones redirected within {figures.moved_within:.1f} s; new ones: {dict(figures.opened)}")
    print(f"{figures.state} {figures.zero_within:.1f} s after the last download")
    return 1 if figures.broken or set(figures.idle) != {"RemoteDisconnected"} or set(figures.opened) != {"b"} else 0


if __name__ == "__main__":
    sys.exit(main())
