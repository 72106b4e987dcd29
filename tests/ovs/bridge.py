"""A bridge under test: compiled tables in, packets through it, and who got them, by trace or for real.

Packets are bytes in both cases, so Open vSwitch's own parser says what is in them. Traces and packets go over one
connection to ovs-vswitchd (what ovs-appctl speaks is JSON-RPC), about half a millisecond each.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from portlb_app.net.packets.pcap import frames
from portlb_app.openflow import LOCAL, Flow, Group, Meter, SwitchState, ToGroup, actions_text
from portlb_app.pipeline import (
    CT_MARK,
    REASSEMBLY_ZONE,
    SERVER,
    SLOT_GROUP,
    Priority,
)
from portlb_app.reconcile.plan import diff
from tests.ovs.switch import Switch

SECONDS = 10
QUEUE = 50
"""Packets handed to a dummy port at a time; it holds 100."""
_PORT = re.compile(r"^\s+\S+ (\d+)/(\d+): \(", re.MULTILINE)
_RECEIVED = re.compile(r"^  port \d+: (\S+).*\n    RX packets:(\d+)", re.MULTILINE)
_COPY = re.compile(
    r"sample\(sample=100\.0%,actions\(meter\(\d+\),userspace\(pid=\d+,controller\(.*,rule_cookie=(0x[0-9a-f]+),"
    r"controller_id=0,max_len=65535\)\)\)\)"
)
_ANNOUNCED_TO = frozenset(map(bytes.fromhex, ("ffffffffffff", "333300000001", "333300000016")))
_PROBE_ANSWER = 78
"""Where announcements of VIPs go (`portlb_app.punt.announce`), and nothing that a test sends; and the size of what only
the answer to a probe has, an advertisement without an option.
"""
_SIZED = re.compile(r"^check_pkt_len\(size=\d+,gt\(meter\(\d+\)\),le\((.*)\)\)$")
"""What is done with a frame that is not too large to be handed up."""
_MARK = re.compile(rf"^set_field:0x[0-9a-f]+->{SERVER},")
"""By which a bucket says whose slot it is; it changes no packet."""
_BUCKET = re.compile(r"bucket=bucket_id:(\d+),(?:weight:(\d+),)?(?:watch_port:\d+,)?actions=([^ ]*?)(?=,bucket=|$)")


Changes = frozenset[tuple[str, str]]
"""What was rewritten in a packet: (field, new value) of Ethernet and IP addresses."""


@dataclass(frozen=True)
class Seen:
    """Where a packet went, and changed how: all of `deliveries`, or, if `chosen`, one of them by a group's hash.

    `answered`: the switch made something else of it. `cookie` is of the flow that handed it up to the controller,
    through a meter; `reassembled` says that conntrack takes it. `copied` is the cookie of the flow that handed a copy
    up, through a meter of the copy's alone.
    """

    deliveries: frozenset[tuple[int, Changes]] = frozenset()
    chosen: bool = False
    answered: bool = False
    cookie: int | None = None
    reassembled: bool = False
    copied: int | None = None

    @property
    def ports(self) -> set[int]:
        """The OpenFlow ports it left by."""
        return {port for port, _ in self.deliveries}


class Bridge:
    """A bridge of the dummy datapath with dummy ports, each of which writes what leaves by it to a file."""

    _names = (f"br{number}" for number in itertools.count())

    def __init__(self, switch: Switch, ports: Iterable[int]) -> None:
        self.switch = switch
        self.name = next(Bridge._names)
        ports = tuple(ports)
        self._files = {port: switch.directory / f"{self.name}-{port}.pcap" for port in (*ports, LOCAL)}
        self._read = dict.fromkeys(self._files, 0)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS)
        self._socket.connect(str(switch.directory / "vswitchd.ctl"))
        switch.add_bridge(self.name, 0x100 + int(self.name[2:]), {self.port_name(port): port for port in ports})
        for port, path in self._files.items():
            switch.vsctl("set", "interface", self.port_name(port), f"options:tx_pcap={path}")
        self.command("netdev-dummy/set-admin-state", "up")
        self.slots: dict[int, Counter[str]] = {}
        self._flows: frozenset[Flow] = frozenset()
        self._meters: dict[int, Meter] = {}

    def close(self) -> None:
        """Remove the bridge."""
        self._socket.close()
        self.switch.delete_bridge(self.name)

    def port_name(self, port: int) -> str:
        """The name of the interface behind an OpenFlow port."""
        if port == LOCAL:
            return self.name
        return f"{self.name}p{port}"

    def command(self, method: str, *arguments: str) -> str:
        """One ovs-appctl command, without the process."""
        self._socket.sendall(json.dumps({"id": 0, "method": method, "params": arguments}).encode())
        answer = b""
        while True:
            answer += self._socket.recv(1 << 20)
            try:
                reply = json.loads(answer)
            except ValueError:
                continue
            if reply["error"] is not None:
                raise RuntimeError(f"{method}: {reply['error']}")
            return str(reply["result"])

    # ---- tables ----

    def install(self, state: SwitchState) -> None:
        """Replace what the bridge holds: first meters, then groups and flows in one bundle, which takes one process.

        Meters stay when flows need them no more: each takes a process, and most are needed again.
        """
        self._give_meters(state)
        lines = ["flow delete", "group delete", *(f"group add {group}" for group in state.ordered_groups)]
        lines += [f"flow add {flow}" for flow in state.ordered_flows]
        self.switch.ofctl("bundle", self.name, "-", text="\n".join(lines))
        self.command("revalidator/purge")  # else a datapath flow of the tables before may still forward
        self._flows = state.flows
        self.slots = _slots(self.switch.dump_groups(self.name))

    def _give_meters(self, state: SwitchState) -> None:
        for meter in state.ordered_meters:
            if self._meters.get(meter.number) != meter:
                self.switch.ofctl("mod-meter" if meter.number in self._meters else "add-meter", self.name, str(meter))
                self._meters[meter.number] = meter

    def change(self, before: SwitchState, after: SwitchState) -> None:
        """Go from one state to another by the steps of a plan, leaving everything else as it is."""
        self._give_meters(after)
        plan = diff(before, after)
        for step in plan.steps:
            if isinstance(step.what, Group):
                command = {"add": "add-group", "modify": "mod-group", "delete": "del-groups"}[step.verb]
                text = f"group_id={step.what.number}" if step.verb == "delete" else str(step.what)
                self.switch.ofctl(command, self.name, text)
        lines = [
            f"delete_strict table={step.what.table},priority={step.what.priority},{step.what.match}"
            if step.verb == "delete"
            else f"add {step.what}"
            for step in plan.steps
            if isinstance(step.what, Flow)
        ]
        self.switch.ofctl("add-flows", self.name, "-", "--bundle", text="\n".join(lines))
        self.command("revalidator/purge")
        self._flows = after.flows
        self.slots = _slots(self.switch.dump_groups(self.name))

    # ---- traces ----

    def trace(self, in_port: int, frame: bytes) -> Seen:
        """Where ofproto/trace says a packet goes; for a group, its buckets as the switch holds them."""
        port = "LOCAL" if in_port == LOCAL else in_port
        text = self.command("ofproto/trace", self.name, f"in_port={port}", frame.hex())
        stages = [
            [inner for action in _split(line) for inner in _split(_SIZED.sub(r"\1", action))]
            for line in re.findall(r"^Datapath actions: (.*)$", text, re.MULTILINE)
        ]
        actions = stages[-1]
        copies = [found for stage in stages for action in stage if (found := _COPY.fullmatch(action))]
        if copies:
            (copy,) = copies
            actions = [action for action in actions if action != copy[0]]
            return replace(self._delivered(in_port, frame, actions or ["drop"], text), copied=int(copy[1], 16))
        return self._delivered(in_port, frame, actions, text)

    def _delivered(self, in_port: int, frame: bytes, actions: list[str], text: str) -> Seen:
        """What a trace's datapath actions, but for copies, do."""
        if found := re.fullmatch(r"meter\(\d+\)#userspace\(.*,rule_cookie=(0x[0-9a-f]+),.*\)", "#".join(actions)):
            return Seen(cookie=int(found[1], 16))
        reassembles = rf"^Datapath actions: (check_pkt_len\(.*\),)?ct\(zone={REASSEMBLY_ZONE}\),recirc\(0x[0-9a-f]+\)$"
        if re.search(reassembles, text, re.MULTILINE):
            return Seen(reassembled=True)
        if re.search(rf"^ +group:{SLOT_GROUP}$", text, re.MULTILINE):
            cookies = re.findall(r"cookie (0x[0-9a-f]+)", text)
            assert re.fullmatch(r"meter\(\d+\)#hash\(l4\(\d+\)\)#recirc\(0x[0-9a-f]+\)", "#".join(actions)), text
            return Seen(cookie=int(cookies[-1], 16))
        actions = [action for action in actions if not action.startswith(("meter(", "set(skb_priority(", "ct(zone="))]
        had = {(f"eth_{end}", mac.hex(":")) for end, mac in (("dst", frame[:6]), ("src", frame[6:12]))}
        if group := re.search(r"^ +group:(\d+)$", text, re.MULTILINE):
            slots = self.slots[int(group[1])]
            hashed = [action.partition("(")[0] for action in actions] == ["hash", "recirc"]
            assert hashed if slots else actions in (["drop"], []), text
            buckets = (_bucket(self._remembered(slot, int(group[1])), in_port) for slot in slots)
            return Seen(frozenset((port, changes - had) for port, changes in buckets), chosen=bool(slots))
        number = {dp: LOCAL if of == "65534" else int(of) for of, dp in _PORT.findall(self.command("dpif/show"))}
        changed: dict[str, str] = {}
        deliveries = set()
        answered = False
        for action in actions:
            if action.isdigit():
                deliveries.add((number[action], frozenset(changed.items()) - had))
            elif found := re.fullmatch(r"set\((eth|ipv4|ipv6)\((.*)\)\)", action):
                changed.update(_changes(found[1], found[2]))
            elif re.match(r"set\((arp|nd|nd_ext|icmp|icmpv6)\(", action):
                answered = answered or "op=2" in action or "nd_ext" in action or "icmp" in action
            else:
                assert action == "drop", text
        return Seen(frozenset(deliveries), answered=answered)

    def _remembered(self, slot: str, group: int) -> str:
        """A bucket's actions; where it has another table remember the connection, what that delivers."""
        found = re.fullmatch(rf"set_field:(0x[0-9a-f]+)->{CT_MARK},resubmit\(,(\d+)\)", slot)
        if not found:
            return slot
        number, table = int(found[1], 16), int(found[2])
        (decides,) = (
            each for each in self._flows if ToGroup(group) in each.actions and each.priority == Priority.GENERAL
        )
        wanted = {(CT_MARK, number, None), *decides.match}
        (flow,) = (each for each in self._flows if each.table == table and set(each.match) == wanted)
        return actions_text(flow.actions).replace("in_port", "IN_PORT")

    # ---- packets ----

    def send(self, in_port: int, frames: Sequence[bytes]) -> dict[int, list[bytes]]:
        """Receive frames on a port and return what then left the bridge, by port."""
        name = self.port_name(in_port)
        self.collect()
        for start in range(0, len(frames), QUEUE):
            batch = frames[start : start + QUEUE]
            goal = self._received(name) + len(batch)
            self.command("netdev-dummy/receive", name, *(frame.hex() for frame in batch))
            deadline = time.monotonic() + SECONDS
            while self._received(name) < goal:
                assert time.monotonic() < deadline, "the switch did not take the packets"
        return self.collect()

    def announced(self, port: int) -> list[bytes]:
        """What a controller has had the bridge announce at a port, ever."""
        return [each for each in frames(self._files[port].read_bytes()) if each[:6] in _ANNOUNCED_TO]

    def collect(self) -> dict[int, list[bytes]]:
        """What left the bridge since the last time, by port, but for what a controller announces by itself."""
        result = {}
        for port, path in self._files.items():
            with path.open("rb") as file:
                file.seek(self._read[port])
                content = file.read()
            self._read[port] += len(content)
            seen = _frames(content if self._read[port] > len(content) else content[24:])
            frames = [each for each in seen if each[:6] not in _ANNOUNCED_TO or len(each) == _PROBE_ANSWER]
            if frames:
                result[port] = frames
        return result

    def _received(self, name: str) -> int:
        return {port: int(packets) for port, packets in _RECEIVED.findall(self.command("dpctl/show", "-s"))}[name]


