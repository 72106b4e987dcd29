"""Row C2 on real parts: curl's connections in the controller's log, redirected and plain, closed, reset, in a flood."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from portlb_app.pipeline import COPIED, Reason
from portlb_app.punt.connlog import ENDED, OPEN
from tests.net.balancer import REST, Balancer, balancer
from tests.net.network import ACK, FIN, ROOT, Namespace, until
from tests.support import trees

FIG2 = (ROOT / "flows/fig2/lb.yaml").read_text()
LOGGED = FIG2.replace("    default_server: d\n", "    default_server: d\n    log: true\n")
CLIENT, PLAIN = "10.1.0.2", "10.3.0.2"
DEEP = pytest.mark.parametrize("running", ["single", "deep"], indirect=True)
"""Whether a test is for a tree of three levels, too; the others are for one switch."""
FLOOD = """
import socket, struct, sys, time
# sends SYNs (IPv4, from many ports and addresses of 10.3.0.0/24) to a port of an address, so many a second
destination, port, rate, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
vip = socket.inet_aton(destination)
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", 0xFFFF - total)
frames = []
for number in range(40000):
    source = bytes((10, 3, 0, 3 + number % 250))
    head = struct.pack("!BBHHHBBH", 0x45, 0, 40, number, 0, 64, 6, 0) + source + vip
    segment = struct.pack("!HHIIHHHH", 1024 + number, port, number * 7919, 0, 0x5002, 0xFFFF, 0, 0)
    covered = source + vip + struct.pack("!HH", 6, len(segment)) + segment
    frames.append(head[:10] + checksum(head) + head[12:] + segment[:16] + checksum(covered) + segment[18:])
start, sent = time.monotonic(), 0
while (now := time.monotonic() - start) < seconds:
    while sent < now * rate:
        raw.sendto(frames[sent % len(frames)], (destination, 0))
        sent += 1
    time.sleep(0.001)
print(sent)
"""
CONNECTION = """
import socket, struct, sys
# opens a connection to a port, asks for /name, and resets it
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as one:
    print(one.getsockname()[1])
    one.sendall(b"GET /name HTTP/1.1\\r\\nHost: vip\\r\\n\\r\\n")
    one.recv(4096)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""


@pytest.fixture(scope="module", params=["single"])
def running(request: pytest.FixtureRequest) -> Iterator[Balancer]:
    """FIG. 2 with a log, its agents, one client with its agent and a plain one."""
    with balancer(trees.shaped(LOGGED, request.param)) as made:
        made.client_agent()
        yield made


def ask(made: Balancer, path: str) -> Any:
    """What REST answers to GET."""
    return json.loads(made.lb.run("curl", "--silent", "--fail", f"http://127.0.0.1:{REST}{path}").stdout)


def records(made: Balancer, fits: Callable[[dict[str, Any]], bool], limit: int = 1000) -> list[dict[str, Any]]:
    """The records that fit, newest first."""
    return [each for each in ask(made, f"/v1/connections?vip=web&limit={limit}")["connections"] if fits(each)]


def of(client: str, port: int) -> Callable[[dict[str, Any]], bool]:
    """Whether a record is of a client's address and port."""
    return lambda each: (each["client"], each["client_port"]) == (client, port)


def ended(made: Balancer, client: str, port: int) -> dict[str, Any]:
    """The record of a connection, once both sides' ends had the time to arrive."""
    until(lambda: any(each["how"] for each in records(made, of(client, port))), "the connection is written down")
    time.sleep(0.3)
    (record,) = records(made, of(client, port))
    return record


def fetch(made: Balancer, host: Namespace, url: str, *words: str) -> tuple[str, int]:
    """curl's connection: the name of the server that answered, and the client's port."""
    done = host.run("curl", "--silent", "--show-error", "--max-time", "20", "-w", "%{local_port}", *words, url)
    name, port = done.stdout.split()
    return name, int(port)


@DEEP
def test_c2_a_redirected_connection_is_opened_on_x_and_continued_on_y(running: Balancer) -> None:
    """C2: one record, with the server; opened and closed when the client's interface saw the SYN and the last FIN."""
    owners = {owned.port: server.name for server in running.config.servers for owned in server.service_ports}
    for shared in (20, 21, 22):
        before = time.time()
        with running.network.capture(running.client, "tcp") as seen:
            name, port = fetch(running, running.client, running.url(shared))
        after = time.time()
        record = ended(running, CLIENT, port)
        up = [segment for segment in seen if segment.destination == running.vip.address]
        assert record["opened_on"] == up[0].dport == shared
        assert record["continued_on"] == up[-1].dport != shared
        assert record["server"] == owners[record["continued_on"]] == name
        assert record["vip"] == "web" and record["how"] == "fin"
        assert any(segment.flags & (FIN | ACK) == FIN | ACK for segment in up)
        assert before - 1 < record["opened"] <= record["closed"] < after + 1


