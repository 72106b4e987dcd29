"""Several bridges joined by patch ports: a network of switches that one ofproto/trace follows from end to end.

A trace is given the hash that the data path would compute, so that it goes on through groups. What it prints is
carried out on the packet's fields, which shows what leaves by which port, and looks like what.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from portlb_app.config import Config
from portlb_app.openflow import LOCAL, SwitchState
from portlb_app.pipeline import REASSEMBLY_ZONE
from tests.ovs.bridge import Bridge
from tests.ovs.switch import Switch
from tests.support.packet_fields import Fields
from tests.support.trees import across

_PORT = re.compile(r"^ +(\S+) (\d+|65534)/(\d+): ", re.MULTILINE)
_SECTION = re.compile(r"^recirc\((0x[0-9a-f]+)\) - resume.*$", re.MULTILINE)
_ACTIONS = re.compile(r"^Datapath actions: (.*)$", re.MULTILINE)
_BUCKET = re.compile(r"using bucket (\d+)$", re.MULTILINE)
_COOKIE = re.compile(r"rule_cookie=(0x[0-9a-f]+)")
_NAMES: Mapping[str, Mapping[str, str]] = {
    "eth": {"src": "eth_src", "dst": "eth_dst"},
    "ipv4": {"src": "ip_src", "dst": "ip_dst", "ttl": "nw_ttl", "tos": "ip_dscp"},
    "ipv6": {"src": "ipv6_src", "dst": "ipv6_dst", "hlimit": "nw_ttl", "tclass": "ip_dscp"},
    "arp": {"sip": "arp_spa", "tip": "arp_tpa", "op": "arp_op", "sha": "arp_sha", "tha": "arp_tha"},
    "icmp": {"type": "icmp_type"},
    "icmpv6": {"type": "icmpv6_type"},
    "nd": {"target": "nd_target", "sll": "nd_sll", "tll": "nd_tll"},
    "nd_ext": {"nd_reserved": "nd_reserved", "nd_options_type": "nd_options_type"},
}
"""By the data path's keys and values, ours."""

Exit = tuple[str, str, int, frozenset[tuple[str, int]]]
"""What leaves: ("port", switch, number, fields), or ("controller" or "copy", "", cookie, fields)."""
REASSEMBLED: Exit = ("reassembled", "", 0, frozenset())


@dataclass
class Traced:
    """What a trace says: `exits` with how often each happens, and the buckets that groups chose."""

    exits: Counter[Exit] = field(default_factory=Counter)
    buckets: frozenset[int] = frozenset()
    text: str = ""


class Fabric:
    """Bridges for the switches s1, s2, … of configurations, with the same dummy ports each."""

    def __init__(self, switch: Switch, names: tuple[str, ...], ports: tuple[int, ...]) -> None:
        self._switch = switch
        self._bridges = {name: Bridge(switch, ports) for name in names}
        self._links: list[tuple[str, str]] = []

    def close(self) -> None:
        """Remove the bridges."""
        for bridge in self._bridges.values():
            bridge.close()

    def install(self, config: Config, states: Mapping[str, SwitchState]) -> None:
        """Give every switch its tables, and join the bridges as the configuration says."""
        self._join(config)
        for name, state in states.items():
            self._bridges[name].install(state)
        by_bridge = {bridge.name: name for name, bridge in self._bridges.items()}
        self._ports: dict[str, tuple[str, int]] = {}
        shown = next(iter(self._bridges.values())).command("dpif/show")
        for part in re.split(r"^  (?=\S)", shown, flags=re.MULTILINE)[1:]:
            bridge = part.partition(":")[0]
            for _, number, datapath in _PORT.findall(part):
                if bridge in by_bridge:
                    self._ports[datapath] = by_bridge[bridge], LOCAL if number == "65534" else int(number)

    def _join(self, config: Config) -> None:
        """Two transactions: of a port that keeps its name, Open vSwitch (3.1) would not always find the new peer."""
        gone = [word for bridge, port in self._links for word in ("--", "del-port", bridge, port)]
        words: list[str] = []
        self._links = []
        for end, other in across(config).items():
            bridge = self._bridges[end.switch].name
            name, peer = (f"{self._bridges[each.switch].name}l{each.port}" for each in (end, other))
            words += ["--", "add-port", bridge, name, "--", "set", "interface", name, "type=patch"]
            words += [f"options:peer={peer}", f"ofport_request={end.port}"]
            self._links.append((bridge, name))
        for change in filter(None, (gone, words)):
            self._switch.vsctl(*change[1:])

    def trace(self, switch: str, in_port: int, fields: Fields, frame: bytes, dp_hash: int) -> Traced:
        """What becomes of a frame with these fields to which the data path gives this hash (not 0)."""
        bridge, port = self._bridges[switch], "LOCAL" if in_port == LOCAL else in_port
        text = bridge.command("ofproto/trace", bridge.name, f"in_port={port},dp_hash={dp_hash:#x}", frame.hex())
        first, *later = _SECTION.split(text)
        size = len(frame) - (4 if fields.get("vlan_vid") else 0)
        actions = _Actions(self._ports, size, dict(zip(later[::2], later[1::2], strict=True)))
        actions.carry_out(_only(first), {name: value for name, value in fields.items() if value})
        return Traced(actions.exits, frozenset(map(int, _BUCKET.findall(text))), text)


