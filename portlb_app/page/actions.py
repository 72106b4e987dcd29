"""Forms that change what is wanted of a server: first the dry run, then, from there, the change.

No other site can make a browser send one: a form has a token that only the pages of this controller have since it was
started, beside what REST asks of every change (Origin, role). What was shown is part of the second form: if something
else would happen by then, that is shown instead.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from portlb_app.api import wishes
from portlb_app.api.judgement import Judged, judge
from portlb_app.api.messages import Response
from portlb_app.api.routing import Call
from portlb_app.api.servers import unknown
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.wishes import Wish
from portlb_app.page.frame import frame
from portlb_app.page.rendering import page

ACTIONS = {
    "drain": "Drain",
    "ready": "Make ready",
    "maint": "Maintenance",
    "weight": "Weight",
    "unset-weight": "Weight of the file",
}
"""What a form can ask for, and what its button says."""
TOKEN = "token"
_STALE = "This form was made before the controller was started again. Look at what would happen now, then confirm it."
_CHANGED = "Something has changed since this was shown. Look at what would happen now, then confirm it."


@dataclass(frozen=True)
class Confirmed:
    """A wish that was looked at and confirmed; `answer` shows what became of it."""

    wish: Wish
    fields: Mapping[str, str]

    def answer(self, outcome: Response, snapshot: Snapshot) -> Response:
        """The page of the server if it was done, else why not."""
        server = self.wish.server
        if outcome.status < 300:
            return Response(303, "", "text/plain; charset=utf-8", {"Location": f"/servers/{server}"})
        said = _said(outcome)
        return _page(server, self.fields, snapshot, refused=said, may_force=False, status=outcome.status)


def answer(call: Call) -> Response | Confirmed:
    """What a form asks for: shown, or confirmed."""
    snapshot, name, fields = call.snapshot, call.names["server"], call.request.form
    if name not in snapshot.config.server_by_name:
        return unknown(name)
    action = fields.get("action", "")
    if action not in ACTIONS:
        return wishes.mistaken(())
    wish = _wish(call, action)
    if isinstance(wish, Response):
        text = "; ".join(f"{each['path']}: {each['message']}" for each in json.loads(_text(wish)).get("errors", ()))
        return _page(name, fields, snapshot, refused=text or _said(wish), may_force=False, status=422)
    judged = judge(wish, snapshot)
    if isinstance(judged, Response):
        forcible = not wish.force and json.loads(_text(judged))["status"] == 409
        return _page(name, fields, snapshot, refused=_said(judged), may_force=forcible, status=judged.status)
    seen = _digest(wish, judged)
    if "seen" in fields:
        if not hmac.compare_digest(fields.get(TOKEN, "").encode(), snapshot.form_token.encode()):
            return _page(name, fields, snapshot, judged=judged, seen=seen, notice=_STALE, status=409)
        if not hmac.compare_digest(fields["seen"].encode(), seen.encode()):
            return _page(name, fields, snapshot, judged=judged, seen=seen, notice=_CHANGED, status=409)
        return Confirmed(wish, fields)
    return _page(name, fields, snapshot, judged=judged, seen=seen)


def _wish(call: Call, action: str) -> Wish | Response:
    """The same wish that REST would be asked for, with all that is looked at there."""
    fields = call.request.form
    if action == "unset-weight":
        return replace(wishes.no_weight(call), force="force" in fields)
    body: dict[str, Any] = {"reason": fields.get("reason", ""), "by": call.request.by or "the page"}
    body["force"] = "force" in fields
    if action == "weight":
        given = fields.get("weight", "")
        body["weight"] = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else given
    else:
        body["state"] = action
    if action == "drain":
        body["move"] = "move" in fields
    asked = replace(call, request=replace(call.request, body=json.dumps(body).encode()))
    return wishes.weight(asked) if action == "weight" else wishes.state(asked)


def _digest(wish: Wish, judged: Judged) -> str:
    """What was shown, in short."""
    shown = [wish.server, wish.key, str(wish.value), wish.said.reason, wish.force, judged.says]
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


def _page(
    server: str,
    fields: Mapping[str, str],
    snapshot: Snapshot,
    *,
    judged: Judged | None = None,
    seen: str = "",
    refused: str = "",
    notice: str = "",
    may_force: bool = False,
    status: int = 200,
) -> Response:
    kept = {name: fields[name] for name in ("action", "reason", "weight", "move", "force") if fields.get(name)}
    values = {
        **frame(snapshot, f"{ACTIONS.get(fields.get('action', ''), 'Change')}: server {server}", refresh=0),
        "notices": (notice,) if notice else (),
        "server": server,
        "action": ACTIONS.get(fields.get("action", ""), ""),
        "fields": kept,
        "token": snapshot.form_token,
        "changes": [_change(each) for each in judged.changes] if judged else [],
        "says": judged.says if judged else (),
        "seen": seen,
        "refused": refused,
        "may_force": may_force,
        "is_possible": judged is not None,
    }
    return page("dry_run.html", values, status)


def _change(change: Any) -> dict[str, Any]:
    names = sorted({*change.before, *change.after})
    return {
        "name": change.name,
        "link": f"/pools/{change.vip.name}/{change.pool.port}",
        "slots": len(change.after) or len(change.before),
        "moved": change.moved,
        "legacy": change.pool.legacy.value,
        "servers": [(name, change.before.count(name), change.after.count(name)) for name in names],
    }


def _text(response: Response) -> str:
    return response.body if isinstance(response.body, str) else "".join(response.body)


def _said(response: Response) -> str:
    """The sentence of a problem."""
    return str(json.loads(_text(response))["detail"])
