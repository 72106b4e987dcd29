"""The chapters that every demo has: what one load balancer does, however many switches it is made of."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable

from mininet_topos import builder, openvswitch
from mininet_topos.demo import programs, traffic
from mininet_topos.demo.stage import UNKNOWN, Stage, Story
from portlb_app.config import Legacy, Vip
from portlb_app.net.packets import CONFIRM, REDIRECT, Segment

CONNECTIONS = 2000
SYN = 0x002
FLAGS = (("SYN", SYN), ("ACK", 0x010), ("FIN", 0x001), ("RST", 0x004), ("REDIRECT", REDIRECT), ("CONFIRM", CONFIRM))
"""The header bits that a reader of the protocol looks for."""


def tables(stage: Stage) -> None:
    """Every switch holds what the configuration compiles to."""
    story = stage.story
    story.chapter("The tables")
    stage.wait_synced()
    story.say(f"the controller has installed what flows/{stage.example}/*.flows say; read them, they say why")
    for switch in stage.switches:
        story.claim(not stage.difference(switch), f"ovs-ofctl diff-flows {switch} {switch}.flows: equal")


def redirected(stage: Stage) -> None:
    """Unmodified curl, redirected: the ports on the wire before and after the handshake (E2, E1, D1)."""
    story = stage.story
    for pool in stage.vip.redirect_ports:
        _redirected(stage, pool.port)
    port, owner = stage.own_port
    story.chapter(f"curl {stage.url(port)}: a service port is not redirected")
    with traffic.wire(stage.client, stage.directory, f"tcp and host {stage.vip.address}") as segments:
        code, body = traffic.curl(stage.client, stage.url(port))
    story.claim(code == 0 and f"server {owner.name} " in body, f"its owner answered: {body.strip()}")
    ports = {segment.dport if segment.destination == stage.vip.address else segment.sport for segment in segments}
    story.claim(ports == {port}, f"every packet names port {port}")


def _redirected(stage: Stage, port: int) -> None:
    story, owners = stage.story, stage.owners
    story.chapter(f"curl {stage.url(port)} on a host with the agent")
    with traffic.wire(stage.client, stage.directory, f"tcp and host {stage.vip.address}") as segments:
        code, body = traffic.curl(stage.client, stage.url(port))
    story.say(f"curl printed: {body.strip()}")
    first = next(each for each in segments if each.flags & SYN and each.destination == stage.vip.address)
    segments = [each for each in segments if first.sport in (each.sport, each.dport)]  # not the end of the one before
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


def _show(story: Story, segments: list[Segment], vip: Vip) -> None:
    for segment in segments[:6]:
        up = segment.destination == vip.address
        client, arrow, port = (segment.sport, "→", segment.dport) if up else (segment.dport, "←", segment.sport)
        ports = f"client:{client} {arrow} vip:{port}"
        option = f" OPT={segment.announced}" if segment.announced else ""
        data = f" {segment.size} bytes" if segment.size else ""
        flags = " ".join(name for name, bit in FLAGS if segment.flags & bit)
        story.say(f"  {ports:<28} {flags}{option}{data}")
    if len(segments) > 6:
        story.say(f"  … and {len(segments) - 6} more")


def unchanged(stage: Stage) -> None:
    """Packets pass between switches as they are (T1); every one crosses one link, where leaves hang on entrances."""
    story, number, config = stage.story, 10, stage.config
    story.chapter(f"{number} connections, seen at the ports of all switches")
    sides = {
        builder.interface(switch.name, switch.network): "clients"
        for switch in config.switches
        if switch.network is not None
    }
    links = {builder.interface(*one): f"switch {other.switch}" for one, other in config.links}
    servers = {builder.interface(*server.connector): f"server {server.name}" for server in config.servers}
    leads_to = sides | links | servers
    with traffic.wires(stage.network[stage.entrance], tuple(leads_to), stage.directory, "tcp") as seen:
        counts = many(stage, stage.pool.port, number)
    for name, where in leads_to.items():
        story.say(f"  {name:<14} to {where:<14} {len(seen[name]):>4} packets")
    story.claim(counts.total() == number, f"all {number} connections were answered")
    story.claim(all(seen[name] for name in sides), "clients' packets came by every network side")
    outside, between, inside = (
        Counter(frame for name in names for frame in seen[name]) for names in (sides, links, servers)
    )
    story.claim(outside == between, "the same packets at the clients' side and on the links, byte for byte")
    story.claim(between == inside, "and at the servers: here a server's own switch has nothing to rewrite either")


def shares(stage: Stage) -> None:
    """How connections spread over a pool (E2, L1)."""
    story, number, pool = stage.story, 400, stage.pool
    story.chapter(f"{number} connections to redirect port {pool.port}")
    counts = many(stage, pool.port, number)
    mean = number / len(pool.servers)
    bound = 4 * math.sqrt(mean * (1 - 1 / len(pool.servers)))
    for name in pool.servers:
        story.say(f"  server {name}: {counts[name]:>4}  {'▇' * (counts[name] // 4)}")
    story.claim(counts.total() == number, f"all {number} answered, none failed")
    story.claim(
        all(abs(counts[name] - mean) <= bound for name in pool.servers),
        f"every share is within four standard deviations of {mean:.0f} (±{bound:.0f})",
    )


def many(stage: Stage, port: int, number: int) -> Counter[str]:
    """Who answers so many connections, made up to 40 at once."""
    at_once = ("--parallel", "--parallel-immediate", "--parallel-max", "40")
    words = (*at_once, "--output", "/dev/null", "--write-out", "%header{x-server}\\n")
    _, output = traffic.curl(stage.client, stage.url(port, f"[1-{number}]"), *words, seconds=60)
    return Counter(line for line in output.split() if line)


def plain_client(stage: Stage) -> None:
    """A client without the agent: the policy of the redirect port decides (E3, E4, E7)."""
    story, plain = stage.story, stage.plain
    story.chapter("A plain client, without the agent")
    policies = {pool.legacy: pool.port for pool in stage.vip.redirect_ports}
    port = policies[Legacy.BALANCE]
    with traffic.wire(plain, stage.directory, f"tcp and host {stage.vip.address}") as segments:
        code, body = traffic.curl(plain, stage.url(port))
    ports = {segment.dport if segment.destination == stage.vip.address else segment.sport for segment in segments}
    same = f"every packet names port {port}"
    story.claim(code == 0 and ports == {port}, f"port {port} (legacy: balance): {body.strip()}; {same}")
    port, owner = stage.own_port
    code, body = traffic.curl(plain, stage.url(port))
    story.claim(code == 0 and f"server {owner.name} " in body, f"service port {port}: {body.strip()}")
    if stage.vip.default_server is None:
        code, _ = traffic.curl(plain, stage.url(UNKNOWN), seconds=1)
        story.claim(code == 28, f"unknown port {UNKNOWN}, there is no default server: no answer")
    else:
        code, body = traffic.curl(plain, stage.url(UNKNOWN))
        answered = code == 0 and f"server {stage.vip.default_server} " in body
        story.claim(answered, f"unknown port {UNKNOWN}, the default server: {body.strip()}")
    if Legacy.DROP in policies:
        port = policies[Legacy.DROP]
        code, _ = traffic.curl(plain, stage.url(port), seconds=1)
        story.claim(code == 28, f"port {port} (nobody's service port, legacy: drop): no answer")


def datagrams(stage: Stage) -> None:
    """UDP: a service port's owner, a redirect port's pool, the default server (U1, U2, U3)."""
    story, address = stage.story, stage.vip.address
    story.chapter("UDP")
    owners = {port: [owner.name] for port, owner in stage.owners.items()}
    answered = {port: traffic.ask_udp(stage.client, address, port) for port in owners}
    story.say("service port: server  " + "  ".join(f"{port}: {names[0]}" for port, names in answered.items()))
    story.claim(answered == owners, "every service port is answered by its owner (U1)")
    pool = stage.vip.redirect_ports[len(stage.vip.redirect_ports) // 2]
    answers = Counter(traffic.ask_udp(stage.client, address, pool.port, 12))
    said = ", ".join(f"{name} {count}" for name, count in sorted(answers.items()))
    spread = set(answers) <= set(pool.servers) and len(answers) > 1
    story.claim(spread, f"redirect port {pool.port}, 12 times: {said} (U2)")
    if stage.vip.default_server is not None:
        (answer,) = traffic.ask_udp(stage.client, address, UNKNOWN)
        story.claim(
            answer == stage.vip.default_server, f"unknown port {UNKNOWN}: {answer}, the default server (U3)"
        )


def drift(stage: Stage) -> None:
    """A flow deleted behind the controller's back comes back."""
    story, switch = stage.story, stage.entrance
    story.chapter("Somebody deletes a flow by hand")
    port, owner = stage.own_port
    before = stage.controller.switch(switch)["drift"]
    match = f"table=40,priority=200,tcp,nw_dst={stage.vip.address},tp_dst={port}"
    openvswitch.ofctl("--strict", "del-flows", switch, match)
    story.say(f"ovs-ofctl --strict del-flows {switch} {match}")
    gone = time.monotonic()
    query = f"table=40,tcp,nw_dst={stage.vip.address},tp_dst={port}"
    back = programs.comes_true(lambda: f"tp_dst={port}" in openvswitch.ofctl("dump-flows", switch, query))
    story.claim(back, f"the controller puts it back: looked at for {time.monotonic() - gone:.1f} s")
    programs.wait_for(lambda: stage.controller.switch(switch)["state"] == "synced", "the switch is synced again")
    counted = stage.controller.switch(switch)["drift"] - before
    story.claim(counted == 1, f"the controller counted {counted} flow of drift and logged it")
    code, body = traffic.curl(stage.client, stage.url(port))
    story.claim(code == 0 and f"server {owner.name} " in body, f"port {port} works: {body.strip()}")


