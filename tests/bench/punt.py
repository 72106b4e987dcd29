"""What a flood of packets for the controller costs everybody else: new connections while it goes on.

    sudo .venv/bin/python -m tests.bench.punt [--rounds 3] [--seconds 4] [--rate 20000]

The load balancer of FIG. 2 in namespaces: Open vSwitch's userspace datapath, the controller, agents, nginx. wrk opens
connections with the REDIRECT bit as fast as they go, one request each, while another host sends `rate` packets a second
of one kind: ICMP errors, first fragments, SYNs that ask by their option on a port whose signal is ``option``. The same
number of packets that the switch drops by itself is what these are compared with, so that the sender's and the switch's
own work cancel out. All kinds by turns, medians; then what the controller did with them, and how long another pool took
meanwhile.

Before that, each flood by itself, for the processor time that a packet costs which is handed up: of the controller, and
of ovs-vswitchd, over what the same flood costs it when it drops all. (The latter has what the kernel does for it on the
way to the server. For ``signal`` it has the server's answer and the sender's reset, too.) On a busy machine these say
more than connections.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

from portlb_app.net.packets import ICMP, TCP, UDP
from tests.bench.machine import processor_seconds
from tests.net.balancer import REST, Balancer, balancer
from tests.net.network import ROOT, SYN, end
from tests.support import wire
from tests.support.generate import ASKS

VIP, SENDER, CLIENT = IPv4Address("10.0.0.100"), IPv4Address("10.2.0.2"), IPv4Address("10.1.0.2")
KINDS = ("nothing", "dropped", "icmp_error", "fragment", "signal")
SYSCTLS = ("net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=1024 65535")
_FLOOD = """
import socket, sys, time
# sends IP packets, one a line in hexadecimal, again and again, so many a second; prints how many at the end of its time
rate, until = float(sys.argv[1]), time.monotonic() + float(sys.argv[2])
packets = [bytes.fromhex(line) for line in sys.stdin]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
print("ready", flush=True)
sent, began = 0, time.monotonic()
while (now := time.monotonic()) < until:
    for _ in range(min(int((now - began) * rate) - sent, 200)):
        raw.sendto(packets[sent % len(packets)], (sys.argv[3], 0))
        sent += 1
    time.sleep(0.001)
print(sent, flush=True)
"""


def text() -> str:
    """FIG. 2 with everything that is handed up; port 21 stays as it is, and drops plain clients."""
    fig2 = (ROOT / "flows/fig2/lb.yaml").read_text()
    head, pool = "    default_server: d\n", "20: {servers: [a, b]}"
    assert head in fig2 and pool in fig2
    fig2 = fig2.replace(head, head + "    icmp: {errors: owner}\n    fragments: track\n")
    return fig2.replace(pool, "20: {servers: [a, b], signal: option}")


def packets(kind: str) -> list[bytes]:
    """IP packets of a kind from the flooding host."""

    def one(number: int) -> bytes:
        if kind == "icmp_error":
            quoted = wire.ip(VIP, CLIENT, TCP, wire.tcp_segment(VIP, CLIENT, 1 + number % 12, number, b""))
            return wire.ip(SENDER, VIP, ICMP, wire.icmp_error(SENDER, VIP, 3, quoted, 1400))
        if kind == "fragment":
            datagram = wire.udp_datagram(SENDER, VIP, number, 1 + number % 12, bytes(1000))
            return wire.ip(SENDER, VIP, UDP, datagram[:512], fragment=(number, 0, True))
        port = 20 if kind == "signal" else 21
        return wire.ip(SENDER, VIP, TCP, wire.tcp_segment(SENDER, VIP, number, port, b"", SYN, ASKS))

    return [one(number) for number in range(1024, 9216)]


@contextlib.contextmanager
def flood(made: Balancer, kind: str, rate: int, seconds: float) -> Iterator[None]:
    """The flooding host sends while the block runs; it must keep its rate to a tenth."""
    if kind == "nothing":
        yield
        return
    words = (sys.executable, "-c", _FLOOD, str(rate), str(seconds), str(VIP))
    process = made.plain.popen_piped(*words)
    assert process.stdin is not None
    process.stdin.write("".join(each.hex() + "\n" for each in packets(kind)))
    process.stdin.close()
    process.wait_ready()
    yield
    sent = int(process.finish(seconds + 10))
    if sent < 0.9 * rate * seconds:
        print(f"only {sent / seconds:.0f} packets a second of kind {kind}", file=sys.stderr)


def connections(made: Balancer, seconds: float) -> float:
    """New connections a second, with the REDIRECT bit, over pool 22."""
    words = ("wrk", "-t1", "-c32", f"-d{seconds:g}", "-H", "Connection: close", made.url(22))
    output = made.client.run(*words).stdout
    found = re.search(r"Requests/sec: +([0-9.]+)", output)
    assert found and "Non-2xx" not in output, output
    return float(found[1])


def punted(made: Balancer) -> dict[str, dict[str, int]]:
    """The controller's counts."""
    done = made.lb.run("curl", "--silent", "--fail", f"http://127.0.0.1:{REST}/v1/status")
    counts: dict[str, dict[str, int]] = json.loads(done.stdout)["punted"]
    return counts


