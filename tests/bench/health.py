"""How long connections are lost when a server fails: ``python -m tests.bench.health``; needs root, takes four minutes.

Four servers behind one switch, checked by HTTP with the defaults. A plain client opens 100 connections a second, each
from a port of its own, and asks for one page. One server's port is pulled, its process is killed, or its host falls
silent, each with and without the controller. What is printed: seconds from then to the beginning of the last connection
that got no answer within two seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable

from tests.net.balancer import REST, Balancer, balancer
from tests.net.network import ROOT, until

SERVERS = "abcd"
VICTIM = "b"
EVERY = 0.01
PATIENCE = 2.0
"""Seconds between two connections, and until one without an answer is lost."""
WATCHED = 12.0
GOALS = {"port pulled": 0.1, "process killed": 3.0, "host silent": 6.0}
TEXT = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web:
    address: 10.0.0.100
    mac: "02:00:00:00:00:64"
    check: {kind: http, path: /name}
    redirect_ports:
      80: {servers: [a, b, c, d], legacy: balance}
servers:
  a: {vip: web, connector: "s1:2"}
  b: {vip: web, connector: "s1:3"}
  c: {vip: web, connector: "s1:4"}
  d: {vip: web, connector: "s1:5"}
"""


# ---- the client ------------------------------------------------------------------------------------------------------


async def _once(address: str, lost: list[float]) -> None:
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(address, 80)
            writer.write(b"GET /name HTTP/1.0\r\n\r\n")
            answer = await reader.read(64)
            writer.transport.abort()
            if not answer.startswith(b"HTTP/1.1 200"):
                lost.append(began)
    except OSError:  # a time-out, too
        lost.append(began)


async def client(address: str) -> None:
    """Open connections until standard input ends; print when those began that were lost, and how many there were."""
    lost: list[float] = []
    running: set[asyncio.Task[None]] = set()
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, over.set)
    print("ready", flush=True)
    count, following = 0, loop.time()
    while not over.is_set():
        task = asyncio.create_task(_once(address, lost))
        running.add(task)
        task.add_done_callback(running.discard)
        count += 1
        following += EVERY
        await asyncio.sleep(max(0.0, following - loop.time()))
    await asyncio.gather(*running)
    print(json.dumps({"lost": lost, "count": count}), flush=True)


# ---- what happens ----------------------------------------------------------------------------------------------------


def pull(made: Balancer) -> None:
    """The cable of a server."""
    made.servers[VICTIM].run("ip", "link", "set", "eth0", "down")


def kill(made: Balancer) -> None:
    """All processes of a server's nginx."""
    listening = made.servers[VICTIM].run("ss", "-Htlnp").stdout
    for pid in {int(word.split(",")[0]) for word in listening.split("pid=")[1:]}:
        os.kill(pid, signal.SIGKILL)
    for process in made.servers[VICTIM]._processes:
        process.wait(5)  # else the network finds that it has died


def silence(made: Balancer) -> None:
    """A host that takes nothing any more."""
    made.servers[VICTIM].nft("table inet silent { chain input { type filter hook input priority 0; policy drop; }; }")


EVENTS: dict[str, Callable[[Balancer], None]] = {"port pulled": pull, "process killed": kill, "host silent": silence}


def measure(event: Callable[[Balancer], None], has_controller: bool) -> str:
    """What is printed of one of them."""
    with balancer(TEXT, agents=frozenset()) as made:
        def all_up() -> bool:
            done = made.lb.run("curl", "--silent", f"http://127.0.0.1:{REST}/v1/checks", check=False)
            return done.stdout.count('"up": true') == len(SERVERS)

        until(all_up, "all servers are up", 30)
        made.wait_synced()
        process = made.plain.popen_ready(sys.executable, "-m", "tests.bench.health", str(made.address), cwd=ROOT)
        if not has_controller:
            made.controller.kill()
            made.controller.wait()
        time.sleep(1)
        began = time.monotonic()
        event(made)
        time.sleep(WATCHED)
        found = json.loads(process.finish(30))
        lost = [each - began for each in found["lost"] if each >= began - 0.05]
        last = max(lost, default=0.0)
        text = f"{max(last, 0.0):6.2f} s, {len(lost)} of {found['count']} connections lost"
        return text if last < WATCHED - 1 else f" never: {len(lost)} of {found['count']} connections lost"


def main() -> None:
    """Print all of them."""
    for name, event in EVENTS.items():
        for has_controller in (True, False):
            text = measure(event, has_controller)
            goal = f"  (goal {GOALS[name]:g} s)" if has_controller or name == "port pulled" else ""
            print(f"{name:15} {'with' if has_controller else 'without'} controller: {text}{goal}", flush=True)


if __name__ == "__main__":
    asyncio.run(client(sys.argv[1])) if len(sys.argv) > 1 else main()
