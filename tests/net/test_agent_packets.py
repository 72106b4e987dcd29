"""Each agent program, packet by packet, in the kernel (BPF_PROG_TEST_RUN): packet in, verdict, packet out, counters.

Frames are compared byte by byte with ones built here, so every checksum is verified too. The state before a packet is
made by the packets before it; the programs are loaded once, and what they know is cleared between two tests. Every case
is run for IPv4 and for IPv6 (row B1). Row ids are those of docs/patent.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

import pytest
from _pytest.mark import ParameterSet

from portlb_app.agent import client, server
from portlb_app.agent.kernel import libbpf
from portlb_app.agent.kernel.library import checked, library
from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.loader import Programs
from portlb_app.agent.mapping import ServerMapping
from tests.net.network import ACK, CONFIRM, FIN, PSH, REDIRECT, RST, SYN
from tests.net.programs import clear

Address = IPv4Address | IPv6Address


class Family(NamedTuple):
    """The addresses of one IP version."""

    version: int
    client: Address
    vip: Address
    router: Address
    other: Address


FAMILIES = (
    Family(4, *map(ip_address, ("10.0.0.1", "10.0.0.100", "10.0.9.9", "10.0.0.7"))),
    Family(6, *map(ip_address, ("fd00::1", "fd00::100", "fd00:9::9", "fd00::7"))),
)
V4, V6 = FAMILIES
VIPS = (ip_address("10.0.0.200"), V4.vip, ip_address("fd00::200"), V6.vip)
CPORT = 40000
X, Y = 20, 1  # a redirect port and the service port announced for it; the application listens on X
OWN = 9  # a service port that is its application's port
BEHIND, BEHIND_Y, APPLICATION = 30, 3, 8080  # redirect port and service port, both translated to the application's
SAME = 22  # announced as itself
SECOND_Y = 5  # a second service port of X's application
MAPPING = ServerMapping(
    VIPS,
    announced_ports={X: Y, BEHIND: BEHIND_Y, SAME: SAME},
    applications={Y: X, SECOND_Y: X, OWN: OWN, BEHIND: APPLICATION, BEHIND_Y: APPLICATION, SAME: SAME},
)
ISN, SERVER_ISN = 1000, 5000

PASS, DROP = 0xFFFFFFFF, 2  # TC_ACT_UNSPEC, TC_ACT_SHOT
IN, OUT = "ingress", "egress"
MORE, LATER = 0x2000, 0x0010  # fragments: the first, and one from byte 128 on

TOO_BIG, EXCEEDED, PROBLEM, REFUSED, ECHO = range(5)
ICMP_TYPES = {
    4: {TOO_BIG: (3, 4), EXCEEDED: (11, 0), PROBLEM: (12, 0), REFUSED: (3, 13), ECHO: (8, 0)},
    6: {TOO_BIG: (2, 0), EXCEEDED: (3, 0), PROBLEM: (4, 0), REFUSED: (1, 1), ECHO: (128, 0)},
}


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def ip(
    source: Address, destination: Address, protocol: int, payload: bytes, extra: int = 0, fragment: int = 0
) -> bytes:  # fmt: skip
    """An IP packet; `extra` bytes of options (IPv6: of a destination options header), a fragment if `fragment`."""
    addresses = source.packed + destination.packed
    if source.version == 4:
        extra += -extra % 4
        total = 20 + extra + len(payload)
        head = struct.pack("!BBHHHBBH", 0x45 + extra // 4, 0, total, 7, fragment, 64, protocol, 0)
        head += addresses + bytes([1]) * extra
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload
    if extra:
        extra += -extra % 8
        payload = struct.pack("!BBBB", protocol, extra // 8 - 1, 1, extra - 4) + bytes(extra - 4) + payload
        protocol = 60
    if fragment:
        payload = struct.pack("!BBHI", protocol, 0, (fragment & 0x1FFF) << 3 | bool(fragment & MORE), 7) + payload
        protocol = 44
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + addresses + payload


def pseudo_header(source: Address, destination: Address, protocol: int, length: int) -> bytes:
    if source.version == 4:
        return source.packed + destination.packed + struct.pack("!HH", protocol, length)
    return source.packed + destination.packed + struct.pack("!II", length, protocol)


def ethernet(packet: bytes, kind: int | None = None) -> bytes:
    if kind is None:
        kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    return bytes.fromhex("020000000102020000000101") + struct.pack("!H", kind) + packet


def tcp_segment(
    source: Address, destination: Address, sport: int, dport: int, flags: int, seq: int, ack: int,
    options: bytes = b"", data: bytes = b"",
) -> bytes:  # fmt: skip
    word = (20 + len(options)) // 4 << 12 | flags
    segment = struct.pack("!HHIIHHHH", sport, dport, seq, ack, word, 64240, 0, 0) + options + data
    pseudo = pseudo_header(source, destination, 6, len(segment))
    return segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]


def tcp(
    source: Address, destination: Address, sport: int, dport: int, flags: int, seq: int = 1, ack: int = 0
) -> bytes:  # fmt: skip
    return ethernet(ip(source, destination, 6, tcp_segment(source, destination, sport, dport, flags, seq, ack)))


class Packet(NamedTuple):
    """A frame and the hook it passes."""

    hook: str
    frame: bytes


class Side:
    """Builds the frames of one connection as one of the two hosts sees them."""

    def __init__(
        self, family: Family, sends: str, hears: str, cport: int = CPORT, client: Address | None = None
    ) -> None:
        self._client, self._vip = client or family.client, family.vip
        self._client_hook, self._server_hook = sends, hears
        self._cport = cport

    def from_client(
        self, dport: int, flags: int, seq: int = ISN + 1, ack: int = SERVER_ISN + 1, options: bytes = b"",
        data: bytes = b"", extra: int = 0, fragment: int = 0, cport: int = 0,
    ) -> Packet:  # fmt: skip
        segment = tcp_segment(
            self._client, self._vip, cport or self._cport, dport, flags, seq, ack, options, data
        )
        return Packet(self._client_hook, ethernet(ip(self._client, self._vip, 6, segment, extra, fragment)))

    def from_server(
        self, sport: int, flags: int, seq: int = SERVER_ISN + 1, ack: int = ISN + 1, options: bytes = b"",
        data: bytes = b"", extra: int = 0, fragment: int = 0, cport: int = 0,
    ) -> Packet:  # fmt: skip
        segment = tcp_segment(
            self._vip, self._client, sport, cport or self._cport, flags, seq, ack, options, data
        )
        return Packet(self._server_hook, ethernet(ip(self._vip, self._client, 6, segment, extra, fragment)))

    def syn(self, port: int, flags: int = 0, seq: int = ISN, options: bytes = b"", data: bytes = b"") -> Packet:
        return self.from_client(port, SYN | flags, seq, 0, options, data)

    def synack(
        self, port: int, flags: int = 0, seq: int = SERVER_ISN, ack: int = ISN + 1, options: bytes = b""
    ) -> Packet:
        return self.from_server(port, SYN | ACK | flags, seq, ack, options)


def option(port: int, flags: int = 4, kind: int = 253, length: int = 8, exid: int = 0x5250, type_: int = 1) -> bytes:
    return struct.pack("!BBHBBH", kind, length, exid, flags << 4 | type_, 0, port)


def bare_option(flags: int) -> bytes:
    """REDIRECT_OPT of type "none"."""
    return b"\1\1" + struct.pack("!BBHBB", 253, 6, 0x5250, flags << 4, 0)


REDIRECT_FLAG, CONFIRM_FLAG, RESET_FLAG, IN_PLACE_FLAG = 8, 4, 2, 1


def icmp_error(
    source: Address, destination: Address, quoted: bytes, kind: int = TOO_BIG, fragment: int = 0
) -> bytes:
    type_, code = ICMP_TYPES[source.version][kind]
    body = struct.pack("!BBHI", type_, code, 0, 1400) + quoted
    protocol = 1 if source.version == 4 else 58
    pseudo = pseudo_header(source, destination, protocol, len(body)) if source.version == 6 else b""
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return ethernet(ip(source, destination, protocol, body, fragment=fragment))


def quote(packet: Packet, tcp_bytes: int = 8) -> bytes:
    """The head of a packet as an ICMP error quotes it."""
    if packet.frame[14] >> 4 == 4:
        header = (packet.frame[14] & 15) * 4
    else:
        header = 40 + ((packet.frame[55] + 1) * 8 if packet.frame[20] == 60 else 0)
    return packet.frame[14 : 14 + header + tcp_bytes]


def transport(packet: Packet) -> bytes:
    """The TCP segment in a frame without extra headers."""
    return packet.frame[34:] if packet.frame[14] >> 4 == 4 else packet.frame[54:]


MSS = bytes.fromhex("020405b4")
TIMESTAMPS = bytes.fromhex("0101080a0000000100000000")
FULL = bytes([1] * 36)  # no room for 8 bytes more
MD5 = bytes([1, 1, 19, 18]) + bytes(16)
AO = bytes([29, 16, 1, 1]) + bytes(12)


@dataclass(frozen=True)
class Case:
    """One packet's fate. `out` None: leaves as it came. `counters`: all that change, no others may."""

    description: str
    packet: Packet
    out: Packet | None = None
    verdict: int = PASS
    counters: dict[str, int] = field(default_factory=dict)
    before: tuple[Packet, ...] = ()


