"""``/network``: switches and links as a picture and as tables, with what passes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from portlb_app.api.messages import Response
from portlb_app.api.routing import Call
from portlb_app.api.servers import View
from portlb_app.api.snapshot import Snapshot
from portlb_app.backends.states import Seen
from portlb_app.config import Connector, Switch
from portlb_app.page.frame import frame
from portlb_app.page.overview import TONES
from portlb_app.page.picture_of_network import HEIGHT, NETWORK, WIDTH, Box, Picture, ends, picture
from portlb_app.page.rendering import page
from portlb_app.reconcile.rates import Rate


def answer(call: Call) -> Response:
    """The network."""
    snapshot = call.snapshot
    dpids = {switch.name: switch.dpid for switch in snapshot.config.switches}
    links = list(_links(snapshot, dpids))
    drawn = picture(snapshot.config)
    switches = list(_switches(snapshot))
    values = {
        **frame(snapshot, "Network", request=call.request),
        "tones": TONES,
        "switches": switches,
        "links": links,
        "drawing": None if drawn is None else _drawing(snapshot, drawn, switches, links),
        "unknown": [f"{dpid:#x}" for dpid in snapshot.status.unknown],
        "refused": snapshot.refused,
    }
    return page("network.html", values)


def _switches(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    view, config = View(snapshot), {switch.name: switch for switch in snapshot.config.switches}
    attached, down = Counter[str](), Counter[str]()
    for server in snapshot.config.servers:
        attached[server.connector.switch] += 1
        seen = {each.seen for each in view.seen.get(server.name, {}).values()}
        down[server.connector.switch] += Seen.DOWN in seen
    for status in snapshot.status.switches:
        switch = config.get(status.name)
        yield {
            "status": status,
            "name": status.name,
            "network": switch.network if switch else None,
            "rate": _of_port(snapshot, switch, switch.network) if switch else None,
            "servers": attached[status.name],
            "down": down[status.name],
        }


def _of_port(snapshot: Snapshot, switch: Switch, port: int | None) -> Rate | None:
    return None if port is None else snapshot.totals.ports.of(switch.dpid, port)


def _links(snapshot: Snapshot, dpids: dict[str, int]) -> Iterator[dict[str, Any]]:
    for status in snapshot.status.links:
        one, other = status.link
        yield {
            "one": one,
            "other": other,
            "up": status.up,
            "seen": status.seen,
            "hold": status.hold,
            "there": _sent(snapshot, dpids, one, other),
            "back": _sent(snapshot, dpids, other, one),
            "lost": sum(rate.lost for rate in _rates(snapshot, dpids, one, other)),
        }


def _rates(snapshot: Snapshot, dpids: dict[str, int], *ends: Connector) -> Iterator[Rate]:
    for end in ends:
        rate = snapshot.totals.ports.of(dpids[end.switch], end.port)
        if rate is not None:
            yield rate


def _sent(snapshot: Snapshot, dpids: dict[str, int], here: Connector, there: Connector) -> float | None:
    """Bytes a second from one end to the other, by the end that tells."""
    for rate in _rates(snapshot, dpids, here):
        return rate.sent
    for rate in _rates(snapshot, dpids, there):
        return rate.received
    return None


def _drawing(
    snapshot: Snapshot, drawn: Picture, switches: list[dict[str, Any]], links: list[dict[str, Any]]
) -> dict[str, Any]:
    lines, parallel = [], Counter[tuple[str, str]]()
    for each in switches:
        if each["network"] is not None:
            from_, to = ends(drawn.boxes[NETWORK], drawn.boxes[each["name"]], 0)
            rate = each["rate"]
            up, down = (rate.sent, rate.received) if rate else (None, None)
            lines.append(_line(from_, to, down, up, True, f"network – {each['name']}:{each['network']}"))
    for link in links:
        one, other = link["one"].switch, link["other"].switch
        nth, parallel[one, other] = parallel[one, other], parallel[one, other] + 1
        from_, to = ends(drawn.boxes[one], drawn.boxes[other], nth)
        is_turned = drawn.boxes[one].y > drawn.boxes[other].y
        down, up = (link["back"], link["there"]) if is_turned else (link["there"], link["back"])
        lines.append(_line(from_, to, down, up, link["up"], f"{link['one']} – {link['other']}"))
    return {
        "width": drawn.width,
        "height": drawn.height,
        "box_width": WIDTH,
        "box_height": HEIGHT,
        "network": drawn.boxes[NETWORK],
        "boxes": [(drawn.boxes[each["name"]], each) for each in switches if each["name"] in drawn.boxes],
        "lines": lines,
    }


def _line(from_: Box, to: Box, down: float | None, up: float | None, is_up: bool, title: str) -> dict[str, Any]:
    """A line of the picture, with what passes it downwards and upwards.

    What is written on lines that cross is not where they do.
    """
    part = 0.5 if abs(to.x - from_.x) < 1 else 0.25 if to.x < from_.x else 0.75
    return {
        "from": from_,
        "to": to,
        "middle": Box(from_.x + part * (to.x - from_.x), from_.y + part * (to.y - from_.y)),
        "down": down,
        "up": up,
        "is_up": is_up,
        "title": title,
    }
