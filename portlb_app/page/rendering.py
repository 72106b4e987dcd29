"""Templates to responses. All of them are read when this is imported, and none later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from portlb_app.api.messages import Response
from portlb_app.page import words

HTML = "text/html; charset=utf-8"
_LOADER = PackageLoader("portlb_app.page")
_ENVIRONMENT = Environment(
    loader=_LOADER, autoescape=True, auto_reload=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_ENVIRONMENT.filters.update(
    ago=words.ago, clock=words.clock, moment=words.moment, span=words.span, rate=words.rate, share=words.share
)
_NAMES = [name for name in _ENVIRONMENT.list_templates() if "." in name]
_TEMPLATES = {name: _ENVIRONMENT.get_template(name) for name in _NAMES if name.endswith(".html")}
_FILES = {name: _LOADER.get_source(_ENVIRONMENT, name)[0] for name in _NAMES if not name.endswith(".html")}
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


def page(template: str, values: Mapping[str, Any], status: int = 200) -> Response:
    """A page, made piece by piece; every value is text in it, whatever it looks like."""
    return Response(status, _TEMPLATES[template].generate(values), HTML)


def file(name: str) -> Response:
    """The style sheet or the script."""
    return Response(200, _FILES[name], _TYPES[name.rpartition(".")[2]])
