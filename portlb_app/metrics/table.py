"""Every metric of the controller. The help texts, docs/metrics.md and the dashboard are made from this table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Metric:
    """A metric. `name`: as it is scraped, with ``_total`` for a counter. `meaning`: one sentence without its stop."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str


def _metric(name: str, kind: Kind, labels: str, meaning: str) -> Metric:
    return Metric(f"portlb_{name}", kind, tuple(labels.split()), meaning)


CONTROLLER = (
    _metric("build_info", "gauge", "version python", "1, with the version of portlb and of Python"),
    _metric("config_info", "gauge", "etag", "1, with the entity tag of the live configuration, without quotes"),
    _metric("config_verified", "gauge", "", "1 if a switch was seen to hold the live configuration"),
    _metric("config_last_reload_successful", "gauge", "", "1; 0 if the file did not go live when it was last read"),
    _metric(
        "config_last_reload_success_timestamp_seconds", "gauge", "",
        "Unix time at which the file was last read and went live",
    ),
    _metric(
        "changes_total", "counter", "source outcome",
        "Changes that were asked for, by what became of them; source: rest or file for configurations, admin for one "
        "server's state or weight",
    ),
    _metric("change_duration_seconds", "histogram", "source", "Time from the request to what became of a change"),
    _metric("compile_duration_seconds", "histogram", "", "Time for compiling all tables, and waiting for that"),
    _metric(
        "event_loop_lateness_seconds", "histogram", "",
        "How much later than it was to be the controller's clock, four times a second, had its turn",
    ),
    _metric(
        "rest_requests_total", "counter", "method route code",
        "Requests that portlb answered, but for those whose head, host or path it refused; route: the template of the "
        "path, empty where there is none",
    ),
    _metric("rest_request_duration_seconds", "histogram", "route", "Time from a request's head to its answer"),
    _metric("event_streams", "gauge", "", "Clients that follow the events"),
    _metric("events_total", "counter", "kind", "Events, by what they are about"),
    _metric(
        "punted_packets_total", "counter", "reason disposition",
        "Packets that switches handed up to the controller, by what became of them",
    ),
    _metric("unsent_packets_total", "counter", "", "Packets that a switch was to send and was not told"),
    _metric("logged_connections", "gauge", "state", "Records in the log of connections"),
    _metric("connection_events_total", "counter", "event", "Copies of segments and records of the log, by event"),
    _metric("refused_connections_total", "counter", "", "OpenFlow connections closed because the peer broke a rule"),
    _metric("unknown_switches", "gauge", "", "Switches that are connected and not in the configuration"),
)  # fmt: skip

SWITCHES = (
    _metric("switch_connected", "gauge", "switch", "1 if the switch is connected"),
    _metric("switch_state", "gauge", "switch state", "1 for the state that the switch is in, 0 for the others"),
    _metric("switch_flows", "gauge", "switch", "Flows of portlb's that the switch was last read to hold"),
    _metric("switch_groups", "gauge", "switch", "The same for groups"),
    _metric("switch_meters", "gauge", "switch", "The same for meters"),
    _metric("switch_last_read_timestamp_seconds", "gauge", "switch", "Unix time at which the switch was last read"),
    _metric(
        "switch_pending_steps", "gauge", "switch",
        "Flows, groups and meters to add, modify or delete until the switch holds what it shall; absent if unknown",
    ),
    _metric("switch_drift_total", "counter", "switch", "Entries that others had changed and portlb put right"),
    _metric("switch_openflow_errors_total", "counter", "switch", "Errors with which the switch refused something"),
    _metric("switch_connections_total", "counter", "switch", "How often the switch has connected"),
    _metric("switch_port_problems", "gauge", "switch", "Ports that are not as the configuration has them"),
    _metric("switch_contested", "gauge", "switch", "1 if the switch is left to another controller"),
    _metric("switch_claimed_twice", "gauge", "switch", "1 if another connection has claimed to be the switch lately"),
    _metric("switch_foreign_flows", "gauge", "switch", "Flows of others in tables that are portlb's"),
    _metric(
        "switch_shadowing_flows", "gauge", "switch", "Flows of others that take packets before flows of portlb's do"
    ),
    _metric(
        "switch_datapath_differs", "gauge", "switch",
        "1 if the bridge forwards elsewhere (kernel, userspace) than the configuration says; absent if unknown",
    ),
    _metric(
        "metered_packets_total", "counter", "switch reason",
        "Packets that the switch kept from being handed up: too many for a meter, or too large",
    ),
    _metric("link_up", "gauge", "link", "1 if the link is used"),
)  # fmt: skip

