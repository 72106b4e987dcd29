"""Attackers on the path's edge and in the crowd: they see nothing of a connection, but can send what they like."""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from portlb_app.agent import versions
from tests.net.frames import ethernet, ip, option, tcp_segment
from tests.net.network import ACK, CONFIRM, REDIRECT, ROOT, SYN, Namespace, agent_stats, until
from tests.net.world import World, X, Y, Z
from tests.net.world import world as make_world
from tests.support.helper import Helper

FORGED = 50_000
"""Packets of each kind."""


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The hosts, over IPv4, then over IPv6."""
    with make_world(family=request.param) as made:
        yield made


SEND = """
import socket, struct, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((sys.argv[1], 0))
content, at, sent = open(sys.argv[2], "rb").read(), 0, 0
while at < len(content):
    (length,) = struct.unpack_from("=H", content, at)
    frame = content[at + 2 : at + 2 + length]
    while True:
        try:
            out.send(frame)
            break
        except OSError:  # no room in the device's queue
            pass
    at += 2 + length
print("sent", flush=True)
"""


def forge(world: World, interface: str, mac: str, packets: Iterator[bytes]) -> Helper:
    """Have the router send IP packets to the host with this MAC address, as fast as it can."""
    path = world.network.directory / f"forged-{random.random()}"
    head = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("020000000999")
    with open(path, "wb") as file:
        for packet in packets:
            frame = head + ethernet(packet)[12:]
            file.write(struct.pack("=H", len(frame)) + frame)
    return world.router.popen_piped(sys.executable, "-c", SEND, interface, str(path))


def mac(host: Namespace) -> str:
    return host.run("cat", "/sys/class/net/eth0/address").stdout.strip()


class Talk:
    """A connection of the client to X that echoes: `works` both ways, whoever speaks first."""

    SERVER = """
import selectors, socket, sys
server = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
poll = selectors.DefaultSelector()
poll.register(server, selectors.EVENT_READ)
poll.register(sys.stdin, selectors.EVENT_READ)
accepted = []
print("ready", flush=True)
while True:
    for key, _ in poll.select():
        if key.fileobj is server:
            accepted.append(server.accept()[0])
            poll.register(accepted[-1], selectors.EVENT_READ)
        elif key.fileobj is sys.stdin:
            sys.stdin.readline()
            for one in accepted:
                one.send(b"news")
        else:
            try:
                if data := key.fileobj.recv(4096):
                    key.fileobj.send(data)
                    continue
            except ConnectionError:
                pass
            poll.unregister(key.fileobj)
            accepted.remove(key.fileobj)
"""


def test_100000_forged_packets_bind_and_redirect_nothing(world: World) -> None:
    """E2 D2 D8: SYN/ACKs for a SYN that is on its way, and announcements for an open connection, all guessed."""
    world.agents()
    world.router.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0")
    generator = random.Random(5)
    client, vip = ip_address(world.client_address), ip_address(world.vip)
    program = f"""
import socket, sys
s = socket.create_connection(('{world.vip}', {X})); print("ready", s.getsockname()[1], flush=True)
o = socket.socket(socket.AF_INET{'6' * (world.family == 6)}); o.setblocking(False); o.bind(('', 5555))
sys.stdin.readline(); o.connect_ex(('{world.vip}', {X})); print("connecting", flush=True)
sys.stdin.readline(); s.sendall(b"GET /small HTTP/1.0\\r\\n\\r\\n"); print(s.recv(99)[:12], flush=True)
while s.recv(99): pass
sys.stdin.readline(); o.setblocking(True); o.settimeout(30)
o.sendall(b"GET /small HTTP/1.0\\r\\n\\r\\n"); print(o.recv(99)[:12], flush=True)
"""
    process = world.client.popen_piped(sys.executable, "-c", program)
    local = int(process.wait_ready())
    until(lambda: agent_stats(world.client)["bound"] == 1, "the first connection is redirected")
    world.lose(f"tcp dport {X} drop")  # the second one's SYN does not arrive: it waits for its SYN/ACK
    assert process.tell() == "connecting"

    def forged() -> Iterator[bytes]:
        for number in range(FORGED):
            numbers = generator.getrandbits(32), generator.getrandbits(32)
            synack = tcp_segment(vip, client, X, 5555, SYN | ACK | CONFIRM, *numbers, option(Z))
            yield ip(vip, client, 6, synack)
            numbers = generator.getrandbits(32), generator.getrandbits(32)
            flags = (8, 9, 10)[number % 3]  # close, in place, reset
            yield ip(vip, client, 6, tcp_segment(vip, client, Y, local, ACK | REDIRECT, *numbers, option(Z, flags)))

    sender = forge(world, "left", mac(world.client), forged())
    assert sender.line() == "sent"
    until(lambda: agent_stats(world.client)["forged_announcement"] == FORGED, "all have arrived")
    stats = agent_stats(world.client)
    assert stats["forged_synack"] == FORGED
    assert (stats["bound"], stats["plain"], stats["moved"], stats["reopen"], stats["steered"]) == (1, 0, 0, 0, 0)
    world.keep()
    assert process.tell() == "b'HTTP/1.1 200'"
    assert process.tell() == "b'HTTP/1.1 200'"  # and the SYN, repeated, finds its server
    assert agent_stats(world.client)["bound"] == 2


def test_announcements_are_believed_of_the_same_vip_only(world: World) -> None:
    """D2: a packet from an address that is no VIP is none of the agent's business, whatever it says."""
    world.agents()
    client, router = ip_address(world.client_address), ip_address("10.0.1.254" if world.family == 4 else "fd00:1::fe")
    packets = iter([ip(router, client, 6, tcp_segment(router, client, Y, 7777, ACK | REDIRECT, 1, 1, option(Z, 9)))])
    before = agent_stats(world.client)
    sender = forge(world, "left", mac(world.client), packets)
    assert sender.line() == "sent"
    assert world.get() == "odd\n"
    after = agent_stats(world.client)
    assert after["forged_announcement"] == before["forged_announcement"] == 0


