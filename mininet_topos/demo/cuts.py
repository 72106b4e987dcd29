"""The chapters of demos with several switches in which a link between two of them goes, and comes back."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from mininet_topos.demo import programs, traffic
from mininet_topos.demo.chapters import many
from mininet_topos.demo.stage import Stage
from portlb_app import topology
from portlb_app.config import Connector, Link

DOWNLOADS = 20
SIZE = 1_500_000
"""Bytes of a download: at 100 kB a second, longer than a cut."""
BOUND_MS = 2000
"""What an outage is claimed to stay below, on a machine however slow; what it was is printed."""


def detour(stage: Stage) -> None:
    """A link with an alternative goes while downloads run over it: none breaks."""
    story, config = stage.story, stage.config
    server_switch = config.servers[0].connector.switch
    port = topology.of(config).uplink(server_switch)
    link = next(link for link in config.links if Connector(server_switch, port or 0) in link)
    watched = config.servers[0]
    story.chapter(f"The link {link[0].switch}–{link[1].switch} goes while {DOWNLOADS} redirected downloads run")
    with _downloads(stage) as downloads:
        with _probe(stage, watched.service_ports[0].port) as going:
            time.sleep(1)
            _take_down(stage, link)
            time.sleep(1)
        story.say(f"link down; a probe of server {watched.name}, behind it, once a millisecond: {going}")
        story.claim(going.outage_ms < BOUND_MS, f"the gap is shorter than {BOUND_MS} ms")
        changed = [switch for switch in stage.switches if stage.difference(switch)]
        story.claim(changed, f"packets take another way: other tables on {', '.join(changed)}")
        counts = many(stage, stage.pool.port, 40)
        said = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        story.claim(counts.keys() == set(stage.pool.servers), f"40 new connections: {said}")
        with _probe(stage, watched.service_ports[0].port) as coming:
            _bring_back(stage, link)
            time.sleep(0.5)
        story.say(f"link up again; the probe: {coming}")
        story.claim(coming.outage_ms < BOUND_MS, f"the gap is shorter than {BOUND_MS} ms")
        story.claim(not any(map(stage.difference, stage.switches)), "all tables are again those of the files")
        story.claim(downloads.running(), "none of the downloads was over yet")
        broken = [each for each in downloads.finish() if not each.whole]
    story.claim(not broken, f"{len(broken)} of {DOWNLOADS} downloads broke")


def cut_off(stage: Stage) -> None:
    """A link without an alternative goes: its servers are out of reach until it is back, everybody else is served."""
    story, link = stage.story, stage.config.links[0]
    beyond = _beyond(stage, link)
    others = set(stage.pool.servers) - beyond
    title = f"The link {link[0].switch}–{link[1].switch} goes, and no other leads to {' and '.join(sorted(beyond))}"
    story.chapter(f"{title}; {DOWNLOADS} downloads run")
    with _downloads(stage) as downloads:
        _take_down(stage, link)
        before = downloads.sizes()
        port, owner = next((port, owner) for port, owner in stage.owners.items() if owner.name in beyond)
        code, _ = traffic.curl(stage.client, stage.url(port), seconds=1)
        story.claim(code == 28, f"service port {port}, {owner.name}'s: no answer")
        for pool in stage.vip.redirect_ports:
            if beyond.issuperset(pool.servers):
                code, _ = traffic.curl(stage.client, stage.url(pool.port), seconds=1)
                story.claim(code == 28, f"redirect port {pool.port}, shared by nobody else: no answer")
        counts = many(stage, stage.pool.port, 40)
        said = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        story.claim(
            counts.total() == 40 and counts.keys() == others, f"40 new connections to port {stage.pool.port}: {said}"
        )
        grown = {name: size - before[name] for name, size in downloads.sizes().items()}
        _bring_back(stage, link)
        code, body = traffic.curl(stage.client, stage.url(port))
        story.claim(code == 0 and f"server {owner.name} " in body, f"link up again; port {port}: {body.strip()}")
        story.claim(not any(map(stage.difference, stage.switches)), "all tables are again those of the files")
        story.claim(downloads.running(), "none of the downloads was over yet")
        done = downloads.finish()
    stood = {each.file for each in done if each.server in beyond}
    story.claim(
        all((grown[each.file] == 0) == (each.file in stood) for each in done),
        f"meanwhile {len(stood)} downloads from {' and '.join(sorted(beyond))} stood still, "
        f"the {len(done) - len(stood)} others went on",
    )
    story.claim(all(each.whole for each in done), f"and then all {len(done)} arrived whole, on the same connections")


def _beyond(stage: Stage, link: Link) -> set[str]:
    """The servers that clients cannot reach without a link."""
    without = topology.of(stage.config, down=(link,))
    return {
        server.name
        for server in stage.config.servers
        if server.connector.switch != stage.entrance
        and without.next_hop(stage.entrance, server.connector.switch) is None
    }


@contextlib.contextmanager
def _downloads(stage: Stage) -> Iterator[traffic.Downloads]:
    content = os.urandom(SIZE)
    (stage.directory / "slow").write_bytes(content)
    url = stage.url(stage.pool.port, "slow")
    yield traffic.Downloads(stage.client, url, DOWNLOADS, content, stage.directory)


def _probe(stage: Stage, port: int) -> contextlib.AbstractContextManager[traffic.Outage]:
    return traffic.probe(stage.client, stage.vip.address, port)


def _take_down(stage: Stage, link: Link) -> None:
    """Take both ends of a link down, and wait until the controller has acted on it."""
    stage.network.configLinkStatus(link[0].switch, link[1].switch, "down")
    programs.wait_for(lambda: not stage.controller.is_up(link), "the controller knows that the link is down")
    stage.wait_synced()


def _bring_back(stage: Stage, link: Link) -> None:
    stage.network.configLinkStatus(link[0].switch, link[1].switch, "up")
    programs.wait_for(lambda: stage.controller.is_up(link), "the controller takes the link to work")
    stage.wait_synced()
