"""Why a flow exists, in words, and which part of ``lb.yaml`` it comes from: both from its cookie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from portlb_app.config import Config, Server, Vip
from portlb_app.openflow import Flow
from portlb_app.pipeline import Reason, parse_cookie

WORDS: Mapping[Reason, str] = {
    Reason.SIDE: "side of the load balancer",
    Reason.ANSWER_ARP: "the switch answers ARP",
    Reason.SHARE_ARP: "ARP answer to all servers",
    Reason.SERVER_ARP: "a server asks by ARP",
    Reason.TO_VIP: "IP to the VIP",
    Reason.FROM_SERVER: "IP from a server",
    Reason.FRAGMENT: "fragment",
    Reason.ICMP_ERROR: "ICMP error",
    Reason.NO_PORTS: "ICMP without a port",
    Reason.SERVICE: "service port",
    Reason.REDIRECT: "redirect port's pool",
    Reason.LEGACY: "plain client on a redirect port",
    Reason.DEFAULT: "default server, or not for it",
    Reason.OWN_PORT: "a server's own or shared port",
    Reason.FOREIGN_PORT: "known port, not this server's",
    Reason.UNKNOWN_PORT: "default server, a port that no server has",
    Reason.SERVER_ICMP: "a server's ICMP",
    Reason.SERVER_FRAGMENT: "a server's fragment",
    Reason.MISS: "miss",
    Reason.ANSWER_ND: "the switch answers neighbour solicitations",
    Reason.NEIGHBOUR_DISCOVERY: "neighbour discovery that no host here needs",
    Reason.PEER: "between servers",
    Reason.GATEWAY_ARP: "a server or router asks as itself",
    Reason.MANAGEMENT: "the load balancer itself",
    Reason.PIN: "a pinned redirect port",
    Reason.NAMED: "a service address, MAC address or label",
    Reason.REFUSED: "a server's packet to a VIP",
    Reason.QUERY: "a multicast listener query",
    Reason.SIGNAL: "a SYN that the controller reads",
    Reason.OPENING: "a copy of a client's SYN",
    Reason.CLOSING: "a copy of a client's FIN or RST",
    Reason.SERVER_CLOSING: "a copy of a server's FIN or RST",
    Reason.TOO_LARGE: "too large to be handed up",
    Reason.CHECK: "a check of a server",
    Reason.TO_CHECKER: "a server's answer to a check",
    Reason.TRANSIT: "upstream over a link, or forged to look so",
    Reason.HANDED_BACK: "handed back by a server, or forged to look so",
    Reason.HEARTBEAT: "a heartbeat of a server's agent",
    Reason.ASKED: "an answer to a question of the controller",
    Reason.TURNS: "a SYN whose server the controller says, while it is there",
}
"""Every reason in the words of docs/pipeline.md, "Cookies"."""
_OF_VIP: Mapping[Reason, str] = {
    Reason.ANSWER_ARP: "address",
    Reason.SHARE_ARP: "address",
    Reason.SERVER_ARP: "address",
    Reason.TO_VIP: "address",
    Reason.ANSWER_ND: "address",
    Reason.NEIGHBOUR_DISCOVERY: "address",
    Reason.FRAGMENT: "fragments",
    Reason.SERVER_FRAGMENT: "fragments",
    Reason.ICMP_ERROR: "icmp.errors",
    Reason.NO_PORTS: "icmp",
    Reason.SERVER_ICMP: "icmp",
    Reason.DEFAULT: "default_server",
    Reason.UNKNOWN_PORT: "default_server",
    Reason.OPENING: "log",
    Reason.CLOSING: "log",
    Reason.SERVER_CLOSING: "log",
    Reason.CHECK: "check",
}
_OF_PORT: Mapping[Reason, str] = {
    Reason.REDIRECT: "",
    Reason.LEGACY: ".legacy",
    Reason.PIN: ".legacy",
    Reason.SIGNAL: ".signal",
    Reason.TURNS: ".selection.turns",
    Reason.HANDED_BACK: ".second_chance",
}
_OF_SERVERS = {Reason.FROM_SERVER, Reason.PEER, Reason.GATEWAY_ARP, Reason.REFUSED, Reason.HEARTBEAT, Reason.TO_CHECKER}
_ADDRESSES = ("ip_dst", "ip_src", "ipv6_dst", "ipv6_src")
_MACS = ("eth_dst", "eth_src")


def words_of(cookie: int) -> str:
    """Why a flow with this cookie exists."""
    reason, _, _ = parse_cookie(cookie)
    return "not portlb's" if reason is None else WORDS[reason]


@dataclass(frozen=True)
class Origin:
    """Where a flow comes from. `path` is of ``lb.yaml``, empty for what is the same in every configuration."""

    words: str
    vip: str = ""
    port: int = 0
    path: str = ""


@dataclass
class Origins:
    """The origins of flows of a configuration."""

    config: Config
    _vips: dict[int, Vip] = field(init=False)

    def __post_init__(self) -> None:
        self._vips = {vip.number: vip for vip in self.config.vips}

    def of(self, switch: str, flow: Flow) -> Origin:
        """That of one flow of a switch."""
        reason, number, port = parse_cookie(flow.cookie)
        if reason is None:
            return Origin(words_of(flow.cookie))
        vip = self._vips.get(number)
        return Origin(
            WORDS[reason],
            "" if vip is None else vip.name,
            port,
            self._of_vip(reason, vip, port, flow) if vip is not None else self._of_switch(reason, switch, flow),
        )

    def _of_vip(self, reason: Reason, vip: Vip, port: int, flow: Flow) -> str:
        path = f"vips.{vip.name}"
        if reason is Reason.NAMED:
            return self._named(vip, flow) or path
        if reason in _OF_VIP:
            return f"{path}.{_OF_VIP[reason]}"
        if reason in _OF_PORT and port:
            return f"{path}.redirect_ports.{port}{_OF_PORT[reason]}"
        if reason in (Reason.SERVICE, Reason.OWN_PORT, Reason.FOREIGN_PORT) and port:
            return self._of_service(vip, port)
        return path

    def _of_service(self, vip: Vip, port: int) -> str:
        owner = self.config.owners(vip).get(port)
        if owner is not None:
            return f"servers.{owner.name}.service_ports"
        return f"vips.{vip.name}.redirect_ports.{port}" if vip.pool_on(port) else f"vips.{vip.name}"

    def _named(self, vip: Vip, flow: Flow) -> str:
        """The server whose service address, MAC address or label a flow matches."""
        matched = {name: value for name, value, _ in flow.match}
        for server in self.config.servers_of(vip):
            if {matched.get(name) for name in _ADDRESSES} & set(map(int, server.service_addresses)):
                return f"servers.{server.name}.service_address"
            if server.service_mac is not None and server.service_mac in {matched.get(name) for name in _MACS}:
                return f"servers.{server.name}.service_mac"
            if server.service_label is not None and server.service_label == matched.get("ipv6_label"):
                return f"servers.{server.name}.service_label"
        return ""

    def _of_switch(self, reason: Reason, switch: str, flow: Flow) -> str:
        matched = {name: value for name, value, mask in flow.match if mask is None}
        if reason is Reason.MANAGEMENT:
            return f"switches.{switch}.address"
        if reason is Reason.TRANSIT:
            return "links"
        if reason is Reason.SIDE and "in_port" in matched:
            return self._of_side(switch, matched)
        if reason in _OF_SERVERS and "in_port" in matched:
            servers = self._at(switch, matched["in_port"])
            return f"servers.{servers[0].name}" if len(servers) == 1 else "servers"
        return ""

    def _of_side(self, switch: str, matched: Mapping[str, int]) -> str:
        port = matched["in_port"]
        servers = self._at(switch, port)
        if "eth_src" in matched:
            servers = [each for each in servers if each.mac == matched["eth_src"]]
        elif any(each.name == switch and each.network == port for each in self.config.switches):
            return f"switches.{switch}.network"
        if servers:
            return f"servers.{servers[0].name}.connector"
        return "links"

    def _at(self, switch: str, port: int) -> list[Server]:
        return [each for each in self.config.servers if each.connector == (switch, port)]
