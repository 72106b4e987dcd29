"""Packets the switch hands up, with a real controller: ICMP errors, fragments, SYNs that ask by their option."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import sys
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from portlb_app import topology
from portlb_app.net.packets import UDP
from tests.net.balancer import REST, Balancer, balancer
from tests.net.network import ACK, REDIRECT, ROOT, SYN, Namespace, client_agent, until
from tests.support import trees, wire

FIG2 = (ROOT / "flows/fig2/lb.yaml").read_text()
DIGESTS = """
import hashlib, selectors, socket, sys
# answers a datagram with this server's name and the SHA-256 of what it got
poll = selectors.DefaultSelector()
for port in sys.argv[2:]:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("", int(port)))
    poll.register(one, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in poll.select():
        data, sender = key.fileobj.recvfrom(65536)
        key.fileobj.sendto(f"{sys.argv[1]} {hashlib.sha256(data).hexdigest()}".encode(), sender)
"""
SEND = """
import socket, sys
# sends IP packets, one a line in hexadecimal, as they are, and prints what comes back to a UDP port
port, seconds = int(sys.argv[1]), float(sys.argv[2])
answers = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
answers.bind(("", port))
answers.settimeout(seconds)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for line in sys.stdin:
    raw.sendto(bytes.fromhex(line), (sys.argv[3], 0))
try:
    print(answers.recv(65536).decode())
except TimeoutError:
    pass
"""
PORT = 40000


def with_policies(*lines: str) -> str:
    """FIG. 2 with more keys for its VIP."""
    head = "    default_server: d\n"
    assert FIG2.count(head) == 1
    return FIG2.replace(head, head + "".join(f"    {line}\n" for line in lines))


TRACKED = with_policies("icmp: {errors: owner}", "fragments: track")


def punted(made: Balancer) -> dict[str, dict[str, int]]:
    """What the controller has judged, by reason and fate."""
    done = made.lb.run("curl", "--silent", "--fail", f"http://127.0.0.1:{REST}/v1/status")
    counts: dict[str, dict[str, int]] = json.loads(done.stdout)["punted"]
    return counts


def errors_heard(host: Namespace) -> int:
    """ICMP "destination unreachable" messages (fragmentation needed is one) that reached a host."""
    names, numbers = [
        line.split() for line in host.run("cat", "/proc/net/snmp").stdout.splitlines() if line.startswith("Icmp:")
    ]
    return int(dict(zip(names, numbers, strict=True))["InDestUnreachs"])


def test_i2_a_fragmentation_needed_reaches_only_the_server_it_is_about() -> None:
    """I2: path-MTU discovery works, and no other server hears of it."""
    with balancer(TRACKED, mtu=1400) as made:
        made.client_agent()
        digest = made.random_file("large", 20_000_000)
        into = made.network.directory / "large.got"
        name = made.curl("--fail", "--output", str(into), "--write-out", "%header{x-server}", made.url(22, "large"))
        with open(into, "rb") as got:
            assert hashlib.file_digest(got, "sha256").hexdigest() == digest
        assert "mtu 1400" in made.servers[name].run("ip", "route", "get", "10.1.0.2").stdout
        heard = {each: errors_heard(host) for each, host in made.servers.items()}
        assert heard.pop(name) > 0 and set(heard.values()) == {0}
        counts = punted(made)["icmp_error"]
        assert counts.pop("sent") > 0 and set(counts.values()) == {0}


@pytest.fixture(scope="module", params=["single", "deep"])
def running(request: pytest.FixtureRequest) -> Iterator[Balancer]:
    """One switch, and a tree of three levels; servers tell what datagrams they got; 20 (by a, b) and 22 are shared."""
    text = TRACKED.replace("20: {servers: [a, b]}", "20: {servers: [a, b], signal: option}")
    assert text != TRACKED
    with balancer(trees.shaped(text, request.param)) as made:
        for name, host in made.servers.items():
            ports = [str(owned.port) for owned in made.config.server_by_name[name].service_ports]
            host.popen_ready(sys.executable, "-c", DIGESTS, name, *ports, "20", "22", "99")
        yield made


def ask(made: Balancer, frames: list[bytes], seconds: float = 5) -> tuple[str, str]:
    """Send IP packets from the client; the name of the server that answered, and the digest of what it got."""
    words = (sys.executable, "-c", SEND, str(PORT), str(seconds), str(made.vip.address))
    got = made.client.run(*words, input="".join(frame.hex() + "\n" for frame in frames)).stdout.split()
    return (got[0], got[1]) if got else ("", "")


def pieces(port: int, data: bytes, identifier: int, size: int = 1480) -> list[bytes]:
    """A datagram to a port of the VIP in fragments."""
    source, vip = ip_address("10.1.0.2"), ip_address("10.0.0.100")
    whole = wire.udp_datagram(source, vip, PORT, port, data)
    return [
        wire.ip(source, vip, UDP, whole[at : at + size], fragment=(identifier, at, at + size < len(whole)))
        for at in range(0, len(whole), size)
    ]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("port", [1, 5, 6, 7, 4])
def test_f1_a_large_datagram_reaches_the_owner_of_its_port(running: Balancer, port: int) -> None:
    """F1: 4 kB, as the client's own kernel divides them."""
    data = random.Random(port).randbytes(4000)
    program = (
        "import socket, sys; one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); one.settimeout(5); "
        "one.setsockopt(socket.IPPROTO_IP, 10, 0); "  # IP_MTU_DISCOVER: fragments may be made
        "one.sendto(sys.stdin.buffer.read(), (sys.argv[1], int(sys.argv[2]))); print(one.recv(999).decode())"
    )
    words = (sys.executable, "-c", program, str(running.vip.address), str(port))
    done = running.client.run(*words, input=data, text=False, timeout=20)
    owner = {owned.port: server.name for server in running.config.servers for owned in server.service_ports}[port]
    assert done.stdout.decode().split() == [owner, digest(data)]


@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled", "doubled"])
@pytest.mark.parametrize("port", [2, 20])
def test_f1_in_any_order(running: Balancer, port: int, order: str) -> None:
    """F1: to a service port and to a redirect port, each fragment 512 bytes of 4 kB."""
    dice = random.Random(f"{port} {order}")
    data = dice.randbytes(4000)
    frames = pieces(port, data, dice.randrange(1, 65536), 512)
    arranged = {
        "forwards": frames,
        "backwards": frames[::-1],
        "shuffled": dice.sample(frames, len(frames)),
        "doubled": [frame for frame in frames[::-1] for _ in range(2)],
    }[order]
    name, got = ask(running, arranged)
    assert got == digest(data)
    assert name in {2: "b", 20: "ab"}[port]


def test_f1_overlapping_fragments_harm_nobody_else(running: Balancer) -> None:
    """F1: what a host makes of them is its own business (Linux drops the packet); the next datagram arrives."""
    data = random.Random(8).randbytes(4000)
    frames, other = pieces(3, data, 900), pieces(3, data, 900, 800)
    ask(running, [frames[0], other[1], other[2], *frames[1:]], seconds=0.2)
    assert ask(running, pieces(3, data, 901)) == ("c", digest(data))


def test_f2_a_fragment_without_its_first_reaches_the_default_server(running: Balancer) -> None:
    """F2: after a second, and is counted as unknown."""
    before = punted(running)["fragment"]["unknown"]
    with_rest = pieces(1, bytes(4000), 950)[1:]
    ask(running, with_rest, seconds=0.1)
    until(lambda: punted(running)["fragment"]["unknown"] == before + len(with_rest), "they are given up")


def test_f1_large_datagrams_spread_over_a_pool_and_stay(running: Balancer) -> None:
    """F1: one sender's go to one server, whatever their identifiers."""
    data = bytes(3000)
    assert len({ask(running, pieces(22, data, identifier))[0] for identifier in (11, 12, 13)}) == 1


def test_e2_a_client_that_asks_by_the_option_alone_is_redirected(running: Balancer) -> None:
    """E2 where a path clears the header bits: the controller reads the option; the rest is as ever."""
    agent = client_agent(running.client, [str(running.vip.address)], words=("--signal", "option"))
    try:
        before = punted(running)["signal"]["sent"]
        with running.network.capture(running.client, "tcp") as seen:
            names = {running.curl(running.url(20)).strip() for _ in range(12)}
        assert names == {"a", "b"}
        syns = [segment for segment in seen if segment.flags & (SYN | ACK) == SYN]
        assert len(syns) >= 12 and {segment.dport for segment in syns} == {20}
        assert not any(segment.flags & REDIRECT for segment in syns) and all(each.asks_redirect for each in syns)
        synacks = [segment for segment in seen if segment.flags & (SYN | ACK) == SYN | ACK]
        assert {segment.announced for segment in synacks} == {1, 2}
        paths, owners = topology.of(running.config), running.config.owners(running.vip)
        server_switches = [owners[segment.announced or 0].connector.switch for segment in synacks]
        switches = [paths.depth(server_switch) + 1 for server_switch in server_switches]
        assert punted(running)["signal"]["sent"] - before == sum(switches), "every switch on the way hands it up"
    finally:
        agent.terminate()
        agent.wait(10)


def test_e4_a_plain_client_is_dropped_where_the_option_is_read(running: Balancer) -> None:
    """E4: under ``drop`` its SYN is not answered, and counted."""
    before = punted(running)["signal"]["dropped"]
    done = running.plain.run("curl", "--silent", "--max-time", "1", running.url(20), check=False)
    assert (done.returncode, done.stdout) == (28, ""), "it timed out: it was not refused, and it was not answered"
    assert punted(running)["signal"]["dropped"] > before


def test_e7_a_client_that_asks_by_the_option_and_is_not_redirected() -> None:
    """E7: later packets carry neither bit nor option, and the switch's slots are those the SYN was sent through."""
    with balancer(TRACKED.replace("[a, b]}", "[a, b], signal: option}"), agents=frozenset("cd")) as made:
        client_agent(made.client, [str(made.vip.address)], words=("--signal", "option"))
        with made.network.capture(made.client, "tcp") as seen:
            assert {made.curl(made.url(20)).strip() for _ in range(12)} == {"a", "b"}
        assert {segment.dport for segment in seen if segment.destination == made.vip.address} == {20}
        assert punted(made)["signal"]["sent"] >= 12


def test_a_repeated_syn_finds_its_server_again(running: Balancer) -> None:
    """The same SYN ten times: the group's slot is a function of the packet, so nothing is remembered."""
    source, vip = ip_address("10.1.0.2"), ip_address("10.0.0.100")
    for sport in range(50000, 50012):
        captures = {name: host for name, host in running.servers.items() if name in "ab"}
        before = {name: segments_in(host) for name, host in captures.items()}
        option = bytes.fromhex("0101fd0652508000")
        segment = wire.tcp_segment(source, vip, sport, 20, b"", SYN, option)
        ask(running, [wire.ip(source, vip, socket.IPPROTO_TCP, segment)] * 10, seconds=0.05)
        got = {name: segments_in(host) - before[name] for name, host in captures.items()}
        assert sorted(count >= 10 for count in got.values()) == [False, True], got


def segments_in(host: Namespace) -> int:
    """TCP segments a host's kernel has taken in."""
    names, numbers = [
        line.split() for line in host.run("cat", "/proc/net/snmp").stdout.splitlines() if line.startswith("Tcp:")
    ]
    return int(dict(zip(names, numbers, strict=True))["InSegs"])


def too_big_heard(host: Namespace) -> int:
    """ICMPv6 "packet too big" messages that reached a host."""
    lines = host.run("cat", "/proc/net/snmp6").stdout.splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Icmp6InPktTooBigs"))


def test_b1_over_ipv6() -> None:
    """I2 and F1 over IPv6: a download through a smaller path MTU, and a datagram of 4 kB, each at its owner only."""
    text = TRACKED.replace("address: 10.0.0.100", 'address: [10.0.0.100, "fd00::100"]')
    with balancer(text, mtu=1400, agents=frozenset()) as made:
        addresses = made.client.run("ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "global").stdout
        client = addresses.split()[3].partition("/")[0]
        digest_of_file = made.random_file("large", 5_000_000)
        made.servers["c"].popen("socat", "-u", f"FILE:{made.files}/large", "TCP6-LISTEN:7,reuseaddr")
        until(lambda: made.servers["c"].listens(7), "somebody offers the file")
        into = made.network.directory / "large.got"
        made.client.run("timeout", "30", "socat", "-u", "TCP6:[fd00::100]:7", f"CREATE:{into}")
        assert hashlib.sha256(into.read_bytes()).hexdigest() == digest_of_file
        assert "mtu 1400" in made.servers["c"].run("ip", "-6", "route", "get", client).stdout
        heard = {name: too_big_heard(host) for name, host in made.servers.items()}
        assert heard.pop("c") > 0 and set(heard.values()) == {0}
        for name, host in made.servers.items():
            host.popen_ready(sys.executable, "-c", DIGESTS.replace("AF_INET,", "AF_INET6,"), name, "6", "7")
        data = random.Random(6).randbytes(4000)
        program = (
            "import socket, sys; one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); one.settimeout(5); "
            "one.setsockopt(socket.IPPROTO_IPV6, 24, 1400); "  # IPV6_MTU: the path takes no more
            "one.sendto(sys.stdin.buffer.read(), ('fd00::100', int(sys.argv[1]))); print(one.recv(999).decode())"
        )
        for port, owner in ((6, "b"), (7, "c")):
            done = made.client.run(sys.executable, "-c", program, str(port), input=data, text=False, timeout=20)
            assert done.stdout.decode().split() == [owner, digest(data)]
        counts = punted(made)
        assert counts["icmp_error"]["sent"] > 0 and counts["fragment"]["sent"] == 6
