"""How long it takes to give a large pool its slots: ``python -m tests.bench.slots [ROUNDS]``, without root.

For pools of equal servers, of weights 1 to 3, and of weights 1 to 256, the
median of the processor milliseconds that these take: how many groups the pool has (`group_bits`); its slots (`slots`);
those after a server has left (`move`), and after it has come back. Nothing of it was computed before.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

from portlb_app.selection import group_bits, move, size, slots, table

Made = TypeVar("Made")
POOLS = (50, 200, 500, 1000, 4000)
WEIGHTS: dict[str, Callable[[int], int]] = {
    "equal": lambda number: 1,
    "1 to 3": lambda number: 1 + number % 3,
    "1 to 256": lambda number: 1 + 37 * number % 256,
}
ROUNDS = 7


def timed(make: Callable[[], Made]) -> tuple[float, Made]:
    """Milliseconds it takes to make something, and what was made."""
    for cached in (table._slots_of_small, table._slots_of_large, size._group_bits):
        cached.cache_clear()
    begin = time.process_time()
    made = make()
    return (time.process_time() - begin) * 1000, made


def measure(weights: dict[str, int]) -> tuple[int, tuple[float, ...]]:
    """k of the pool, and the times."""
    first, bits = timed(lambda: group_bits(weights))
    second, before = timed(lambda: slots(tuple(weights), tuple(weights.values()), bits))
    left = {name: weight for name, weight in weights.items() if name != "s3"}
    third, after = timed(lambda: move(before, left, homes=[before]))
    fourth, again = timed(lambda: move(after, weights, homes=[before]))
    assert again == before
    return bits, (first, second, third, fourth)


def main() -> None:
    """Print a line for each pool."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print("servers  weights     k  groups   slots  leaves  comes back")
    for servers in POOLS:
        for name, weight in WEIGHTS.items():
            measured = [measure({f"s{each}": weight(each) for each in range(servers)}) for _ in range(rounds)]
            (bits, *_), every = zip(*measured, strict=True)
            times = [median(each) for each in zip(*every, strict=True)]
            print(f"{servers:7}  {name:10} {bits:2} " + " ".join(f"{each:7.1f}" for each in times), flush=True)


if __name__ == "__main__":
    main()