@dataclass
class _Actions:
    """Carries out datapath actions, as odp-util's format_odp_actions writes them, on the fields of a packet."""

    ports: Mapping[str, tuple[str, int]]
    size: int
    stages: Mapping[str, str]
    exits: Counter[Exit] = field(default_factory=Counter)

    def carry_out(self, actions: str, fields: dict[str, int]) -> None:
        """Carry out all of these."""
        for action in _split(actions):
            name, _, inside = action.partition("(")
            inside = inside.removesuffix(")")
            match name:
                case "userspace":
                    self._exit(("controller", "", _cookie(inside)), fields)
                case "sample":
                    assert inside.startswith("sample=100.0%,actions(meter("), action
                    self._exit(("copy", "", _cookie(inside)), fields)
                case "check_pkt_len":
                    branch = "gt" if self.size > int(inside.removeprefix("size=").partition(",")[0]) else "le"
                    (chosen,) = (each for each in _split(inside) if each.startswith(f"{branch}("))
                    self.carry_out(chosen[3:-1], fields)
                case "clone":
                    self.carry_out(inside, dict(fields))
                case "recirc":
                    self.carry_out(_only(self.stages[inside]), fields)
                case "ct" if inside == f"zone={REASSEMBLY_ZONE}":
                    self.exits[REASSEMBLED] += 1
                    return
                case "set":
                    fields.update(_set(inside))
                case "pop_vlan":
                    fields.pop("vlan_vid", None)
                case "push_vlan":
                    fields["vlan_vid"] = 0x1000 | int(inside.partition("vid=")[2].partition(",")[0])
                case "meter" | "ct" | "drop":
                    pass
                case _:
                    assert action.isdigit(), action
                    self._exit(("port", *self.ports[action]), fields)

    def _exit(self, what: tuple[str, str, int], fields: Fields) -> None:
        self.exits[(*what, frozenset((name, value) for name, value in fields.items() if value))] += 1


def _cookie(inside: str) -> int:
    found = _COOKIE.search(inside)
    assert found, inside
    return int(found[1], 16)


def _only(section: str) -> str:
    (actions,) = _ACTIONS.findall(section)
    return str(actions)


def _split(actions: str) -> Iterator[str]:
    """Actions, one by one."""
    depth, start = 0, 0
    for at, character in enumerate(actions):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            yield actions[start:at]
            start = at + 1
    if actions:
        yield actions[start:]


def _set(inside: str) -> Iterator[tuple[str, int]]:
    layer, _, values = inside.partition("(")
    if layer == "skb_priority":
        return
    for pair in _split(values.removesuffix(")")):
        key, _, value = pair.partition("=")
        name = _NAMES[layer].get(key)
        if name is not None:
            yield name, _number(layer, key, value.partition("/")[0])


def _number(layer: str, key: str, value: str) -> int:
    if layer in ("ipv4", "ipv6") and key in ("src", "dst") or key in ("sip", "tip", "target"):
        return int(IPv6Address(value) if ":" in value else IPv4Address(value))
    if ":" in value:
        return int(value.replace(":", ""), 16)
    number = int(value, 0)
    return number >> 2 if key in ("tos", "tclass") else number
