"""The actions that carry a packet to a server and back to the network, rewritten as the VIP says (rows N1 to N5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, Forwarding, Rewrite, Server
from portlb_app.openflow import IN_PORT, Action, Output, SetField
from portlb_app.pipeline import Family, mark

# ---- to servers ----


def deliver(local: VipOnSwitch, server: str, family: Family) -> tuple[Action, ...]:
    """Bring a packet to a server.

    Only the server's own switch rewrites; the switches before it pass the packet on unchanged (rows T1 to T3).
    No actions (drop) for a server that cannot be reached, or is closed.
    """
    if server not in local.port_of or server in local.closed:
        return ()
    return (*_rewrite(local, local.by_name[server], family), output(local, server))


def deliver_as_named(local: VipOnSwitch, server: str, family: Family) -> tuple[Action, ...]:
    """Bring a packet to the server's service address, which is never rewritten (row X1)."""
    return without(deliver(local, server, family), family.destination)


def marked(
    local: VipOnSwitch, delivered: tuple[Action, ...], server: str, formers: tuple[str, ...]
) -> tuple[Action, ...]:
    """A delivery to a server of a packet of a slot that these had before, latest first (docs/second-chance.md).

    A router before the server would take the mark off.
    """
    if not delivered or not formers or local.by_name[server].routers:
        return delivered
    source = SetField("eth_src", mark(local.number, formers))
    return (*without(delivered[:-1], "eth_src"), source, delivered[-1])


def replicate(local: VipOnSwitch, family: Family) -> tuple[Action, ...]:
    """Bring a packet to every server that can be reached: first over links, before anything is rewritten."""
    if local.vip.rewrite is Rewrite.NOTHING:
        return tuple(Output(port) for port in sorted(set(local.port_of.values())))
    attached = (action for server in local.attached for action in deliver(local, server.name, family))
    return (*over_links(local, local.reachable_servers), *attached)


def over_links(local: VipOnSwitch, servers: Iterable[Server]) -> tuple[Output, ...]:
    """Bring a packet to the other switches that these servers are on, once over each link."""
    ports = {local.port_of[server.name] for server in servers if server.name not in local.attached_names}
    return tuple(Output(port) for port in sorted(ports))


def output(local: VipOnSwitch, server: str) -> Output:
    """Send a packet out towards a server; a one-armed server is on the port the packet came in by (row N5)."""
    one_armed = local.is_one_armed(local.by_name[server])
    return Output(IN_PORT if one_armed else local.port_of[server])


def _rewrite(local: VipOnSwitch, server: Server, family: Family) -> Iterator[Action]:
    if local.vip.rewrite is Rewrite.NOTHING or server.name not in local.attached_names:
        return
    yield SetField("eth_dst", local.mac(server))
    if local.is_one_armed(server):
        yield SetField("eth_src", local.vip.mac)  # else the LAN's switch would learn the client's MAC address here
    if local.vip.rewrite is Rewrite.ADDRESS:
        yield SetField(family.destination, int(address_in(server.addresses, family)))


# ---- from servers ----


def egress_actions(local: VipOnSwitch, server: Server, family: Family) -> tuple[Action, ...]:
    """Send an attached server's packet towards the network, as the VIP."""
    actions: list[Action] = []
    if local.vip.rewrite is not Rewrite.NOTHING:
        actions.append(SetField("eth_src", local.vip.mac))
    if local.vip.gateway is not None:
        actions.append(SetField("eth_dst", local.vip.gateway))
    if local.vip.rewrite is Rewrite.ADDRESS:
        actions.append(SetField(family.source, int(address_in(local.vip.addresses, family))))
    return (*actions, Output(IN_PORT if local.is_one_armed(server) else local.uplink))


def egress_actions_as_named(local: VipOnSwitch, server: Server, family: Family) -> tuple[Action, ...]:
    """Send a server's packet from its service address, which is never rewritten (row X1)."""
    return without(egress_actions(local, server, family), family.source)


# ---- addresses ----


def source_address(local: VipOnSwitch, server: Server, family: Family) -> Address:
    """The address a server's packets to clients come from, before they are rewritten."""
    return address_in(local.vip.addresses_of(server), family)


def address_in(addresses: tuple[Address, ...], family: Family) -> Address:
    """The address of a family; a configuration that lacks it was refused."""
    return next(address for address in addresses if address.version == family.version)


def spoils_fragments(local: VipOnSwitch, family: Family) -> bool:
    """Whether the switch would damage fragments by rewriting them.

    Where an IPv4 address is rewritten, Open vSwitch's userspace datapath (seen in 3.1) also "corrects" a transport
    checksum in later fragments, which have none, and so changes their data. The kernel datapath (seen in Linux 6.1)
    does not.
    """
    rewrites = local.vip.rewrite is Rewrite.ADDRESS and family.version == 4
    return rewrites and local.datapath is Forwarding.USERSPACE


def without(actions: tuple[Action, ...], field: str) -> tuple[Action, ...]:
    """Actions without those that set a field."""
    return tuple(action for action in actions if not (isinstance(action, SetField) and action.name == field))
