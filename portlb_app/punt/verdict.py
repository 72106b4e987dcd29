"""Which switches do what with a packet, and how it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from portlb_app.compiler.delivery import deliver, output, source_address
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, Rewrite
from portlb_app.openflow import CONTROLLER, Action
from portlb_app.openflow.limits import OUTPUTS
from portlb_app.pipeline import Family
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.packet import Send
from portlb_app.punt.vip_index import LocatedVip

RewriteFrame = Callable[[bytes, Address], bytes | None]
"""Puts an address into a frame; None if that cannot be done."""


@dataclass(frozen=True)
class Delivery:
    """These actions, with the packet rewritten here to or from `address`, if that is more than a switch can do.

    `server_switch`: the switch that does them, and the port the packet shall have come in by there; None: those of the
    packet that was handed up.
    """

    actions: tuple[Action, ...]
    address: Address | None = None
    server_switch: tuple[int, int] | None = None


@dataclass(frozen=True)
class Verdict:
    """Where a packet goes (no deliveries: nowhere), and how it counts."""

    deliveries: tuple[Delivery, ...]
    disposition: Disposition

    def sends(self, dpid: int, in_port: int, frame: bytes, rewrite: RewriteFrame) -> Iterator[Send]:
        """What switches are told about a frame that the switch `dpid` handed up; less what cannot be rewritten."""
        for delivery in self.deliveries:
            changed = frame if delivery.address is None else rewrite(frame, delivery.address)
            if changed is not None:
                yield Send(*(delivery.server_switch or (dpid, in_port)), delivery.actions, changed)


MALFORMED = Verdict((), Disposition.MALFORMED)
DROPPED = Verdict((), Disposition.DROPPED)
UNKNOWN = Verdict((), Disposition.UNKNOWN)
ABSENT = Verdict((), Disposition.ABSENT)
NO_ROOM = Verdict((), Disposition.NO_ROOM)


def here(actions: tuple[Action, ...], address: Address | None = None) -> Verdict:
    """The switch that handed the packet up does these actions."""
    return Verdict((Delivery(actions, address),), Disposition.SENT)


def to_servers(
    located: LocatedVip, ip: Family, servers: Iterable[str], disposition: Disposition = Disposition.SENT
) -> Verdict:
    """A copy for each of these servers, at its own switch."""
    servers = tuple(servers)
    reachable = [(name, *located.server_switches[name]) for name in servers if name in located.server_switches]
    if located.local.vip.rewrite is Rewrite.NOTHING:
        by_server_switch: dict[tuple[int, int], dict[Action, None]] = {}
        for server, dpid, local in reachable:
            by_server_switch.setdefault((dpid, ingress_port(local)), {})[output(local, server)] = None
        deliveries = [
            Delivery(tuple(outputs), server_switch=server_switch)
            for server_switch, every in by_server_switch.items()
            for outputs in _batches(tuple(every))
        ]
    else:
        deliveries = [
            Delivery(deliver(local, server, ip), _rewritten_to(local, server, ip), (dpid, ingress_port(local)))
            for server, dpid, local in reachable
        ]
    return Verdict(tuple(deliveries), disposition) if deliveries else ABSENT if servers else DROPPED


def to_default(located: LocatedVip, ip: Family) -> Verdict:
    """What no table can judge goes to the default server, if there is one (row E6)."""
    default = located.local.vip.default_server
    return UNKNOWN if default is None else to_servers(located, ip, (default,), Disposition.UNKNOWN)


def to_service_address(located: LocatedVip, server: str, ip: Family) -> Verdict:
    """A packet about a server's service address goes there as it is: it quotes what the server knows (row X1)."""
    if server not in located.server_switches:
        return ABSENT
    dpid, local = located.server_switches[server]
    delivery = Delivery(deliver(local, server, ip), server_switch=(dpid, ingress_port(local)))
    return Verdict((delivery,), Disposition.SENT)


def ingress_port(local: VipOnSwitch) -> int:
    """The port that a packet to a server of this switch shall have come in by: a server may be there, too (row N5)."""
    return CONTROLLER if local.network is None else local.network


def _rewritten_to(local: VipOnSwitch, server: str, ip: Family) -> Address | None:
    return source_address(local, local.by_name[server], ip) if local.vip.rewrite is Rewrite.ADDRESS else None


def _batches(outputs: tuple[Action, ...]) -> Iterator[tuple[Action, ...]]:
    """As many at a time as one message to a switch has room for."""
    yield from (outputs[at : at + OUTPUTS] for at in range(0, len(outputs), OUTPUTS))
