"""Connections looked at and reset from outside: what both ends hear of it, and what the kernel tells of them.

Both ends are sockets of this process, each made in the namespace of its host. What a program hears is what its socket
says: its end is a FIN, ConnectionResetError is an RST.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

import pytest

from portlb_app.agent import sockets
from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel import sock_diag
from portlb_app.agent.kernel.sock_diag import Tcp
from portlb_app.agent.sockets import is_quiet
from tests.net.inside import on
from tests.net.network import ROOT, Namespace, Network, until

ABORTED, RESET = "ConnectionAbortedError", "ConnectionResetError"
ONE = Tcp(IPv4Address("10.0.0.1"), 1, IPv4Address("10.0.0.2"), 2)
QUIET = 0.05  # seconds without data after which an answer counts as over
SETTLED = 0.15  # seconds in which delayed ACKs are sent, and the last data becomes old enough


def quiet(connections: Iterable[Tcp]) -> set[Tcp]:
    """Those that are quiet; nothing may go wrong."""
    look = sockets.quiet(connections)
    assert not look.failures
    return look.chosen


def destroy(connections: Iterable[Tcp]) -> set[Tcp]:
    """Those destroyed; nothing may go wrong."""
    look = sockets.destroy(connections)
    assert not look.failures
    return look.chosen


CASES = {  # where the server listens, where the client connects to and what it is bound to
    "IPv4": ("0.0.0.0", "10.0.0.2", ""),
    "IPv6": ("::", "fd00::2", ""),
    "v4-mapped": ("::", "::ffff:10.0.0.2", ""),
    "link-local": ("::", "fe80::ff:fe00:102%eth0", ""),  # from the MAC address that Network.link gives
    "bound": ("0.0.0.0", "10.0.0.2", "eth0"),
    "bound v4-mapped": ("0.0.0.0", "::ffff:10.0.0.2", "eth0"),
}
Ends = tuple[socket.socket, socket.socket]


class Hosts(NamedTuple):
    """Two hosts joined by a wire, and what is to be closed in the end."""

    client: Namespace
    server: Namespace
    stack: contextlib.ExitStack

    def pairs(self, case: str, many: int) -> list[Ends]:
        """Have the server listen, and return both ends of new connections, the client's first."""
        listens, address, interface = CASES[case]
        family, dual = (socket.AF_INET6, True) if ":" in listens else (socket.AF_INET, False)
        with on(self.server):
            listener = self.stack.enter_context(socket.create_server((listens, 7), family=family, dualstack_ipv6=dual))
        ends = []
        for _ in range(many):
            with on(self.client):
                client = self.stack.enter_context(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
                client.settimeout(3)
                client.connect(socket.getaddrinfo(address, 7, type=socket.SOCK_STREAM)[0][4])
            server = self.stack.enter_context(listener.accept()[0])
            server.settimeout(3)
            ends.append((client, server))
        return ends


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Network() as network, contextlib.ExitStack() as stack:
        client, server = network.host("client"), network.host("server")
        network.link(client, server, ("10.0.0.1/24", "10.0.0.2/24"))
        for host, address in ((client, "fd00::1/64"), (server, "fd00::2/64")):
            host.run("ip", "address", "add", address, "dev", "eth0")
        yield Hosts(client, server, stack)


def tcp(end: socket.socket) -> Tcp:
    """Name a connection as its socket does."""
    local, remote = end.getsockname(), end.getpeername()
    return Tcp(*(ip_address(local[0].partition("%")[0]), local[1], ip_address(remote[0].partition("%")[0]), remote[1]))


def on_the_wire(connection: Tcp) -> Tcp:
    """Name a connection as its packets do, not as a dual-stack socket does."""
    return Tcp(*(getattr(part, "ipv4_mapped", None) or part for part in connection))


def heard(end: socket.socket) -> str:
    """Return what a program hears next: data, FIN or the name of an error."""
    try:
        return end.recv(100).decode() or "FIN"
    except OSError as error:
        return type(error).__name__


def talk(pair: Ends, spoken: str, pause: float = 0) -> None:
    """Have the client (">") or the server ("<") send a byte and the other receive it, one after the other."""
    for who in spoken:
        sender, receiver = pair if who == ">" else reversed(pair)
        sender.send(b"x")
        assert heard(receiver) == "x"
        time.sleep(pause)  # of the kernel's clock, by which it tells which came last


def are_quiet(host: Namespace, ends: Iterable[socket.socket]) -> list[bool]:
    """Tell of each end on a host whether its connection is quiet, by its name as a socket and on the wire."""
    names = [tcp(end) for end in ends]
    with on(host):
        quiet_ones = quiet(names)
        assert {on_the_wire(name) for name in quiet_ones} == quiet([on_the_wire(name) for name in names])
    return [name in quiet_ones for name in names]


def settled(host: Namespace, ends: Sequence[socket.socket], wanted: Sequence[bool]) -> list[bool]:
    """`are_quiet` once those are that shall be; a round trip that took long makes quiet a matter of longer."""
    found: list[bool] = []

    def all_are() -> bool:
        found[:] = are_quiet(host, ends)
        return all(each for each, shall in zip(found, wanted, strict=True) if shall)

    until(all_are, "connections are quiet")
    return found


@pytest.mark.parametrize("case", CASES)
def test_destroy_is_a_reset(hosts: Hosts, case: str) -> None:
    """The peer hears an RST, the program an error; other connections work on."""
    pairs = hosts.pairs(case, 5)
    for pair in pairs:
        talk(pair, ">")
    for host, side, first in ((hosts.client, 0, 0), (hosts.server, 1, 2)):
        as_socket, as_packets = tcp(pairs[first][side]), on_the_wire(tcp(pairs[first + 1][side]))
        with on(host):
            assert destroy([as_socket, as_packets]) == {as_socket, as_packets}
        for pair in pairs[first : first + 2]:
            assert (heard(pair[side]), heard(pair[1 - side])) == (ABORTED, RESET)
    talk(pairs[4], "><")


def test_a_connection_that_does_not_exist(hosts: Hosts) -> None:
    """The kernel answers such a request with the socket that listens on the port, which must stay."""
    (pair,) = hosts.pairs("v4-mapped", 1)
    like_it = tcp(pair[1])._replace(remote_port=1)
    ipv6 = like_it._replace(local=IPv6Address("fd00::2"), remote=IPv6Address("fd00::1"))
    with on(hosts.server):
        for function in (destroy, quiet):
            assert function([like_it, on_the_wire(like_it), ipv6, ONE]) == set()
    with on(hosts.client):
        socket.create_connection(("10.0.0.2", 7), 3).close()
    talk(pair, ">")


@pytest.mark.parametrize("prefix", ["setpriv --bounding-set -net_admin", "unshare --user --map-root-user"])
def test_without_the_capability(hosts: Hosts, prefix: str) -> None:
    """It has none, or only within a user namespace of its own."""
    (pair,) = hosts.pairs("IPv4", 1)
    program = f"from ipaddress import *; from portlb_app.agent.sockets import *; destroy([{tcp(pair[0])!r}])"
    done = hosts.client.run(*prefix.split(), sys.executable, "-c", program, check=False, cwd=ROOT)
    assert "AgentError: " in done.stderr and "CAP_NET_ADMIN" in done.stderr
    talk(pair, ">")


def test_a_connection_not_yet_accepted(hosts: Hosts) -> None:
    hosts.pairs("IPv4", 0)
    with on(hosts.client), socket.create_connection(("10.0.0.2", 7), 3) as client:
        local, local_port, remote, remote_port = tcp(client)
        with on(hosts.server):
            assert len(destroy([Tcp(remote, remote_port, local, local_port)])) == 1
        assert heard(client) == RESET


def test_closed_connections_are_left_alone(hosts: Hosts) -> None:
    """One end is in TIME-WAIT, of the other nothing is left."""
    ((client, server),) = hosts.pairs("IPv4", 1)
    names = tcp(client), tcp(server)
    client.close()
    assert heard(server) == "FIN"
    server.close()
    until(lambda: hosts.client.run("ss", "-Htan", "state", "time-wait", "src", "10.0.0.1").stdout, "TIME-WAIT")
    for host, name in zip((hosts.client, hosts.server), names, strict=True):
        with on(host):
            assert destroy([name]) | quiet([name]) == set()


each_family = pytest.mark.parametrize("case", ["IPv4", "IPv6", "v4-mapped"])
# What was spoken, and whether it is quiet to the client and to the server. Only clients are to ask: a server's end is
# quiet while it owes an answer, not after it; and its first byte is taken for its SYN.
SPOKEN = {"": (True, True), "<": (True, True), "<<": (True, False), "<>": (False, True)}
SPOKEN |= {">": (False, True), "><": (True, False), "><>": (False, True)}


@each_family
def test_quiet(hosts: Hosts, case: str) -> None:
    pairs = hosts.pairs(case, len(SPOKEN))
    for spoken, pair in zip(SPOKEN, pairs, strict=True):
        talk(pair, spoken, 0.02)
    time.sleep(SETTLED)
    clients, servers = zip(*pairs, strict=True)
    of_clients, of_servers = zip(*SPOKEN.values(), strict=True)
    found = zip(settled(hosts.client, clients, of_clients), settled(hosts.server, servers, of_servers), strict=True)
    assert dict(zip(SPOKEN, found, strict=True)) == SPOKEN


def test_quick_answers(hosts: Hosts) -> None:
    """All within one tick of the kernel's clock: those who heard an answer are quiet, not those who asked again."""
    pairs = hosts.pairs("IPv4", 20)
    for pair in pairs:
        talk(pair, "><")
    for pair in pairs[10:]:
        time.sleep(0.02)  # of the kernel's clock, as the next ones
        talk(pair, "><>")
    time.sleep(SETTLED)
    wanted = [True] * 10 + [False] * 10
    assert settled(hosts.client, [client for client, _ in pairs], wanted) == wanted


def test_an_answer_still_arriving(hosts: Hosts) -> None:
    (pair,) = hosts.pairs("IPv4", 1)
    talk(pair, ">")
    looks = 0
    while looks < 10:
        time.sleep(0.01)  # looks at several ages of the answer
        began = time.monotonic()
        talk(pair, "<")
        with on(hosts.client):
            found = quiet([tcp(pair[0])])
        if time.monotonic() - began < QUIET:  # on a busy machine the answer may be over when it is looked at
            assert found == set()
            looks += 1
    time.sleep(SETTLED)
    assert settled(hosts.client, pair[:1], [True]) == [True]


@each_family
def test_a_path_that_is_cut(hosts: Hosts, case: str) -> None:
    """What the client sends gets lost; what the server sends arrives."""
    pairs = hosts.pairs(case, 2)
    clients = [client for client, _ in pairs]
    for pair in pairs:
        talk(pair, "><")
    hosts.server.nft("table inet cut { chain input { type filter hook input priority 0; meta l4proto tcp drop; }; }")
    try:
        for client in clients:
            client.send(b"x")
        time.sleep(0.02)
        talk(pairs[1], "<")
        time.sleep(0.1)  # less than until the request is sent again
        assert are_quiet(hosts.client, clients) == [False, False]
    finally:
        hosts.server.nft("delete table inet cut")
    for pair in pairs:
        assert heard(pair[1]) == "x"
        time.sleep(0.02)
        talk(pair, "<")
    time.sleep(SETTLED)
    assert settled(hosts.client, clients, [True, True]) == [True, True]


def test_a_peer_that_does_not_read(hosts: Hosts) -> None:
    """What it has room for is acknowledged, the rest of the request is not sent."""
    (pair,) = hosts.pairs("IPv4", 1)
    pair[0].settimeout(0.1)
    with pytest.raises(TimeoutError):
        pair[0].sendall(bytes(1 << 24))
    time.sleep(SETTLED)
    talk(pair, "<")
    time.sleep(SETTLED)
    assert are_quiet(hosts.client, pair[:1]) == [False]


def tcp_info(sent: int, received: int, acknowledged: int, heard: int = 9, unacked: int = 0, unsent: int = 0) -> bytes:
    """Return a struct tcp_info up to tcpi_notsent_bytes: milliseconds since data and ACKs, and amounts."""
    return struct.pack("=24xI16xI4xII60xQQ8xI", unacked, sent, received, acknowledged, 9, heard, unsent)


def test_is_quiet() -> None:
    for info, expected in (
        (tcp_info(60, 50, 50), True),
        (tcp_info(60, 49, 49), False),
        (tcp_info(60, 50, 50, unacked=1), False),
        (tcp_info(60, 50, 50, unsent=1), False),
        (tcp_info(60, 50, 50, heard=0), False),
        (tcp_info(2000, 2000, 2004), True),
        (tcp_info(2000, 2000, 1996), False),
        (tcp_info(2000, 2000, 1000), True),  # acknowledged so late: a keep-alive
    ):
        assert is_quiet(info) is expected
        assert is_quiet(info + bytes(200)) is expected
        assert not any(is_quiet(info[:length]) for length in range(len(info)))
    noise = random.Random(1)
    for length in range(400):
        assert is_quiet(noise.randbytes(length)) in (False, length >= 148)


@contextlib.contextmanager
def kernel_that_answers(monkeypatch: pytest.MonkeyPatch, *answers: bytes) -> Iterator[None]:
    """Have the module's requests answered with these, whatever it asks."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        for answer in answers:
            its.send(answer)
        its.shutdown(socket.SHUT_WR)
        monkeypatch.setattr(sock_diag, "_kernel", lambda: socket.socket(fileno=os.dup(ours.fileno())))
        yield


INFO = tcp_info(60, 50, 50)


def found(attributes: bytes) -> bytes:
    """Return the kernel's answer that there is such a connection."""
    return struct.pack("=IHHIIBB70x", 88 + len(attributes), 20, 0, 1, 0, socket.AF_INET, 1) + attributes


def an_error(number: int) -> bytes:
    """Return the kernel's refusal of a request."""
    return struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -number) + bytes(16)


