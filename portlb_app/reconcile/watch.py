"""What switches say about ports: which links and connectors work, and which are not as the configuration has them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from portlb_app.backends.connectors import Connectors
from portlb_app.config import Config, Link
from portlb_app.openflow.messages import Port
from portlb_app.reconcile.network import Network
from portlb_app.reconcile.ports import Ports
from portlb_app.reconcile.sentences import healths, sentences
from portlb_app.topology.conditions import Conditions, PoolKey
from portlb_app.topology.links import HEARING, End, Links

LONG_HOLD = 2.0
"""Seconds: a link that is held down longer is logged with that."""


class Watch:
    """Turns ports into conditions and evidence, and logs what changes, once."""

    def __init__(self, network: Network, ports: Ports) -> None:
        self.links = Links()
        self._network = network
        self._ports = ports
        self._connectors = Connectors()
        self._links_known_at = math.inf
        self._open: frozenset[PoolKey] = frozenset()
        """The pools that fail open."""
        self._ends: tuple[tuple[Config, Config], Mapping[Link, tuple[End, End]]] | None = None

    @property
    def are_links_known(self) -> bool:
        """Whether both ends of every link have said something, or had the time to."""
        return self._network.now >= self._links_known_at

    def see(self, dpid: int, ports: Mapping[int, Port]) -> None:
        """A switch has these ports."""
        self.links.see(dpid, frozenset(number for number, port in ports.items() if port.up))
        self._ports.see(dpid, ports)
        self._connectors.see(dpid, ports, self._network.now)

    def forget(self, dpid: int) -> None:
        """A connection begins or ends."""
        self.links.forget(dpid)
        self._ports.forget(dpid)

    def judge_links(self) -> None:
        """Find the links that are not to be used; if they are others than before, something else is wanted."""
        network = self._network
        if not self.are_links_known:
            known_at = network.now if self.links.all_heard(network.live.ends) else network.now + HEARING
            self._links_known_at = min(self._links_known_at, known_at)
        links, before = self._all_ends(), network.conditions.links_down
        down = self.links.judge(links, network.now)
        for link in sorted(down - before):
            hold = self.links.hold(link, network.now)
            again = f"; it will be used again when it has been up for {hold:.1f} s" if hold > LONG_HOLD else ""
            network.log("warning", f"link {link} is down{again}", link=str(link))
            reason = "a switch reports that a port of it does not work"
            network.tell("link", str(link), ("up", "down"), reason, {"hold_seconds": round(hold, 1)})
        for link in sorted((before - down).intersection(links)):
            network.log("info", f"link {link} works again", link=str(link))
            network.tell("link", str(link), ("down", "up"), "its ports work, and have for long enough")
        network.conditions = Conditions(links_down=down)

    def judge_servers(self) -> None:
        """Find the servers whose connectors do not work."""
        network = self._network
        self._connectors.adopt(network.live.config, network.now)
        for server, evidence in self._connectors.news(network.now):
            network.backends.see(server, evidence, network.now)

    def log_servers(self) -> None:
        """Log which servers are down, or up again, and why."""
        changes = self._network.backends.changes()
        self._network.totals.count_changes(changes, self._network.now)
        for server, level, line in sentences(changes, self._network.now):
            self._network.log(level, line, server=server)
        for each in healths(changes, self._network.now):
            self._network.commands.append(each)
        before, self._open = self._open, self._network.backends.failing_open
        for vip, port in sorted(self._open - before):
            text = f"{vip}:{port} fails open: too few of its servers are up, so all are used"
            self._network.log("warning", text, vip=vip)
        for vip, port in sorted(before - self._open):
            self._network.log("info", f"{vip}:{port} does not fail open any more", vip=vip)

    def judge_ports(self) -> None:
        """Log what is wrong with the ports of the live configuration, once a change."""
        network = self._network
        for dpid in network.live.names:
            switch = network.switches.get(dpid)
            if switch is None or not switch.is_connected:
                continue
            problems = self._ports.problems(dpid)
            if problems is switch.problems or problems == switch.problems:
                continue
            for problem in problems:
                if problem not in switch.problems:
                    network.log("warning", f"{network.name(dpid)}: {problem}", switch=network.name(dpid))
                    self._tell_port(dpid, problem.number, problem.name, ("ok", "wrong"), str(problem))
            for number in {each.number for each in switch.problems} - {each.number for each in problems}:
                text = f"port {number} is as it should be"
                network.log("info", f"{network.name(dpid)}: {text}", switch=network.name(dpid))
                self._tell_port(dpid, number, "", ("wrong", "ok"), text)
            switch.problems = problems

    def _tell_port(self, dpid: int, number: int, name: str, change: tuple[str, str], reason: str) -> None:
        switch, evidence = self._network.name(dpid), {"interface": name} if name else {}
        self._network.tell("port", f"{switch}:{number}", change, reason, evidence)

    def _all_ends(self) -> Mapping[Link, tuple[End, End]]:
        """Both ends of every link that is or shall be: the same object until the configurations are others."""
        live, wanted = self._network.live, self._network.wanted
        configs = live.config, wanted.config
        if self._ends is None or any(one is not other for one, other in zip(configs, self._ends[0], strict=True)):
            self._ends = configs, {**live.ends, **wanted.ends}
        return self._ends[1]
