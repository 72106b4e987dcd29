"""``make demo``: a load balancer at work, told as a story whose every claim is checked.

``TOPO=single`` (FIG. 2, the default), ``tree`` (FIG. 5), ``leafspine`` or ``mptcp``. Needs root. Exit code 0 only if
all that it shows is true; with ``--cli`` it ends at the Mininet prompt.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mininet.cli import CLI

from mininet_topos import builder, leafspine, mptcp, openvswitch, single, tree
from mininet_topos.demo import programs, surroundings
from mininet_topos.demo.stage import CLIENT, EXAMPLES, PLAIN, UNKNOWN, Demo, Stage, Story
from portlb_app.config import load

DEMOS = {"single": single.DEMO, "tree": tree.DEMO, "leafspine": leafspine.DEMO, "mptcp": mptcp.DEMO}
READ_BACK = 2.0


@contextlib.contextmanager
def on_stage(story: Story, demo: Demo) -> Iterator[Stage]:
    """Everything running: Open vSwitch, the controller, the network, the servers' programs, the agents."""
    given = EXAMPLES / demo.example / "lb.yaml"
    config = load(given.read_text(encoding="utf-8"))
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portlb-demo-")))
        file = Path(shutil.copy(given, directory))
        whose = stack.enter_context(openvswitch.running(tuple(switch.name for switch in config.switches)))
        builder.refuse_taken(config)
        builder.refuse_unable()
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
            web = {owned.application for owned in server.service_ports if owned.port != server.mptcp} | pools
            udp = {owned.port for owned in server.service_ports} | pools
            stack.enter_context(programs.web_server(network[server.name], server, web, directory, demo.under))
            stack.enter_context(programs.udp_server(network[server.name], server, udp, directory))
        stack.enter_context(demo.agents(network.get, config, file, (CLIENT,)))
        yield Stage(story, demo.example, config, network, controller, directory)


def main() -> int:
    """Tell the story; the exit code says whether all of it was true."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topology", nargs="?", choices=DEMOS, default="single")
    parser.add_argument("--cli", action="store_true", help="leave the Mininet prompt at the end")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("the demo makes network namespaces: run it as root", file=sys.stderr)
        return 1
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # it draws, and a terminal may lack that
    story, demo = Story(), DEMOS[options.topology]
    print(demo.picture)
    with tempfile.TemporaryDirectory(prefix="portlb-home-") as home:
        surroundings.leave_behind(Path(home))
        try:
            _tell(story, demo, options.cli)
        except RuntimeError as error:
            print(f"\nthe demo cannot go on: {error}", file=sys.stderr)
            return 1
    if story.failures:
        print(f"\n{len(story.failures)} of the claims above were not true:")
        for failure in story.failures:
            print(f" ✗ {failure}")
        return 1
    print("\nAll of this was true.")
    return 0


def _tell(story: Story, demo: Demo, prompt: bool) -> None:
    with on_stage(story, demo) as stage:
        for chapter in demo.chapters:
            chapter(stage)
        if prompt:
            print(f"\nThe Mininet prompt; try: client curl {stage.vip.address}:{stage.pool.port}   (exit leaves)")
            CLI(stage.network)


if __name__ == "__main__":
    sys.exit(main())
