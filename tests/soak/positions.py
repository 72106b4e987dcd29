"""Every position a connection can be in when something goes wrong, with agents and without: does any hang?

    sudo .venv/bin/python -m tests.soak.positions [--seconds 20] [--paths none to-Y from-Y ...] [--verbose]

client -- router -- server; behind either host a container with NAT as Docker makes it (masquerade, DNAT). A position
is: who speaks first; what the router does to packets to or from the port opened on (X, behind the handshake) or the
port announced (Y); where each program is; which agent loses its entry, and when. All positions are taken at once: each
server port has its own fate on the path, each connection its own client port. A connection makes a first exchange, then
agents lose entries, then it makes a second one.

A connection ends by both exchanges, or by an error that a program is told; one that has neither within the limit hangs.
The same is done without agents. Exit code 1 if a position hangs in which plain TCP does not. Prints a table: for each
loss and speaker (rows) and path (columns) the seconds of the slowest exchange of the four pairs of places; RESET where
a program was told of the end instead; `=` where plain TCP hangs as well.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.net.network import ROOT, Namespace, Network, agent_stats, client_agent, server_agent
from tests.support.helper import PATIENCE, Helper

SECONDS = 20.0
VIP = "10.0.2.100"
PLACES = ("host", "container")
SPEAKERS = ("client", "server")
PATHS = {
    "none": (),
    "to-X": ("tcp dport {x} tcp flags & syn == 0 drop",),
    "from-X": ("tcp sport {x} tcp flags & syn == 0 drop",),
    "to-Y": ("tcp dport {y} drop",),
    "from-Y": ("tcp sport {y} drop",),
    "to-Y reset": ("tcp dport {y} reject with tcp reset",),
    "from-Y reset": ("tcp sport {y} reject with tcp reset",),
    "to-Y ICMP": ("tcp dport {y} reject with icmp type admin-prohibited",),
    "from-Y ICMP": ("tcp sport {y} reject with icmp type admin-prohibited",),
}
EARLY = ("client, handshake", "server, handshake")
LATE = ("nothing", "client, open", "server, open")
LOSSES = (LATE[0], *EARLY, *LATE[1:])
HELD = 0.3  # seconds for which a handshake is held while entries are lost
FIRST_X, FIRST_Y, FIRST_CLIENT = 3000, 4000, 20000

_PROGRAM = """
import json, socket, sys, threading, time
role, limit, rows = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])
go, lock = threading.Event(), threading.Lock()
def say(*words):
    with lock: print(json.dumps(words), flush=True)
def timed(cell, exchange, action):
    began = time.monotonic()
    try: done = action()
    except TimeoutError: say(cell, exchange, "hang", limit); return False
    except OSError as error: say(cell, exchange, type(error).__name__, time.monotonic() - began); return False
    say(cell, exchange, "done" if done else "closed", time.monotonic() - began); return done
def client(cell, sport, dport, speaks):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); one.bind(("", sport)); one.settimeout(limit)
    def first():
        one.connect(("%s", dport))
        if speaks == "client": one.sendall(b"1")
        return one.recv(1)
    def second():
        if speaks == "client": one.sendall(b"2")
        return one.recv(1)
    ok = timed(cell, 1, first); go.wait()
    if ok: timed(cell, 2, second)
def serve(one, speaks):
    try:
        if speaks == "client":
            while data := one.recv(1): one.sendall(data)
        else:
            one.sendall(b"1"); go.wait(); one.sendall(b"2"); one.recv(1)
    except OSError: pass
def server(listener, speaks):
    while True: threading.Thread(target=serve, args=(listener.accept()[0], speaks), daemon=True).start()
threading.stack_size(1 << 18)
if role == "server":
    for port, speaks in rows:
        listener = socket.create_server(("", port), backlog=64)
        threading.Thread(target=server, args=(listener, speaks), daemon=True).start()
    print("ready", flush=True)
else:
    print("ready", flush=True); sys.stdin.readline()
    for row in rows: threading.Thread(target=client, args=row, daemon=True).start()
sys.stdin.readline(); go.set(); sys.stdin.readline()
""" % VIP


@dataclass(frozen=True)
class Position:
    """One connection's. `x` and `y` are the ports opened on and announced."""

    speaks: str
    path: str
    client: str
    server: str
    loss: str
    x: int
    sport: int

    @property
    def y(self) -> int:
        """The port announced."""
        return self.x - FIRST_X + FIRST_Y


@dataclass
class Outcome:
    """What became of both exchanges: "done", "hang", or how the program was told, each with its seconds."""

    exchanges: dict[int, tuple[str, float]]

    @property
    def hangs(self) -> bool:
        """Whether a program waits in vain."""
        return any(what == "hang" for what, _ in self.exchanges.values())

    @property
    def ended(self) -> bool:
        """Whether it was told of the end."""
        return not self.hangs and any(what != "done" for what, _ in self.exchanges.values())

    @property
    def slowest(self) -> float:
        """Seconds the slower exchange took."""
        return max(seconds for _, seconds in self.exchanges.values())


