"""What is answered about wishes: what they would change, or what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from portlb_app.api.batches import Batch, names
from portlb_app.api.judgement import Judged
from portlb_app.api.messages import Response, json_pieces, json_text
from portlb_app.api.pool_changes import listed
from portlb_app.api.problem_details import failure
from portlb_app.api.servers import View
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.wishes import Wish
from portlb_app.reconcile.outcomes import Carried, Lacking, WishOutcome


def dry_run(asked: Wish | Batch, judged: Judged, switches: Mapping[str, Any]) -> Response:
    """What would change; `switches`: what each would be told."""
    about = {"server": asked.server} if isinstance(asked, Wish) else {"servers": _servers(asked)}
    said = {**about, "dry_run": True, "says": list(judged.says), "switches": switches}
    return Response(200, json_text({**said, **listed(judged.changes)}))


def answer(asked: Wish | Batch, judged: Judged, outcome: WishOutcome, snapshot: Snapshot) -> Response:
    """The answer to wishes that were carried out, as far as they were."""
    if isinstance(outcome, Lacking):
        lacking = ", ".join(outcome.switches)
        text = f"{_stands(asked)}, but within {outcome.seconds:.0f} s {lacking} did not take it"
        switches = {name: list(errors) for name, errors in outcome.switches.items()}
        return failure("timed-out", text, switches=switches, says=list(judged.says))
    if not isinstance(outcome, Carried):
        return failure("ending", "the controller ends; the wish is saved, and switches get it when it is started again")
    gone = [name for name in _servers(asked) if name not in snapshot.config.server_by_name]
    if gone:
        return failure("changed-meanwhile", f"the configuration that is live now has no server {names(gone)}")
    is_seen = any(switch.state == "synced" for switch in snapshot.status.switches)
    says = list(judged.says)
    if outcome.absent:
        says.append(f"not connected, and to get it later: {', '.join(outcome.absent)}")
    body = {"dry_run": False, "says": says, "absent": list(outcome.absent)}
    return Response(
        200 if is_seen else 202, json_pieces({**body, **_as_it_is(asked, snapshot), **listed(judged.changes)})
    )


def _as_it_is(asked: Wish | Batch, snapshot: Snapshot) -> dict[str, Any]:
    """The servers as they are now."""
    view = View(snapshot)
    if isinstance(asked, Wish):
        return {"server": asked.server, **view.server(asked.server)}

    def each() -> Iterator[dict[str, Any]]:
        return (view.server(name) for name in _servers(asked))

    return {"servers": each()}


def _servers(asked: Wish | Batch) -> list[str]:
    return list(dict.fromkeys(wish.server for wish in asked.wishes))


def _stands(asked: Wish | Batch) -> str:
    return "the wish is saved and stands" if isinstance(asked, Wish) else "the wishes are saved and stand"
