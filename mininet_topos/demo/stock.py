"""The chapters about MPTCP: a client without an agent is told its server's own port by that one's kernel (B2)."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace

import yaml

from mininet_topos.demo import programs, traffic
from mininet_topos.demo.stage import EXAMPLES, Stage
from portlb_app.config import load
from portlb_app.net.packets import Segment, options

SIZE, RATE = 40_000_000, 8_000_000
"""Bytes of the download, and bytes a second that curl takes."""
PATH = "whole"
CAPABLE, JOIN, ADD_ADDR = 0, 1, 3
"""Subtypes of MPTCP's option (RFC 8684, 3)."""
_MPTCP = 30
_SYN, _ACK = 0x002, 0x010


def says(segment: Segment, subtype: int) -> bool:
    """Whether a segment has an option of MPTCP of this subtype."""
    return any(kind == _MPTCP and value[:1] and value[0] >> 4 == subtype for kind, value in options(segment.options))


def followed(stage: Stage) -> None:
    """One long download: on which ports it is, and what becomes of it when its pool and its first subflow go."""
    story, vip, port, seconds = stage.story, stage.vip, stage.pool.port, SIZE // RATE
    story.chapter(f"mptcpize run curl {stage.url(port, PATH)}: {SIZE // 1_000_000} MB, on a host without an agent")
    content = os.urandom(SIZE)
    (stage.directory / PATH).write_bytes(content)
    got = stage.directory / "got"
    words = ("--silent", "--show-error", "--fail", "--max-time", "60", "--limit-rate", str(RATE), "--output", str(got))
    said = ("--write-out", "%header{x-server}", stage.url(port, PATH))
    log = stage.directory / "curl.log"
    with traffic.wire(stage.client, stage.directory, f"tcp and host {vip.address}") as segments:
        with open(log, "wb") as errors:
            curl = stage.client.popen(["mptcpize", "run", "curl", *words, *said], stdout=subprocess.PIPE, stderr=errors)
        programs.wait_for(lambda: got.exists() and got.stat().st_size > SIZE // 4, "a quarter of it has come")
        replaced = _replace(stage, ("c", "d"))
        story.say(f"a quarter has come: port {port} gets other servers, {', '.join(replaced)}")
        left = _kill_first(stage, port)
        killed = time.time()
        story.claim(not left, f"ss -K dport = :{port}: the subflow on port {port} is dead")
        story.claim(curl.poll() is None, "curl goes on")
        name = programs.finish(curl, log, 4.0 * seconds).strip()
        story.say(f"curl has ended {time.time() - killed:.1f} s later")
    story.claim(got.read_bytes() == content, f"all of it has arrived, from server {name}")
    _tell(stage, segments, name, port)


def _tell(stage: Stage, segments: list[Segment], name: str, port: int) -> None:
    story, address = stage.story, stage.vip.address
    up = [segment for segment in segments if segment.destination == address]
    down = [segment for segment in segments if segment.source == address]
    opening = [segment for segment in up if segment.flags & _SYN]
    story.claim(
        opening[0].dport == port and says(opening[0], CAPABLE), f"the SYN went to port {port}, with MP_CAPABLE"
    )
    own = stage.config.server_by_name[name].mptcp
    story.claim(
        any(segment.sport == port and says(segment, ADD_ADDR) for segment in down),
        f"the kernel of {name} said ADD_ADDR there",
    )
    joins = [segment for segment in opening if says(segment, JOIN)]
    story.claim(
        joins and {segment.dport for segment in joins} == {own},
        f"the client's kernel opened a second subflow to port {own}, with MP_JOIN: {name}'s own port",
    )
    data = {each: sum(segment.size for segment in down if segment.sport == each) for each in (port, own)}
    story.say("  bytes from the VIP: " + ", ".join(f"{number:,} from port {each}" for each, number in data.items()))
    story.claim(data[own or 0] > 0.9 * SIZE, f"nearly all data came from port {own}")


def _replace(stage: Stage, servers: tuple[str, ...]) -> tuple[str, ...]:
    """Give the pool other servers, on the disk of the demo and in the switch."""
    text = yaml.safe_load((EXAMPLES / stage.example / "lb.yaml").read_text(encoding="utf-8"))
    text["vips"][stage.vip.name]["redirect_ports"][stage.pool.port]["servers"] = list(servers)
    stage.controller.put(yaml.safe_dump(text))
    return servers


def _kill_first(stage: Stage, port: int) -> str:
    """Kill the client's subflow on a port; what is left of it."""
    chosen = ("-tn", "dst", str(stage.vip.address), "dport", "=", f":{port}")
    stage.client.pexec("ss", "-K", *chosen)
    output, _, _ = stage.client.pexec("ss", "-H", *chosen, "and", "state", "established")
    return str(output).strip()


def plain(stage: Stage) -> None:
    """Clients without MPTCP, at the same port and at a server's port for MPTCP."""
    story, port = stage.story, stage.pool.port
    story.chapter(f"curl without MPTCP, at the same port {port}")
    now = replace(stage, config=load(stage.controller.configuration()))
    code, body = traffic.curl(stage.plain, stage.url(port))
    names = now.pool.servers
    answered = code == 0 and any(f"server {name} " in body for name in names)
    story.claim(answered, f"one of {', '.join(names)} answers: {body.strip()}")
    own = stage.config.servers[0].mptcp or 0
    code, _ = traffic.curl(stage.plain, stage.url(own))
    story.claim(code == 7, f"port {own}: refused, the kernel takes joins only")
