"""Stock QUIC clients while their whole pool is replaced (row B2): ``python -m tests.soak.quic [--only NAME…]``.

Two clients (aioquic, ngtcp2) fetch a file from two servers (the example, ngtcp2's) that announce their own port as
preferred address. In the middle of each transfer the whole pool is replaced, and each time beside them a client that is
told to stay at X. For each way of rewriting, one switch and a tree, both versions of IP.

It promises that all that have moved arrive whole, that no datagram names X any more, and that those that stay break.
Then connections in numbers: hellos in several datagrams, Retry, version negotiation, early data, clients that get a
new address, blocked service ports; and datagrams that no client means (`--noise` of them for each port), of which each
reaches one server.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.net.balancer import balancer
from tests.net.quic import EXAMPLE, MANY_NAMES, NGTCP2, Quic, Transfer, one_switch
from tests.net.quic_wire import hellos, new_address
from tests.soak.report import Report
from tests.support import trees

TEXTS = {
    "one switch": one_switch(),
    "tree": trees.shaped(one_switch(), "deep"),
    "rewrite mac": trees.shaped(one_switch("mac"), "tree"),
    "rewrite address": one_switch("address"),
}
MAKES = {EXAMPLE: "the example", NGTCP2: "gtlsserver"}


class Proof:
    """The promises, for one load balancer and one version of IP."""

    def __init__(self, report: Report, quic: Quic, where: str) -> None:
        """With the pools of the beginning."""
        self.report, self.quic, self.where = report, quic, where
        quic.made.put(quic.made.text)

    def promise(self, holds: object, text: str) -> None:
        """Something that has to be true here."""
        self.report.promise(holds, f"{self.where}: {text}")

    def replaced(self, port: int) -> None:
        """Both clients at one make of server, beside one that stays, in the middle of their transfers."""
        quic, version = self.quic, self.quic.made.family
        own = quic.service_ports(port)
        transfers: dict[str, Transfer] = {}
        clients = {"aioquic": quic.aioquic, "gtlsclient": quic.ngtcp2}
        for name, client in clients.items():
            quic.made.put(quic.made.text)
            quic.halt((version, own))
            transfers[name] = client(port)
            quic.wait_halted(1)
            quic.replace_pools()
            with quic.datagrams("dst", "port", str(port)) as late:
                quic.go_on()
                got = transfers[name].end()
            what = f"{name} at {MAKES[port]}"
            self.promise(got.whole, f"{what}: whole after its pool was replaced; it said {got.said.strip()[-90:]!r}")
            self.promise(not late, f"{what}: {len(late)} datagrams to port {port} afterwards")
        quic.made.put(quic.made.text)
        quic.halt((version, [port]))
        stays = quic.ngtcp2(port, "", "--no-preferred-addr", "--timeout=3s")
        quic.wait_halted(1)
        quic.replace_pools()
        quic.go_on()
        self.promise(not stays.end().whole, f"gtlsclient at {MAKES[port]}, told not to follow: broken")

    def handshakes(self, port: int, times: int) -> None:
        """Hellos in two datagrams; with a Retry at gtlsserver."""
        quic = self.quic
        with quic.datagrams() as seen:
            got = quic.aioquic(port, quic.short, f"--names={MANY_NAMES}", f"--times={times}").end()
        first = hellos(seen)
        kinds = Counter(kind for each in seen for kind in each.kinds)
        self.promise(
            got.whole and len(first) == times and min(first.values()) >= 2,
            f"{times} hellos of at least two datagrams at {MAKES[port]}: all served; {dict(kinds)}",
        )
        if port == NGTCP2:
            self.promise(kinds["retry"] >= times, f"{kinds['retry']} of them after a Retry")

    def versions_and_tickets(self, times: int) -> None:
        """Version negotiation and early data."""
        quic = self.quic
        for port in quic.ports:
            with quic.datagrams() as seen:
                got = [
                    quic.ngtcp2(port, quic.short, "--version=0x1a2a3a4a", "--preferred-versions=v1").end()
                    for _ in range(times)
                ]
            negotiated = sum("version negotiation" in each.kinds for each in seen)
            self.promise(
                all(each.whole for each in got) and negotiated >= times,
                f"{times} clients of an unknown version at {MAKES[port]}: served after {negotiated} negotiations",
            )
            files = [f"--{name}-file={quic.new(name)}" for name in ("session", "tp", "token")]
            with quic.datagrams() as seen:
                got = [quic.ngtcp2(port, quic.short, *files).end() for _ in range(times)]
            early = sum("0-RTT" in each.kinds for each in seen)
            self.promise(
                all(each.whole for each in got),
                f"{times} connections with tickets of another at {MAKES[port]}: served, {early} early datagrams",
            )

    def moves(self, port: int) -> None:
        """A client's address changes in the middle of a transfer; and its pool is replaced."""
        quic = self.quic
        quic.halt((quic.made.family, quic.service_ports(port)))
        transfer = quic.aioquic(port)
        quic.wait_halted(1)
        with new_address(quic.made) as address, quic.datagrams("dst", "host", address, most=60) as seen:
            quic.replace_pools()
            quic.go_on()
            got = transfer.end()
        quic.made.put(quic.made.text)
        what = f"a client at {MAKES[port]} with a new address, its pool replaced"
        self.promise(got.whole and seen, f"{what}: whole, {len(seen)} datagrams to that address")

    def blocked(self, port: int) -> None:
        """A path that drops everything to service ports: clients stay at X."""
        quic = self.quic
        own = ", ".join(map(str, quic.service_ports(port)))
        quic.made.router.nft(BLOCKED % own)
        got = {"aioquic": quic.aioquic(port).end(), "gtlsclient": quic.ngtcp2(port).end()}
        quic.made.router.nft("delete table inet blocked")
        for name, each in got.items():
            self.promise(each.whole, f"{name} at {MAKES[port]}, Y blocked: whole, port {each.ports or port}")

    def noise(self, count: int) -> None:
        """Datagrams that no client means, while honest clients open."""
        quic = self.quic
        first = quic.noise(100, quic.ports[0])
        self.promise(sorted(first.values()) == [0, 0, 0, 100], f"100 datagrams from one port: {first}")
        during = [quic.aioquic(port, quic.short, "--times=10") for port in quic.ports]
        got = quic.noise(count, *quic.ports, *quic.service_ports(quic.ports[0]))
        served = all(each.end().whole for each in during)
        self.promise(served, f"honest clients are served during {sum(got.values())} such datagrams: {got}")


