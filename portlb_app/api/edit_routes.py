"""What operations that change a part of the configuration have in common."""

from __future__ import annotations

from typing import Any

from portlb_app.api import configuration, edits
from portlb_app.api.identity import Role
from portlb_app.api.models import preview as of_preview
from portlb_app.api.models import status as of_status
from portlb_app.api.problem_details import Slug
from portlb_app.api.routing import Media, Operation

PROPOSAL: tuple[Slug, ...] = (
    *("refused-by-switch", "no-switch", "precondition-failed", "invalid-configuration", "not-saved", "not-computed"),
    *("switch-lost", "timed-out"),
)
"""What may be wrong with a configuration that is proposed."""
_PATCH = Media("application/merge-patch+json", "A merge patch (RFC 7396)", "object")
_PART = Media("application/json", "An entry of lb.yaml (docs/config.md)", "object")


def operation(method: str, name: str, summary: str, answer: Any, patch: bool = False) -> Operation[Any]:
    """One that changes a part."""
    return Operation(
        *(method, name, summary, Role.ADMIN, answer),
        {200: of_preview.ConfigAnswer, 202: of_status.Applied},
        problems=(*PROPOSAL, "not-found", "invalid-request"),
        query=configuration.HOW,
        takes=() if method == "DELETE" else (_PATCH, _PART) if patch else (_PART,),
        tags=True,
        prefers=True,
    )


CONFIG = operation("PATCH", "patchConfig", "Change some values; comments stay", edits.patch_config, patch=True)
SERVER = (
    operation("PUT", "putServer", "A server, new or another one; comments elsewhere stay", edits.put_server),
    operation("DELETE", "deleteServer", "A server goes, from all pools too", edits.delete_server),
)
PORT = (
    operation("PUT", "putPort", "A redirect port and its policies, new or others", edits.put_port),
    operation("DELETE", "deletePort", "A redirect port goes", edits.delete_port),
)
