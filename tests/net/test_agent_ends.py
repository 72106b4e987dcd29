"""Ends and beginnings that plain TCP masters: a server that has lost everything, a port used again, signed segments."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.net.network import agent_stats, end, until
from tests.net.world import VIP, World, X, Y, Z
from tests.net.world import world as make_world

SECONDS = 5.0
"""How long a program may wait. It is far above what was seen, and far below what a hanging one would take."""

_ECHO = """
import socket, sys
server = socket.create_server(("", 25))
print("ready", flush=True)
while True:
    one = server.accept()[0]
    one.sendall(one.recv(9))
"""


@pytest.fixture
def world() -> Iterator[World]:
    """The hosts, IPv4."""
    with make_world() as made:
        yield made


def test_a_server_host_that_reboots(world: World) -> None:
    """E2: an idle, redirected client whose server has lost connections and entries is told at once, by a reset."""
    program = world.server.popen_ready(sys.executable, "-c", _ECHO)
    world.client_agent()
    agent = world.server_agent(["3=25"], ["25=3"])
    client = world.client.popen_ready(
        sys.executable, "-c",
        "import socket, time\n"
        f"one = socket.create_connection(('{VIP}', 25), {SECONDS})\n"
        "one.sendall(b'hello'); one.recv(9); print('ready', flush=True); input(); began = time.monotonic()\n"
        "try: one.sendall(b'again'); print('read', one.recv(9), flush=True)\n"
        "except OSError as error: print(type(error).__name__, time.monotonic() - began, flush=True)",
    )  # fmt: skip
    world.server.nft("add table inet off")
    for hook in ("input", "output"):
        world.server.nft(f"add chain inet off {hook} {{ type filter hook {hook} priority 0; policy drop; }}")
    end(program)
    end(agent)
    world.server.run("ss", "-K", "-a", "-t")
    world.server.nft("delete table inet off")
    world.server.popen_ready(sys.executable, "-c", _ECHO)
    world.server_agent(["3=25"], ["25=3"])
    assert client.tell().split()[0] == "ConnectionResetError"
    assert agent_stats(world.server)["answered_as_asked"] == 1


def test_a_port_used_again_within_time_wait(world: World) -> None:
    """E2: from one client port to X, Z, Y and X in turn, while the server keeps TIME-WAIT for the connection before."""
    world.agents()
    program = (
        "import socket, sys, time\n"
        "for port in map(int, sys.argv[1:]):\n"
        "    one = socket.socket(); one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        f"    one.bind(('', 52001)); one.settimeout({SECONDS}); began = time.monotonic()\n"
        f"    one.connect(('{VIP}', port)); one.sendall(b'GET /small HTTP/1.0\\r\\n\\r\\n')\n"
        "    while one.recv(4096): pass\n"
        "    one.close(); print(port, time.monotonic() - began)\n"
    )
    ports = [X, Z, Y, X, Y]
    said = world.client.run(sys.executable, "-c", program, *map(str, ports)).stdout.splitlines()
    assert [int(line.split()[0]) for line in said] == ports
    assert agent_stats(world.server)["answered_as_asked"] > 0


def test_signed_segments_are_left_alone(world: World) -> None:
    """E7: TCP MD5 (RFC 2385) covers ports and header bits; a connection with it opens through both agents."""
    sign = (
        "import socket, struct\n"
        "def sign(one, peer):\n"
        "    address = struct.pack('=HH4s', socket.AF_INET, 0, socket.inet_aton(peer)).ljust(128, b'\\0')\n"
        "    one.setsockopt(socket.IPPROTO_TCP, 14, address + struct.pack('=BBHI80s', 0, 0, 3, 0, b'key'))\n"
    )
    serve = sign + (
        "one = socket.socket(); one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        "sign(one, '10.0.1.1'); one.bind(('', 25)); one.listen(); print('ready', flush=True)\n"
        "other = one.accept()[0]; other.sendall(other.recv(9))\n"
    )
    ask = sign + (
        f"one = socket.socket(); one.settimeout({SECONDS}); sign(one, '{VIP}'); one.connect(('{VIP}', 25))\n"
        "one.sendall(b'BGP'); print(one.recv(9).decode())\n"
    )
    server = world.server.popen_ready(sys.executable, "-c", serve)
    world.client_agent()
    world.server_agent(["3=25"], ["25=3"])
    assert world.client.run(sys.executable, "-c", ask).stdout == "BGP\n"
    assert agent_stats(world.client)["signed"] == 1
    until(lambda: server.poll() is not None, "the server program has done its work")
