"""``/events``: what has happened, newest first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from portlb_app.api.event_ring import Event
from portlb_app.api.messages import Response
from portlb_app.api.routing import Call
from portlb_app.api.snapshot import Snapshot
from portlb_app.page.frame import frame, link_of
from portlb_app.page.rendering import page
from portlb_app.reconcile.happened import KINDS

SHOWN = 200
"""Events on a page."""
_GOOD = frozenset({"up", "ok", "synced", "ready", "heard", "drained", "live", "connected", "same"})
_WARN = frozenset({"degraded", "drain", "maint", "draining", "unknown", "on_trial"})
_BAD = frozenset({"down", "fail_open", "empty", "absent", "error", "silent", "refused", "overdue"})
_BAD |= {"wrong", "shadowed", "differs"}


def answer(call: Call) -> Response:
    """The newest events; `before` leads to older ones."""
    snapshot, kind = call.snapshot, call.query.get("kind")
    before = int(call.query.get("before", snapshot.events.last + 1))
    chosen = [each for each in newest(snapshot, (kind,) if kind else ()) if _number(each) < before]
    more = f"before={_number(chosen[SHOWN - 1])}" if len(chosen) > SHOWN else None
    return page(
        "events.html",
        {
            **frame(snapshot, "Events", request=call.request),
            "events": (shown(each, snapshot) for each in chosen[:SHOWN]),
            "is_empty": not chosen,
            "kind": kind,
            "all_kinds": KINDS,
            "older": more and "&".join(filter(None, (f"kind={kind}" if kind else "", more))),
        },
    )


def newest(snapshot: Snapshot, kinds: Collection[str] = ()) -> list[Event]:
    """The events that are kept, of some kinds (empty: all), newest first."""
    return snapshot.events.after(0, kinds)[0][::-1]


def shown(event: Event, snapshot: Snapshot) -> dict[str, Any]:
    """One event for the templates."""
    what = event.what
    return {
        "id": event.id,
        "at": event.at,
        "kind": what.kind,
        "of": what.of,
        "link": link_of(what, snapshot),
        "before": what.before,
        "after": what.after,
        "tone": tone(what.after),
        "reason": what.reason,
        "evidence": [f"{key} {_words(value)}" for key, value in what.evidence.items() if value or value == 0],
    }


def tone(word: str) -> str:
    """How a word of an event looks; it is always written beside that."""
    return "good" if word in _GOOD else "bad" if word in _BAD else "warn" if word in _WARN else "plain"


def _words(value: Any) -> str:
    """A value of the evidence for people."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(each)}" for key, each in value.items())
    return ", ".join(map(_words, value)) if isinstance(value, (list, tuple)) else str(value)


def about(snapshot: Snapshot, name: str, kinds: Collection[str], limit: int) -> Iterator[dict[str, Any]]:
    """The newest events about one thing."""
    found = (each for each in newest(snapshot, kinds) if each.what.of == name)
    return (shown(each, snapshot) for _, each in zip(range(limit), found, strict=False))


def _number(event: Event) -> int:
    return int(event.id.rpartition("-")[2])
