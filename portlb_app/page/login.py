"""``/login``: a person with a token and a browser gets a session."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from portlb_app.api.messages import Response
from portlb_app.page.rendering import page

LOGIN, LOGOUT = "/login", "/logout"
UNSEEN = ("/page/style.css",)
"""What a browser gets before a login, beside the form."""
_LOCAL = re.compile(r"/(?:[A-Za-z0-9._~:-][A-Za-z0-9._~:/-]*)?(?:\?[A-Za-z0-9._~:=&-]*)?")
WRONG = "This is no token of a person that this controller knows."


def form(path: str, status: int = 401, said: str = "") -> Response:
    """The form. `path`: where it leads, with its query; only a path of this controller is gone to."""
    shown = page("login.html", {"next": _local(path), "said": said}, status)
    return replace(shown, headers={"WWW-Authenticate": 'Bearer realm="portlb"'} if status == 401 else {})


def begun(fields: Mapping[str, str], cookie: str) -> Response:
    """The token is known: go on."""
    return _see_other(_local(fields.get("next", "/")), cookie)


def ended(cookie: str) -> Response:
    """The session is over."""
    return _see_other(LOGIN, cookie)


def known() -> Response:
    """Nothing has to be shown here."""
    return _see_other("/")


def _see_other(path: str, cookie: str = "") -> Response:
    headers = {"Location": path, **({"Set-Cookie": cookie} if cookie else {})}
    return Response(303, "", "text/plain; charset=utf-8", headers)


def _local(path: str) -> str:
    """A path that no browser takes for another host's."""
    return path if _LOCAL.fullmatch(path) and path.partition("?")[0] not in (LOGIN, LOGOUT) else "/"