SYNS = 100_000


def test_a_flood_of_syns_with_redirect(world: World) -> None:
    """E2: 100,000 spoofed SYNs and acknowledgements: open connections live, idle ones too, and new ones are opened."""
    server = world.server.popen_ready(sys.executable, "-c", Talk.SERVER, "7")
    world.server.run("sysctl", "-qw", "net.ipv4.tcp_max_syn_backlog=256")
    prefix = "11.0.0.0/8" if world.family == 4 else "fd00:11::/64"
    world.router.run("ip", "route", "add", "blackhole", prefix)
    world.client_agent()
    world.server_agent([f"{Y}={X}", "3=7"], [f"{X}={Y}", "7=3"])
    program = f"""
import socket, sys
many = [socket.create_connection(('{world.vip}', 7), 5) for _ in range(50)]
for one in many: one.send(b"x"); assert one.recv(9) == b"x"
print("ready", flush=True)
sys.stdin.readline()
news = sum(one.recv(9) == b"news" for one in many)
for one in many: one.send(b"y")
print(news, sum(one.recv(9) == b"y" for one in many), flush=True)
"""
    client = world.client.popen_ready(sys.executable, "-c", program)
    until(lambda: agent_stats(world.server)["redirected"] == 50, "50 connections are open")
    generator, vip = random.Random(7), ip_address(world.vip)

    def flood() -> Iterator[bytes]:
        for number in range(SYNS // 2):
            source = ip_address(0x0B000000 + number) if world.family == 4 else ip_address(f"fd00:11::{number:x}")
            syn = tcp_segment(source, vip, 40000, 7, SYN | REDIRECT, generator.getrandbits(32), 0)
            yield ip(source, vip, 6, syn)
            numbers = generator.getrandbits(32), generator.getrandbits(32)
            yield ip(source, vip, 6, tcp_segment(source, vip, 40000, 3, ACK | CONFIRM, *numbers))

    sender = forge(world, "right", mac(world.server), flood())
    got = 0
    while sender.poll() is None or not got:
        assert world.get() == "odd\n"
        got += 1
    assert sender.line() == "sent"
    stats = agent_stats(world.server)
    assert stats["syn_redirect"] >= SYNS // 2 + 50
    assert stats["redirected"] + stats["rebuilt"] + stats["stayed"] >= 50 + got
    assert stats["map_full"] == 0
    server.say("news")
    assert client.tell() == "50 50"
    known = [each for each in world.record(world.server) if each["state"] in ("plain", "bound")]
    assert len(known) <= 50 + got


def test_an_entry_the_server_lost_is_repaired_by_what_it_says_itself(world: World) -> None:
    """E2: after the server has lost its map, it speaks first: from X, which the client accepts, and is put right."""
    server = world.server.popen_ready(sys.executable, "-c", Talk.SERVER, "7")
    world.client_agent()
    agent = world.server_agent(["3=7"], ["7=3"])
    program = f"""
import socket
one = socket.create_connection(('{world.vip}', 7), 5)
one.send(b"x"); assert one.recv(9) == b"x"
print("ready", flush=True)
print(one.recv(9), flush=True)
print(one.recv(9), flush=True)
"""
    client = world.client.popen_ready(sys.executable, "-c", program)
    agent.terminate()
    agent.wait()
    world.server_agent(["3=7"], ["7=3"])
    for _ in range(2):
        server.say("news")
        assert client.line() == "b'news'"
    assert agent_stats(world.client)["repaired"] >= 1
    assert agent_stats(world.server)["rebuilt"] == 1
    assert [(each["wire"], each["port"]) for each in world.record(world.server)] == [(3, 7)]


def test_nothing_is_pinned_and_nobody_else_may_look(world: World) -> None:
    """The maps have no name in the file system; without rights the agent's commands say which are missing."""
    world.agents()
    look = "mount -t bpf bpf /sys/fs/bpf 2>/dev/null; find /sys/fs/bpf -type f ! -name '*.debug'"
    pinned = world.client.run("sh", "-c", look).stdout
    assert pinned == ""
    done = world.client.run(
        "setpriv", "--reuid", "65534", "--clear-groups", "--no-new-privs", sys.executable, "-m", "portlb_app.agent",
        "stats", "--interface", "eth0", check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1 and "CAP_" in done.stderr and "Traceback" not in done.stderr


def test_documented_sizes() -> None:
    """docs/agents.md states what an entry takes; it is the sizes of the object that it is computed from."""
    text = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    layouts = versions.this_version().layouts
    for name in ("connections", "aliases"):
        assert f"{layouts[name].key_size + layouts[name].value_size} bytes of key and value in `{name}`" in text
