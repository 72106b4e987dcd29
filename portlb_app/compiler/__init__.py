"""The compiler: a `Config` becomes the tables of every switch. Pure: the same configuration gives the same tables.

One file per table of the pipeline; each says what its table is for and yields its flows. All take a `VipOnSwitch`: one
VIP on one switch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from portlb_app import topology
from portlb_app.compiler.memo import Memo
from portlb_app.compiler.rates import Rates
from portlb_app.compiler.second_chance import NOTHING, hand_backs
from portlb_app.compiler.tables import (
    advertise,
    ask,
    check,
    classify,
    default,
    former,
    fragment,
    heartbeat,
    icmp,
    label,
    legacy,
    log,
    management,
    neighbour,
    peer,
    pin,
    punt,
    qos,
    redirect,
    refuse,
    service,
    transit,
    turns,
    upstream,
)
from portlb_app.compiler.vip_on_switch import NO_FLOWS, MeteredPart, PartKey, VipOnSwitch
from portlb_app.compiler.vips_by_switch import vips_on_switch
from portlb_app.config import Config, Switch
from portlb_app.openflow import Flow, FlowParts, Meter, SwitchState
from portlb_app.pipeline import (
    BY_NUMBER,
    TABLES,
    Priority,
    Reason,
    Table,
    flow,
    goto,
    make_cookie,
    match_all,
)
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions
from portlb_app.topology.leaving import with_leaving

_DOWNSTREAM = (fragment, icmp, service, label, redirect, turns, legacy, pin, default)
_TABLES = (neighbour, advertise, *_DOWNSTREAM, upstream, peer, log, check, punt)
_WITH_GROUPS = (redirect, pin, icmp)
_IN_PARTS = (service, upstream)
"""Those with flows for each service port."""
_NO_RATES = Rates()

_MISS: dict[str, tuple[str | None, str]] = {
    "CLASSIFY": (None, "a port that is no network side, no link and no server's connector: drop"),
    "NEIGHBOUR": (None, "not for a VIP, not by a server, or an ARP packet without use: drop"),
    "SHARE": (None, "an advertisement that a router forwarded: drop, as hosts do"),
    "ADVERTISE": (None, "not an answer that the switch makes: drop"),
    "FRAGMENT": ("ICMP", "a whole packet"),
    "ICMP": ("SERVICE", "not ICMP"),
    "SERVICE": ("REDIRECT", "no server's service port"),
    "LABEL": ("REDIRECT", "no server's service label"),
    "REDIRECT": ("LEGACY", "no redirect port, or a client that cannot be redirected"),
    "PRESENCE": (None, "the controller has not said that it is there, as far as is known: the slots decide"),
    "TURNS": (None, "no redirect port whose turns the controller takes: drop"),
    "LEGACY": ("DEFAULT", "no redirect port"),
    "PINNED": (None, "no redirect port that is pinned: drop"),
    "PIN": (None, "no slot names such a server: drop"),
    "SIGNAL": (None, "no redirect port whose SYNs the controller reads: drop"),
    "DEFAULT": (None, "no default server: drop"),
    "UPSTREAM": (None, "a server may only send as its VIP, from ports it owns or shares: drop"),
    "PEER": (None, "no server's further address: drop"),
    "FORMER": (None, "no former server of a slot of this port: drop"),
    "LOG": (None, "neither opens nor closes a connection of a VIP with a log: no copy"),
    "PUNT": (None, "no reason to hand it up: drop"),
}


def compile(  # noqa: A001
    config: Config, conditions: Conditions = AS_CONFIGURED, memo: Memo | None = None
) -> dict[str, SwitchState]:
    """The target of every switch of the configuration, by its name, under these conditions.

    With the `memo` of an earlier compilation, flows that both have in common are not made again.
    """
    memo = memo or Memo()
    memo.begin({switch.name for switch in config.switches})
    config = with_leaving(config, conditions.leaving)
    graph = memo.of(topology.of, config, conditions.links_down)
    rates, meters = memo.of(qos.meters, config), memo.of(qos.punt_meters, config)
    ends = {end for link in config.links for end in link}
    vip_addresses = memo.of(refuse.vip_addresses, config)
    handed_back, hand_back_meters = hand_backs(config, graph, conditions), memo.of(qos.hand_back_meters, config)

    def here(switch: Switch) -> Iterator[VipOnSwitch]:
        for local in vips_on_switch(config, graph, switch, conditions):
            own = rates.get(local.vip.name, _NO_RATES) if local.is_entrance else _NO_RATES
            yield replace(local, rates=own, meters=meters, memo=memo)

    def links(switch: Switch) -> list[int]:
        return sorted(end.port for end in ends if end.switch == switch.name)

    def given_back(switch: Switch) -> tuple[Flow, ...]:
        return tuple(former.flows(config, switch, handed_back.get(switch.name, NOTHING), hand_back_meters))

    meters_too = frozenset(hand_back_meters.values())

    def made(switch: Switch) -> SwitchState:
        made_of = switch, links(switch), tuple(here(switch)), vip_addresses[switch.name], given_back(switch), meters_too
        return memo.state(switch.name, made_of, lambda: _switch(*made_of, memo))

    return {switch.name: made(switch) for switch in config.switches}


def _switch(
    switch: Switch,
    links: Iterable[int],
    here: tuple[VipOnSwitch, ...],
    vip_addresses: tuple[refuse.VipAddress, ...],
    given_back: tuple[Flow, ...],
    hand_back_meters: frozenset[Meter],
    memo: Memo,
) -> SwitchState:
    flows = dict.fromkeys(classify.flows(switch.network, links, here))
    flows.update(dict.fromkeys(given_back))
    flows.update(dict.fromkeys(refuse.flows(vip_addresses, here)))
    flows.update(dict.fromkeys(heartbeat.flows(here)))
    if switch.network is not None:
        flows.update(dict.fromkeys(management.flows(switch.network, switch.addresses)))
    on_the_way = tuple(local for local in here if local.is_on_the_way)
    flows.update(dict.fromkeys(neighbour.link_local_flows(on_the_way)))
    flows.update(dict.fromkeys(neighbour.query_flows(on_the_way)))
    flows.update(dict.fromkeys(ask.flows(on_the_way)))
    flows.update(dict.fromkeys(_miss(table) for table in TABLES))
    for local in here:
        flows.update(dict.fromkeys(transit.flows(local)))
    for local in on_the_way:
        for table in _TABLES:
            flows.update(dict.fromkeys(table.flows(local)))
    parts: dict[PartKey, MeteredPart] = {}
    for local in on_the_way:
        for module in _IN_PARTS:
            for key, part in module.parts(local):
                if parts.setdefault(key, part) is not part:  # the same packets, for several reachabilities
                    flows.update(dict.fromkeys((*parts[key].flows, *part.flows)))
                    parts[key] = NO_FLOWS
    every = (*parts.values(), MeteredPart.of(flows))
    used = frozenset[int]().union(*(part.meters for part in every))
    meters = {meter for local in here for meter in (*local.rates.values(), *local.meters.values())} | hand_back_meters
    meters.update(heartbeat.meters(here))
    groups = {group for local in on_the_way for table in _WITH_GROUPS for group in table.groups(local)}
    groups.update(ask.groups(on_the_way))
    return SwitchState(
        FlowParts(part.flows for part in every if part.flows),
        frozenset(groups),
        frozenset(meter for meter in meters if meter.number in used),
    )


def _miss(table: Table) -> Flow:
    target, reason = _MISS[table.name]
    by_name = {each.name: each for each in TABLES}
    actions = (goto(by_name[target]),) if target else ()
    return flow(table, Priority.MISS, match_all(), actions, make_cookie(Reason.MISS), reason)


def flows_text(switch: str, state: SwitchState) -> str:
    """The flows of a switch in packet order, each with its reason, as a file for ``ovs-ofctl replace-flows``."""
    lines = [
        f"# The flows of switch {switch}, as portlb compiles them. Add {switch}.meters and {switch}.groups",
        "# first, then:",
        f"#   ovs-ofctl -O OpenFlow15 --bundle replace-flows {switch} {switch}.flows",
    ]
    table = reason = None
    for each in state.ordered_flows:
        if each.table != table:
            table, reason = each.table, None
            lines += ["", f"# --- {BY_NUMBER[table].name}"]
        if each.reason != reason:
            reason = each.reason
            lines.append(f"# {reason}")
        lines.append(str(each))
    return "\n".join(lines) + "\n"


def groups_text(switch: str, state: SwitchState) -> str:
    """The groups of a switch, as a file for ``ovs-ofctl add-groups``."""
    lines = [
        f"# The pools of switch {switch}, as portlb compiles them: per group one slot of equal weight a bucket.",
        f"#   ovs-ofctl -O OpenFlow15 add-groups {switch} {switch}.groups",
    ]
    return "\n".join([*lines, *map(str, state.ordered_groups)]) + "\n"


def meters_text(switch: str, state: SwitchState) -> str:
    """The meters of a switch, one a line, each for ``ovs-ofctl add-meter`` (which reads no files)."""
    lines = [
        f"# The meters of switch {switch}, as portlb compiles them: what may be handed up, and services' rates.",
        f"#   grep -v '^#' {switch}.meters | while read -r meter; do "
        f'ovs-ofctl -O OpenFlow15 add-meter {switch} "$meter"; done',
    ]
    return "\n".join([*lines, *map(str, state.ordered_meters)]) + "\n"
