"""The text that Prometheus scrapes, one metric at a time: others have their turn between two.

So no metric is torn, but a change may come between two of them. Values are those of the snapshot, and of what it
refers to, when their metric is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.registry import Collector

from portlb_app.api.snapshot import Snapshot
from portlb_app.metrics.family import of_library
from portlb_app.metrics.of_controller import of_controller
from portlb_app.metrics.of_pools import of_pools
from portlb_app.metrics.of_servers import of_servers
from portlb_app.metrics.of_switches import of_switches
from portlb_app.metrics.tally import Tally


def exposition(snapshot: Snapshot, tally: Tally, others: Iterable[Collector] = ()) -> Iterator[str]:
    """The text in pieces, of which none takes long. `others`: what else is told, such as the library's own metrics."""
    yield from of_controller(snapshot, tally)
    yield from of_switches(snapshot)
    yield from of_servers(snapshot, tally)
    yield from of_pools(snapshot)
    for other in others:
        yield from map(of_library, other.collect())
