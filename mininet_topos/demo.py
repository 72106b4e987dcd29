"""``make demo``: the load balancer of FIG. 2 at work, told as a story whose every claim is checked.

Needs root. Exit code 0 only if all that it shows is true; with ``--cli`` it ends at the Mininet prompt.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mininet.cli import CLI
from mininet.net import Mininet
from mininet.node import Node

from mininet_topos import builder, openvswitch, programs
from portlb_app.config import Config, Vip, load
from portlb_app.packets import CONFIRM, REDIRECT, Segment

FILE = Path(__file__).parents[1] / "flows/fig2/lb.yaml"
SWITCH, CLIENT, PLAIN = "s1", "client", "plain"
UNKNOWN = 99
CONNECTIONS = 2000
READ_BACK = 2.0

PICTURE = """
   client (agent) ─┐                       ┌─ a   service ports 1 5 9     redirect ports 20    22
                   ├─ network ── s1 (OVS) ─┼─ b   service ports 2 6 10    redirect ports 20 21 22
   plain (no agent)┘                │      ├─ c   service ports 3 7 11    redirect ports    21 22
                               controller  └─ d   service ports 4 8 12    redirect ports    21 22   default server
"""


@dataclass
class Story:
    """Prints what happens, and remembers what was not true."""

    failures: list[str] = field(default_factory=list)

    def chapter(self, title: str) -> None:
        print(f"\n── {title} " + "─" * max(0, 100 - len(title)), flush=True)

    def say(self, text: str) -> None:
        print(f"   {text}", flush=True)

    def claim(self, true: object, text: str) -> None:
        print(f" {'✓' if true else '✗'} {text}", flush=True)
        if not true:
            self.failures.append(text)


@dataclass(frozen=True)
class Stage:
    """What every chapter needs."""

    story: Story
    config: Config
    network: Mininet
    controller: programs.Controller
    directory: Path

    @property
    def vip(self) -> Vip:
        return self.config.vips[0]

    @property
    def client(self) -> Node:
        return self.network[CLIENT]

    def url(self, port: int, path: str = "") -> str:
        return f"http://{self.vip.address}:{port}/{path}"


def tables(stage: Stage) -> None:
    """The switch holds what the configuration compiles to."""
    story = stage.story
    story.chapter("The tables")
    programs.wait_for(lambda: stage.controller.switch(SWITCH)["state"] == "synced", "the switch has its tables")
    file = FILE.parent / f"{SWITCH}.flows"
    story.say(f"the controller has installed what {file.relative_to(FILE.parents[2])} says; read it, it says why")
    difference = openvswitch.ofctl("diff-flows", SWITCH, str(file))
    story.claim(not difference, "ovs-ofctl diff-flows between the switch and that file: equal")


def redirected(stage: Stage) -> None:
    """Unmodified curl, redirected: the ports on the wire before and after the handshake (E2, E1, D1)."""
    story = stage.story
    owners = stage.config.owners(stage.vip)
    for port in (20, 21, 22):
        story.chapter(f"curl http://{stage.vip.address}:{port}/ on a host with the agent")
        with programs.wire(stage.client, stage.directory, f"tcp and host {stage.vip.address}") as segments:
            code, body = programs.curl(stage.client, stage.url(port))
        story.say(f"curl printed: {body.strip()}")
        _show(story, segments, stage.vip)
        up = [segment for segment in segments if segment.destination == stage.vip.address]
        down = [segment for segment in segments if segment.source == stage.vip.address]
        story.claim(code == 0, "curl succeeded")
        story.claim(up[0].dport == port and up[0].flags & REDIRECT, "the SYN went there with REDIRECT")
        announced = down[0].announced
        story.claim(
            down[0].sport == port and down[0].flags & CONFIRM and announced in owners,
            f"the SYN/ACK came from {port} with CONFIRM: continue on service port {announced}",
        )
        story.claim(
            announced in owners and f"server {owners[announced].name} " in body,
            f"service port {announced} belongs to the server that answered",
        )
        story.claim(
            all(segment.dport == announced for segment in up[1:]) and all(seg.sport == announced for seg in down[1:]),
            f"from the third packet on every packet names port {announced}",
        )
    story.chapter(f"curl http://{stage.vip.address}:9/: a service port is not redirected")
    with programs.wire(stage.client, stage.directory, f"tcp and host {stage.vip.address}") as segments:
        code, body = programs.curl(stage.client, stage.url(9))
    story.claim(code == 0 and "server a " in body, f"its owner answered: {body.strip()}")
    ports = {segment.dport if segment.destination == stage.vip.address else segment.sport for segment in segments}
    story.claim(ports == {9}, "every packet names port 9")


def _show(story: Story, segments: list[Segment], vip: Vip) -> None:
    for segment in segments[:6]:
        up = segment.destination == vip.address
        client, arrow, port = (segment.sport, "→", segment.dport) if up else (segment.dport, "←", segment.sport)
        ports = f"client:{client} {arrow} vip:{port}"
        option = f" OPT={segment.announced}" if segment.announced else ""
        data = f" {segment.size} bytes" if segment.size else ""
        story.say(f"  {ports:<28} {segment.flag_names}{option}{data}")
    if len(segments) > 6:
        story.say(f"  … and {len(segments) - 6} more")


def shares(stage: Stage) -> None:
    """How connections spread over a pool (E2, L1)."""
    story, number = stage.story, 400
    story.chapter(f"{number} connections to redirect port 22")
    counts = _many(stage, 22, number)
    pool = next(pool for pool in stage.vip.redirect_ports if pool.port == 22).servers
    mean = number / len(pool)
    bound = 4 * math.sqrt(number / len(pool) * (1 - 1 / len(pool)))
    for name in pool:
        story.say(f"  server {name}: {counts[name]:>4}  {'▇' * (counts[name] // 4)}")
    story.claim(sum(counts.values()) == number, f"all {number} answered, none failed")
    story.claim(
        all(abs(counts[name] - mean) <= bound for name in pool),
        f"every share is within four standard deviations of {mean:.0f} (±{bound:.0f})",
    )


def _many(stage: Stage, port: int, number: int) -> Counter[str]:
    at_once = ("--parallel", "--parallel-immediate", "--parallel-max", "40")
    words = (*at_once, "--output", "/dev/null", "--write-out", "%header{x-server}\\n")
    _, output = programs.curl(stage.client, stage.url(port, f"[1-{number}]"), *words, seconds=60)
    return Counter(line for line in output.split() if line)


def plain_client(stage: Stage) -> None:
    """A client without the agent: the policy of the redirect port decides (E3, E4, E7)."""
    story, plain = stage.story, stage.network[PLAIN]
    story.chapter("A plain client, without the agent")
    with programs.wire(plain, stage.directory, f"tcp and host {stage.vip.address}") as segments:
        code, body = programs.curl(plain, stage.url(22))
    ports = {segment.dport if segment.destination == stage.vip.address else segment.sport for segment in segments}
    story.claim(code == 0 and ports == {22}, f"port 22 (legacy: balance): {body.strip()}; every packet names port 22")
    code, body = programs.curl(plain, stage.url(9))
    story.claim(code == 0 and "server a " in body, f"service port 9: {body.strip()}")
    code, body = programs.curl(plain, stage.url(UNKNOWN))
    story.claim(code == 0 and "server d " in body, f"unknown port {UNKNOWN}, the default server: {body.strip()}")
    code, _ = programs.curl(plain, stage.url(20), seconds=1)
    story.claim(code == 28, "port 20 (nobody's service port, legacy: drop): no answer")


def datagrams(stage: Stage) -> None:
    """UDP: a service port's owner, a redirect port's pool, the default server (U1, U2, U3)."""
    story, address = stage.story, stage.vip.address
    story.chapter("UDP")
    owners = {port: owner.name for port, owner in sorted(stage.config.owners(stage.vip).items())}
    answered = {port: programs.ask_udp(stage.client, address, port) for port in owners}
    story.say("service port: server  " + "  ".join(f"{port}: {name or 'none'}" for port, name in answered.items()))
    story.claim(answered == owners, "every service port is answered by its owner (U1)")
    answers = Counter(programs.ask_udp(stage.client, address, 21) for _ in range(12))
    said = ", ".join(f"{name} {count}" for name, count in sorted(answers.items()))
    story.claim(set(answers) <= {"b", "c", "d"} and len(answers) > 1, f"redirect port 21, 12 times: {said} (U2)")
    answer = programs.ask_udp(stage.client, address, UNKNOWN)
    story.claim(answer == "d", f"unknown port {UNKNOWN}: {answer}, the default server (U3)")


def drift(stage: Stage) -> None:
    """A flow deleted behind the controller's back comes back."""
    story = stage.story
    story.chapter("Somebody deletes a flow by hand")
    before = stage.controller.switch(SWITCH)["drift"]
    match = f"table=40,priority=200,tcp,nw_dst={stage.vip.address},tp_dst=9"
    openvswitch.ofctl("--strict", "del-flows", SWITCH, match)
    story.say(f"ovs-ofctl --strict del-flows {SWITCH} {match}")
    gone = time.monotonic()
    query = f"table=40,tcp,nw_dst={stage.vip.address},tp_dst=9"
    programs.wait_for(lambda: "tp_dst=9" in openvswitch.ofctl("dump-flows", SWITCH, query), "the flow is back")
    story.claim(True, f"it was back after {time.monotonic() - gone:.1f} s")
    programs.wait_for(lambda: stage.controller.switch(SWITCH)["state"] == "synced", "the switch is synced again")
    counted = stage.controller.switch(SWITCH)["drift"] - before
    story.claim(counted == 1, f"the controller counted {counted} flow of drift and logged it")
    code, body = programs.curl(stage.client, stage.url(9))
    story.claim(code == 0 and "server a " in body, f"port 9 works: {body.strip()}")


