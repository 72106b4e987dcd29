"""Ask the data path: which slot a packet would get, by the hash of the switches that it would pass.

A question becomes a packet with the addresses and ports that it is about, which each connected switch sends into the
group that tells slots (`compiler.tables.ask`). The answer is the same packet, handed up with its slot; 16 random bytes
behind its header say which question it is about. Pure: time and chance are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from portlb_app.compiler.tables.pool import selection, way_of
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, Algorithm, Forwarding, RedirectPort
from portlb_app.net import packets
from portlb_app.net.packets import Datagram, Ends
from portlb_app.openflow import IP_TCP, IP_UDP, ToGroup
from portlb_app.pipeline import SLOTS, SYN, Side, family, slot_group
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.packet import PacketIn, Send
from portlb_app.punt.verdict import ingress_port

SECONDS = 2.0
"""How long switches have to answer."""
MOST = 16
"""Questions that wait for answers at a time."""
_FROM = 0x0250 << 32
"""The MAC address that questions come from; nothing leaves a switch with it."""
_NONCE = 4
"""Words of 32 bits."""


@dataclass(frozen=True)
class Question:
    """A packet to a redirect port of a VIP, whose slot is asked for; `protocol` is IP_TCP or IP_UDP.

    `source` is of a version of IP of which the VIP has an address.
    """

    vip: str
    port: int
    protocol: int
    source: Address
    source_port: int
    dscp: int = 0


@dataclass(frozen=True)
class Answer:
    """What one switch does with such a packet that comes in by one of `ingress_ports`.

    `pool`: the redirect port whose pool gets it (another one by ``when``). `slot`: its slot among all slots of the
    pool; None if the switch has not answered. `server`: whose it is there, and `output` the port towards it; None
    without a slot. `is_certain`: every packet with these addresses and ports has the same hash.
    """

    dpid: int
    ingress_ports: tuple[int, ...]
    is_entrance: bool
    pool: int
    slot: int | None
    server: str | None
    output: int | None
    is_certain: bool


@dataclass
class _Open:
    question: Question
    by_switch: Mapping[int, tuple[VipOnSwitch, ...]]
    until: float
    slots: dict[int, int] = field(default_factory=dict)


class Questions:
    """Questions that wait for their answers. `draw` gives 32 random bits; `answered` is called with a number."""

    def __init__(self, draw: Callable[[], int], answered: Callable[[int], None] = lambda _number: None) -> None:
        self._draw = draw
        self.answered = answered
        self._open: dict[int, _Open] = {}

    def ask(
        self, question: Question, by_switch: Mapping[int, tuple[VipOnSwitch, ...]], now: float
    ) -> tuple[int, tuple[Send, ...]]:
        """A question's number, and what switches shall send. `by_switch`: the VIPs on each connected switch.

        ValueError if too many wait. Ask `answers` when `answered` was called, or after `SECONDS`.
        """
        self._open = {number: each for number, each in self._open.items() if each.until > now}
        if len(self._open) >= MOST:
            raise ValueError(f"{MOST} questions wait for answers already")
        here = {dpid: _asked(question, locals_) for dpid, locals_ in by_switch.items()}
        asked = {dpid: found for dpid, found in here.items() if found}
        nonce = sum(self._draw() << 32 * at for at in range(_NONCE))
        self._open[nonce] = _Open(question, asked, now + SECONDS)
        return nonce, tuple(_send(dpid, found[0], question, nonce) for dpid, found in asked.items())

    def take(self, dpid: int, packet: PacketIn) -> Disposition:
        """A switch has handed up an answer."""
        number = _nonce_of(packet.frame)
        if number is None or packet.slot is None:
            return Disposition.MALFORMED
        found = self._open.get(number)
        if found is None or dpid not in found.by_switch:
            return Disposition.UNKNOWN
        found.slots[dpid] = packet.slot
        if found.slots.keys() == found.by_switch.keys():
            self.answered(number)
        return Disposition.SENT

    def answers(self, number: int) -> tuple[Answer, ...]:
        """What is known of a question, which is then forgotten; one for each switch and reachability."""
        found = self._open.pop(number)
        return tuple(
            _answer(dpid, local, found.question, found.slots.get(dpid))
            for dpid, here in found.by_switch.items()
            for local in here
        )


def _asked(question: Question, here: Iterable[VipOnSwitch]) -> tuple[VipOnSwitch, ...]:
    """The VIP asked about, where packets to its pool get a slot."""
    return tuple(
        local
        for local in here
        if local.vip.name == question.vip
        and (pool := local.vip.pool_on(question.port)) is not None
        and pool in local.pools
        and local.slots(_pool_of(local, pool, question).port)
    )


def _pool_of(local: VipOnSwitch, pool: RedirectPort, question: Question) -> RedirectPort:
    return way_of(local, pool, question.source, question.dscp, question.source_port).pool


def _send(dpid: int, local: VipOnSwitch, question: Question, nonce: int) -> Send:
    pool = local.vip.pool_on(question.port)
    assert pool is not None
    vip = next(each for each in local.vip.addresses if each.version == question.source.version)
    ends, data = Ends(_FROM, local.vip.mac, question.source, vip), nonce.to_bytes(4 * _NONCE, "big")
    if question.protocol == IP_TCP:
        frame = packets.make_segment(ends, (question.source_port, question.port), 0, 0, SYN, 0, data)
    else:
        frame = Datagram(_FROM, local.vip.mac, ends.source, vip, question.source_port, question.port, data).pack()
    to_group = ToGroup(slot_group(selection(_pool_of(local, pool, question), family(vip))))
    return Send(dpid, ingress_port(local), (to_group,), frame, Side.ASK)


def _nonce_of(frame: bytes) -> int | None:
    segment, datagram = packets.parse_tcp(frame), packets.parse_datagram(frame)
    data = segment.data if segment is not None else datagram.data if datagram is not None else b""
    return int.from_bytes(data, "big") if len(data) == 4 * _NONCE else None


def _answer(dpid: int, local: VipOnSwitch, question: Question, slot: int | None) -> Answer:
    pool = local.vip.pool_on(question.port)
    assert pool is not None
    way = way_of(local, pool, question.source, question.dscp, question.source_port)
    at = None if slot is None else SLOTS * way.index + slot
    server = None if at is None else local.slots(way.pool.port)[at]
    is_by_source = way.pool.selecting.algorithm is Algorithm.SOURCE
    return Answer(
        dpid=dpid,
        ingress_ports=tuple(sorted(port for port in local.ingress_ports if port is not None)),
        is_entrance=local.is_entrance,
        pool=way.pool.port,
        slot=at,
        server=server,
        output=None if server is None else local.port_of[server],
        is_certain=is_by_source or local.datapath is Forwarding.USERSPACE,
    )


PROTOCOLS = {"tcp": IP_TCP, "udp": IP_UDP}
"""What may be asked about."""
