"""``portlb explain`` against Open vSwitch: ``python -m tests.soak.explain``.

Random configurations (one switch, several, any graph of up to six; all rewriting modes, IPv4 and IPv6, pins, options,
logs, pools by the client's address, packets led to other pools; moved slots with former servers, closed servers) meet
random packets, half of them made to fit a flow of the switch. Each packet is written in the packet language, read, and
followed by `portlb_app.explain`; and the same frame is traced by ofproto/trace through the same tables on real bridges,
joined by patch ports. What leaves by which port of which switch, with which fields, what goes to the controller, and by
which slot: all of it must be the same.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from portlb_app import compiler
from portlb_app.config import Algorithm, Config, ConfigError, Switch, load
from portlb_app.explain.events import Exit as Found
from portlb_app.explain.events import HandedUp, Into, Left, Lookup, Outcome, Stopped, Tracked, Visit, outcomes
from portlb_app.explain.language import read
from portlb_app.explain.lookup import Tables
from portlb_app.explain.start import Start, starts
from portlb_app.explain.walk import ALL_SLOTS, Walk
from portlb_app.openflow import Flow, Goto, SwitchState
from portlb_app.pipeline import (
    ACK,
    BY_NUMBER,
    CONFIRM_BIT,
    DEFAULT,
    FORMER,
    FORMERS,
    FRAGMENT,
    ICMP,
    LABEL,
    LEGACY,
    PEER,
    PIN,
    PINNED,
    REASSEMBLY_ZONE,
    REDIRECT,
    SERVICE,
    SIGNAL,
    SLOTS,
    SYN,
)
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions, PoolSlots
from tests.ovs.fabric import REASSEMBLED, Exit, Fabric, Traced
from tests.ovs.switch import Switch as OpenVSwitch
from tests.soak.report import Report
from tests.support import generate, trees
from tests.support.packet_fields import ARP, IPV4, IPV6, frame, of_packet, place, sentence

PER_CONFIGURATION = 100
_DOWNSTREAM = {each.number for each in (FRAGMENT, ICMP, SERVICE, LABEL, REDIRECT, LEGACY, PINNED, PIN, SIGNAL, DEFAULT)}
_FLAGS = {LABEL.number: CONFIRM_BIT | ACK, SIGNAL.number: SYN, FORMER.number: ACK}
_PACKET_FIELDS = ("eth_", "ip_", "ipv6_", "tcp_", "udp_", "sctp_", "icmp", "nd_target", "arp_", "nw_ttl", "vlan_vid")


@dataclass
class Case:
    """One packet: its text, what it means, and the hash that the data path gives it."""

    text: str
    start: Start
    frame: bytes
    dp_hash: int


@dataclass
class Agreement:
    """What was compared: packets by kind of outcome, and by what they passed; and those that differ."""

    packets: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    walk_seconds: float = 0.0
    trace_seconds: float = 0.0


def compare(fabric: Fabric, packets: int, seed: int, of_each: int = PER_CONFIGURATION) -> Agreement:
    """Compare so many packets, some of each network; deterministic by the seed."""
    found = Agreement()
    for number in range(-(-packets // of_each)):
        random = Random(f"{seed}/{number}")
        config, conditions = _network(random)
        states = compiler.compile(config, conditions)
        fabric.install(config, states)
        pools = [pool for vip in config.vips for pool in vip.redirect_ports]
        found.kinds["pools by address"] += sum(pool.selecting.algorithm is Algorithm.SOURCE for pool in pools)
        found.kinds["pools led to others"] += sum(bool(pool.when) for pool in pools)
        tables = {name: Tables.of(state) for name, state in states.items()}
        while found.packets < min(packets, (number + 1) * of_each):
            case = _case(random, config, states)
            if case is not None:
                _compare(fabric, config, tables, case, found, f"{seed}/{number}")
    return found


# ---- networks and packets --------------------------------------------------------------------------------------------


def _network(random: Random) -> tuple[Config, Conditions]:
    is_single = random.random() < 0.4
    while len((data := generate.settings(random))["switches"]) > 1 and not is_single:
        pass
    for name in data["vips"]:
        chosen = copy.deepcopy(data)
        _choose(random, chosen["vips"][name]["redirect_ports"])
        try:
            load(generate.text(chosen))
            data = chosen
        except ConfigError:
            pass  # what was chosen does not fit together
    config = load(generate.text(data)) if is_single else trees.spread(random, data).spread
    return config, AS_CONFIGURED if random.random() < 0.4 else _conditions(random, config)


def _choose(random: Random, pools: dict[int, dict[str, Any]]) -> None:
    """Let some pools go by the client's address, or lead some of their packets to another pool."""
    for port, pool in pools.items():
        if random.random() < 0.4:
            prefixes = {"prefix4": random.choice((8, 24, 32)), "prefix6": random.choice((48, 64, 128))}
            pool["selection"] = {"kind": "source", **prefixes}
        if len(pools) > 1 and random.random() < 0.4:
            other = random.choice([each for each in pools if each != port])
            wanted = ({"source": "192.0.2.0/24"}, {"dscp": 46}, {"vlan": 7}, {"source": "10.0.0.0/8", "dscp": 10})
            pool["when"] = [{**random.choice(wanted), "pool": other}]


