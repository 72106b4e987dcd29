"""The dashboard for Grafana, as the JSON that it imports: what an operator looks at first is on top."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from portlb_app.metrics.table import METRICS

_SOURCE = {"type": "prometheus", "uid": "${source}"}
_WIDTH = 24
"""Columns of a dashboard."""
_OF_VIP = '{vip=~"$vip"}'
_TO = '{vip=~"$vip",direction="to_server"}'
_FROM = '{vip=~"$vip",direction="from_server"}'


@dataclass(frozen=True)
class Panel:
    """A panel. `queries`: expressions, each with its legend. `unit` is a name of Grafana's; `kind` a type of panel."""

    title: str
    metric: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8

    @property
    def description(self) -> str:
        """What the metric means that it is about."""
        return f"{METRICS[self.metric].meaning}."


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "At a glance",
        (
            Panel(
                "Servers down", "portlb_server_up", (("count(portlb_server_up == 0) or vector(0)", ""),), kind="stat",
                width=4,
            ),
            Panel(
                "Pools that fail open", "portlb_pool_fail_open", (("sum(portlb_pool_fail_open)", ""),), kind="stat",
                width=4,
            ),
            Panel(
                "Switches not synced", "portlb_switch_state",
                (('count(portlb_switch_state{state="synced"} == 0) or vector(0)', ""),), kind="stat", width=4,
            ),
            Panel(
                "Links down", "portlb_link_up", (("count(portlb_link_up == 0) or vector(0)", ""),),
                kind="stat", width=4,
            ),
            Panel(
                "Configuration", "portlb_config_verified", (("portlb_config_verified", ""),), kind="stat", width=4
            ),
            Panel(
                "Slots held otherwise", "portlb_pool_slots_differing", (("sum(portlb_pool_slots_differing)", ""),),
                kind="stat", width=4,
            ),
        ),
    ),
    (
        "Traffic",
        (
            Panel(
                "Packets to servers", "portlb_server_packets_total",
                ((f"sum by (vip, server) (rate(portlb_server_packets_total{_TO}[2m]))", "{{server}}"),),
                "pps",
            ),
            Panel(
                "Bits from servers", "portlb_server_bytes_total",
                ((f"sum by (vip, server) (rate(portlb_server_bytes_total{_FROM}[2m])) * 8", "{{server}}"),),
                "bps",
            ),
            Panel(
                "Packets by pool", "portlb_pool_packets_total",
                ((f"sum by (vip, port) (rate(portlb_pool_packets_total{_OF_VIP}[2m]))", "{{vip}}:{{port}}"),), "pps",
            ),
            Panel(
                "Open connections", "portlb_server_open_connections",
                ((f"portlb_server_open_connections{_OF_VIP}", "{{server}}"),),
            ),
            Panel(
                "Shares of pools", "portlb_pool_slots",
                (
                    (
                        f"portlb_pool_slots{_OF_VIP} / on (vip, port) group_left"
                        f" sum by (vip, port) (portlb_pool_slots{_OF_VIP})",
                        "{{vip}}:{{port}} {{server}}",
                    ),
                ),
                "percentunit",
            ),
            Panel(
                "Slots moved", "portlb_pool_slot_moves_total",
                (
                    (
                        f"sum by (vip, port, cause) (increase(portlb_pool_slot_moves_total{_OF_VIP}[5m]))",
                        "{{vip}}:{{port}} {{cause}}",
                    ),
                ),
            ),
        ),
    ),
    (
        "Health",
        (
            Panel(
                "Servers by state", "portlb_pool_servers",
                ((f"sum by (state) (portlb_pool_servers{_OF_VIP})", "{{state}}"),),
            ),
            Panel(
                "Went down or came up", "portlb_server_state_changes_total",
                (
                    (
                        f"sum by (vip, server, cause) (increase(portlb_server_state_changes_total{_OF_VIP}[15m])) > 0",
                        "{{server}} {{cause}}",
                    ),
                ),
            ),
            Panel(
                "Failed checks", "portlb_check_failures_total",
                ((f"sum by (vip, reason) (rate(portlb_check_failures_total{_OF_VIP}[5m]))", "{{vip}} {{reason}}"),),
                "ops",
            ),
            Panel(
                "Duration of checks, 95 %", "portlb_check_duration_seconds",
                (
                    (
                        "histogram_quantile(0.95, sum by (vip, check, le)"
                        f" (rate(portlb_check_duration_seconds_bucket{_OF_VIP}[5m])))",
                        "{{vip}} {{check}}",
                    ),
                ),
                "s",
            ),
            Panel(
                "Pressure on hosts", "portlb_server_pressure_ratio",
                ((f"portlb_server_pressure_ratio{_OF_VIP}", "{{server}} {{resource}}"),), "percentunit",
            ),
            Panel(
                "Age of agents' words", "portlb_server_report_timestamp_seconds",
                ((f"time() - portlb_server_report_timestamp_seconds{_OF_VIP}", "{{server}}"),), "s",
            ),
        ),
    ),
    (
        "Switches and controller",
        (
            Panel(
                "Steps that are left", "portlb_switch_pending_steps", (("portlb_switch_pending_steps", "{{switch}}"),)
            ),
            Panel(
                "Drift and errors", "portlb_switch_drift_total",
                (
                    ("sum by (switch) (increase(portlb_switch_drift_total[15m]))", "{{switch}} drift"),
                    ("sum by (switch) (increase(portlb_switch_openflow_errors_total[15m]))", "{{switch}} errors"),
                ),
            ),
            Panel(
                "Connections of switches", "portlb_switch_connections_total",
                (("increase(portlb_switch_connections_total[15m])", "{{switch}}"),),
            ),
            Panel(
                "Handed up", "portlb_punted_packets_total",
                (("sum by (reason) (rate(portlb_punted_packets_total[2m]))", "{{reason}}"),), "pps",
            ),
            Panel(
                "Kept from being handed up", "portlb_metered_packets_total",
                (("sum by (reason) (rate(portlb_metered_packets_total[2m]))", "{{reason}}"),), "pps",
            ),
            Panel(
                "Changes", "portlb_changes_total",
                (("sum by (source, outcome) (increase(portlb_changes_total[15m]))", "{{source}} {{outcome}}"),),
            ),
            Panel(
                "Compiling and changing, 95 %", "portlb_compile_duration_seconds",
                (
                    (
                        "histogram_quantile(0.95, sum by (le) (rate(portlb_compile_duration_seconds_bucket[15m])))",
                        "compiling",
                    ),
                    (
                        "histogram_quantile(0.95, sum by (source, le)"
                        " (rate(portlb_change_duration_seconds_bucket[15m])))",
                        "a change by {{source}}",
                    ),
                ),
                "s",
            ),
            Panel(
                "Lateness of the loop, 99 %", "portlb_event_loop_lateness_seconds",
                (
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(portlb_event_loop_lateness_seconds_bucket[5m])))",
                        "",
                    ),
                ),
                "s",
            ),
            Panel(
                "Requests", "portlb_rest_requests_total",
                (("sum by (route, code) (rate(portlb_rest_requests_total[5m]))", "{{route}} {{code}}"),), "reqps",
            ),
        ),
    ),
)  # fmt: skip
"""The rows, each with its panels, from top to bottom."""


