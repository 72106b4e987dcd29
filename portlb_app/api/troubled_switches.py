"""What may be wrong with switches, their ports and their bridges, and what to do about each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portlb_app.api.trouble import Trouble
from portlb_app.config import Forwarding
from portlb_app.reconcile.contest import WORDS as CONTESTED
from portlb_app.reconcile.foreign import Shadow
from portlb_app.reconcile.ports import PortProblem
from portlb_app.reconcile.status import SwitchStatus

END_THE_OTHER = "end the other controller, or take the switch out of its configuration; then have it read (resync)"
ONE_EACH = "give each bridge a datapath id of its own, and each bridge one target"
NAME_IT = "add it to the configuration, or remove this controller from its bridge"
READ_THE_REFUSAL = "the text is the switch's own; `portlb support` collects what a report needs"
SHADOWS = 3
"""Foreign flows of a switch that are told one by one."""
_TYPES = {Forwarding.USERSPACE: "netdev", Forwarding.KERNEL: "system"}
_FORWARDS = {Forwarding.USERSPACE: "in user space", Forwarding.KERNEL: "in the kernel"}


def not_ours(switches: Iterable[SwitchStatus]) -> Iterator[Trouble]:
    """Switches that do not hold their tables, because they refuse them or another controller writes there."""
    for switch in switches:
        if switch.contested is not None:
            yield Trouble("switch", switch.name, "two controllers", CONTESTED, switch.contested, END_THE_OTHER)
        elif switch.state == "error":
            words = f"refused its tables: {'; '.join(switch.errors)}"
            yield Trouble("switch", switch.name, "error", words, switch.since, READ_THE_REFUSAL)


def away(switches: Iterable[SwitchStatus]) -> Iterator[Trouble]:
    """Switches that are not connected, or may be another one."""
    for switch in switches:
        if switch.state == "absent":
            words = "not connected; it forwards by the tables that it has"
            yield Trouble("switch", switch.name, "absent", words, switch.since, _connect(switch.name))
        elif switch.double:
            yield Trouble("switch", switch.name, "claimed twice", switch.double, switch.double_for, ONE_EACH)


def misconnected(switches: Iterable[SwitchStatus]) -> Iterator[Trouble]:
    """What surrounds the tables of a switch and is not as the configuration says: ports, datapath, foreign flows."""
    for switch in switches:
        for port in switch.ports:
            words = f"port {port.number} ({port.use}): {port.problem}"
            yield Trouble("switch", switch.name, "port", words, to_do=_of_port(port))
    for switch in switches:
        yield from _shadowed(switch)
    for switch in switches:
        if switch.forwarding is not None and switch.forwarding is not switch.configured:
            yield _of_datapath(switch.name, switch.configured, switch.forwarding)


def unknown(dpids: Iterable[int]) -> Iterator[Trouble]:
    """Switches that are connected, and of no configuration."""
    for dpid in dpids:
        words = "connected, but no switch of the configuration has this datapath id"
        yield Trouble("switch", f"{dpid:#x}", "unknown", words, to_do=NAME_IT, is_bad=False)


def _connect(name: str) -> str:
    return (
        f"ask `ovs-vsctl get controller {name} is_connected status`, and look at refused_connections in the status; "
        "Open vSwitch may wait for 8 s before it tries again"
    )


def _of_port(port: PortProblem) -> str:
    what = f"port {port.number}"
    if not port.name:
        return (
            f"give an interface this number (ofport_request={port.number}), or change the configuration; a bond has no"
            " number, and its members must not be connectors: join them outside of Open vSwitch"
        )
    if "another interface" in port.problem:
        return f"put the interface before back on {what}, or send the configuration again if the new one is right"
    return f"set {port.name} up, and look at its cable and at the other end"


def _of_datapath(name: str, configured: Forwarding, seen: Forwarding) -> Trouble:
    words = (
        f"its bridge forwards {_FORWARDS[seen]} (datapath_type={_TYPES[seen]}), and lb.yaml says "
        f"datapath: {configured.value}: fragments go another way than the tables are made for"
    )
    to_do = f"say datapath: {seen.value} for {name} in lb.yaml, or `ovs-vsctl set bridge {name} {_type(configured)}`"
    return Trouble("switch", name, "datapath", words, to_do=to_do, is_bad=False)


def _type(forwarding: Forwarding) -> str:
    return f"datapath_type={_TYPES[forwarding]}"


def _shadowed(switch: SwitchStatus) -> Iterator[Trouble]:
    """Flows of others that take packets before portlb's do."""
    foreign = switch.foreign
    if foreign is None:
        return
    for shadow in foreign.shadows[:SHADOWS]:
        yield Trouble("switch", switch.name, "foreign flow", _words(shadow), to_do=_of_foreign(switch.name, shadow))
    if len(foreign.shadows) > SHADOWS:
        more = len(foreign.shadows) - SHADOWS
        words = f"{more} more foreign flows take packets before portlb's flows do"
        yield Trouble("switch", switch.name, "foreign flows", words, to_do="GET /v1/switches/NAME has them")
    if foreign.unread:
        words = f"{foreign.unread} more flows of others in portlb's tables were not looked at: there are too many"
        to_do = "have the other application use tables of its own, from 120 on"
        yield Trouble("switch", switch.name, "foreign flows", words, to_do=to_do, is_bad=False)


def _words(shadow: Shadow) -> str:
    others = f", and {shadow.count - 1} more" if shadow.count > 1 else ""
    return (
        f"a foreign flow (cookie {shadow.cookie:#x}) in table {shadow.table}, {shadow.table_name}, of priority "
        f"{shadow.priority} takes packets ({shadow.match or 'all'}) before {shadow.ours}{others}"
    )


def _of_foreign(name: str, shadow: Shadow) -> str:
    lower = f"a priority below {shadow.below} or " if shadow.below else ""
    return (
        f"have its owner give it {lower}a narrower match, or a table that portlb does not use; portlb leaves it alone: "
        f"`ovs-ofctl -O OpenFlow15 del-flows {name} cookie={shadow.cookie:#x}/-1,table={shadow.table}` deletes it"
    )