def _conditions(random: Random, config: Config) -> Conditions:
    """Slots that have moved, and servers that get nothing."""
    slots = {}
    for vip in config.vips:
        for pool in vip.redirect_ports:
            if pool.servers and random.random() < 0.7:
                slots[vip.name, pool.port] = _moved(random, pool.servers, SLOTS << pool.group_bits)
    closed = frozenset(name for name in config.server_by_name if random.random() < 0.1)
    return Conditions(slots=slots, closed=closed)


def _moved(random: Random, servers: Sequence[str], number: int) -> PoolSlots:
    table = tuple(random.choice(servers) for _ in range(number))
    if random.random() < 0.4:
        return PoolSlots(table)
    chains = [tuple(random.sample(servers, min(len(servers), FORMERS, random.randrange(4)))) for _ in range(4)]
    formers = tuple(
        tuple(each for each in random.choice(chains) if each != server) if random.random() < 0.5 else ()
        for server in table
    )
    return PoolSlots(table, formers)


def _case(random: Random, config: Config, states: Mapping[str, SwitchState]) -> Case | None:
    switch = random.choice(_entrances(random, config))
    packet = generate.packet(random, config, switch)
    fields = of_packet(packet)
    if fields is None:
        return None
    in_port = packet.in_port or random.choice(generate.CONNECTORS)
    if random.random() < 0.5:
        flows = [flow for flow in states[switch.name].ordered_flows if flow.priority]
        table = random.choice(sorted({flow.table for flow in flows}))
        chosen = random.choice([flow for flow in flows if flow.table == table])
        fields, in_port = _fitted(fields, in_port, chosen)
        if table in _DOWNSTREAM and random.random() < 0.8:
            fields["eth_src"] = generate.CLIENT_MAC
            in_port = switch.network or random.choice(trees.LINK_PORTS[:3])
        elif table in (FORMER.number, PEER.number):
            leads = [flow for flow in flows if Goto(table) in flow.actions and _match(flow).keys() & {"in_port"}]
            over = random.choice([flow for flow in leads if _match(flow)["eth_type"] == fields["eth_type"]] or [None])
            in_port = random.choice(trees.LINK_PORTS[:2]) if over is None else _match(over)["in_port"]
            fields |= {} if over is None else {"eth_src": _match(over)["eth_src"]}
        if table in _FLAGS and "tcp_flags" in fields:
            fields["tcp_flags"] = _FLAGS[table]
    if random.random() < 0.06:
        fields["vlan_vid"] = 0x1000 | random.choice((0, 7, 4094))
    if "ip_proto" in fields and random.random() < 0.1:
        fields["ip_dscp"] = random.choice((10, 46, random.randrange(64)))
    if not _can_be_said(fields):
        return None
    size = random.choice((60, 60, 1514, 9234, 9235)) if random.random() < 0.1 else 0
    whole = frame(fields, size)
    size = len(whole) - (4 if fields.get("vlan_vid") else 0)
    text = sentence(fields, place(switch.name, in_port), size)
    (start,) = starts(read(text), config)
    return Case(text, start, whole, random.randrange(1, 1 << 32))


def _entrances(random: Random, config: Config) -> list[Switch]:
    """Switches that a packet comes in by: those with a network side more often."""
    with_network = [switch for switch in config.switches if switch.network is not None]
    return with_network if random.random() < 0.5 else list(config.switches)


def _fitted(fields: dict[str, int], in_port: int, flow: Flow) -> tuple[dict[str, int], int]:
    """The fields of a packet, changed so that they match a flow, as far as they are the packet's."""
    wanted = {name: (value, mask) for name, value, mask in flow.match}
    eth_type = wanted.get("eth_type", (fields["eth_type"], None))[0]
    if eth_type != fields["eth_type"] or "nd_target" in wanted and "nd_target" not in fields:
        return fields, in_port
    changed = dict(fields)
    for name, (value, mask) in wanted.items():
        if name == "in_port":
            in_port = value
        elif name.startswith(_PACKET_FIELDS):
            changed[name] = value if mask is None else changed.get(name, 0) & ~mask | value
    return changed, in_port


def _match(flow: Flow) -> dict[str, int]:
    return {name: value for name, value, _ in flow.match}


def _can_be_said(fields: Mapping[str, int]) -> bool:
    """Whether the packet language has such a packet: no neighbour discovery without its target, nor in fragments."""
    if fields["eth_type"] == ARP:
        return fields.get("arp_op", 0) < 256
    protocol, kind = fields.get("ip_proto"), fields.get("icmpv6_type")
    if fields["eth_type"] == IPV6 and protocol == 58 and kind in (135, 136):
        option = "nd_sll" if kind == 135 else "nd_tll"
        said = fields.get("nd_options_type", 0) == ((kind - 134) if option in fields else 0)
        return "nd_target" in fields and not fields.get("ip_frag") and said and not fields.get("ip_dscp")
    return fields["eth_type"] in (IPV4, IPV6) and "nd_target" not in fields