def stateless(stage: Stage) -> None:
    """What the switch holds before and after many connections (C1)."""
    story = stage.story
    story.chapter(f"What {CONNECTIONS} redirected connections leave in the switch")
    before = _held()
    began = time.monotonic()
    counts = _many(stage, 22, CONNECTIONS)
    rate = CONNECTIONS / (time.monotonic() - began)
    after = _held()
    story.claim(sum(counts.values()) == CONNECTIONS, f"{CONNECTIONS} connections, {rate:.0f} a second, none failed")
    story.say(f"  {'':<22}{'before':>8}{'after':>8}")
    for name in before:
        story.say(f"  {name:<22}{before[name]:>8}{after[name]:>8}")
    for name in ("OpenFlow flows", "OpenFlow groups", "conntrack entries"):
        story.claim(before[name] == after[name], f"as many {name} as before")
    # Per row of the pool at most one flow up and down, and what ARP and the handshake's flags add.
    bound = 1000
    story.claim(after["datapath flows"] < bound, f"fewer than {bound} datapath flows: not one per connection")


def _held() -> dict[str, int]:
    flows = openvswitch.ofctl("dump-flows", SWITCH).count("cookie=")
    groups = openvswitch.ofctl("dump-groups", SWITCH).count("group_id=")
    datapath = len(openvswitch.appctl("dpif/dump-flows", SWITCH).splitlines())
    conntrack = len(openvswitch.appctl("dpctl/dump-conntrack").splitlines())
    return {
        "OpenFlow flows": flows,
        "OpenFlow groups": groups,
        "datapath flows": datapath,
        "conntrack entries": conntrack,
    }