def stateless(stage: Stage) -> None:
    """What the switches hold before and after many connections (C1)."""
    story = stage.story
    story.chapter(f"What {CONNECTIONS} redirected connections leave behind")
    before = _held(stage.switches)
    began = time.monotonic()
    counts = many(stage, stage.pool.port, CONNECTIONS)
    rate = CONNECTIONS / (time.monotonic() - began)
    after = _held(stage.switches)
    story.claim(counts.total() == CONNECTIONS, f"{CONNECTIONS} connections, {rate:.0f} a second, none failed")
    story.say(f"  {'on ' + ', '.join(stage.switches):<30}{'before':>8}{'after':>8}")
    for name in before:
        story.say(f"  {name:<30}{before[name]:>8}{after[name]:>8}")
    for name in ("OpenFlow flows", "OpenFlow groups", "conntrack entries"):
        story.claim(before[name] == after[name], f"as many {name} as before")
    # Per slot of the pool at most one flow up and down, and what ARP and the handshake's flags add.
    bound = 1000 * len(stage.switches)
    story.claim(after["datapath flows"] < bound, f"fewer than {bound} datapath flows: not one per connection")


def _held(switches: tuple[str, ...]) -> dict[str, int]:
    def total(command: Callable[..., str], word: str, what: str) -> int:
        return sum(command(word, switch).count(what) for switch in switches)

    return {
        "OpenFlow flows": total(openvswitch.ofctl, "dump-flows", "cookie="),
        "OpenFlow groups": total(openvswitch.ofctl, "dump-groups", "group_id="),
        "datapath flows": total(openvswitch.appctl, "dpif/dump-flows", "\n"),
        "conntrack entries": len(openvswitch.appctl("dpctl/dump-conntrack").splitlines()),
    }