def expressions() -> Iterator[str]:
    """Every query, for all VIPs."""
    for _, panels in ROWS:
        for panel in panels:
            for query, _ in panel.queries:
                yield query.replace("$vip", ".*")


def dashboard() -> dict[str, Any]:
    """The whole of it."""
    return {
        "title": "portlb",
        "uid": "portlb",
        "tags": ["portlb"],
        "schemaVersion": 38,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "vip",
                    "label": "VIP",
                    "type": "query",
                    "datasource": _SOURCE,
                    "query": "label_values(portlb_pool_fail_open, vip)",
                    "includeAll": True,
                    "multi": True,
                    "allValue": ".*",
                    "refresh": 2,
                },
            ]
        },
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    top, number = 0, 0
    for title, panels in ROWS:
        number += 1
        yield {"id": number, "type": "row", "title": title, "gridPos": {"h": 1, "w": _WIDTH, "x": 0, "y": top}}
        top, left = top + 1, 0
        height = 4 if panels[0].kind == "stat" else 8
        for panel in panels:
            number += 1
            if left + panel.width > _WIDTH:
                top, left = top + height, 0
            yield _panel(number, panel, {"h": height, "w": panel.width, "x": left, "y": top})
            left += panel.width
        top += height


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": panel.kind == "stat",
            }
            for index, (query, legend) in enumerate(panel.queries)
        ],
    }