CHAPTERS = (tables, redirected, shares, plain_client, datagrams, drift, stateless)


@contextlib.contextmanager
def on_stage(story: Story) -> Iterator[Stage]:
    """Everything running: Open vSwitch, the controller, the network, the servers' programs, the agents."""
    config = load(FILE.read_text(encoding="utf-8"))
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portlb-demo-")))
        file = Path(shutil.copy(FILE, directory))
        whose = stack.enter_context(openvswitch.running((SWITCH, builder.NETWORK)))
        datapath = openvswitch.datapath()
        version = re.search(r"[\d.]+", openvswitch.vsctl("--version"))
        story.say(f"Open vSwitch {version[0] if version else '?'}, {whose}; {datapath} datapath")
        controller = programs.Controller(file, directory, READ_BACK)
        stack.enter_context(controller.running())
        network = builder.start(config, (CLIENT, PLAIN), datapath, controller.openflow)
        stack.callback(network.stop)
        shared = {pool.port: pool.servers for pool in config.vips[0].redirect_ports}
        for server in config.servers:
            pools = {port for port, members in shared.items() if server.name in members} | {UNKNOWN}
            web = {owned.application for owned in server.service_ports} | pools
            udp = {owned.port for owned in server.service_ports} | pools
            stack.enter_context(programs.web_server(network[server.name], server, web, directory))
            stack.enter_context(programs.udp_server(network[server.name], server, udp, directory))
        stack.enter_context(programs.agents(network.get, config, file, (CLIENT,)))
        yield Stage(story, config, network, controller, directory)


def main() -> int:
    """Tell the story; the exit code says whether all of it was true."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cli", action="store_true", help="leave the Mininet prompt at the end")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("the demo makes network namespaces: run it as root", file=sys.stderr)
        return 1
    story = Story()
    print(PICTURE)
    with on_stage(story) as stage:
        for chapter in CHAPTERS:
            chapter(stage)
        if options.cli:
            print("\nThe Mininet prompt; try: client curl 10.0.0.100:20   (exit leaves)")
            CLI(stage.network)
    if story.failures:
        print(f"\n{len(story.failures)} of the claims above were not true:")
        for failure in story.failures:
            print(f" ✗ {failure}")
        return 1
    print("\nAll of this was true.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
