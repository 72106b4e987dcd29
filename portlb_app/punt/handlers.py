"""What becomes of a packet that a switch hands up. Pure: a packet goes in, what switches shall send comes out.

The cookie of the flow that handed it up gives the reason, and the VIP:

==============  =============================  =====================================================================
reason          what it is                     what becomes of it
==============  =============================  =====================================================================
``ICMP_ERROR``  an ICMP error to the VIP       the owner of the port it quotes gets it (`icmp_error`, rows I2, I3)
``FRAGMENT``    a fragment to the VIP          it goes where its first fragment's ports lead (`fragment`, rows F1, F2)
``SIGNAL``      a SYN to a redirect port,      the pool gets it, if it asks for a redirect: by its option, or by the
                without the REDIRECT bit, or   bit; else it is treated like a plain client's (`signal`)
                where turns are taken
``SERVER_``     an ICMP error or a fragment,   the network gets it, as from the VIP: where addresses are rewritten (row
``ICMP`` and    IPv4, that a server sends      N1), a switch can rewrite neither (`from_server`)
``FRAGMENT``
``QUERY``       a multicast listener query     the switch's VIPs report their groups (`announce`)
``HEARTBEAT``   what a server's agent says     the agent gets an answer (`heartbeat`)
``ASKED``       a packet of ours, with its     a question is answered (`asking`)
                slot
``REFUSED``     a packet of a server that      the server gets an ICMP error
                may not leave
``TO_CHECKER``  a server's packet to the       `Checker` judges it: an answer to a check
                address checks come from
``OPENING``,    a copy of what opens or        it is for the log of connections (`connlog`, row C2), and goes nowhere
``CLOSING``,    closes a connection
``SERVER_``
``CLOSING``
==============  =============================  =====================================================================

Every packet but those copies has exactly one `Disposition`, and is counted under it; a fragment that waits for its
first is counted when it waits no more. Nothing is remembered but fragments (`fragment_tracker`), the log, and SYNs that
got a server by turn (`turns`): any other SYN comes up with the slot that the switch's hash has chosen, so a repeated
one finds the same server (docs/decisions/0012).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from portlb_app.config import Address, Config
from portlb_app.net import packets
from portlb_app.openflow import CONTROLLER, Action, Output
from portlb_app.openflow.limits import LARGEST_FRAME
from portlb_app.pipeline import COPIED, HANDED_UP, Reason, parse_cookie
from portlb_app.punt import announce
from portlb_app.punt.asking import Question, Questions
from portlb_app.punt.connlog import ConnectionLog
from portlb_app.punt.disposition import Counts, Disposition
from portlb_app.punt.fragment import FragmentHandler
from portlb_app.punt.from_server import server_error, server_fragment
from portlb_app.punt.heartbeat import Heartbeats
from portlb_app.punt.icmp_error import icmp_error
from portlb_app.punt.packet import PacketIn, Send
from portlb_app.punt.records import TcpEvent
from portlb_app.punt.signal import signal
from portlb_app.punt.turns import Turns
from portlb_app.punt.verdict import RewriteFrame, Verdict, ingress_port
from portlb_app.punt.vip_index import LocatedVip, VipIndex
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions

Checker = Callable[[int, PacketIn, float], tuple[Disposition, tuple[Send, ...]]]
"""Takes what a server on the switch with this datapath id sends to where checks come from: what becomes of it, and what
switches shall send then."""


def _no_checks(_dpid: int, _packet: PacketIn, _now: float) -> tuple[Disposition, tuple[Send, ...]]:
    return Disposition.UNKNOWN, ()


def _destination(frame: bytes, address: Address) -> bytes | None:
    return packets.readdress(frame, destination=address)


def _quoted_source(frame: bytes, address: Address) -> bytes | None:
    return packets.requote(frame, source=address)


def _quoted_destination(frame: bytes, address: Address) -> bytes | None:
    return packets.requote(frame, destination=address)


_REWRITES: Mapping[Reason, RewriteFrame] = {
    Reason.FRAGMENT: _destination,
    Reason.ICMP_ERROR: _quoted_source,
    Reason.SERVER_ICMP: _quoted_destination,
    Reason.SERVER_FRAGMENT: packets.readdress,
    Reason.SIGNAL: packets.readdress,
}
"""Where an address is put into a frame, if the controller and not the switch rewrites it."""


def reason_of(cookie: int) -> Reason | None:
    """Why a packet with this cookie was handed up; None for a cookie that hands nothing up."""
    reason, _, _ = parse_cookie(cookie)
    return reason if reason in HANDED_UP else None


class Punt:
    """Judges what the switches of a configuration hand up; `adopt` one first.

    `connections` is the log of connections, `heartbeats` what agents say, `questions` what switches are asked, and
    `turns` those that the controller takes; they outlive a configuration. `fits` says whether a message can have a
    switch do these actions with this frame. `checker` takes what servers send to where checks come from. `draw` gives
    32 random bits.
    """

    def __init__(
        self,
        fits: Callable[[tuple[Action, ...], bytes], bool] = lambda _actions, _frame: True,
        checker: Checker = _no_checks,
        draw: Callable[[], int] = lambda: 0,
    ) -> None:
        self._fits = fits
        self._checker = checker
        self.connections = ConnectionLog()
        self.heartbeats = Heartbeats()
        self.questions = Questions(draw)
        self.turns = Turns()
        self.unsent = 0
        """Packets that a switch was to send and was not told: too many waited for that already, or it was gone."""
        self._vips = VipIndex()
        self._fragments = FragmentHandler()
        self._counts: Counter[tuple[Reason, Disposition]] = Counter()

    @property
    def counts(self) -> Counts:
        """How many packets, by reason and disposition."""
        return dict(self._counts)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of fragments that wait for their first."""
        return self._fragments.waiting_bytes

    def connected(self, dpid: int) -> None:
        """A switch is connected, and can be given packets that another one has handed up."""
        self._vips.connected(dpid)

    def disconnected(self, dpid: int) -> None:
        """A switch is gone."""
        self._vips.disconnected(dpid)

    def adopt(self, config: Config, conditions: Conditions = AS_CONFIGURED) -> None:
        """Judge by this configuration from now on, under these conditions.

        What was remembered of fragments under another one is forgotten.
        """
        while not self.adopt_more(config, conditions):
            pass

    def adopt_more(self, config: Config, conditions: Conditions = AS_CONFIGURED) -> bool:
        """Do a few milliseconds' work for that; return whether packets are judged by this configuration now."""
        if self._vips.is_for(config, conditions):
            return True
        is_as_before = self._vips.has_paths_of(config, conditions)
        if not self._vips.compute(config, conditions):
            return False
        self.heartbeats.keep(config.server_by_name.keys())
        self.turns.keep((vip.name, pool.port) for vip in config.vips for pool in vip.redirect_ports)
        if not is_as_before and (forgotten := self._fragments.forget()):
            self._counts[Reason.FRAGMENT, Disposition.UNKNOWN] += forgotten
        return True

    def count_lost(self, cookie: int) -> None:
        """Count a packet that is not judged because too many came."""
        self._count_unjudged(cookie, Disposition.QUEUE, TcpEvent.QUEUE)

    def count_unreadable(self, cookie: int) -> None:
        """Count a message that holds no whole packet."""
        self._count_unjudged(cookie, Disposition.MALFORMED, TcpEvent.MALFORMED)

    def _count_unjudged(self, cookie: int, disposition: Disposition, event: TcpEvent) -> None:
        reason = reason_of(cookie)
        if reason in COPIED:
            self.connections.count(event)
        elif reason is not None:
            self._counts[reason, disposition] += 1

    def ask(self, question: Question, now: float) -> tuple[int, tuple[Send, ...]]:
        """Ask connected switches for the slot of a packet: the question's number, and what is to be sent for it.

        ValueError if too many questions wait.
        """
        return self.questions.ask(question, self._vips.connected_switches(), now)

    def take(self, dpid: int, packet: PacketIn, now: float) -> tuple[Send, ...]:
        """What switches shall do about a packet that the switch `dpid` handed up; nothing for a cookie of no reason."""
        reason, number, port = parse_cookie(packet.cookie)
        if reason is None or reason not in HANDED_UP:
            return ()
        if len(packet.frame) > LARGEST_FRAME:
            self.count_unreadable(packet.cookie)
            return ()
        match reason:  # those that may be about any VIP of the switch
            case Reason.QUERY:
                return self._answer_query(dpid, packet)
            case Reason.REFUSED:
                return self._answer_refused(dpid, packet)
            case Reason.HEARTBEAT:
                return self._answer_heartbeat(dpid, packet, now)
            case Reason.TO_CHECKER:
                disposition, sends = self._checker(dpid, packet, now)
                self._counts[reason, disposition] += 1
                return sends
            case Reason.ASKED:
                self._counts[reason, self.questions.take(dpid, packet)] += 1
                return ()
            case Reason.SERVER_ICMP:
                return self._carry_out(dpid, packet, reason, server_error(self._vips.on(dpid), packet.frame))
        located = self._vips.find(dpid, number, packet.in_port)
        if reason in COPIED:
            self._log(located, reason, packet, now)
            return ()
        if located is None:
            self._counts[reason, Disposition.UNKNOWN] += 1
            return ()
        match reason:
            case Reason.FRAGMENT:
                judged = self._fragments.take(located, packet.frame, now)
                return tuple(send for each in judged for send in self._sends(dpid, packet.in_port, reason, *each))
            case Reason.ICMP_ERROR:
                verdict = icmp_error(located, packet.frame)
            case Reason.SIGNAL:
                verdict = signal(located, port, packet, self.turns, now)
                if self.turns.has_news:
                    return (*self._carry_out(dpid, packet, reason, verdict), *self.say(now))
            case _:
                verdict = server_fragment(located.local, packet.frame)
        return self._carry_out(dpid, packet, reason, verdict)

    def expire(self, now: float) -> Iterator[Send]:
        """What switches shall do about fragments whose first did not come in time.

        Old records of connections go, too.
        """
        self.connections.expire(now)
        for located, verdict, frame in self._fragments.expire(self._vips, now):
            if located is None:
                self._counts[Reason.FRAGMENT, verdict.disposition] += 1
            else:
                yield from self._sends(located.dpid, ingress_port(located.local), Reason.FRAGMENT, verdict, frame)

    def say(self, now: float) -> tuple[Send, ...]:
        """What switches are told unasked: whether the controller takes turns."""
        return tuple(self.turns.say(self._vips.entrances, now))

    def _answer_query(self, dpid: int, packet: PacketIn) -> tuple[Send, ...]:
        reports = announce.answers(self._vips.on(dpid), packet.in_port, packet.frame)
        if reports is None:
            disposition = Disposition.MALFORMED
        else:
            disposition = Disposition.SENT if reports else Disposition.UNKNOWN
        self._counts[Reason.QUERY, disposition] += 1
        return tuple(_reply(dpid, packet, report) for report in reports or ())

    def _answer_heartbeat(self, dpid: int, packet: PacketIn, now: float) -> tuple[Send, ...]:
        disposition, answer = self.heartbeats.take(self._vips.on(dpid), packet.in_port, packet.frame, now)
        self._counts[Reason.HEARTBEAT, disposition] += 1
        return () if answer is None else (_reply(dpid, packet, answer),)

    def _answer_refused(self, dpid: int, packet: PacketIn) -> tuple[Send, ...]:
        refusal = packets.make_refusal(packet.frame)
        self._counts[Reason.REFUSED, Disposition.DROPPED if refusal is None else Disposition.SENT] += 1
        return () if refusal is None else (_reply(dpid, packet, refusal),)

    def _log(self, located: LocatedVip | None, reason: Reason, packet: PacketIn, now: float) -> None:
        if located is None:
            self.connections.count(TcpEvent.MALFORMED)
        else:
            self.connections.take(located.local, reason, packet.in_port, packet.frame, now)

    def _carry_out(self, dpid: int, packet: PacketIn, reason: Reason, verdict: Verdict) -> tuple[Send, ...]:
        return self._sends(dpid, packet.in_port, reason, verdict, packet.frame)

    def _sends(self, dpid: int, in_port: int, reason: Reason, verdict: Verdict, frame: bytes) -> tuple[Send, ...]:
        """Count one packet by what becomes of it. What it leads to, less what no message can say.

        A packet that cannot be rewritten is malformed.
        """
        wanted = tuple(verdict.sends(dpid, in_port, frame, _REWRITES[reason]))
        found = tuple(send for send in wanted if self._fits(send.actions, send.frame))
        if wanted:
            disposition = verdict.disposition if found else Disposition.UNSENDABLE
        else:
            disposition = Disposition.MALFORMED if verdict.deliveries else verdict.disposition
        self._counts[reason, disposition] += 1
        return found


def _reply(dpid: int, packet: PacketIn, frame: bytes) -> Send:
    """Have the switch send a frame of ours out of the port that a packet came in on."""
    return Send(dpid, CONTROLLER, (Output(packet.in_port),), frame)