DONE = struct.pack("=IHHIIi", 20, 3, 0, 1, 0, 0)
NO_SUCH = an_error(errno.ENOENT)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that cannot destroy, a connection that has closed meanwhile, and what is not understood."""
    with kernel_that_answers(monkeypatch, found(b""), an_error(errno.EOPNOTSUPP)):
        with pytest.raises(AgentError, match="CONFIG_INET_DIAG_DESTROY"):
            destroy([ONE])
    with kernel_that_answers(monkeypatch, found(b""), NO_SUCH):
        assert sockets.destroy([ONE]) == (set(), {ONE}, [])
    with kernel_that_answers(monkeypatch, NO_SUCH, DONE, DONE):
        assert sockets.quiet([ONE]) == (set(), {ONE}, [])


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.EINVAL, 0])
def test_a_request_that_fails_is_that_connection_s(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The others are found all the same, and what failed is neither quiet nor absent: it can be asked again."""
    other, third = ONE._replace(local_port=3), ONE._replace(local_port=4)
    quiet_one = found(struct.pack("=HH", 4 + len(INFO), 2) + INFO)
    with kernel_that_answers(monkeypatch, an_error(number), quiet_one, NO_SUCH, DONE, DONE):
        look = sockets.quiet([ONE, other, third])
    assert (look.chosen, look.absent, [each.errno for each in look.failures]) == ({other}, {third}, [number])
    with kernel_that_answers(monkeypatch, found(b""), found(b""), an_error(number or 71), an_error(0)):
        look = sockets.destroy([ONE, other])
    assert (look.chosen, [each.errno for each in look.failures]) == ({other}, [number or 71])
    with kernel_that_answers(monkeypatch, quiet_one, NO_SUCH, an_error(number)):
        look = sockets.quiet([other, third])
    assert (look.chosen, look.absent, [each.errno for each in look.failures]) == ({other}, set(), [number])