def put_seconds(made: Balancer) -> float:
    """How long it takes until the switch has a pool with a server less, and then with it again, a half of both."""
    smaller = text().replace("22: {servers: [a, b, c, d]", "22: {servers: [a, b, c]")
    assert smaller != text()
    began = time.monotonic()
    made.put(smaller)
    made.put(text())
    return (time.monotonic() - began) / 2


def processor_times(made: Balancer, kind: str, rate: int, seconds: float) -> tuple[int, float, float]:
    """Packets handed up meanwhile, and the processor seconds that controller and ovs-vswitchd had, a second."""
    pids = made.controller.pid, int((made.switch.directory / "ovs-vswitchd.pid").read_text())
    with flood(made, kind, rate, seconds + 1):
        time.sleep(0.5)
        count, began = sum(punted(made).get(kind, {}).values()), time.monotonic()
        before = [processor_seconds([pid]) for pid in pids]
        time.sleep(seconds)
        controller, switch = (processor_seconds([pid]) - start for pid, start in zip(pids, before, strict=True))
        lasted, count = time.monotonic() - began, sum(punted(made).get(kind, {}).values()) - count
    return round(count / lasted), controller / lasted, switch / lasted


def alone(made: Balancer, rounds: int, rate: int, seconds: float) -> Iterator[str]:
    """A line for each kind: processor time per packet that is handed up."""
    kinds = KINDS[1:]
    found: dict[str, list[tuple[int, float, float]]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind in kinds if number % 2 == 0 else kinds[::-1]:
            found[kind].append(processor_times(made, kind, rate, seconds))
    median = {kind: [statistics.median(column) for column in zip(*found[kind], strict=True)] for kind in kinds}
    yield f"{'flood alone':<12}{'handed up/s':>12}{'controller, us':>16}{'switch, us':>12}{'both, us':>10}"
    for kind in kinds[1:]:
        count, *both = median[kind]
        base = median["dropped"][1:]
        controller, switch = ((new - old) / max(count, 1) * 1e6 for new, old in zip(both, base, strict=True))
        yield f"{kind:<12}{count:>12.0f}{controller:>16.0f}{switch:>12.0f}{controller + switch:>10.0f}"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--puts", type=int, default=5)
    options = parser.parse_args()
    samples: dict[str, list[float]] = {kind: [] for kind in KINDS}
    judged: dict[str, dict[str, int]] = {}
    puts: dict[str, float] = {}
    with balancer(text()) as made:
        for name in SYSCTLS:
            made.client.run("sysctl", "-qw", name)
        made.client_agent()
        connections(made, 1)
        costs = list(alone(made, options.rounds, options.rate, options.seconds))
        for number in range(options.rounds):
            for kind in KINDS if number % 2 == 0 else KINDS[::-1]:
                before = punted(made)
                with flood(made, kind, options.rate, options.seconds + 1):
                    time.sleep(0.5)
                    samples[kind].append(connections(made, options.seconds))
                after = punted(made).get(kind, {})
                judged[kind] = {fate: count - before[kind][fate] for fate, count in after.items()}
        for kind in KINDS:
            with flood(made, kind, options.rate, 2 * options.puts):
                time.sleep(0.5)
                puts[kind] = statistics.median(put_seconds(made) for _ in range(options.puts))
        controller = made.controller
        assert controller.poll() is None
        made.wait_synced()
        end(controller)
    print("\n".join(costs))
    base = statistics.median(samples["dropped"])
    print(f"{options.rounds} rounds of {options.seconds:g} s, {options.rate} packets a second; medians")
    print(f"{'flood':<12}{'connections/s':>14}{'ratio':>8}{'PUT, s':>8}  judged in one round")
    for kind in KINDS:
        median = statistics.median(samples[kind])
        counts = ", ".join(f"{fate} {count}" for fate, count in judged[kind].items() if count)
        print(f"{kind:<12}{median:>14.0f}{median / base:>8.2f}{puts[kind]:>8.2f}  {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