BLOCKED = """
table inet blocked {
    chain forward {
        type filter hook forward priority 0
        udp dport { %s } drop
    }
}
"""


def main(words: list[str] | None = None) -> int:
    """Replace pools; the exit code says whether every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=TEXTS, default=list(TEXTS), metavar="NAME", help=", ".join(TEXTS))
    parser.add_argument("--families", type=int, nargs="*", choices=(4, 6), default=[4, 6])
    parser.add_argument("--size", type=int, default=20_000_000, help="bytes of the file")
    parser.add_argument("--times", type=int, default=20, help="connections of each kind")
    parser.add_argument("--noise", type=int, default=5000, help="datagrams to each port that no client means")
    options = parser.parse_args(words)
    report = Report()
    for name in options.only:
        with balancer(TEXTS[name], agents=frozenset(), nginx=False) as made:
            quic = Quic(made, options.size)
            for family in options.families:
                made.speak(family)
                proof = Proof(report, quic, f"{name}, IPv{family}")
                for port in quic.ports:
                    proof.replaced(port)
                    made.put(made.text)
                    proof.handshakes(port, options.times)
                    proof.moves(port)
                    proof.blocked(port)
                proof.versions_and_tickets(options.times)
                proof.noise(options.noise)
            report.say(f"{name}: the examples have counted {quic.counted()}")
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
