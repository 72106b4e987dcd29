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
SLACK = 0.1
"""Seconds by which two clocks may differ: the controller's is read a little before or after."""
DEEP = pytest.mark.parametrize("running", ["single", "deep"], indirect=True)
"""Whether a test is for a tree of three levels, too; the others are for one switch."""
FLOOD = """
import select, socket, struct, sys, time
# sends SYNs (IPv4, from many ports and addresses of 10.3.0.0/24) to a port of an address, so many a second, until it is
# told to stop; then it says how many
destination, port, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
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
while not select.select([sys.stdin], [], [], 0.001)[0]:
    for _ in range(min(int((time.monotonic() - start) * rate) - sent, 1000)):
        raw.sendto(frames[sent % len(frames)], (destination, 0))
        sent += 1
print(sent, flush=True)
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
    time.sleep(0.3)  # whether a later end is still on its way cannot be asked
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
        record = ended(running, CLIENT, port)
        up = [segment for segment in seen if segment.destination == running.vip.address]
        assert record["opened_on"] == up[0].dport == shared
        assert record["continued_on"] == up[-1].dport != shared
        assert record["server"] == owners[record["continued_on"]] == name
        assert record["vip"] == "web" and record["how"] == "fin"
        assert any(segment.flags & (FIN | ACK) == FIN | ACK for segment in up)
        assert before - SLACK < record["opened"] <= record["closed"] < time.time() + SLACK


@DEEP
def test_c2_a_plain_connection_is_closed_when_it_is(running: Balancer) -> None:
    """C2: a client without REDIRECT, held open for a while: the closing time is that of its FIN, not before it."""
    before = time.time()
    program = (
        "import socket, sys, time; one = socket.create_connection((sys.argv[1], 22), 10); "
        "print(one.getsockname()[1]); time.sleep(1); print(time.time()); one.close()"  # open for a while
    )
    words = running.plain.run(sys.executable, "-c", program, str(running.vip.address)).stdout.split()
    record = ended(running, PLAIN, int(words[0]))
    seen, closing = time.time(), float(words[1])
    assert (record["opened_on"], record["continued_on"], record["how"]) == (22, 22, "fin")
    assert record["server"] in {"a", "b", "c", "d"}, "the connector of the server's own FIN tells"
    assert before - SLACK < record["opened"] < record["closed"] < seen + SLACK
    assert closing - SLACK < record["closed"], "until then it is open"


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
    assert before - SLACK < record["closed"] < time.time() + SLACK


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
    """C2: 20,000 SYNs a second, to a port that drops them, until the meter has dropped many of their copies, which the
    switch counts; the log stays within its bounds; a connection that goes on meanwhile is closed in the log while the
    flood goes on; the controller answers, and the switch stays synced.
    """
    counts, began = ask(running, "/v1/status")["connections"]["counts"], time.monotonic()

    def metered() -> int:
        count: int = ask(running, "/v1/status")["switches"][0]["metered"]["opening"]
        return count

    flood = running.plain.popen_piped(sys.executable, "-c", FLOOD, str(running.vip.address), "20", "20000")
    until(lambda: metered() > 0, "the meter drops copies", 30)
    ports = {fetch(running, running.client, running.url(22))[1] for _ in range(3)}

    def closed() -> set[int]:
        found = records(running, lambda each: each["client_port"] in ports and each["how"] == "fin")
        return {each["client_port"] for each in found}

    until(lambda: closed() == ports, "they are closed while the flood goes on")
    until(lambda: metered() > OPEN, "more copies are dropped than the log has places", 60)
    sent = int(flood.tell("stop"))
    assert flood.wait(10) == 0
    status = ask(running, "/v1/status")
    log, switch = status["connections"], status["switches"][0]
    meter = COPIED[Reason.OPENING]
    assert log["open"] <= OPEN and log["ended"] <= ENDED
    taken = sum(log["counts"][name] - counts[name] for name in ("opened", "repeated"))
    assert taken <= meter.rate * (time.monotonic() - began) + meter.burst
    assert OPEN < switch["metered"]["opening"] <= sent
    assert switch["metered"]["closing"] == switch["metered"]["server_closing"] == 0
    assert switch["state"] == "synced"
    assert len(ask(running, "/v1/connections?limit=1000")["connections"]) <= 1000
