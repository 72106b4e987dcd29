"""Logins of browsers at a TCP port: the form, the session that it begins, and the end of it."""

from __future__ import annotations

import secrets
import time

from portlb_app.api import access, messages, sessions
from portlb_app.api.identity import Identity
from portlb_app.api.problem_details import failure
from portlb_app.controller.bodies import MAX_FORM, Environ, read_body, read_form
from portlb_app.controller.credentials import Credentials
from portlb_app.page import login
from portlb_app.page.rendering import file
from portlb_app.page.routes import is_page

_FORM = "application/x-www-form-urlencoded"


class Login:
    """The sessions of one run of the controller."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._key = secrets.token_bytes(32)

    def identity(self, environ: Environ) -> Identity | messages.Response | None:
        """The one whose session a request has, or why that is not enough; None if it has none."""
        known, cookies = self._credentials.access, environ.get("HTTP_COOKIE", "")
        found = self._sessions(environ).identity(cookies, known, time.time()) if known and cookies else None
        if found is None:
            return None
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if why := sessions.refusal(method, is_page(path), environ.get("HTTP_ORIGIN")):
            return failure("not-allowed", why)
        environ["portlb.has_session"] = True
        return found

    def answer(self, environ: Environ) -> messages.Response | None:
        """The answer to a request that is about logging in, or comes before it; None for any other."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        asks = environ["portlb.identity"]
        if path not in (login.LOGIN, login.LOGOUT):
            return self._before(method, path, environ) if isinstance(asks, messages.Response) else None
        if method == "POST":
            environ["portlb.changes"] = True
            begun = self._begin(environ) if path == login.LOGIN else None
            return begun or login.ended(self._sessions(environ).end())
        if method not in ("GET", "HEAD"):
            text = f"{path} knows GET, POST"
            return failure("method-not-allowed", text, headers={"Allow": "GET, POST"})
        return login.form("/", 200) if isinstance(asks, messages.Response) else login.known()

    def _before(self, method: str, path: str, environ: Environ) -> messages.Response | None:
        """The form in place of a page, for someone that is not known; and what the form looks like."""
        if method != "GET" or environ["portlb.identity"].status != 401:
            return None
        if path in login.UNSEEN:
            return file(path.rpartition("/")[2])
        query = environ.get("QUERY_STRING", "")
        return login.form(f"{path}?{query}" if query else path) if is_page(path) else None

    def _begin(self, environ: Environ) -> messages.Response:
        """Take the form. What it has is told to no log."""
        known = self._credentials.access
        if known is None:
            return login.known()
        size, kind = int(environ.get("CONTENT_LENGTH") or 0), environ.get("CONTENT_TYPE", "").partition(";")[0]
        if not 0 < size <= MAX_FORM or kind.strip().lower() != _FORM:
            return failure("bad-request", f"a login is a form of at most {MAX_FORM} bytes")
        body = read_body(environ)
        environ.pop("portlb.body", None)
        fields = body if isinstance(body, messages.Response) else read_form(body)
        if isinstance(fields, messages.Response):
            return fields
        cookie = self._sessions(environ).begin(fields.get("token", "").strip(), known, time.time())
        if cookie is None:
            environ["portlb.identity"] = failure("unauthenticated", login.WRONG)
            return login.form(fields.get("next", "/"), said=login.WRONG)
        entry = access.from_token(fields["token"].strip(), known)
        environ["portlb.identity"] = entry.identity if entry else environ["portlb.identity"]
        return login.begun(fields, cookie)

    def _sessions(self, environ: Environ) -> sessions.Sessions:
        is_secure = environ["wsgi.url_scheme"] == "https"
        return sessions.Sessions(self._key, int(environ["SERVER_PORT"]), is_secure)
