"""Several switches mean what one switch means: random trees, random packets, ofproto/trace from bridge to bridge.

PORTLB_SEED=n repeats or varies the draw, PORTLB_TREE_PAIRS=n makes it longer.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from random import Random

import pytest

from portlb_app import compiler
from portlb_app.config import Config, Connector, load
from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge, Changes, Seen
from tests.ovs.terms import expected, handed_up, masks, settled, without_group_bits
from tests.support import generate, trees
from tests.support.generate import mac_text
from tests.support.reference import (
    All,
    Answer,
    AnyOf,
    Drop,
    Ip,
    Packet,
    Punted,
    Reassembled,
    To,
    ToNetwork,
    copied,
    deliver,
)

SEED = int(os.environ.get("PORTLB_SEED", "20261124"))
PAIRS = int(os.environ.get("PORTLB_TREE_PAIRS", "1500"))
PER_TREE = 20


@pytest.fixture(scope="module")
def bridges(switch: ovs.Switch) -> Iterator[dict[str, Bridge]]:
    """A bridge for every switch a random tree may have."""
    made = {name: Bridge(switch, (*generate.CONNECTORS, *trees.LINK_PORTS)) for name in trees.SWITCHES}
    yield made
    for bridge in made.values():
        bridge.close()


def changed(packet: Packet, changes: Changes) -> Packet:
    """What a packet looks like after its addresses were rewritten so."""
    for field, value in changes:
        if field.startswith("eth_"):
            packet = replace(packet, **{field: int(value.replace(":", ""), 16)})
        else:
            assert isinstance(packet.payload, Ip)
            name = {"ip_src": "source", "ip_dst": "destination"}[field]
            packet = replace(packet, payload=replace(packet.payload, **{name: ip_address(value)}))
    return packet


def walk(bridges: Mapping[str, Bridge], config: Config, switch: str, packet: Packet, hops: int = 12) -> Seen:
    """Where a packet goes that comes into a switch, over all links, by ports: they have one number on all switches.

    AssertionError if it goes in a circle, if two copies
    meet, or if somebody rewrites it before the last switch down.
    """
    assert hops, "in a circle"
    seen = bridges[switch].trace(packet.in_port, generate.frame(packet))
    others = trees.across(config)
    deliveries: dict[tuple[int, Changes], int] = Counter()
    for port, changes in seen.deliveries:
        if (there := others.get(Connector(switch, port))) is None:
            deliveries[port, changes] += 1
            continue
        beyond = walk(bridges, config, there.switch, replace(changed(packet, changes), in_port=there.port), hops - 1)
        assert not (beyond.answered or beyond.copied or beyond.cookie or beyond.reassembled), "at the first switch only"
        assert not (changes and seen.chosen), "rewritten before the last switch"
        for port_there, changes_there in beyond.deliveries:
            deliveries[port_there, changes | changes_there] += 1
        seen = replace(seen, chosen=seen.chosen or beyond.chosen)
    assert seen.chosen or all(count == 1 for count in deliveries.values()), "two copies"
    return replace(seen, deliveries=frozenset(deliveries))


def is_forged(tree: trees.Tree, switch: str, packet: Packet) -> bool:
    """Whether a packet comes in from the network side and looks like the VIP's, or a server's on another switch."""
    macs = {vip.mac for vip in tree.spread.vips}
    elsewhere = [server for server in tree.spread.servers if server.connector.switch != switch]
    macs |= {mac for server in elsewhere for mac in (server.mac, server.service_mac) if mac}
    return packet.in_port == tree.single.switches[0].network and packet.eth_src in macs


def test_several_switches_mean_what_one_means(
    bridges: dict[str, Bridge], capsys: pytest.CaptureFixture[str]
) -> None:
    """Random trees of two to six switches, with further links, one or two entrances; every kind of outcome."""
    counts: Counter[str] = Counter()
    for number in range(PAIRS // PER_TREE):
        random = Random(f"{SEED}/trees/{number}")
        tree = trees.tree(random)
        (only,) = tree.single.switches
        states = compiler.compile(tree.spread)
        for name, state in states.items():
            bridges[name].install(state)
        roots = [each.name for each in tree.spread.switches if each.network is not None]
        for _ in range(PER_TREE):
            packet = generate.packet(random, tree.single, only)
            if packet.in_port == only.network and not only.addresses:
                switch = random.choice(roots)
            else:
                switch = tree.server_switch.get(packet.in_port, "s1")
            forged = is_forged(tree, switch, packet)
            outcome = Drop() if forged else deliver(tree.single, only, packet)
            what = f"{SEED}/trees/{number}, at {switch}: {packet}\nmeans {outcome}\nwith {tree.spread}"
            try:
                seen = walk(bridges, tree.spread, switch, packet)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{what}") from error
            want = expected(tree.single, packet, only, outcome)
            if isinstance(outcome, Answer):
                seen = replace(seen, deliveries=frozenset())
            copy = None if forged else copied(tree.single, only, packet)
            if copy:
                want = replace(want, copied=handed_up(tree.single, packet, copy))
            assert seen == settled(want, seen, outcome), what
            counts[type(outcome).__name__] += 1
    with capsys.disabled():
        print(f" seed {SEED}, {sum(counts.values())} packets: {dict(counts)}", end=" ")
    for kind in (Drop, To, AnyOf, All, ToNetwork, Answer, Punted, Reassembled):
        assert counts[kind.__name__], "a kind of outcome is not tried"


def fanned(leaves: int, servers: int, owned: int) -> Config:
    """Two entrances, and so many leaves below both, each with so many servers with so many service ports."""
    names = [f"leaf{number}" for number in range(leaves)]
    hosts = [f"h{number}" for number in range(leaves * servers)]
    return load(
        generate.text(
            {
                "switches": {"r1": {"dpid": 1, "network": 1}, "r2": {"dpid": 2, "network": 1}}
                | {name: {"dpid": number} for number, name in enumerate(names, 3)},
                "links": [
                    [f"{root}:{21 + number}", f"{name}:{21 + up}"]
                    for up, root in enumerate(("r1", "r2"))
                    for number, name in enumerate(names)
                ],
                "vips": {
                    "web": {
                        "address": ["10.0.0.100", "fd00::100"],
                        "mac": "02:00:00:00:00:64",
                        "default_server": "h0",
                        "redirect_ports": {80: {"servers": hosts}, 81: {"servers": hosts[:2], "legacy": "balance"}},
                    }
                },
                "servers": {
                    host: {
                        "vip": "web",
                        "connector": f"{names[number % leaves]}:{1 + number // leaves}",
                        "service_ports": list(range(1000 + number * owned, 1000 + (number + 1) * owned)),
                        "mac": mac_text(0x020000010000 + number),
                        "address": f"10.1.0.{number + 1}",
                    }
                    for number, host in enumerate(hosts)
                },
            }
        )
    )


def test_look_ups_in_a_tree_do_not_get_slower_with_servers_and_ports(
    bridges: dict[str, Bridge], switch: ovs.Switch
) -> None:
    """An entrance and a leaf need the same masks for 100 servers with 500 service ports as for 4 with 4."""
    seen = []
    for config in (fanned(2, 2, 1), fanned(10, 10, 5)):
        states = compiler.compile(config)
        bridges["s1"].install(states["r1"])
        bridges["s2"].install(states["leaf1"])
        seen.append([masks(switch, bridges[name]) for name in ("s1", "s2")])
    assert [without_group_bits(each) for each in seen[1]] == seen[0]
    assert max(len(shapes) for each in seen[1] for shapes in each.values()) <= 20, seen[0]