def positions(paths: Iterable[str]) -> list[Position]:
    """All of them; those whose handshake is held have server ports of their own."""
    found: list[Position] = []
    ports, sports = itertools.count(FIRST_X), itertools.count(FIRST_CLIENT)
    for speaks, path, server, held in itertools.product(SPEAKERS, paths, PLACES, ("", *EARLY)):
        x = next(ports)
        for client, loss in itertools.product(PLACES, (held,) if held else LATE):
            found.append(Position(speaks, path, client, server, loss, x, next(sports)))
    return found


class World:
    """The hosts and containers, and the rules of the path."""

    def __init__(self, network: Network, chosen: Sequence[Position]) -> None:
        self.chosen = chosen
        self.client, self.router, self.server = (network.host(each) for each in ("client", "router", "server"))
        network.link(self.client, self.router, ("10.0.1.1/24", "10.0.1.254/24"), ("eth0", "left"))
        network.link(self.router, self.server, ("10.0.2.254/24", f"{VIP}/24"), ("right", "eth0"))
        self.router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.places: dict[tuple[str, str], Namespace] = {}
        for role, host, number in (("client", self.client, 1), ("server", self.server, 2)):
            host.run("ip", "route", "add", "default", "via", f"10.0.{number}.254")
            host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
            inside = network.host(f"{role}-in")
            network.link(host, inside, (f"172.17.{number}.1/24", f"172.17.{number}.2/24"), ("docker0", "eth0"))
            inside.run("ip", "route", "add", "default", "via", f"172.17.{number}.1")
            host.nft(
                "add table ip nat\nadd chain ip nat out { type nat hook postrouting priority 100; }\n"
                f'add rule ip nat out oifname "eth0" ip saddr 172.17.{number}.0/24 masquerade'
            )
            self.places[role, "host"], self.places[role, "container"] = host, inside
        published = sorted({each.x for each in chosen if each.server == "container"})
        self.server.nft(
            "add chain ip nat in { type nat hook prerouting priority -100; }\n"
            f"add rule ip nat in ip daddr {VIP} tcp dport {_set(published)} dnat to 172.17.2.2"
        )
        rules = [
            "add table ip path", "add chain ip path held",
            "add chain ip path forward { type filter hook forward priority 0; }", "add rule ip path forward jump held",
        ]  # fmt: skip
        for name, templates in PATHS.items():
            xs = sorted({each.x for each in chosen if each.path == name})
            for template in templates if xs else ():
                rule = template.format(x=_set(xs), y=_set(x - FIRST_X + FIRST_Y for x in xs))
                rules.append(f"add rule ip path forward {rule}")
        self.router.nft("\n".join(rules))

    def hold(self) -> None:
        """Hold the handshakes in which something will be lost: before the SYN/ACK, or before the third segment."""
        for loss, rules in (
            (EARLY[0], ("tcp sport {x} tcp flags & syn == syn drop",)),
            (EARLY[1], ("tcp dport {x} tcp flags & syn == 0 drop", "tcp dport {y} drop")),
        ):
            xs = sorted({each.x for each in self.chosen if each.loss == loss})
            for rule in rules:
                words = rule.format(x=_set(xs), y=_set(x - FIRST_X + FIRST_Y for x in xs))
                self.router.nft(f"add rule ip path held {words}")

    def release(self) -> None:
        """Let them go on."""
        self.router.nft("flush chain ip path held")

    def lose(self, loss: str) -> None:
        """Have an agent lose the entries of the connections that are to lose them now."""
        role = loss.partition(",")[0]
        ports = [str(each.sport) for each in self.chosen if each.loss == loss]
        host = self.client if role == "client" else self.server
        host.run(sys.executable, "-m", "tests.soak.positions", "--forget", role, *ports, cwd=ROOT)


def _set(ports: Iterable[int]) -> str:
    return "{ " + ", ".join(map(str, ports)) + " }"


def measure(chosen: Sequence[Position], agents: bool, limit: float) -> tuple[dict[Position, Outcome], dict[str, int]]:
    """Take all positions at once; return what became of each, and the client agent's counters."""
    found = {each: Outcome({}) for each in chosen}
    with Network() as network:
        world = World(network, chosen)
        programs = {}
        for (role, place), namespace in world.places.items():
            if role == "server":
                rows: list[tuple[object, ...]] = sorted({(e.x, e.speaks) for e in chosen if e.server == place})
            else:
                rows = [(n, e.sport, e.x, e.speaks) for n, e in enumerate(chosen) if e.client == place]
            words = (sys.executable, "-c", _PROGRAM, role, str(limit), json.dumps(rows))
            programs[role, place] = namespace.popen_ready(*words)
        if agents:
            ports = sorted({(each.x, each.y) for each in chosen})
            server_agent(world.server, [VIP], [f"{y}={x}" for x, y in ports], [f"{x}={y}" for x, y in ports])
            client_agent(world.client, [VIP])
        world.hold()
        clients = [programs["client", place] for place in PLACES]
        for each in clients:
            each.say()
        time.sleep(HELD)
        if agents:
            for loss in EARLY:
                world.lose(loss)
        world.release()
        _collect(clients, chosen, found, 1, limit)
        if agents:
            for loss in LATE[1:]:
                world.lose(loss)
        for each in (*clients, *(programs["server", place] for place in PLACES)):
            each.say()
        _collect(clients, chosen, found, 2, limit)
        stats = agent_stats(world.client) if agents else {}
        for each in programs.values():
            each.say()
            each.wait()
    return found, stats


