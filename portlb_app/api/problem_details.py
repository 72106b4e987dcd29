"""What is wrong with a request, or with what was asked for: problem details (RFC 9457), of a closed set of kinds.

``type`` is a path in the documents (``/docs/problems#SLUG``), so clients tell kinds apart without reading sentences.
``error`` is the same text as ``detail``: clients of earlier versions read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from portlb_app.api.messages import Response, json_text
from portlb_app.config.problems import Problem

MEDIA_TYPE = "application/problem+json"

Slug = Literal[
    "bad-request",
    "bad-query",
    "unauthenticated",
    "not-allowed",
    "host-not-allowed",
    "foreign-origin",
    "not-found",
    "method-not-allowed",
    "refused-by-switch",
    "no-switch",
    "would-break",
    "too-many-overrides",
    "changed-meanwhile",
    "precondition-failed",
    "too-large",
    "target-too-long",
    "unsupported-media-type",
    "invalid-configuration",
    "invalid-request",
    "head-too-large",
    "internal",
    "busy",
    "ending",
    "not-known-yet",
    "not-computed",
    "not-saved",
    "switch-lost",
    "timed-out",
]


class Kind(NamedTuple):
    """A kind of problem: its status, and its title, which is the same each time."""

    status: int
    title: str


KINDS: Mapping[Slug, Kind] = {
    "bad-request": Kind(400, "The request cannot be read"),
    "bad-query": Kind(400, "The query is not one that this resource knows"),
    "unauthenticated": Kind(401, "The request carries no token that is known"),
    "not-allowed": Kind(403, "The role of this token may not do this"),
    "host-not-allowed": Kind(403, "The Host header does not name this controller"),
    "foreign-origin": Kind(403, "A page of another origin may not do this"),
    "not-found": Kind(404, "There is no such thing"),
    "method-not-allowed": Kind(405, "The resource does not know this method"),
    "refused-by-switch": Kind(409, "A switch refuses it"),
    "no-switch": Kind(409, "No switch is connected"),
    "would-break": Kind(409, "Clients would be hurt"),
    "too-many-overrides": Kind(409, "There are too many overrides"),
    "changed-meanwhile": Kind(409, "It has changed meanwhile"),
    "precondition-failed": Kind(412, "Another configuration is live than the request says"),
    "too-large": Kind(413, "The body is too large"),
    "target-too-long": Kind(414, "The first line of the request is too long"),
    "unsupported-media-type": Kind(415, "The body has a form that is not read"),
    "invalid-configuration": Kind(422, "The configuration has mistakes"),
    "invalid-request": Kind(422, "The request has mistakes"),
    "head-too-large": Kind(431, "The head of the request is too large"),
    "internal": Kind(500, "An error of portlb"),
    "not-saved": Kind(500, "It cannot be saved"),
    "busy": Kind(503, "Too much waits already"),
    "ending": Kind(503, "The controller ends"),
    "not-known-yet": Kind(503, "It is not known yet"),
    "not-computed": Kind(503, "It cannot be computed"),
    "switch-lost": Kind(504, "A switch was lost"),
    "timed-out": Kind(504, "It took too long"),
}
"""Every kind there is; docs/problems.md has a section about each."""


def failure(
    slug: Slug,
    detail: str,
    *,
    errors: Iterable[Problem] | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """The answer that says what is wrong. `errors`: each mistake with its path; `more`: members of `models.problem`."""
    kind = KINDS[slug]
    body = {
        "type": f"/docs/problems#{slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "error": detail,
    }
    if errors is not None:
        body["errors"] = [{"path": each.path, "message": each.message} for each in errors]
    return Response(kind.status, json_text({**body, **more}), MEDIA_TYPE, headers or {})
