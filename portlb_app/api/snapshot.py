"""What the REST interface tells about, as it is at one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from portlb_app.api.event_ring import EventRing
from portlb_app.api.history import History
from portlb_app.backends import Backends
from portlb_app.backends.drained import Drain
from portlb_app.config import Config
from portlb_app.config.overrides import NONE, Overrides
from portlb_app.health.line_state import LineState
from portlb_app.punt.connlog import ConnectionLog
from portlb_app.punt.disposition import Counts
from portlb_app.reconcile.configuration import NO_CONFIG
from portlb_app.reconcile.status import Status
from portlb_app.reconcile.totals import Totals


@dataclass(frozen=True)
class RefusedConnections:
    """OpenFlow connections that were closed because the peer broke a rule: how many, and (address, why) of the last."""

    count: int = 0
    last: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The reconciler's status, the live text, what was refused and what was handed up.

    `epoch` is the Unix time (seconds) at which the clock of the connections' times was 0. `unsent`: packets that a
    switch was to send and was not told. `unix`: the Unix time of this moment. `config`: the live configuration;
    `drains`: the servers that drain, by name; `text_for`: the configuration that a server's agent may act on.
    `checks`: what is known of every health check. `unread`: switches that a controller that has started waits
    for. `streams`: open streams of events. `totals`: what has happened since the start. `exposition`: all of that, and
    more, as Prometheus scrapes it. `form_token`: what forms must have.
    """

    status: Status
    text: str
    refused: RefusedConnections
    punted: Counts = field(default_factory=dict)
    connections: ConnectionLog = field(default_factory=ConnectionLog)
    epoch: float = 0.0
    unsent: int = 0
    checks: tuple[LineState, ...] = ()
    check_counts: Mapping[str, int] = field(default_factory=dict)
    unix: float = 0.0
    config: Config = NO_CONFIG
    overrides: Overrides = NONE
    backends: Backends = field(default_factory=lambda: Backends(NO_CONFIG))
    drains: Mapping[str, Drain] = field(default_factory=dict)
    events: EventRing = field(default_factory=EventRing)
    unread: tuple[str, ...] = ()
    history: History = field(default_factory=History)
    text_for: Callable[[str], str | None] = lambda _server: None
    streams: int = 0
    form_token: str = ""
    totals: Totals = field(default_factory=Totals)
    exposition: Callable[[Snapshot], Iterator[str]] = lambda _snapshot: iter(())
