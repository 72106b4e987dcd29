"""The routes of VIPs, switches and links."""

from __future__ import annotations

from typing import Any

from portlb_app.api import configuration, edit_routes, effective, paging, switches, vips
from portlb_app.api.effective import EffectiveWanted
from portlb_app.api.identity import Role
from portlb_app.api.models import effective as of_effective
from portlb_app.api.models import resources as models
from portlb_app.api.routing import Media, Operation, Parameter, Route
from portlb_app.api.switches import Resync, TablesWanted

Asked = Resync | TablesWanted | EffectiveWanted
_JSON_SCHEMA = Media("application/schema+json", "JSON Schema 2020-12", "object")
_TEXT = Media("text/plain", "As ovs-ofctl writes it")


def _get(name: str, summary: str, answer: Any, returns: Any, **more: Any) -> Operation[Any]:
    return Operation("GET", name, summary, Role.READ, answer, {200: returns}, ("not-found",), **more)


ROUTES: tuple[Route[Any], ...] = (
    Route(
        "/v1/config/effective",
        (
            Operation(
                *("GET", "getEffective", "Every value that is used, and where it comes from", Role.READ),
                answer=effective.read,
                returns={200: of_effective.Effective},
                problems=("not-found", "busy", "not-computed"),
                query=effective.QUERY,
            ),
        ),
    ),
    Route("/v1/vips", (_get("listVips", "All VIPs", vips.listed, models.Vips, query=paging.PAGED),)),
    Route("/v1/vips/{vip}", (_get("getVip", "One VIP", vips.one, models.Vip),)),
    Route(
        "/v1/vips/{vip}/ports/{port}",
        (_get("getPool", "One pool, with its policies", vips.port, models.VipPort), *edit_routes.PORT),
    ),
    Route("/v1/vips/{vip}/servers/{server}", edit_routes.SERVER),
    Route(
        "/v1/vips/{vip}/ports/{port}/slots",
        (
            _get(
                *("getSlots", "The server of each slot, as wanted and as read", vips.slots, models.PoolTables),
                query=(Parameter("switch", "Only as this switch was read"),),
            ),
        ),
    ),
    Route(
        "/v1/switches",
        (_get("listSwitches", "All switches", switches.listed, models.Switches, query=paging.PAGED),),
    ),
    Route("/v1/switches/{switch}", (_get("getSwitch", "One switch", switches.one, models.SwitchWithPlan),)),
    Route(
        "/v1/switches/{switch}/tables",
        (
            Operation(
                *("GET", "getTables", "The flows, groups and meters of a switch", Role.READ, switches.tables),
                {200: models.Entries},
                problems=("not-found", "not-known-yet", "not-computed"),
                query=(switches.WHICH, switches.FORMAT, switches.LIMIT, switches.OFFSET),
                also=(_TEXT,),
            ),
        ),
    ),
    Route(
        "/v1/switches/{switch}/resync",
        (
            Operation(
                *("POST", "resyncSwitch", "Read a switch now, and put right what differs", Role.OPERATOR),
                answer=switches.resync,
                returns={202: models.Resynced},
                problems=("not-found", "no-switch"),
            ),
        ),
    ),
    Route(
        "/v1/links",
        (
            Operation(
                *("GET", "listLinks", "All links", Role.READ, switches.links, {200: models.Links}), query=paging.PAGED
            ),
        ),
    ),
    Route(
        "/v1/config/schema",
        (
            Operation(
                *("GET", "getSchema", "The shape of lb.yaml, for editors", Role.READ, configuration.schema),
                {200: _JSON_SCHEMA},
            ),
        ),
    ),
)