def drop(description: str, packet: Packet, counter: str | None, *before: Packet) -> Case:
    return Case(description, packet, verdict=DROP, counters={counter: 1} if counter else {}, before=before)


def same(description: str, packet: Packet, before: tuple[Packet, ...] = (), **counters: int) -> Case:
    return Case(description, packet, counters=counters, before=before)


# --- the client -----------------------------------------------------------------------------------------------------


def client_cases(f: Family) -> list[Case]:
    c = Side(f, OUT, IN)
    c_opened = (c.syn(X),)
    c_announced = c.synack(X, CONFIRM, options=MSS + option(Y))
    c_bound = (*c_opened, c_announced)
    c_heard = (*c_bound, c.from_server(Y, ACK))
    c_plain = (*c_opened, c.synack(X, options=MSS))
    c_unredirected = (*c_opened, c.synack(X, CONFIRM, options=MSS))
    c_fast = (c.syn(X, data=b"early"), c.synack(X, CONFIRM, ack=ISN + 6, options=option(Y)))
    c_same = (c.syn(SAME), c.synack(SAME, CONFIRM, options=option(SAME)))

    def bad_option(description: str, options: bytes) -> Case:
        return same(f"E7 {description}: no option", c.synack(X, CONFIRM, options=options), c_opened,
                    bad_option=1, unredirected=1)  # fmt: skip

    return [
        Case("E2 step 1: SYN gets REDIRECT", c.syn(X), c.syn(X, REDIRECT), counters={"syn_marked": 1}),
        Case("E2 step 1: its options and data (Fast Open) stay", c.syn(X, options=MSS + TIMESTAMPS, data=b"early"),
             c.syn(X, REDIRECT, options=MSS + TIMESTAMPS, data=b"early"), counters={"syn_marked": 1}),
        Case("E2 step 1: IP options are stepped over", c.from_client(X, SYN, ISN, 0, extra=40),
             c.from_client(X, SYN | REDIRECT, ISN, 0, extra=40), counters={"syn_marked": 1}),
        same("E2 step 2: SYN/ACK with CONFIRM and OPT binds", c_announced, c_opened, bound=1),
        same("E2 step 2: CONFIRM in the option alone suffices (paths that clear the bits)",
             c.synack(X, 0, options=MSS + option(Y)), c_opened, bound=1),
        same("E2 step 2: the option is found behind others", c.synack(X, CONFIRM, options=MSS + TIMESTAMPS + option(Y)),
             c_opened, bound=1),
        same("E2 step 2: SYN/ACK for a Fast Open SYN acknowledges its data too",
             c.synack(X, CONFIRM, ack=ISN + 6, options=option(Y)), (c.syn(X, data=b"early"),), bound=1),
        same("E2 Fast Open: what the server sends before it has the third packet comes from X", c.from_server(X, ACK,
             ack=ISN + 6, data=b"odd"), c_fast),
        same("E2 Fast Open: what it sends once it has more does so, where it does not go on at Y", c.from_server(X, ACK,
             ack=ISN + 9, data=b"odd"), (*c_fast, c.from_client(X, ACK, seq=ISN + 6, data=b"GET")), fallen_back=1),
        Case("E2 step 3: pure ACK goes to Y with CONFIRM, OPT=X", c.from_client(X, ACK),
             c.from_client(Y, ACK | CONFIRM, options=option(X)), before=c_bound),
        Case("E2 step 3: OPT stands behind the options there are", c.from_client(X, ACK, options=TIMESTAMPS),
             c.from_client(Y, ACK | CONFIRM, options=TIMESTAMPS + option(X)), before=c_bound),
        Case("E2 step 3: with IP options", c.from_client(X, ACK, extra=8),
             c.from_client(Y, ACK | CONFIRM, options=option(X), extra=8), before=c_bound),
        Case("E2 step 3: repeated until the server is heard", c.from_client(X, ACK),
             c.from_client(Y, ACK | CONFIRM, options=option(X)), before=(*c_bound, c.from_client(X, ACK))),
        Case("E2 step 3: no room for OPT: the bit alone", c.from_client(X, ACK, options=FULL),
             c.from_client(Y, ACK | CONFIRM, options=FULL), counters={"no_room": 1}, before=c_bound),
        Case("D1 first data before the server is heard: CONFIRM, never OPT", c.from_client(X, ACK | PSH, data=b"GET /"),
             c.from_client(Y, ACK | PSH | CONFIRM, data=b"GET /"), before=c_bound),
        Case("D1 FIN before the server is heard: CONFIRM, no OPT", c.from_client(X, FIN | ACK),
             c.from_client(Y, FIN | ACK | CONFIRM), before=c_bound),
        Case("D1 RST before the server is heard: CONFIRM, no OPT", c.from_client(X, RST | ACK),
             c.from_client(Y, RST | ACK | CONFIRM), before=c_bound),
        Case("E2 step 4: first packet from Y arrives from X", c.from_server(Y, ACK), c.from_server(X, ACK),
             counters={"confirmed": 1}, before=c_bound),
        Case("E2 step 4: next packets from Y", c.from_server(Y, ACK | PSH, data=b"odd"),
             c.from_server(X, ACK | PSH, data=b"odd"), before=c_heard),
        Case("D1 after the server is heard ACKs carry neither bit nor OPT", c.from_client(X, ACK), c.from_client(Y,
             ACK),
             before=c_heard),
        Case("E2 RST after the server is heard: CONFIRM, for the server may not know it", c.from_client(X, RST | ACK),
             c.from_client(Y, RST | ACK | CONFIRM), before=c_heard),
        Case("D1 data to Y", c.from_client(X, ACK, data=bytes(1400)), c.from_client(Y, ACK, data=bytes(1400)),
             before=c_heard),
        same("E1 E7 SYN/ACK with CONFIRM and no OPT", c.synack(X, CONFIRM, options=MSS), c_opened, unredirected=1),
        Case("E1 E7 goes on at X, REDIRECT on every packet", c.from_client(X, ACK, data=b"x"),
             c.from_client(X, ACK | REDIRECT, data=b"x"), before=c_unredirected),
        same("E7 SYN/ACK without CONFIRM", c.synack(X, options=MSS), c_opened, plain=1),
        Case("E7 goes on at X, REDIRECT on every packet", c.from_client(X, ACK), c.from_client(X, ACK | REDIRECT),
             before=c_plain),
        Case("E7 the RST of a program that gave up keeps to the pool's rows", c.from_client(X, RST),
             c.from_client(X, RST | REDIRECT), before=c_opened),
        same("E7 packets from X pass", c.from_server(X, ACK, data=b"x"), c_plain),
        same("E7 an option that only claims CONFIRM for nobody is ignored", c.synack(X, 0, options=option(Y, flags=0)),
             c_opened, plain=1),
        Case("E2 OPT=X: bound, CONFIRM and OPT without REDIRECT", c.from_client(SAME, ACK),
             c.from_client(SAME, ACK | CONFIRM, options=option(SAME)), before=c_same),
        same("E2 OPT=X: first packet confirms", c.from_server(SAME, ACK), c_same, confirmed=1),
        same("E2 OPT=X: then nothing is rewritten", c.from_client(SAME, ACK), (*c_same, c.from_server(SAME, ACK))),
        drop("E2 SYN/ACK that acknowledges another SYN", c.synack(X, CONFIRM, ack=ISN + 2, options=option(Y)),
             "forged_synack", *c_opened),
        drop("E2 SYN/ACK that acknowledges nothing yet sent", c.synack(X, CONFIRM, ack=ISN, options=option(Y)),
             "forged_synack", *c_opened),
        same("E2 the same SYN/ACK again (third ACK lost) reaches the kernel", c_announced, c_bound),
        same("E2 the same SYN/ACK again after data", c_announced, c_heard),
        drop("E2 SYN/ACK of a second server", c.synack(X, CONFIRM, seq=9999, options=MSS + option(Y)),
             "second_synack", *c_bound),
        drop("E2 SYN/ACK that names another port", c.synack(X, CONFIRM, options=MSS + option(2)),
             "second_synack", *c_bound),
        same("E2 the same SYN/ACK from a server that has forgotten what it announced", c.synack(X), c_bound),
        drop("E7 SYN/ACK that redirects a plain connection", c_announced, "second_synack", *c_plain),
        same("E7 the same plain SYN/ACK again", c.synack(X, options=MSS), c_plain),
        drop("E2 SYN/ACK from Y", c.synack(Y, CONFIRM), "second_synack", *c_bound),
        same("E2 data from X after the move to Y, for a program elsewhere: its kernel judges", c.from_server(X, ACK,
             data=b"x"), c_bound, fallen_back=1),
        drop("E2 data from X after the move to Y with another acknowledgement", c.from_server(X, ACK, ack=ISN + 9,
             data=b"x"), "from_old_port", *c_bound),
        drop("E2 data from X after the move to Y, out of any window", c.from_server(X, ACK, seq=SERVER_ISN + (1 << 21),
             data=b"x"), "from_old_port", *c_bound),
        same("E2 exact RST from X after the move to Y (the server has lost the connection)",
             c.from_server(X, RST), c_heard, reset_from_old_port=1),
        drop("E2 RST from X one off (RFC 5961, 3.2)", c.from_server(X, RST, seq=SERVER_ISN + 2), "from_old_port",
             *c_heard),
        Case("E2 repeated SYN keeps what is known: a late one is marked again", c.syn(X), c.syn(X, REDIRECT),
             counters={"syn_marked": 1}, before=c_bound),
        Case("E2 repeated SYN: the connection stays on Y", c.from_client(X, ACK, data=b"x"),
             c.from_client(Y, ACK, data=b"x"), before=(*c_heard, c.syn(X))),
        Case("E2 a new SYN starts over", c.from_client(X, ACK), c.from_client(X, ACK | REDIRECT),
             before=(*c_heard, c.syn(X, seq=77))),
        same("E2 a new SYN starts over: the old Y means nothing", c.from_server(Y, ACK), (*c_heard, c.syn(X, seq=77))),
        drop("E2 a SYN to a port that a redirected connection uses", c.syn(Y, seq=77), "collision", *c_heard),
        Case("E2 a SYN to a port that a closed redirected connection used", c.syn(Y, seq=77), c.syn(Y, REDIRECT,
             seq=77),
             counters={"syn_marked": 1},
             before=(*c_heard, c.from_client(X, FIN | ACK), c.from_server(Y, FIN | ACK))),
        same("E2 announced port taken by the program's own connection: not followed", c_announced,
             (c.syn(Y), c.synack(Y), *c_opened), collision=1),
        Case("E2 announced port taken: goes on at X", c.from_client(X, ACK), c.from_client(X, ACK | REDIRECT),
             before=(c.syn(Y), c.synack(Y), *c_bound)),
        bad_option("port 0", option(0)),
        same("E7 another experiment's ExID: no option", c.synack(X, CONFIRM, options=option(Y, exid=0x5251)), c_opened,
             unredirected=1),
        same("E2 step 2: the option is found behind another experiment's",
             c.synack(X, CONFIRM, options=option(7, exid=0x5251) + option(Y)), c_opened, bound=1),
        same("E7 an option without a port only confirms", c.synack(X, 0, options=MSS + bare_option(CONFIRM_FLAG)),
             c_opened,
             unredirected=1),
        bad_option("type none with a port's length", option(Y, type_=0)),
        Case("E2 RST from Y with CONFIRM: the server's own", c.from_server(Y, RST | ACK | CONFIRM),
             c.from_server(X, RST | ACK | CONFIRM), counters={"confirmed": 1}, before=c_bound),
        Case("E2 RST from Y with CONFIRM in the option alone, on a path that clears bits",
             c.from_server(Y, RST | ACK, options=bare_option(CONFIRM_FLAG)),
             c.from_server(X, RST | ACK, options=bare_option(CONFIRM_FLAG)), counters={"confirmed": 1}, before=c_bound),
        drop("E2 RST from Y before anything was heard from there: a middlebox's", c.from_server(Y, RST | ACK, data=b""),
             None, *c_bound),
        Case("I2 refusal of a packet to Y before anything was heard from there",
             Packet(IN, icmp_error(f.router, f.client, quote(c.from_client(Y, ACK)), REFUSED)), verdict=DROP,
             before=c_bound),
        Case("I2 refusal of a packet to Y that was never sent (RFC 5927, 4.1)",
             Packet(IN, icmp_error(f.router, f.client, quote(c.from_client(Y, ACK, seq=ISN + 9)), REFUSED)),
             verdict=DROP, counters={"forged_error": 1}, before=c_bound),
        same("E7 TCP MD5 (RFC 2385): SYN passes untouched", c.syn(X, options=MD5), signed=1),
        same("E7 TCP MD5: what follows, too", c.from_client(X, ACK, options=MD5), (c.syn(X, options=MD5),)),
        same("E7 TCP-AO (RFC 5925): SYN passes untouched", c.syn(X, options=MSS + AO), signed=1),
        same("E7 TCP MD5 where an unsigned connection was before", c.from_client(X, ACK, options=MD5),
             (*c_heard, c.syn(X, seq=77, options=MD5))),
        Case("I2 refusal of a packet to Y later", Packet(IN, icmp_error(f.router, f.client, quote(c.from_client(Y,
             ACK)), REFUSED)),
             Packet(IN, icmp_error(f.router, f.client, quote(c.from_client(X, ACK)), REFUSED)),
             counters={"icmp_translated": 1}, before=c_heard),
        drop("D2 announcement without a socket behind it", c.from_server(Y, ACK | REDIRECT, options=option(SECOND_Y,
             8)),
             "forged_announcement", *c_heard),
        drop("D8 announcement by option alone", c.from_server(Y, ACK, options=option(SECOND_Y, 9)),
             "forged_announcement", *c_heard),
        drop("D2 announcement while opening", c.from_server(X, ACK | REDIRECT, options=option(SECOND_Y, 8)),
             "forged_announcement", *c_opened),
        Case("D2 REDIRECT without an option announces nothing", c.from_server(Y, ACK | REDIRECT),
             c.from_server(X, ACK | REDIRECT), before=c_heard),
        Case("D2 an option on a data segment announces nothing",
             c.from_server(Y, ACK | REDIRECT, options=option(SECOND_Y, 8), data=b"x"),
             c.from_server(X, ACK | REDIRECT, options=option(SECOND_Y, 8), data=b"x"), before=c_heard),
        bad_option("wrong type", option(Y, type_=2)),
        bad_option("wrong length", option(Y, length=6)[:6] + b"\1\1"),
        bad_option("length beyond the header", option(Y, length=12)),
        bad_option("length 0 of an unknown kind", bytes([77, 0, 1, 1])),
        bad_option("length 1 of an unknown kind", bytes([77, 1, 1, 1])),
        bad_option("cut off behind its kind", bytes([1, 1, 1, 253])),
        bad_option("last byte is a kind with no length", bytes([1] * 39 + [2])),
        same("E7 option behind the end of options is not there",
             c.synack(X, CONFIRM, options=bytes([0, 1, 1, 1]) + option(Y)), c_opened, unredirected=1),
        Case("I2 error about a packet to Y quotes X", Packet(IN, icmp_error(f.router, f.client, quote(c.from_client(Y,
             ACK)))),
             Packet(IN, icmp_error(f.router, f.client, quote(c.from_client(X, ACK)))),
             counters={"icmp_translated": 1}, before=c_bound),
        Case("I2 time exceeded, longer quote with IP options",
             Packet(IN, icmp_error(f.router, f.client, quote(c.from_client(Y, ACK, extra=12)) + b"odd", EXCEEDED)),
             Packet(IN, icmp_error(f.router, f.client, quote(c.from_client(X, ACK, extra=12)) + b"odd", EXCEEDED)),
             counters={"icmp_translated": 1}, before=c_bound),
        Case("I2 error this host sends about a packet from Y",
             Packet(OUT, icmp_error(f.client, f.vip, quote(c.from_server(X, ACK)), PROBLEM)),
             Packet(OUT, icmp_error(f.client, f.vip, quote(c.from_server(Y, ACK)), PROBLEM)),
             counters={"icmp_translated": 1}, before=c_bound),
        same("I2 error about the SYN passes", Packet(IN, icmp_error(f.router, f.client, quote(c.syn(X, REDIRECT)))),
             c_opened),
        same("I2 fewer than 8 bytes of TCP quoted",
             Packet(IN, icmp_error(f.router, f.client, quote(c.from_client(Y, ACK), 7))), c_bound, icmp_truncated=1),
        same("I2 quoted IP header cut off",
             Packet(IN, icmp_error(f.router, f.client, quote(c.from_client(Y, ACK))[:19])), c_bound, icmp_truncated=1),
        same("I2 echo request passes", Packet(IN, icmp_error(f.vip, f.client, quote(c.from_client(Y, ACK)), ECHO)),
             c_bound),
        same("I2 error about another address", Packet(IN, icmp_error(
            f.router, f.client, quote(Packet(OUT, tcp(f.client, f.other, CPORT, Y, ACK, 1, 1))))), c_bound),
        same("I2 fragment of an error", Packet(IN, icmp_error(
            f.router, f.client, quote(c.from_client(Y, ACK)), fragment=MORE)), c_bound, fragment=1),
        same("F3 first fragment passes", c.from_client(X, ACK, data=b"x", fragment=MORE), c_bound, fragment=1),
        same("F3 later fragment passes", c.from_server(Y, ACK, data=b"x", fragment=LATER), c_bound, fragment=1),
        same("a connection older than the agent, out", c.from_client(X, ACK, data=b"x")),
        same("a connection older than the agent, in", c.from_server(X, ACK, data=b"x")),
        same("foreign TCP", Packet(OUT, tcp(f.client, f.other, CPORT, X, SYN, 1, 0))),
        same("VLAN", Packet(OUT, ethernet(b"\0\1\x08\0" + c.syn(X).frame[14:], 0x8100))),
        same("ARP", Packet(OUT, ethernet(bytes(46), 0x0806))),
        same("UDP to the VIP", Packet(OUT, ethernet(ip(f.client, f.vip, 17, bytes(40))))),
        same("TCP header cut off", Packet(OUT, ethernet(ip(f.client, f.vip, 6, transport(c.syn(X))[:19]))),
             malformed=1),
        same("data offset below 5", Packet(OUT, ethernet(ip(
            f.client, f.vip, 6, struct.pack("!HHIIHHHH", CPORT, X, 1, 0, 0x4002, 1, 0, 0)))), malformed=1),
        same("data offset beyond the frame, although the packet claims to be longer", Packet(OUT, ethernet(ip(
            f.client, f.vip, 6, transport(c.syn(X, options=bytes([1] * 40))))[:-20])), malformed=1),
        same("data offset beyond the packet", Packet(OUT, ethernet(ip(
            f.client, f.vip, 6, struct.pack("!HHIIHHHH", CPORT, X, 1, 0, 0xF002, 1, 0, 0)) + bytes(40))), malformed=1),
    ]  # fmt: skip


