"""Under any conditions the tables do what these say: explicit slots, closed servers, whatever a switch can reach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app import compiler, topology
from portlb_app.compiler.delivery import deliver
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.compiler.vips_by_switch import vips_on_switch
from portlb_app.config import Config, Legacy, load
from portlb_app.openflow import Group, SetField, SwitchState, match
from portlb_app.pipeline import SELECTION, SERVER, SLOTS, family, pin_group, pool_group
from portlb_app.selection import slots
from portlb_app.topology.conditions import ALL_SERVERS, AS_CONFIGURED, Conditions, PoolKey, PoolSlots
from tests.support import generate

FLOWS = Path(__file__).parents[3] / "flows"
some = settings(max_examples=40, deadline=None)


def conditions(random: Random, config: Config) -> Conditions:
    """Some links are down, some pools have other slots, some servers are closed."""
    tables: dict[PoolKey, PoolSlots] = {}
    for vip in config.vips:
        every = tuple(server.name for server in config.servers_of(vip))
        for port, servers in ((ALL_SERVERS, every), *((pool.port, pool.servers) for pool in vip.redirect_ports)):
            if servers and random.random() < 0.6:
                kept = random.sample(servers, random.randint(0, len(servers)))
                tables[vip.name, port] = PoolSlots(tuple(random.choices(kept, k=SLOTS)) if kept else ())
    down = [link for link in config.links if random.random() < 0.2]
    closed = [server.name for server in config.servers if random.random() < 0.2]
    return Conditions(frozenset(down), tables, frozenset(closed))


def under(seed: int) -> tuple[Config, Conditions, dict[str, SwitchState]]:
    """A random configuration, random conditions, and its tables."""
    random = Random(seed)
    config = generate.configuration(random)
    given_conditions = conditions(random, config)
    return config, given_conditions, compiler.compile(config, given_conditions)


def locals_of(config: Config, given_conditions: Conditions) -> Iterator[tuple[str, VipOnSwitch]]:
    """Every VIP on every switch."""
    graph = topology.of(config, given_conditions.links_down)
    for switch in config.switches:
        for local in vips_on_switch(config, graph, switch, given_conditions):
            if local.is_on_the_way:
                yield switch.name, local


def named(group: Group, local: VipOnSwitch) -> tuple[str, ...]:
    """The servers that a group's buckets name."""
    by_number = {number: name for name, number in local.numbers.items()}
    marks = [bucket[0] for bucket in group.buckets]
    return tuple(by_number[mark.value] for mark in marks if isinstance(mark, SetField) and mark.name == SERVER)


@some
@given(st.integers(0, 1 << 32))
def test_groups_have_the_slots_they_are_given(seed: int) -> None:
    """A slot's server gets its packets where it can be reached; on every switch the buckets name the same servers."""
    config, given_conditions, states = under(seed)
    for switch, local in locals_of(config, given_conditions):
        for pool in local.pools:
            explicit = given_conditions.slots.get((local.vip.name, pool.port))
            weights = tuple(local.by_name[name].share for name in pool.servers)
            table = explicit.servers if explicit else slots(pool.servers, weights, pool.group_bits)
            usable = {name for name in table if name in local.port_of and name not in local.closed}
            for address in local.vip.addresses:
                ip = family(address)
                group = states[switch].group_by_number[pool_group(local.pool_number, pool.port, ip.version)]
                assert group.selection == SELECTION
                if not usable:
                    continue  # others stand in, if there are any
                assert named(group, local) == table
                to = [{name for name in usable if deliver(local, name, ip) == bucket[1:]} for bucket in group.buckets]
                assert all(to), "each slot goes to one of the pool's servers"
                assert all(name in servers for name, servers in zip(table, to, strict=True) if name in usable)
                if pool.legacy is Legacy.PIN:
                    pinned = states[switch].group_by_number[pin_group(local.pool_number, pool.port, ip.version)]
                    assert named(pinned, local) == table


@some
@given(st.integers(0, 1 << 32))
def test_a_closed_server_gets_nothing_at_its_ports(seed: int) -> None:
    """At an entrance its service ports drop, whatever else may be there."""
    config, given_conditions, states = under(seed)
    for switch, local in locals_of(config, given_conditions):
        by_match = {(flow.table, flow.match): flow.actions for flow in states[switch].flows}
        for server in local.all_servers:
            for owned in server.service_ports if server.name in given_conditions.closed and local.is_entrance else ():
                for address in local.vip.addresses:
                    to_port = match(**family(address).to(address), ip_proto=17, udp_dst=owned.port)
                    assert by_match[40, to_port] == ()
        for name in given_conditions.closed & local.by_name.keys():
            assert all(deliver(local, name, family(address)) == () for address in local.vip.addresses)


@some
@given(st.integers(0, 1 << 32))
def test_slots_that_are_those_of_the_configuration_change_nothing(seed: int) -> None:
    """The same tables, whether the slots are given or follow from servers and weights."""
    config = generate.configuration(Random(seed))
    tables = {
        (vip.name, pool.port): PoolSlots(
            slots(pool.servers, tuple(config.server_by_name[name].share for name in pool.servers), pool.group_bits)
        )
        for vip in config.vips
        for pool in vip.redirect_ports
    }
    assert compiler.compile(config, Conditions(slots=tables)) == compiler.compile(config)


def test_other_slots_change_their_groups_alone() -> None:
    """So that a server's death is a small change."""
    config = load((FLOWS / "fig2/lb.yaml").read_text())
    (vip,) = config.vips
    given_conditions = Conditions(slots={(vip.name, 22): PoolSlots(slots(("a", "b", "c")))})
    before, after = compiler.compile(config)["s1"], compiler.compile(config, given_conditions)["s1"]
    assert before.flows == after.flows and before.meters == after.meters
    assert {each.number for each in before.groups ^ after.groups} == {pool_group(vip.number, 22, 4)}


def test_conditions_of_a_configuration() -> None:
    """What is about others is left out; equal ones are equal, also as keys."""
    config = load((FLOWS / "leafspine/lb.yaml").read_text())
    (vip,) = config.vips
    pool, link = vip.redirect_ports[0], config.links[0]
    mine = Conditions(frozenset({link}), {(vip.name, pool.port): PoolSlots()}, frozenset({config.servers[0].name}))
    more = Conditions(
        frozenset({link, link._replace(one=link.one._replace(port=99))}),
        {**mine.slots, (vip.name, 1): PoolSlots(), ("other", pool.port): PoolSlots()},
        mine.closed | {"other"},
    )
    assert more.of(config) == mine and hash(more.of(config)) == hash(mine) and more != mine
    assert mine.of_paths == Conditions(mine.links_down, {}, mine.closed) and AS_CONFIGURED.of_paths is AS_CONFIGURED
