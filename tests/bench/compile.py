"""How long it takes to read a configuration and to compile it, by size: in proportion to the flows, or worse?

``python -m tests.bench.compile``: leaf-spine trees of three levels (two entrances, spines, leaves), each with the
switches, servers, and service ports that the line tells; every service port is TCP, UDP and SCTP. Times are processor
seconds of one process that has computed nothing before.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from portlb_app import compiler, topology
from portlb_app.config import Config, load
from portlb_app.selection import table
from portlb_app.topology.conditions import Conditions

Made = TypeVar("Made")
SERVERS_PER_POOL = 250
SHARED = 20


def settings(switches: int, servers: int, ports: int) -> dict[str, Any]:
    """Two entrances, a tenth of the switches as spines, the rest as leaves; every leaf is below every spine."""
    spines = [f"spine{number}" for number in range(max(2, switches // 10))]
    leaves = [f"leaf{number}" for number in range(switches - len(spines) - 2)]
    names = ["one", "two", *spines, *leaves]
    own: dict[str, dict[str, int]] = {name: {"dpid": number} for number, name in enumerate(names, 1)}
    own["one"]["network"] = own["two"]["network"] = 1000
    links = [
        [f"{upper}:{1 + below}", f"{lower}:{1001 + above}"]
        for uppers, lowers in ((names[:2], spines), (spines, leaves))
        for above, upper in enumerate(uppers)
        for below, lower in enumerate(lowers)
    ]
    hosts = [f"host{number}" for number in range(servers)]
    each = ports // servers
    return {
        "switches": own,
        "links": links,
        "vips": {
            "web": {
                "address": "10.0.0.100",
                "mac": "02:00:00:00:00:64",
                "redirect_ports": {
                    port: {"servers": [hosts[(port * 97 + n) % servers] for n in range(min(SERVERS_PER_POOL, servers))]}
                    for port in range(1, SHARED + 1)
                },
            }
        },
        "servers": {
            name: {
                "vip": "web",
                "connector": f"{leaves[number % len(leaves)]}:{1 + number // len(leaves)}",
                "service_ports": list(range(1024 + number * each, 1024 + (number + 1) * each)),
            }
            for number, name in enumerate(hosts)
        },
    }


def timed(make: Callable[..., Made], *of: Any) -> tuple[float, Made]:
    """Seconds it takes to make something, and what was made."""
    begin = time.process_time()
    made = make(*of)
    return time.process_time() - begin, made


def paths(config: Config) -> int:
    """How many steps all ways have that packets take."""
    return len(list(topology.of(config).paths()))


def main() -> None:
    """Print a line for each size, and what a flow costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=100, help="switches of the largest network")
    largest = parser.parse_args().largest
    print("switches servers  ports     flows  read  ways  compile  µs/flow  again, a link cut")
    for switches in (largest // 10, largest // 5, largest // 2, largest):
        for remembered in (table._slots_of_small, table._slots_of_large, table._among_small, table._among_large):
            remembered.cache_clear()
        text = json.dumps(settings(switches, switches * 10, switches * 100))
        read, config = timed(load, text)
        found, _ = timed(paths, config)
        taken, states = timed(compiler.compile, config)
        again, _ = timed(compiler.compile, config, Conditions(links_down=frozenset(config.links[:1])))
        flows = sum(len(state.flows) for state in states.values())
        print(
            f"{switches:8} {switches * 10:7} {switches * 100:6} {flows:9} {read:5.2f} {found:5.2f} {taken:8.2f}"
            f" {taken / flows * 1e6:8.1f} {again:18.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