# --- the server -----------------------------------------------------------------------------------------------------


def server_cases(f: Family) -> list[Case]:
    s = Side(f, IN, OUT)
    s_opened = (s.syn(X, REDIRECT),)
    s_answered = (*s_opened, s.synack(X))
    s_bound = (*s_answered, s.from_client(Y, ACK | CONFIRM, options=option(X)))
    s_stayed = (*s_answered, s.from_client(X, ACK | REDIRECT))
    s_direct = (s.syn(Y, REDIRECT), s.synack(X), s.from_client(Y, ACK | REDIRECT))
    s_by_option = (s.syn(X, options=MSS + bare_option(REDIRECT_FLAG)),)
    s_behind = (s.syn(BEHIND, REDIRECT), s.synack(APPLICATION), s.from_client(BEHIND_Y, ACK | CONFIRM))
    s_close = (s.from_client(Y, FIN | ACK), s.from_server(X, FIN | ACK))
    s_copy = s.from_client(X, ACK | REDIRECT, data=b"GET")
    s_repeated = (*s_bound, s.from_server(X, ACK, data=b"odd"), s.from_server(X, ACK, data=b"odd"))

    return [
        same("E2 step 1: SYN with REDIRECT is noted", s.syn(X, REDIRECT), syn_redirect=1),
        Case("E2 step 2: SYN/ACK from X with CONFIRM, OPT=Y", s.synack(X, options=MSS),
             s.synack(X, CONFIRM, options=MSS + option(Y)), counters={"announced": 1}, before=s_opened),
        Case("E2 step 2: repeated SYN/ACK gets the option again", s.synack(X), s.synack(X, CONFIRM, options=option(Y)),
             counters={"announced": 1}, before=s_answered),
        Case("E2 step 2: even after the third ACK (an application that defers accepting)", s.synack(X),
             s.synack(X, CONFIRM, options=option(Y)), counters={"announced": 1}, before=s_bound),
        Case("E2 step 2: no room: CONFIRM alone", s.synack(X, options=FULL), s.synack(X, CONFIRM, options=FULL),
             counters={"no_room": 1}, before=s_opened),
        Case("E2 step 3: ACK to Y reaches the application", s.from_client(Y, ACK | CONFIRM, options=option(X)),
             s.from_client(X, ACK | CONFIRM, options=option(X)), counters={"redirected": 1}, before=s_answered),
        Case("E2 third ACK lost: data with CONFIRM does the same", s.from_client(Y, ACK | CONFIRM, data=b"GET"),
             s.from_client(X, ACK | CONFIRM, data=b"GET"), counters={"redirected": 1}, before=s_answered),
        Case("D1 data to Y", s.from_client(Y, ACK, data=b"odd"), s.from_client(X, ACK, data=b"odd"), before=s_bound),
        Case("D1 data from the application leaves from Y", s.from_server(X, ACK, data=b"x"),
             s.from_server(Y, ACK, data=b"x"), before=s_bound),
        Case("E2 reset before the client has confirmed Y: with CONFIRM, also as an option",
             s.from_server(X, RST | ACK), s.from_server(Y, RST | ACK | CONFIRM, options=bare_option(CONFIRM_FLAG)),
             before=s_bound),
        Case("E2 option: such a reset has the option alone", s.from_server(X, RST | ACK),
             s.from_server(Y, RST | ACK, options=bare_option(CONFIRM_FLAG)),
             before=(*s_by_option, s.synack(X), s.from_client(Y, ACK, options=option(X)))),
        Case("E2 option: data does not say that Y is heard", s.from_server(X, RST | ACK),
             s.from_server(Y, RST | ACK, options=bare_option(CONFIRM_FLAG)),
             before=(*s_by_option, s.synack(X), s.from_client(Y, ACK, options=option(X)),
                     s.from_client(Y, ACK, data=b"x"))),
        Case("E2 option: an acknowledgement without the option does", s.from_server(X, RST | ACK),
             s.from_server(Y, RST | ACK),
             before=(*s_by_option, s.synack(X), s.from_client(Y, ACK, options=option(X)), s.from_client(Y, ACK))),
        Case("E2 option: none that has no room for it", s.from_server(X, RST | ACK),
             s.from_server(Y, RST | ACK, options=bare_option(CONFIRM_FLAG)),
             before=(*s_by_option, s.synack(X), s.from_client(Y, ACK, options=FULL))),
        Case("E2 reset once it has", s.from_server(X, RST | ACK), s.from_server(Y, RST | ACK),
             before=(*s_bound, s.from_client(Y, ACK))),
        Case("D1 with IP options", s.from_server(X, ACK, data=b"x", extra=12),
             s.from_server(Y, ACK, data=b"x", extra=12), before=s_bound),
        same("E2 while half-open, what is not a SYN/ACK leaves from X", s.from_server(X, RST | ACK), s_opened),
        same("E1 own service port: SYN noted", s.syn(OWN, REDIRECT), syn_redirect=1),
        Case("E1 own service port: CONFIRM, no OPT", s.synack(OWN), s.synack(OWN, CONFIRM),
             counters={"supported": 1}, before=(s.syn(OWN, REDIRECT),)),
        same("E1 own service port: data passes", s.from_client(OWN, ACK | REDIRECT, data=b"x"),
             (s.syn(OWN, REDIRECT), s.synack(OWN))),
        Case("E7 port without an answer: CONFIRM, no OPT", s.synack(APPLICATION), s.synack(APPLICATION, CONFIRM),
             counters={"supported": 1}, before=(s.syn(APPLICATION, REDIRECT),)),
        same("E7 client without agent: SYN passes", s.syn(X)),
        same("E7 client without agent: SYN/ACK passes", s.synack(X), (s.syn(X),)),
        same("E7 a plain SYN forgets what a REDIRECT one left", s.synack(X), (*s_opened, s.syn(X, seq=77))),
        same("E7 client stays on X although Y was announced", s.from_client(X, ACK | REDIRECT), s_answered, stayed=1),
        same("E7 stayed: data from X leaves from X", s.from_server(X, ACK, data=b"x"), s_stayed),
        Case("E7 stayed: a client that has heard Y comes back there", s.from_client(Y, ACK), s.from_client(X, ACK),
             before=s_stayed),
        drop("E7 stayed: nothing on Y that is not the client's", s.from_client(Y, ACK, ack=SERVER_ISN + 9),
             "wrong_port", *s_stayed),
        same("E7 a packet on X that has not seen the SYN/ACK undoes nothing", s.from_client(X, ACK, ack=9), s_answered),
        same("E7 a client that gives up has not stayed", s.from_client(X, RST | ACK), s_answered),
        Case("E2 after such a packet Y still counts", s.from_client(Y, ACK), s.from_client(X, ACK),
             counters={"redirected": 1}, before=(*s_answered, s.from_client(X, ACK, ack=9), s.from_client(X, RST))),
        same("E2 packet on X of a connection that is on Y: the client tries both", s.from_client(X, ACK), s_bound),
        drop("E2 packet on X that is not the client's", s.from_client(X, ACK, ack=SERVER_ISN + 9), "wrong_port",
             *s_bound),
        drop("E2 RST on Y before the client has confirmed it, without CONFIRM: a middlebox's",
             s.from_client(Y, RST), None, *s_bound),
        same("E2 exact RST on X of a connection that is on Y", s.from_client(X, RST), s_bound),
        drop("E2 RST on X one off", s.from_client(X, RST, seq=ISN + 2), "wrong_port", *s_bound),
        drop("E2 packet on another service port of the application", s.from_client(SECOND_Y, ACK), "wrong_port",
             *s_bound),
        drop("E2 half-open: packet on a port neither opened nor announced", s.from_client(SECOND_Y, ACK),
             "wrong_port", *s_answered),
        Case("E2 OPT=X is sent", s.synack(SAME), s.synack(SAME, CONFIRM, options=option(SAME)),
             counters={"announced": 1}, before=(s.syn(SAME, REDIRECT),)),
        same("E2 OPT=X: third ACK", s.from_client(SAME, ACK | CONFIRM), (s.syn(SAME, REDIRECT), s.synack(SAME)),
             redirected=1),
        Case("E1 E3 SYN straight to Y reaches the application", s.syn(Y, REDIRECT), s.syn(X, REDIRECT),
             counters={"syn_redirect": 1}),
        Case("E1 SYN/ACK of it leaves from Y with CONFIRM, no OPT", s.synack(X), s.synack(Y, CONFIRM),
             counters={"supported": 1}, before=(s.syn(Y, REDIRECT),)),
        Case("E3 SYN/ACK of a plain one leaves from Y without CONFIRM", s.synack(X), s.synack(Y), before=(s.syn(Y),)),
        Case("E1 data of it leaves from Y", s.from_server(X, ACK, data=b"x"), s.from_server(Y, ACK, data=b"x"),
             before=s_direct),
        Case("E2 application on a port of its own: SYN", s.syn(BEHIND, REDIRECT), s.syn(APPLICATION, REDIRECT),
             counters={"syn_redirect": 1}),
        Case("E2 application on a port of its own: SYN/ACK leaves from X", s.synack(APPLICATION),
             s.synack(BEHIND, CONFIRM, options=option(BEHIND_Y)), counters={"announced": 1},
             before=(s.syn(BEHIND, REDIRECT),)),
        Case("E2 application on a port of its own: data", s.from_server(APPLICATION, ACK, data=b"x"),
             s.from_server(BEHIND_Y, ACK, data=b"x"), before=s_behind),
        Case("E2 unknown connection on a service port: the kernel decides, nothing is remembered",
             s.from_client(Y, ACK, data=b"x"), s.from_client(X, ACK, data=b"x")),
        Case("E2 unknown connection: its reset leaves from where the segment went", s.from_server(X, RST,
             seq=SERVER_ISN + 1), s.from_server(Y, RST, seq=SERVER_ISN + 1), counters={"answered_as_asked": 1},
             before=(s.from_client(Y, ACK, data=b"x"),)),
        same("E2 unknown connection: a reset of another number stays as it is", s.from_server(X, RST, seq=7),
             (s.from_client(Y, ACK, data=b"x"),)),
        same("E2 unknown connection on the application's own port", s.from_server(X, RST, seq=SERVER_ISN + 1),
             (s.from_client(X, ACK, data=b"x"),)),
        same("E2 an acknowledgement of something else completes no handshake", s.from_client(X, ACK | REDIRECT,
             ack=SERVER_ISN + 2), s_answered),
        same("E2 one of what a Fast Open server has sent does", s.from_client(X, ACK | REDIRECT, ack=SERVER_ISN + 4),
             (*s_answered, s.from_server(X, ACK, data=b"odd")), stayed=1),
        same("E7 TCP MD5 (RFC 2385): SYN passes untouched", s.syn(X, REDIRECT, options=MD5), signed=1),
        same("E7 TCP MD5: SYN/ACK, too", s.synack(X, options=MD5), (s.syn(X, REDIRECT, options=MD5),)),
        same("E7 TCP-AO (RFC 5925): not even to a service port", s.syn(Y, REDIRECT, options=AO), signed=1),
        Case("E2 a segment to Y that has not seen the SYN/ACK is not remembered", s.from_client(Y, ACK, ack=9),
             s.from_client(X, ACK, ack=9), before=s_answered),
        Case("E2 nor one with another sequence number", s.from_client(Y, ACK, seq=9), s.from_client(X, ACK, seq=9),
             before=s_answered),
        same("E2 after one the answer still leaves from X", s.from_server(X, ACK), (*s_answered, s.from_client(Y, ACK,
             ack=9))),
        same("E2 option: SYN that asks by option alone", s.syn(X, options=MSS + bare_option(REDIRECT_FLAG)),
             syn_redirect=1),
        Case("E2 option: is answered by option alone", s.synack(X, options=MSS), s.synack(X, options=MSS + option(Y)),
             counters={"announced": 1}, before=s_by_option),
        Case("E1 option: own service port", s.synack(OWN, options=MSS),
             s.synack(OWN, options=MSS + bare_option(CONFIRM_FLAG)), counters={"supported": 1},
             before=(s.syn(OWN, options=bare_option(REDIRECT_FLAG)),)),
        Case("E2 option: third ACK", s.from_client(Y, ACK, options=option(X)), s.from_client(X, ACK, options=option(X)),
             counters={"redirected": 1}, before=(*s_by_option, s.synack(X))),
        Case("D3 SYN of a connection redirected from another server's port",
             s.syn(Y, REDIRECT, options=MSS + option(7, REDIRECT_FLAG)),
             s.syn(X, REDIRECT, options=MSS + option(7, REDIRECT_FLAG)), counters={"syn_redirect": 1, "arrived": 1}),
        same("E2 malformed option in a SYN", s.syn(X, REDIRECT, options=option(Y, length=12)), syn_redirect=1,
             bad_option=1),
        same("E7 options of a plain SYN ask for nothing", s.syn(X, options=MSS + option(Y, CONFIRM_FLAG))),
        drop("E2 SYN on X while the connection lives on Y", s.syn(X, REDIRECT, seq=77), "collision", *s_bound),
        drop("E3 plain SYN on X while the connection lives on Y", s.syn(X, seq=77), "collision", *s_bound),
        drop("E3 SYN on another service port", s.syn(SECOND_Y, seq=77), "collision", *s_bound),
        drop("E3 SYN on Y while the connection lives on X", s.syn(Y, seq=77), "collision", *s_stayed),
        same("E2 new SYN on X after both have closed", s.syn(X, REDIRECT, seq=77), (*s_bound, *s_close),
             syn_redirect=1),
        same("E2 new SYN on X after a reset", s.syn(X, REDIRECT, seq=77), (*s_bound, s.from_client(Y, RST | CONFIRM)),
             syn_redirect=1),
        drop("E2 new SYN on X after a reset that the program outlived", s.syn(X, REDIRECT, seq=77), "collision",
             *s_bound, s.from_client(Y, RST | CONFIRM), s.from_server(X, ACK)),
        Case("E7 copies that this host has not acknowledged: it had no room for them, whichever port they came to",
             s.from_server(X, ACK), s.from_server(Y, ACK), before=(*s_bound, s_copy, s_copy, s_copy)),
        Case("E7 copies of what it has acknowledged: the client does not hear Y", s.from_server(X, ACK, ack=ISN + 4),
             before=(*s_bound, s_copy, s.from_server(X, ACK, ack=ISN + 4), s_copy)),
        Case("E7 tried from both: a client that acknowledges nothing new repeats itself on both",
             s.from_server(X, ACK), counters={"sent_from_both": 1}, before=(*s_repeated, s_copy)),
        same("E7 tried from both: one that does has heard X", s.from_client(X, ACK, ack=SERVER_ISN + 4), s_repeated,
             stayed=1),
        Case("E2 last ACK after both have closed is still translated", s.from_client(Y, ACK), s.from_client(X, ACK),
             before=(*s_bound, *s_close)),
        Case("E2 repeated SYN while half-open", s.synack(X), s.synack(X, CONFIRM, options=option(Y)),
             counters={"announced": 1}, before=(*s_answered, s.syn(X, REDIRECT))),
        Case("I2 error about a packet from Y", Packet(IN, icmp_error(f.router, f.vip, quote(s.from_server(Y, ACK)))),
             Packet(IN, icmp_error(f.router, f.vip, quote(s.from_server(X, ACK)))), counters={"icmp_translated": 1}),
        Case("I2 with IP options in the quote",
             Packet(IN, icmp_error(f.router, f.vip, quote(s.from_server(Y, ACK, extra=40)), EXCEEDED)),
             Packet(IN, icmp_error(f.router, f.vip, quote(s.from_server(X, ACK, extra=40)), EXCEEDED)),
             counters={"icmp_translated": 1}),
        Case("I2 error this host sends about a packet to Y",
             Packet(OUT, icmp_error(f.vip, f.client, quote(s.from_client(X, ACK)))),
             Packet(OUT, icmp_error(f.vip, f.client, quote(s.from_client(Y, ACK)))),
             counters={"icmp_translated": 1}, before=s_bound),
        same("I2 error about a packet from X passes", Packet(IN, icmp_error(f.router, f.vip, quote(s.synack(X)))),
             s_opened),
        same("I2 fewer than 8 bytes of TCP quoted",
             Packet(IN, icmp_error(f.router, f.vip, quote(s.from_server(Y, ACK), 7))), icmp_truncated=1),
        same("F3 fragment passes", s.from_client(Y, ACK, data=b"x", fragment=MORE), s_bound, fragment=1),
        same("foreign TCP", Packet(IN, tcp(f.client, f.other, CPORT, Y, SYN, 1, 0))),
        same("TCP header cut off", Packet(IN, ethernet(ip(f.client, f.vip, 6, bytes(19)))), malformed=1),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def loaded() -> Iterator[dict[str, Programs]]:
    """Both agents' programs, loaded once."""
    with contextlib.ExitStack() as stack:
        made = {"client": client.settings(VIPS), "server": server.settings(MAPPING)}
        programs = {role: Programs(role, settings) for role, settings in made.items()}
        for each in programs.values():
            stack.callback(each.close)
        yield programs


@pytest.fixture
def client_programs(loaded: dict[str, Programs]) -> Programs:
    """The client's, which know nothing."""
    clear(loaded["client"])
    return loaded["client"]


@pytest.fixture
def server_programs(loaded: dict[str, Programs]) -> Programs:
    """The server's, which know nothing."""
    clear(loaded["server"])
    return loaded["server"]


def send(programs: Programs, packet: Packet) -> libbpf.RunResult:
    return libbpf.run(programs.fd(packet.hook), packet.frame)


def check(programs: Programs, case: Case) -> None:
    for packet in case.before:
        assert send(programs, packet).verdict == PASS
    counted = programs.counters()
    result = send(programs, case.packet)
    assert result.verdict == case.verdict
    if case.verdict == PASS:
        assert result.packet.hex() == (case.out or case.packet).frame.hex()
    changed = {name: value - counted[name] for name, value in programs.counters().items() if value != counted[name]}
    assert changed == case.counters


def all_of(cases: Callable[[Family], list[Case]]) -> list[ParameterSet]:
    """The cases of both families."""
    return [pytest.param(case, id=f"IPv{f.version} {case.description}") for f in FAMILIES for case in cases(f)]


@pytest.mark.parametrize("case", all_of(client_cases))
def test_client(client_programs: Programs, case: Case) -> None:
    """E1 E2 E7 D1 I2 F3: what the client's programs do to a packet."""
    check(client_programs, case)


@pytest.mark.parametrize("case", all_of(server_cases))
def test_server(server_programs: Programs, case: Case) -> None:
    """E1 E2 E3 E7 D1 I2 F3: what the server's programs do to a packet."""
    check(server_programs, case)


def tagged(packet: Packet, *tags: tuple[int, int]) -> Packet:
    """The packet with 802.1Q or 802.1ad tags in the frame, the outermost first: kind, and priority with number."""
    frame = packet.frame
    return Packet(packet.hook, frame[:12] + b"".join(struct.pack("!HH", *tag) for tag in tags) + frame[12:])


@pytest.mark.parametrize(("family", "tag"), [(V4, (0x8100, 0xA000)), (V6, (0x88A8, 0))], ids=["802.1Q", "802.1ad"])
@pytest.mark.parametrize("role", ["client", "server"])
def test_priority_tags_are_none(role: str, family: Family, tag: tuple[int, int]) -> None:
    """A tag with VLAN number 0: all is as without it. The kernel then has it beside the frame, as a card would."""
    constants = client.settings(VIPS) if role == "client" else server.settings(MAPPING)
    cases = client_cases(family) if role == "client" else server_cases(family)
    for case in [case for case in cases if case.before and case.out][::12]:
        programs = Programs(role, constants)
        before = tuple(tagged(each, tag) for each in case.before)
        check(programs, replace(case, packet=tagged(case.packet, tag), before=before))
        programs.close()


@pytest.mark.parametrize(
    "tags", [((0x8100, 5),), ((0x8100, 0xAFFF),), ((0x8100, 0), (0x8100, 0)), ((0x88A8, 0), (0x8100, 7))]
)  # fmt: skip
def test_frames_of_a_vlan_pass_untouched(
    client_programs: Programs, server_programs: Programs, tags: tuple[tuple[int, int], ...]
) -> None:
    """And so do those with two tags: an agent on the VLAN's own interface sees them without."""
    for f in FAMILIES:
        for programs, side, hook in ((client_programs, Side(f, OUT, IN), OUT), (server_programs, Side(f, IN, OUT), IN)):
            packet = tagged(side.syn(X), *tags)
            assert packet.hook == hook
            result = send(programs, packet)
            assert (result.verdict, result.packet) == (PASS, packet.frame)
            assert not any(programs.counters().values())
            for length in range(12, 19):
                send(programs, Packet(hook, packet.frame[:length].ljust(14, b"\0")))


def mark_after(programs: Programs, packet: Packet, mark: int) -> int:
    """A packet's mark (SO_MARK) after it has passed its hook with `mark`."""
    context = ctypes.create_string_buffer(struct.pack("=8xI", mark), 192)
    options = libbpf._RunOptions(size=ctypes.sizeof(libbpf._RunOptions))
    options.data_in, options.data_size_in = packet.frame, len(packet.frame)
    options.ctx_in, options.ctx_size_in = context.raw, len(context)
    options.ctx_out, options.ctx_size_out = ctypes.addressof(context), len(context)
    checked(library.bpf_prog_test_run_opts(programs.fd(packet.hook), ctypes.byref(options)), "run")
    return int.from_bytes(context.raw[8:12], sys.byteorder)


def test_marks_are_the_hosts(server_programs: Programs) -> None:
    """D1: what leaves from both ports keeps the mark by which the host routes and filters, and so does a reset."""
    for f in FAMILIES:
        s = Side(f, IN, OUT)
        data, mark = s.from_server(X, ACK, data=b"odd"), 0x52500002
        for packet in (s.syn(X, REDIRECT), s.synack(X), s.from_client(Y, ACK | CONFIRM, options=option(X)), data):
            send(server_programs, packet)
        assert mark_after(server_programs, data, mark) == mark
        assert mark_after(server_programs, s.from_client(Y, RST | CONFIRM, ack=0), mark) == mark
    counted = server_programs.counters()
    assert (counted["sent_from_both"], counted["reflected"]) == (2, 2)


TWINS = 6000
"""Connections whose SYN/ACK comes twice at once. With a check alone, 900 to 2,000 of them were bound twice."""


def test_two_synacks_at_once_bind_one(client_programs: Programs) -> None:
    """E2: on two processors at the same moment, from two servers: one is the connection's, the other is dropped."""
    sides = [Side(FAMILIES[0], OUT, IN, cport=1024 + number) for number in range(TWINS)]
    for side in sides:
        assert send(client_programs, side.syn(X)).verdict == PASS
    began = time.monotonic_ns() + 500_000_000

    def server(port: int, seq: int, processor: int) -> int:
        frames = [side.synack(X, CONFIRM, seq=seq, options=option(port)).frame for side in sides]
        child = os.fork()
        if child:
            return child
        try:
            os.sched_setaffinity(0, {processor})
            for number, frame in enumerate(frames):
                while time.monotonic_ns() < began + number * 100_000:
                    pass
                libbpf.run(client_programs.fd(IN), frame)
        finally:
            os._exit(0)

    processors = sorted(os.sched_getaffinity(0))
    for child in (server(Y, SERVER_ISN, processors[0]), server(Y + 1, SERVER_ISN + 9, processors[-1])):
        assert os.waitpid(child, 0)[1] == 0
    counters = client_programs.counters()
    assert (counters["bound"], counters["second_synack"]) == (TWINS, TWINS)


@pytest.fixture(params=FAMILIES, ids=lambda family: f"IPv{family.version}")
def family(request: pytest.FixtureRequest) -> Family:
    """Both IP versions, one after the other."""
    chosen: Family = request.param
    return chosen


def test_no_second_connection_shares_the_first_ones_entry(client_programs: Programs, family: Family) -> None:
    """E2: two connections from the same client port, to two redirect ports, are redirected independently."""
    c = Side(family, OUT, IN)
    opened = [(20, 1), (21, 4)]
    for port, announced in opened:
        for packet in (c.syn(port), c.synack(port, CONFIRM, options=option(announced))):
            assert send(client_programs, packet).verdict == PASS
    for port, announced in opened:
        out = send(client_programs, c.from_client(port, ACK, data=b"x")).packet
        assert out == c.from_client(announced, ACK | CONFIRM, data=b"x").frame
        back = send(client_programs, c.from_server(announced, ACK)).packet
        assert back == c.from_server(port, ACK).frame


def test_signal_by_option(family: Family) -> None:
    """E2 E7: with `--signal option` no header bit is ever set; SYN, third ACK and answers carry the option."""
    programs = Programs("client", client.settings(VIPS, by_option=True))
    c = Side(family, OUT, IN)
    cases = [
        (c.syn(X, options=MSS), c.syn(X, options=MSS + bare_option(REDIRECT_FLAG))),
        (c.synack(X, options=MSS + option(Y)), None),
        (c.from_client(X, ACK), c.from_client(Y, ACK, options=option(X))),
        (c.from_client(X, ACK, data=b"x"), c.from_client(Y, ACK, data=b"x")),
        (c.syn(OWN, options=MSS), c.syn(OWN, options=MSS + bare_option(REDIRECT_FLAG))),
        (c.synack(OWN, options=MSS + bare_option(CONFIRM_FLAG)), None),
        (c.from_client(OWN, ACK), None),
        (c.syn(APPLICATION, options=FULL), None),
    ]
    for packet, out in cases:
        assert send(programs, packet).packet.hex() == (out or packet).frame.hex()
    assert {name: value for name, value in programs.counters().items() if value} == {
        "syn_marked": 3, "bound": 1, "unredirected": 1, "no_room": 1,
    }  # fmt: skip
    programs.close()


def test_path_is_the_whole_address(client_programs: Programs) -> None:
    """B1: addresses that differ in one word only are different connections, and different VIPs."""
    c = Side(V6, OUT, IN)
    for packet in (c.syn(X), c.synack(X, CONFIRM, options=option(Y))):
        assert send(client_programs, packet).verdict == PASS
    for word in range(4):
        client_address = IPv6Address(int(V6.client) ^ 1 << 32 * word)
        other = Side(V6, OUT, IN, client=client_address)
        assert send(client_programs, other.from_client(X, ACK)).packet == other.from_client(X, ACK).frame
        vip = IPv6Address(int(V6.vip) ^ 1 << 32 * word)
        syn = Packet(OUT, tcp(V6.client, vip, CPORT, X, SYN))
        assert send(client_programs, syn).packet == syn.frame


def extension_frame(f: Family, headers: list[tuple[int, int]], side: Side, packet: Packet) -> bytes:
    """The frame with IPv6 extension headers (kind, bytes) before its TCP header."""
    payload, following = transport(packet), 6
    for kind, length in reversed(headers):
        if kind == 44:
            header = struct.pack("!BBHI", following, 0, 0, 9)
        elif kind == 51:
            header = struct.pack("!BBHII", following, length // 4 - 2, 0, 1, 1) + bytes(length - 12)
        else:
            header = struct.pack("!BBBB", following, length // 8 - 1, 1, length - 4) + bytes(length - 4)
        payload, following = header + payload, kind
    return ethernet(struct.pack("!IHBB", 6 << 28, len(payload), following, 64) + packet.frame[22:54] + payload)


HOP, ROUTING, ALONE, ESP, AH, OPTIONS = 0, 43, 44, 50, 51, 60
EXTENSIONS = [
    ("hop-by-hop", [(HOP, 8)], True),
    ("destination options of 256 bytes", [(OPTIONS, 256)], True),
    ("hop-by-hop and twice destination options", [(HOP, 16), (OPTIONS, 8), (OPTIONS, 24)], True),
    ("the only fragment (RFC 6946)", [(ALONE, 8)], True),
    ("five headers", [(OPTIONS, 8)] * 5, True),
    ("six headers", [(OPTIONS, 8)] * 6, False),
    ("routing header", [(ROUTING, 24)], False),
    ("authentication header", [(AH, 24)], False),
    ("ESP", [(ESP, 16)], False),
    ("unknown header", [(139, 8)], False),
]


@pytest.mark.parametrize(("headers", "walked"), [row[1:] for row in EXTENSIONS], ids=[row[0] for row in EXTENSIONS])
def test_extension_headers(client_programs: Programs, headers: list[tuple[int, int]], walked: bool) -> None:
    """B1: extension headers are stepped over, or the packet passes untouched and is counted."""
    c = Side(V6, OUT, IN)
    syn = extension_frame(V6, headers, c, c.syn(X))
    wanted = extension_frame(V6, headers, c, c.syn(X, REDIRECT)) if walked else syn
    assert send(client_programs, Packet(OUT, syn)).packet.hex() == wanted.hex()
    assert (client_programs.counters()["syn_marked"], client_programs.counters()["extension"]) == (walked, not walked)


def test_extension_header_that_lies_about_its_length(client_programs: Programs) -> None:
    """B1: a header that claims to reach beyond the packet."""
    c = Side(V6, OUT, IN)
    frame = bytearray(extension_frame(V6, [(OPTIONS, 8)], c, c.syn(X)))
    frame[55] = 255
    assert send(client_programs, Packet(OUT, bytes(frame))).packet == frame
    assert client_programs.counters()["malformed"] == 1


def test_option_behind_extension_headers(client_programs: Programs) -> None:
    """B1 E2: the third ACK grows behind extension headers, too."""
    c = Side(V6, OUT, IN)
    for packet in (c.syn(X), c.synack(X, CONFIRM, options=option(Y))):
        assert send(client_programs, packet).verdict == PASS
    headers = [(HOP, 8), (OPTIONS, 16)]
    ack = extension_frame(V6, headers, c, c.from_client(X, ACK))
    wanted = extension_frame(V6, headers, c, c.from_client(Y, ACK | CONFIRM, options=option(X)))
    assert send(client_programs, Packet(OUT, ack)).packet.hex() == wanted.hex()


s = Side(V4, IN, OUT)
s_answered = (s.syn(X, REDIRECT), s.synack(X))
s_bound = (*s_answered, s.from_client(Y, ACK | CONFIRM, options=option(X)))
S_CLOSE = (s.from_client(Y, FIN | ACK), s.from_server(X, FIN | ACK))
SWEEPS = [
    ("closed, 59 s silent", (*s_bound, *S_CLOSE), 50, {}),
    ("closed, 70 s silent", (*s_bound, *S_CLOSE), 70, {"swept_closing": 1}),
    ("reset, 70 s silent", (*s_bound, s.from_client(Y, RST | CONFIRM)), 70, {"swept_closing": 1}),
    ("half-closed (one may still send), an hour silent", (*s_bound, S_CLOSE[0]), 3600, {}),
    ("established, 4 days silent", s_bound, 4 * 86400, {}),
    ("established, 6 days silent", s_bound, 6 * 86400, {"swept_idle": 1}),
]


@pytest.mark.parametrize(("before", "ahead", "counters"), [row[1:] for row in SWEEPS], ids=[row[0] for row in SWEEPS])
def test_ageing(server_programs: Programs, before: tuple[Packet, ...], ahead: float, counters: dict[str, int]) -> None:
    """E2: closed connections are remembered for 60 s, established ones for 5 days."""
    for packet in before:
        assert send(server_programs, packet).verdict == PASS
    # the half-open one goes by its own clock (below)
    server_programs.sweep(time.monotonic_ns() + int(ahead * 1e9))
    after = server_programs.counters()
    swept = {name: value for name, value in after.items() if name in ("swept_closing", "swept_idle") and value}
    assert swept == counters
    known = send(server_programs, s.from_server(X, ACK, data=b"x")).packet == s.from_server(Y, ACK, data=b"x").frame
    assert known == (not counters)


@pytest.mark.parametrize(("ahead", "swept"), [(170, 0), (190, 1)])
def test_ageing_of_half_open_connections(server_programs: Programs, ahead: float, swept: int) -> None:
    """E2: half-open connections are remembered for 180 s."""
    for packet in s_answered:
        assert send(server_programs, packet).verdict == PASS
    server_programs.sweep(time.monotonic_ns() + int(ahead * 1e9))
    assert server_programs.counters()["swept_opening"] == swept
    confirmed = s.synack(X, CONFIRM, options=option(Y))
    assert send(server_programs, s.synack(X)).packet == (s.synack(X) if swept else confirmed).frame


def test_traffic_keeps_an_entry(server_programs: Programs) -> None:
    """E2: 60 s count from the last packet, so a closed connection that still repeats its FIN is remembered."""
    others = Side(V4, IN, OUT, cport=CPORT + 1)
    silent = (others.syn(X, REDIRECT), others.synack(X), others.from_client(Y, ACK), others.from_server(X, RST))
    for packet in (*s_bound, *S_CLOSE, *silent):
        assert send(server_programs, packet).verdict == PASS
    time.sleep(10)
    send(server_programs, S_CLOSE[0])
    server_programs.sweep(time.monotonic_ns() + 55_000_000_000)
    assert server_programs.counters()["swept_closing"] == 1
    assert send(server_programs, s.from_server(X, ACK)).packet == s.from_server(Y, ACK).frame


def test_ageing_of_a_client_connection_takes_its_alias_along(client_programs: Programs) -> None:
    """E2: after the sweep neither X nor Y means anything."""
    c = Side(V4, OUT, IN)
    opening = (c.syn(X), c.synack(X, CONFIRM, options=option(Y)), c.from_server(Y, ACK))
    for packet in (*opening, c.from_client(X, FIN | ACK), c.from_server(Y, FIN | ACK)):
        assert send(client_programs, packet).verdict == PASS
    now = time.monotonic_ns()
    client_programs.sweep(now + 30_000_000_000)
    assert send(client_programs, c.from_client(X, ACK)).packet == c.from_client(Y, ACK).frame
    for _ in range(2):  # the alias goes with its entry or, seen first, one sweep later
        client_programs.sweep(now + 70_000_000_000)
    assert client_programs.counters()["swept_closing"] == 1
    for packet in (c.from_client(X, ACK), c.from_server(Y, ACK)):
        assert send(client_programs, packet).packet == packet.frame


def flood(programs: Programs, number: int, *packets: Callable[[Side], Packet]) -> None:
    """Send the same packets of as many clients."""
    for index in range(number):
        side = Side(V4, IN, OUT, client=IPv4Address(0x0B000000 + index))
        for packet in packets:
            send(programs, packet(side))


def test_a_flood_of_syns_takes_nothing_from_open_connections(server_programs: Programs) -> None:
    """E2: 70,000 half-open connections in 16,384 places: the newest is served, the open one has kept its entry."""
    for packet in s_bound:
        assert send(server_programs, packet).verdict == PASS
    flood(server_programs, 70_000, lambda side: side.syn(X, REDIRECT))
    assert send(server_programs, s.from_server(X, ACK, data=b"x")).packet == s.from_server(Y, ACK, data=b"x").frame
    newest = Side(V4, IN, OUT, cport=CPORT + 1)
    for packet in (newest.syn(X, REDIRECT), newest.synack(X), newest.from_client(Y, ACK | CONFIRM)):
        assert send(server_programs, packet).verdict == PASS
    wanted = newest.from_server(Y, ACK, data=b"x")
    assert send(server_programs, newest.from_server(X, ACK, data=b"x")).packet == wanted.frame
    assert server_programs.counters()["map_full"] == 0


def test_a_syn_that_is_not_answered_changes_nothing(server_programs: Programs) -> None:
    """E2: a forged SYN to a service port moves no plain connection that the kernel has and the agent need not know."""
    assert send(server_programs, s.syn(Y, REDIRECT)).verdict == PASS
    for packet in (s.from_client(X, ACK, data=b"x"), s.from_server(X, ACK, data=b"x"), s.from_server(X, FIN | ACK)):
        result = send(server_programs, packet)
        assert (result.verdict, result.packet) == (PASS, packet.frame)
    assert send(server_programs, s.synack(X)).packet == s.synack(Y, CONFIRM).frame


def test_a_flood_of_acknowledgements_is_not_remembered(server_programs: Programs) -> None:
    """E2: segments to service ports that no socket knows take no room at all."""
    flood(server_programs, 1000, lambda side: side.from_client(Y, ACK))
    assert not list(Map.copy_of(server_programs.map_fd("connections")).entries())


def test_closed_connections_make_room_for_open_ones(client_programs: Programs) -> None:
    """E2: a full map gives up closed connections; one that is open and idle stays, for the sweep keeps it in use."""
    c = Side(V4, OUT, IN)
    for packet in (c.syn(X), c.synack(X, CONFIRM, options=option(Y)), c.from_server(Y, ACK)):
        assert send(client_programs, packet).verdict == PASS
    for index in range(100_000):
        if index % 10_000 == 0:
            client_programs.sweep(time.monotonic_ns())
        side = Side(V4, OUT, IN, client=IPv4Address(0x0B000000 + index))
        for packet in (side.syn(X), side.synack(X), side.from_client(X, RST)):
            send(client_programs, packet)
    assert send(client_programs, c.from_client(X, ACK)).packet == c.from_client(Y, ACK).frame
    assert send(client_programs, c.from_server(Y, ACK)).packet == c.from_server(X, ACK).frame


# What an agent may change in a packet: ports, the header word, lengths, checksums, and 8 bytes of option behind it.
def assert_only_permitted_changes(before: bytes, after: bytes) -> None:
    if after == before:
        return
    assert len(after) in (len(before), len(before) + 8)
    version = before[14] >> 4
    protocol, payload = (before[23], 14 + (before[14] & 15) * 4) if version == 4 else (before[20], 54)
    while version == 6 and protocol in (0, 44, 60):
        protocol, payload = before[payload], payload + (8 if protocol == 44 else (before[payload + 1] + 1) * 8)
    if protocol in (1, 58):
        permitted = {payload + 2, payload + 3, *range(payload + 28, len(before))}
    else:
        permitted = {*range(payload, payload + 4), *(payload + at for at in (12, 13, 16, 17))}
        permitted |= {16, 17, 24, 25} if version == 4 else {18, 19}
    if len(after) > len(before):
        end = 14 + int.from_bytes(before[16:18], "big") if version == 4 else 54 + int.from_bytes(before[18:20], "big")
        permitted.update(range(end, len(after)))
    changed = {at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new}
    assert changed <= permitted


def test_fuzz(client_programs: Programs, server_programs: Programs) -> None:
    """Nothing an attacker sends corrupts a packet: foreign ones leave as they came, others change where they may."""
    generator = random.Random(20)
    seeds = [(client_programs, p) for f in FAMILIES for case in client_cases(f) for p in (*case.before, case.packet)]
    seeds += [(server_programs, p) for f in FAMILIES for case in server_cases(f) for p in (*case.before, case.packet)]
    for number in range(24000):
        programs, packet = generator.choice(seeds)
        frame = bytearray(packet.frame)
        kind = number % 3
        if kind == 0:  # noise behind an Ethernet header
            frame = frame[:14] + generator.randbytes(generator.randrange(40, 120))
        else:  # a few wrong bytes, or a wrong length
            for _ in range(generator.randrange(1, 5)):
                frame[generator.randrange(14, len(frame))] = generator.randrange(256)
            if kind == 2:  # (the kernel runs no program on less than an IP header)
                frame = frame[: generator.randrange(34 if frame[12:14] == b"\x08\x00" else 54, len(frame) + 1)]
        result = libbpf.run(programs.fd(packet.hook), bytes(frame))
        assert result.verdict in (PASS, DROP)
        if result.verdict == DROP:
            continue
        ours = frame[12:14] in (b"\x08\x00", b"\x86\xdd") and any(vip.packed in frame for vip in VIPS)
        if ours:
            assert_only_permitted_changes(bytes(frame), result.packet)
        else:
            assert result.packet == frame


def test_fuzzed_options_are_read_like_the_reference(client_programs: Programs) -> None:
    """E2 E7: whatever 40 bytes of options say, the agent reads what a plain walk through them reads."""
    generator = random.Random(253)
    pieces = [MSS, TIMESTAMPS, b"\1", b"\0", option(Y), option(7), option(0), option(Y, exid=1), b"\xfd", b"\x4d\x03\0"]
    pieces += [bare_option(CONFIRM_FLAG), option(Y, type_=0), option(Y, length=6)]
    for number in range(4000):
        options = b"".join(generator.choices(pieces, k=generator.randrange(6)))[:40]
        if number % 2:
            options = generator.randbytes(generator.randrange(41))
        options += b"\1" * (-len(options) % 4)
        side = Side(FAMILIES[number // 2 % 2], OUT, IN, cport=1024 + number)
        before = client_programs.counters()
        send(client_programs, side.syn(X))
        send(client_programs, side.synack(X, CONFIRM, options=options))
        after = client_programs.counters()
        port, bad = reference_option(options)
        assert after["bad_option"] - before["bad_option"] == bad, options.hex()
        out = send(client_programs, side.from_client(X, ACK, data=b"x")).packet
        wanted = side.from_client(port, ACK | CONFIRM, data=b"x") if port else side.from_client(
            X, ACK | REDIRECT, data=b"x")  # fmt: skip
        assert out == wanted.frame, options.hex()


def reference_option(options: bytes) -> tuple[int, bool]:
    """Return the announced port (0: none) and whether the options are malformed."""
    rest = options
    while rest and rest[0] != 0:
        if rest[0] == 1:
            rest = rest[1:]
            continue
        if len(rest) < 2 or rest[1] < 2 or rest[1] > len(rest):
            return 0, True
        if rest[0] == 253 and rest[1] >= 4 and rest[2:4] == b"\x52\x50":
            type_, port = rest[4] & 15 if rest[1] > 4 else None, int.from_bytes(rest[6:8], "big")
            if rest[1] == 8 and type_ == 1 and port:
                return port, False
            return 0, (rest[1], type_) != (6, 0)
        rest = rest[rest[1] :]
    return 0, False
