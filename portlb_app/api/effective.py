"""``GET /v1/config/effective``: every value that is used, and where it comes from; what pools make of their servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from portlb_app.api import paging
from portlb_app.api.messages import Response, json_pieces
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call, Parameter
from portlb_app.api.servers import View
from portlb_app.config import RedirectPort, Wanted, moments
from portlb_app.config.effective import Chosen, Source, Used
from portlb_app.config.etag import etag
from portlb_app.config.problems import printable
from portlb_app.topology.conditions import PoolKey

VALUES = 100
"""Values of one answer without a limit."""
SOURCE = Parameter("source", "Only those that come from there", words=get_args(Source))
UNDER = Parameter("under", "Only those at this path or below it, such as servers.a")
LIMIT = Parameter("limit", f"At most so many; {VALUES} if it is not given", numbers=(1, paging.MAX_LIMIT))
QUERY = (UNDER, SOURCE, LIMIT, paging.CURSOR)


@dataclass(frozen=True)
class EffectiveWanted:
    """Values are to be told; the process with the tables knows what the text gives."""

    call: Call
    chosen: Chosen
    limit: int


def read(call: Call) -> Response | EffectiveWanted:
    """Which values a query means: one more than are shown, which tells whether there are more."""
    after, query = paging.position(call), call.query
    if isinstance(after, Response):
        return after
    limit = int(query.get("limit", VALUES))
    source = next((each for each in get_args(Source) if each == query.get("source")), None)
    return EffectiveWanted(call, Chosen(query.get("under", ""), source, after, limit + 1), limit)


def answer(asked: EffectiveWanted, found: list[Used]) -> Response:
    """The values."""
    call, view = asked.call, View(asked.call.snapshot)
    pools = {
        f"vips.{vip.name}.redirect_ports.{pool.port}.servers": ((vip.name, pool.port), pool)
        for vip in call.snapshot.config.vips
        for pool in vip.redirect_ports
    }
    under = asked.chosen.under
    if not found and under and not asked.chosen.after and asked.chosen.source is None:
        return failure("not-found", f"the configuration has nothing at {printable(under)}")
    shown = found[: asked.limit]

    def values() -> Iterator[dict[str, Any]]:
        for each in shown:
            used = [*_members(view, *pools[each.path])] if each.path in pools else None
            yield {**_value(each), "used": used}

    more = paging.following(call, shown[-1].place) if len(found) > len(shown) else None
    return Response(200, json_pieces({"etag": etag(call.snapshot.text), "values": values(), "next": more}))


def _value(each: Used) -> dict[str, Any]:
    said = each.override
    override = None if said is None else {
        "replaced": each.replaced,
        "reason": said.reason,
        "by": said.by,
        "since": moments.text(said.since),
        "until": None if said.until is None else moments.text(said.until),
    }  # fmt: skip
    return {"path": each.path, "value": each.value, "source": each.source, "override": override}


def _members(view: View, key: PoolKey, pool: RedirectPort) -> Iterator[dict[str, Any]]:
    """What a pool makes of its servers: the slots that each is to have, and why it has no others."""
    for name in pool.servers:
        server, seen = view.used.server_by_name[name], view.judgement(name, key)
        slots = view.wanted_slots.get(key, {}).get(name, 0)
        reason = f"seen {seen.seen.value}: {seen.reason}" if seen.reason else f"seen {seen.seen.value}"
        if server.wanted is not Wanted.READY:
            reason = f"wanted {server.wanted.value}"
        yield {"server": name, "weight": server.share, "slots": slots, "reason": reason}