def test_sockets_elsewhere_cost_two_dumps(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections have no socket here, and however many interfaces there are: one request for each, and
    two lists of what is bound to an interface."""
    (pair,) = hosts.pairs("link-local", 1)
    for number in range(20):
        hosts.client.run("ip", "link", "add", f"d{number}", "type", "bridge")
    opened = []
    make = sock_diag._kernel
    monkeypatch.setattr(sock_diag, "_kernel", lambda: opened.append(1) or make())
    elsewhere = [ONE._replace(local_port=port) for port in range(1, 101)]
    with on(hosts.client):
        look = sockets.quiet([*elsewhere, tcp(pair[0])])
    assert (look.chosen, look.absent, look.failures) == ({tcp(pair[0])}, set(elsewhere), [])
    assert len(opened) == 101 + 2


def test_an_answer_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short by itself, or by the length in its header."""
    whole = found(struct.pack("=HHBxxx", 5, 8, 0) + struct.pack("=HH", 4 + len(INFO), 2) + INFO)
    for length in range(len(whole) + 1):
        for answer in (whole[:length] or b"\0", struct.pack("=I", length) + whole[4:]):
            with kernel_that_answers(monkeypatch, answer):
                look = sockets.quiet([ONE])
            if length >= 88:
                assert look == ({ONE} if length == len(whole) else set(), set(), [])
            else:
                assert [each.errno for each in look.failures] == [errno.EPROTO] and not look.chosen | look.absent


@pytest.mark.parametrize("length", [0, 1, 2, 3, 0xFFFF])
def test_an_attribute_with_a_wrong_length(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    for kind in (8, 2):
        attributes = struct.pack("=HH", length, kind) + struct.pack("=HH", 4 + len(INFO), 2) + INFO
        with kernel_that_answers(monkeypatch, found(attributes)):
            assert quiet([ONE]) == set()
