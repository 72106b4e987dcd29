"""A line of the audit: who asked for what, from where, and the outcome."""

from __future__ import annotations

import hashlib

from portlb_app.api.identity import Identity
from portlb_app.config.problems import printable
from portlb_app.controller.bodies import Environ

SHOWN = 512
"""Bytes of a body that are shown as they are; a larger one is named by its hash."""


def line(environ: Environ, status: str) -> str:
    """What became of a request."""
    asks = environ["portlb.identity"]
    who = asks.name if isinstance(asks, Identity) and asks.name else "anybody"
    target = environ["RAW_PATH_INFO"] + ("?" if environ.get("QUERY_STRING") else "") + environ.get("QUERY_STRING", "")
    asked = f"{environ['REQUEST_METHOD']} {target}{_shown(environ.get('portlb.body', b''))}"
    return printable(f"{who}, {environ['portlb.from']}: {asked}: {status}")


def _shown(body: bytes) -> str:
    if not body:
        return ""
    if len(body) <= SHOWN:
        return f" {body.decode(errors='backslashreplace')}"
    return f" ({len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()})"