SERVERS = (
    _metric("server_up", "gauge", "vip server", "1 up, 0 down in any pool; absent for one of which nothing is known"),
    _metric("server_admin_state", "gauge", "vip server state", "1 for the state that is wanted, 0 for the others"),
    _metric("server_serving", "gauge", "vip server", "1 if a switch was read to have slots of it in some pool"),
    _metric("server_weight", "gauge", "vip server", "The weight in the configuration"),
    _metric(
        "server_effective_weight", "gauge", "vip server", "The weight that is used: 0 for one that is not ready"
    ),
    _metric("server_drained", "gauge", "vip server", "1 if it has no open connections, of those that are taken out"),
    _metric(
        "server_state_changes_total", "counter", "vip server cause",
        "How often it went down or came up; cause: what said so (port, check, agent, slots: as switches held it)",
    ),
    _metric(
        "server_last_state_change_timestamp_seconds", "gauge", "vip server", "Unix time of the last such change"
    ),
    _metric(
        "server_packets_total", "counter", "vip server direction",
        "Packets delivered to it, and let out from it to clients, when its switch was last read",
    ),
    _metric("server_bytes_total", "counter", "vip server direction", "The same in bytes of frames"),
    _metric(
        "server_service_datagrams_total", "counter", "vip server",
        "UDP datagrams delivered to its service ports; they count in server_packets_total, too",
    ),
    _metric("server_open_connections", "gauge", "vip server", "Open TCP connections, as its agent says"),
    _metric("server_mptcp_subflows", "gauge", "vip server", "Of these, subflows at its port for MPTCP"),
    _metric(
        "server_pressure_ratio", "gauge", "vip server resource",
        "Part of the time that work on its host waits for the resource (cpu, io), as its agent says",
    ),
    _metric("server_report_timestamp_seconds", "gauge", "vip server", "Unix time of its agent's last heartbeat"),
    _metric("agent_info", "gauge", "vip server version", "1, with the version of the server's agent, if it tells"),
    _metric(
        "agent_clock_offset_seconds", "gauge", "vip server", "How much its agent's clock is ahead of the controller's"
    ),
    _metric(
        "agent_differs", "gauge", "vip server part",
        "1 if its agent serves something else than the configuration says; part: addresses, services, announced",
    ),
    _metric("check_results_total", "counter", "vip server check result", "Health checks by result"),
    _metric("check_failures_total", "counter", "vip server check reason", "Failed health checks by what was wrong"),
    _metric(
        "check_last_duration_seconds", "gauge", "vip server check",
        "Time that the last check took; of several the longest",
    ),
    _metric("check_duration_seconds", "histogram", "vip check", "Time from a check's first packet to its result"),
    _metric("checks_late_total", "counter", "", "Checks that began more than half a second late"),
    _metric("checks_void_total", "counter", "", "Checks that count for nothing: the controller or a switch was away"),
)  # fmt: skip

POOLS = (
    _metric("pool_slots", "gauge", "vip port server", "Slots that each server of the pool shall have"),
    _metric("pool_slots_differing", "gauge", "vip port", "Slots that some switch was read to hold otherwise, at most"),
    _metric(
        "pool_servers", "gauge", "vip port state",
        "Servers by state: up, down and unknown of those that are wanted ready; drain and maint",
    ),
    _metric("pool_fail_open", "gauge", "vip port", "1 if all servers are used because too few are up"),
    _metric(
        "pool_slot_moves_total", "counter", "vip port cause",
        "Slots that changed their server, as a switch was read; cause: start, config, admin, health, agent, load, "
        "turn, pace (a slow start, or a limit on moves), drift (something else did it)",
    ),
    _metric("pool_packets_total", "counter", "vip port", "Packets that the pool's slots delivered"),
    _metric("pool_bytes_total", "counter", "vip port", "The same in bytes of frames"),
)  # fmt: skip

METRICS = {metric.name: metric for metric in (*CONTROLLER, *SWITCHES, *SERVERS, *POOLS)}
"""Every metric by its name."""
LIBRARY = {
    "python_info": ("gauge", "The version of Python"),
    "process_virtual_memory_bytes": ("gauge", "Address space of the controller's process, in bytes"),
    "process_resident_memory_bytes": ("gauge", "Its memory, in bytes"),
    "process_start_time_seconds": ("gauge", "Unix time at which it was started"),
    "process_cpu_seconds_total": ("counter", "Processor time that it has used"),
    "process_open_fds": ("gauge", "Its open files"),
    "process_max_fds": ("gauge", "How many it may have"),
}
"""What the client library says of the process."""