def _collect(
    clients: Sequence[Helper], chosen: Sequence[Position], found: dict[Position, Outcome], exchange: int, limit: float
) -> None:
    for place, client in zip(PLACES, clients, strict=True):
        wanted = [n for n, e in enumerate(chosen) if e.client == place]
        if exchange == 2:
            wanted = [n for n in wanted if found[chosen[n]].exchanges[1][0] == "done"]
        for _ in wanted:
            number, which, what, seconds = json.loads(client.line(limit + PATIENCE))
            assert which == exchange
            found[chosen[number]].exchanges[exchange] = what, seconds


def table(paths: Sequence[str], found: dict[Position, Outcome], plain: dict[Position, Outcome]) -> str:
    """The outcomes in Markdown."""
    lines = ["| entry lost | first speaks | " + " | ".join(paths) + " |", "| --- " * (len(paths) + 2) + "|"]
    for loss, speaks in itertools.product(LOSSES, SPEAKERS):
        cells = []
        for path in paths:
            of = [e for e in found if (e.loss, e.speaks, e.path) == (loss, speaks, path)]
            cells.append(_cell(of, found, plain))
        lines.append(f"| {loss} | {speaks} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(of: Sequence[Position], found: dict[Position, Outcome], plain: dict[Position, Outcome]) -> str:
    bad = [each for each in of if found[each].hangs and not plain[each].hangs]
    if bad:
        return "**HANGS**"
    went_on = [found[each].slowest for each in of if not found[each].hangs]
    words = [f"{max(went_on):.1f}"] if went_on else []
    words += ["RESET"] * any(found[each].ended for each in of)
    words += ["="] * any(found[each].hangs for each in of)
    return " ".join(words)


def hanging(found: dict[Position, Outcome], plain: dict[Position, Outcome]) -> list[Position]:
    """The positions that hang and would not by plain TCP."""
    return [each for each in found if found[each].hangs and not plain[each].hangs]


def forget(role: str, ports: Sequence[int]) -> None:
    """Delete what the agent on eth0 of this namespace has of connections from some client ports."""
    import ctypes

    from portlb_app.agent import record, running
    from portlb_app.agent.kernel.library import library

    library.bpf_map_delete_elem.argtypes = [ctypes.c_int, ctypes.c_char_p]
    library.bpf_map_update_elem.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint64]
    wanted = {port.to_bytes(2, "big") for port in ports}
    with running.agents("eth0") as found:
        maps = dict(found)[role].maps
        for name in ("connections", "aliases"):
            for key in [key for key, _ in maps[name].entries() if key[32:34] in wanted]:
                library.bpf_map_delete_elem(maps[name].fd, key)
        if "half_open" in maps:
            half_open = maps["half_open"]
            size = record.KEY_SIZE + maps["connections"].layout.value_size
            for index in range(half_open.layout.max_entries):
                number = index.to_bytes(4, sys.byteorder)
                bucket = bytearray(half_open.lookup(number) or b"")
                places = [at for at in range(0, len(bucket), size) if bytes(bucket[at + 32 : at + 34]) in wanted]
                for at in places:
                    bucket[at : at + size] = bytes(size)
                if places:
                    library.bpf_map_update_elem(half_open.fd, number, bytes(bucket), 0)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which an exchange counts as hanging")
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    parser.add_argument("--verbose", action="store_true", help="print each position that hangs")
    parser.add_argument("--forget", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.forget:
        forget(arguments.forget[0], [int(port) for port in arguments.forget[1:]])
        return 0
    chosen = positions(arguments.paths)
    began = time.monotonic()
    plain, _ = measure(chosen, False, arguments.seconds)
    found, stats = measure(chosen, True, arguments.seconds)
    print(table(arguments.paths, found, plain))
    bad = hanging(found, plain)
    print(
        f"\n{len(chosen)} positions in {time.monotonic() - began:.0f} s; "
        f"hanging without agents {sum(each.hangs for each in plain.values())}, "
        f"with agents {sum(each.hangs for each in found.values())}, "
        f"of those not without {len(bad)}; client agent: {({k: v for k, v in stats.items() if v})}"
    )
    if arguments.verbose:
        for each in bad:
            print(each, found[each].exchanges, plain[each].exchanges)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
