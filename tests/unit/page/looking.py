"""Snapshots to look at, and pages as text and as elements."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from portlb_app.api.event_ring import EventRing
from portlb_app.api.identity import Role
from portlb_app.api.messages import Request, Response
from portlb_app.api.routes import respond
from portlb_app.api.snapshot import RefusedConnections, Snapshot
from portlb_app.backends import Backends
from portlb_app.config import Config, load
from portlb_app.config.overrides import NONE, Overrides
from portlb_app.page.actions import Confirmed
from portlb_app.page.routes import ROUTES, for_people
from portlb_app.reconcile.configuration import Configuration
from portlb_app.reconcile.known_switch import KnownSwitch
from portlb_app.reconcile.network import Network
from portlb_app.reconcile.pool_status import pool_statuses
from portlb_app.reconcile.results import Compiled
from portlb_app.reconcile.status import LinkStatuses, Status, SwitchStatus
from portlb_app.reconcile.totals import Totals
from portlb_app.topology.conditions import HeldSlots

FLOWS = Path(__file__).parents[3] / "flows"
NOW = 1_764_000_000.0
_VOID = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta"})


def snapshot(name: str = "fig2", overrides: Overrides = NONE, **more: Any) -> Snapshot:
    """A network whose switches hold what they shall."""
    config: Config = more.pop("config", None) or load((FLOWS / name / "lb.yaml").read_text())
    backends = Backends(config, overrides)
    held = {key: HeldSlots(slots) for key, slots in backends.tables().items()}
    closed = backends.conditions(config)[1]
    switches = more.pop("switches", None) or tuple(
        SwitchStatus(each.name, each.dpid, "synced", 5, 2, 1, 0, (), 0.25, pending=0, held=held, closed=closed)
        for each in config.switches
    )
    status = Status(1, switches, more.pop("unknown", ()), LinkStatuses(config.links, more.pop("holds", {})))
    values = {"events": EventRing("ab"), "totals": Totals(), "form_token": "secret", "backends": backends}
    values |= {"epoch": NOW - 1000, "unix": NOW, "config": config, "overrides": overrides}
    return Snapshot(status, "", RefusedConnections(), **{**values, **more})


@dataclass
class Page(HTMLParser):
    """A page that was read: its text, and each element with its attributes. AssertionError if it is malformed."""

    status: int
    source: str
    text: str = ""
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert len(given) == len(attrs), (tag, attrs)
        self.elements.append((tag, given))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text = f"{self.text}{' '.join(data.split())} " if data.strip() else self.text

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """The attributes of the elements of a kind that have these."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [given for name, given in self.elements if name == tag and wanted.items() <= given.items()]


def page_of(response: Response) -> Page:
    """A response that is a page."""
    assert response.content_type.startswith("text/html"), response
    return Page(response.status, "".join(response.body))


def _with_pools(view: Snapshot) -> Snapshot:
    """The same with the pools' status, as the reconciler tells it of what is seen of servers by now."""
    network = Network(Configuration("", view.config), Compiled(1, {}), view.overrides)
    network.backends = view.backends
    for each in view.status.switches:
        network.switches[each.dpid] = KnownSwitch(each.dpid, held=each.held)
    pools = tuple(pool_statuses(network, view.unix - view.epoch))
    return replace(view, status=replace(view.status, pools=pools))


def look(path: str, view: Snapshot, role: Role = Role.ADMIN) -> Page:
    """What is at a path, as people get it who have a role."""
    path, _, query = path.partition("?")
    view, request = _with_pools(view), Request("GET", path, "localhost", query=query, role=role)
    return page_of(for_people(respond(request, view, ROUTES), view))


def post(server: str, view: Snapshot, **fields: str) -> Page | Confirmed:
    """What a form of a server's page comes to."""
    request = Request("POST", f"/servers/{server}/act", "localhost", form=fields)
    found = respond(request, view, ROUTES)
    return found if isinstance(found, Confirmed) else page_of(for_people(found, view))