def _split(actions: str) -> list[str]:
    """Datapath actions, one by one."""
    plain = actions
    while (shorter := re.sub(r"\([^()]*\)", lambda found: "_" * len(found[0]), plain)) != plain:
        plain = shorter
    ends = [found.start() for found in re.finditer(",", plain)]
    starts = [0, *(end + 1 for end in ends)]
    return [actions[start:end] for start, end in zip(starts, [*ends, len(actions)], strict=True)]


def _slots(groups: list[str]) -> dict[int, Counter[str]]:
    """How many buckets of each group do what; every bucket of a select group weighs the same."""
    result = {}
    for line in groups:
        found = re.match(r"group_id=(\d+)", line)
        assert found, line
        buckets = _BUCKET.findall(line)
        assert {weight for _, weight, _ in buckets} <= {"100", "1", ""}, line
        assert len({number for number, _, _ in buckets}) == len(buckets) == line.count("bucket="), line
        result[int(found[1])] = Counter(_MARK.sub("", actions) for _, _, actions in buckets)
    return result


def _changes(layer: str, fields: str) -> Iterator[tuple[str, str]]:
    """The addresses that a datapath's set action writes."""
    for name, value in re.findall(r"(src|dst)=([^,]*)", fields):
        yield f"{'eth' if layer == 'eth' else 'ip'}_{name}", value


def _bucket(actions: str, in_port: int) -> tuple[int, Changes]:
    """What a bucket does, from its text."""
    *rewrites, output = actions.split(",")
    port = in_port if output == "IN_PORT" else int(output.removeprefix("output:"))
    pairs = [re.fullmatch(r"set_field:(.*)->(\w+)", rewrite) for rewrite in rewrites]
    assert all(pairs), actions
    return port, frozenset((pair[2].replace("ipv6_", "ip_"), pair[1]) for pair in pairs if pair)


def _frames(content: bytes) -> list[bytes]:
    frames = []
    while content:
        (length,) = struct.unpack_from("<8xI", content)
        frames.append(content[16 : 16 + length])
        content = content[16 + length :]
    return frames