# ---- what both say ---------------------------------------------------------------------------------------------------


def _compare(
    fabric: Fabric, config: Config, tables: Mapping[str, Tables], case: Case, found: Agreement, name: str
) -> None:
    start = case.start
    began = time.perf_counter()
    traced = fabric.trace(start.switch, start.in_port, start.fields, case.frame, case.dp_hash)
    between = time.perf_counter()
    walk = Walk(tables.get, trees.across(config), start.size)
    visit = walk.follow(start.switch, start.in_port, start.fields)
    found.walk_seconds += time.perf_counter() - between
    found.trace_seconds += between - began
    every = outcomes(visit, ALL_SLOTS)
    said, problem = _with_slot(every, traced), ""
    if _is_reassembled(visit.first):  # a trace does not know the whole packet
        problem = "" if traced.exits[REASSEMBLED] else "it is not reassembled"
    elif said is None:
        problem = f"buckets {sorted(traced.buckets)} are chosen, and there are {len(every)} outcomes"
    elif sorted(slot for each in every for slot in each.slots) != list(ALL_SLOTS):
        problem = "slots are missing or twice"
    elif (mine := Counter(map(_exit, said.exits))) != traced.exits:
        problem = f"explain: {_text(mine - traced.exits)}\ntrace:   {_text(traced.exits - mine)}"
    found.packets += 1
    found.kinds.update(set(_kinds(visit, every, traced)))
    if problem:
        found.differences.append(f"{name}: {case.text}\n{problem}\n{traced.text}")


def _with_slot(every: Sequence[Outcome], traced: Traced) -> Outcome | None:
    """The outcome of the slot that the trace has; where it has none, there is one outcome only."""
    if not traced.buckets:
        return every[0] if len(every) == 1 else None
    if len(traced.buckets) != 1:
        return None
    (slot,) = traced.buckets
    return next((each for each in every if slot in each.slots), None)


def _exit(found: Found) -> Exit:
    if isinstance(found, Stopped):
        return ("stopped", found.reason, 0, frozenset())
    fields = frozenset((name, value) for name, value in found.fields.items() if value)
    if isinstance(found, HandedUp):
        return ("copy" if found.is_copy else "controller", "", found.cookie, fields)
    assert isinstance(found, Left)
    return ("port", found.switch, found.port, fields)


def _is_reassembled(lookup: Lookup) -> bool:
    for event in lookup.events:
        if isinstance(event, Tracked) and getattr(event.action, "zone", 0) == REASSEMBLY_ZONE:
            return True
        below = getattr(event, "lookup", None)
        if below is not None and _is_reassembled(below):
            return True
    return False


def _kinds(visit: Visit, every: Sequence[Outcome], traced: Traced) -> Iterator[str]:
    kinds = Counter(kind for kind, *_ in traced.exits)
    yield "dropped" if not traced.exits else " and ".join(sorted(kinds))
    if traced.buckets:
        yield "by its slot"
    if len(every) > 1:
        yield "several outcomes"
    if any(switch != visit.switch for _, switch, *_ in traced.exits if switch):
        yield "leaves another switch"
    if any(kind == "port" and fields != frozenset(visit.fields.items()) for kind, _, _, fields in traced.exits):
        yield "changed"
    yield from _tables(visit.first)
    yield {ARP: "ARP", IPV4: "IPv4", IPV6: "IPv6"}[visit.fields["eth_type"]]


def _tables(lookup: Lookup) -> Iterator[str]:
    """The tables in which a flow other than the miss was found, on the first switch."""
    if lookup.flow is not None and lookup.flow.priority:
        yield BY_NUMBER[lookup.table].name
    for event in lookup.events:
        below = getattr(event, "lookup", None)
        if below is not None:
            yield from _tables(below)
        for choice in getattr(event, "choices", ()):
            for each in choice.events:
                if isinstance(each, Into):
                    yield from _tables(each.lookup)


def _text(exits: Counter[Exit]) -> str:
    return "; ".join(
        f"{number} × {kind} {switch} {port:#x} {dict(sorted(fields))}"
        for (kind, switch, port, fields), number in exits.items()
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code says whether explain and Open vSwitch agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    report = Report()
    with tempfile.TemporaryDirectory() as directory:
        switch = OpenVSwitch(Path(directory))
        try:
            fabric = Fabric(switch, trees.SWITCHES, generate.CONNECTORS)
            found = compare(fabric, options.packets, options.seed)
            fabric.close()
        finally:
            switch.close()
    report.say(f"{found.packets} packets: {dict(found.kinds.most_common())}")
    walk, trace = (1e6 * each / max(1, found.packets) for each in (found.walk_seconds, found.trace_seconds))
    report.say(f"{walk:.0f} µs to follow one, {trace:.0f} µs to trace it")
    for difference in found.differences[:3]:
        print(difference)
    report.promise(not found.differences, f"{found.packets - len(found.differences)} of {found.packets} agree")
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
