"""How evenly pools share connections: ``python -m tests.bench.even [SYNS] [SEEDS]``, without root.

SYNs from ports as Linux chooses them pass a real switch (the dummy datapath of Open vSwitch, whose hash is that of the
userspace datapath). Prints, for pools of equal servers, the connections of the fullest one over their mean, beside what
it would be if each connection drew its server by lot; and for a pool with weights the share of each server.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import mean

from portlb_app.selection import group_bits
from tests.ovs import even
from tests.ovs.switch import Switch

POOLS = (10, 32, 50, 200, 500)
WEIGHTS = {"a": 1, "b": 2, "c": 5, "d": 0}
SYNS, SEEDS = 40_000, 5
OF_WEIGHTS = 50_000


def main() -> None:
    """Measure, and print."""
    syns = int(sys.argv[1]) if len(sys.argv) > 1 else SYNS
    seeds = range(int(sys.argv[2]) if len(sys.argv) > 2 else SEEDS)
    with tempfile.TemporaryDirectory() as directory:
        switch = Switch(Path(directory))
        try:
            for servers in POOLS:
                weights = {f"s{number}": 1 for number in range(servers)}
                counts, flows = even.shares(switch, weights, syns, seeds)
                assert all(each.total() == syns for each in counts)
                seen = mean(max(each.values()) * servers / syns for each in counts)
                drawn = even.ideal_fullest(servers, syns)
                print(f"{servers} servers, k={group_bits(weights)}, {syns} SYNs: ", end="")
                print(f"the fullest has {seen:.3f} times its share, by lot {drawn:.3f}: ", end="")
                print(f"{seen / drawn:.3f}; up to {flows} datapath flows", flush=True)
            (counted, *_), _ = even.shares(switch, WEIGHTS, OF_WEIGHTS, range(1))
            total = sum(WEIGHTS.values())
            for name, weight in WEIGHTS.items():
                print(f"weight {weight}: {100 * counted[name] / OF_WEIGHTS:.2f} %, wanted {100 * weight / total:.2f} %")
        finally:
            switch.close()


if __name__ == "__main__":
    main()
