"""How long REST takes to answer: ``python -m tests.soak.latency PORT PATH EVERY``, told to stop by a line.

Asks again and again, `EVERY` seconds after the last answer, each time by a new connection. It prints "ready", and, once
told to stop, the seconds of every answer as JSON; a request that is still waiting then has its answer waited for.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
import time

PATIENCE = 120.0


def asked(port: int, path: str) -> float:
    """Seconds that an answer takes, from connecting to its end; OSError if it does not come."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise OSError(f"{path}: {response.status}")
        return time.monotonic() - began
    finally:
        connection.close()


def main(port: int, path: str, every: float) -> None:
    """Ask until told to stop."""
    taken = [asked(port, path)]
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], every)[0]:
        taken.append(asked(port, path))
    print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
