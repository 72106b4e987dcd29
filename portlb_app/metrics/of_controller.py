"""The controller itself: its configuration, changes, packets, requests, its clock."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from portlb_app import __version__
from portlb_app.api.snapshot import Snapshot
from portlb_app.config.etag import etag
from portlb_app.metrics.family import family, histogram, single
from portlb_app.metrics.tally import Tally
from portlb_app.pipeline import PUNTED
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.records import TcpEvent
from portlb_app.reconcile.happened import KINDS


def of_controller(snapshot: Snapshot, tally: Tally) -> Iterator[str]:
    """Its metrics."""
    yield family("build_info", [((__version__, platform.python_version()), 1.0)])
    yield family("config_info", [((etag(snapshot.text).strip('"'),), 1.0)])
    yield single("config_verified", snapshot.status.verified)
    yield single("config_last_reload_successful", tally.is_reload_good)
    yield single("config_last_reload_success_timestamp_seconds", tally.reloaded_at)
    yield family("changes_total", tally.changes.items())
    yield histogram(tally.changing)
    yield histogram(tally.compiling)
    yield histogram(tally.lateness)
    yield family("rest_requests_total", tally.requests.items())
    yield histogram(tally.requesting)
    yield single("event_streams", snapshot.streams)
    yield family("events_total", (((kind,), snapshot.events.counts[kind]) for kind in KINDS))
    punted = ((reason, disposition) for reason in PUNTED for disposition in Disposition)
    yield family(
        "punted_packets_total",
        (((reason.name.lower(), each.value), snapshot.punted.get((reason, each), 0)) for reason, each in punted),
    )
    yield single("unsent_packets_total", snapshot.unsent)
    log = snapshot.connections
    yield family("logged_connections", [(("open",), log.open), (("ended",), log.ended)])
    counts = log.counts
    yield family("connection_events_total", (((event.value,), counts.get(event, 0)) for event in TcpEvent))
    yield single("refused_connections_total", snapshot.refused.count)
    yield single("unknown_switches", len(snapshot.status.unknown))