@DEEP
def test_c2_a_plain_connection_is_closed_when_it_is(running: Balancer) -> None:
    """C2: a client without REDIRECT, held open for three seconds: the closing time is within a second of its FIN."""
    before = time.time()
    program = (
        "import socket, sys, time; one = socket.create_connection((sys.argv[1], 22), 10); "
        "print(one.getsockname()[1], flush=True); time.sleep(3); one.close(); print(time.time(), flush=True)"
    )
    words = running.plain.run(sys.executable, "-c", program, str(running.vip.address)).stdout.split()
    record = ended(running, PLAIN, int(words[0]))
    assert (record["opened_on"], record["continued_on"], record["how"]) == (22, 22, "fin")
    assert record["server"] in {"a", "b", "c", "d"}, "the connector of the server's own FIN tells"
    assert before - 1 < record["opened"] < before + 2
    assert abs(record["closed"] - float(words[1])) < 1


def test_c2_a_connection_to_a_service_port(running: Balancer) -> None:
    """C2: it has its server from the SYN on, and stays where it opened."""
    name, port = fetch(running, running.plain, running.url(7))
    record = ended(running, PLAIN, port)
    assert (record["opened_on"], record["continued_on"], record["server"]) == (7, 7, name)


@DEEP
@pytest.mark.parametrize("shared", [22, 7])
def test_c2_a_reset(running: Balancer, shared: int) -> None:
    """C2: how it ended is "reset", redirected or not."""
    before = time.time()
    done = running.client.run(sys.executable, "-c", CONNECTION, str(running.vip.address), str(shared))
    record = ended(running, CLIENT, int(done.stdout))
    assert record["how"] == "reset" and record["opened_on"] == shared
    assert record["server"] in {"a", "b", "c", "d"}
    assert before - 1 < record["closed"] < time.time() + 1


@DEEP
def test_c2_a_refused_connection_is_reset(running: Balancer) -> None:
    """C2: nobody listens on the default server's port of nobody: the server's RST is the end."""
    done = running.plain.run("curl", "--silent", "--max-time", "5", running.url(9999), check=False)
    assert done.returncode == 7
    until(lambda: records(running, lambda each: each["opened_on"] == 9999 and each["how"]), "it is written down")
    (record,) = records(running, lambda each: each["opened_on"] == 9999)
    assert (record["how"], record["server"], record["client"]) == ("reset", "d", PLAIN)


def test_c2_what_is_open_has_no_end(running: Balancer) -> None:
    """C2: an open connection's record says so, and is newest first."""
    held = running.client.popen("socat", "-u", "EXEC:sleep 60", f"TCP:{running.vip.address}:7")
    try:
        until(lambda: records(running, lambda each: each["how"] is None and each["client"] == CLIENT), "it is there")
        newest = records(running, lambda each: True, limit=1)[0]
        assert (newest["opened_on"], newest["closed"], newest["how"]) == (7, None, None)
    finally:
        held.terminate()
        held.wait(10)


def test_c2_a_flood_of_syns_is_bounded_and_starves_nothing(running: Balancer) -> None:
    """C2: 20,000 SYNs a second for six seconds, to a port that drops them: the meter drops their copies and the switch
    counts how many; the log stays within its bounds; a connection that goes on meanwhile is closed in the log when it
    is on the wire; the controller answers, and the switch stays synced.
    """
    status = ask(running, "/v1/status")
    copies = status["connections"]["counts"]["opened"]
    words = (sys.executable, "-c", FLOOD, str(running.vip.address), "20", "20000", "6")
    flood = running.plain.popen_piped(*words)
    time.sleep(2)
    names = [fetch(running, running.client, running.url(22)) for _ in range(3)]
    time.sleep(0.3)
    ports = {port for _, port in names}
    closed = [each for each in records(running, lambda each: each["client_port"] in ports) if each["how"] == "fin"]
    assert {each["client_port"] for each in closed} == ports
    assert flood.poll() is None, "they were closed while the flood went on"
    sent = int(flood.finish())
    assert sent > 60_000, f"this machine sent {sent} SYNs only"
    until(lambda: ask(running, "/v1/status")["switches"][0]["metered"]["opening"] > 0, "the switch told")
    time.sleep(2.5)
    status = ask(running, "/v1/status")
    log, switch = status["connections"], status["switches"][0]
    meter = COPIED[Reason.OPENING]
    assert log["open"] <= OPEN and log["ended"] <= ENDED
    taken = log["counts"]["opened"] + log["counts"]["repeated"] - copies
    assert taken <= meter.rate * 10 + meter.burst
    assert switch["metered"]["opening"] > sent / 4
    assert switch["metered"]["closing"] == switch["metered"]["server_closing"] == 0
    assert switch["state"] == "synced"
    assert len(ask(running, "/v1/connections?limit=1000")["connections"]) <= 1000
