"""What every chapter of a demo needs: who tells the story, and what is on the stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mininet.net import Mininet
from mininet.node import Node

from mininet_topos import openvswitch
from mininet_topos.demo import programs
from portlb_app.config import Config, RedirectPort, Server, Vip

CLIENT, PLAIN = "client", "plain"
"""The client hosts: with an agent, and without."""
UNKNOWN = 99
"""A port that no configuration of a demo names."""
EXAMPLES = Path(__file__).parents[2] / "flows"


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
    """A running load balancer of the first VIP of ``flows/EXAMPLE/lb.yaml``, and its hosts."""

    story: Story
    example: str
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

    @property
    def plain(self) -> Node:
        return self.network[PLAIN]

    @cached_property
    def owners(self) -> dict[int, Server]:
        """Who owns which service port."""
        return dict(sorted(self.config.owners(self.vip).items()))

    @property
    def own_port(self) -> tuple[int, Server]:
        """A service port and its owner: one that nobody is redirected to, if there is such a port."""
        shared = {pool.port for pool in self.vip.redirect_ports}
        each = self.owners.items()
        own = [
            (port, server)
            for port, server in each
            if not any(owned.port == port and owned.application in shared for owned in server.service_ports)
        ]
        return next(iter(own or each))

    @property
    def pool(self) -> RedirectPort:
        """The redirect port that most servers share."""
        return max(self.vip.redirect_ports, key=lambda pool: len(pool.servers))

    @property
    def entrance(self) -> str:
        """The first switch with a network side."""
        return next(switch.name for switch in self.config.switches if switch.network is not None)

    @property
    def switches(self) -> tuple[str, ...]:
        return tuple(switch.name for switch in self.config.switches)

    def url(self, port: int, path: str = "") -> str:
        return f"http://{self.vip.address}:{port}/{path}"

    def wait_synced(self) -> None:
        """Wait until every switch holds what the controller wants it to."""
        programs.wait_for(
            lambda: all(each["state"] == "synced" for each in self.controller.status()["switches"]),
            "all switches have their tables",
        )

    def difference(self, switch: str) -> str:
        """How a switch's flows differ from the file in ``flows/``; empty if they do not."""
        return openvswitch.difference(switch, EXAMPLES / self.example / f"{switch}.flows")


Chapter = Callable[[Stage], None]


@dataclass(frozen=True)
class Demo:
    """A configuration, ``flows/EXAMPLE``, and what is told of it.

    `agents`: what runs on servers and the client beside their programs; `under`: words before nginx's command line.
    """

    example: str
    picture: str
    chapters: tuple[Chapter, ...]
    agents: programs.Agents = programs.agents
    under: tuple[str, ...] = ()
