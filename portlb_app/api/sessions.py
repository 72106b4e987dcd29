"""Sessions of browsers: after a login a cookie says who asks, as no browser sends a token by itself. Pure.

A session is NAME.END.SUM: the name of a line of the access file, the Unix time at which it ends, and a sum over both
and the hash of that line's token, by a key that each run of the controller draws anew. So nothing is kept, and a
session ends with its token's line, with the controller, and by itself. The access file alone makes none.

A cookie is not sent from other sites (SameSite=Strict), is hidden from scripts (HttpOnly), and is for the pages: it
reads all that REST tells, and changes nothing but by a page's own form, with an Origin.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from portlb_app.api.access import READING, Access, Entry, from_token
from portlb_app.api.identity import Identity, Role

SECONDS = 12 * 3600
"""How long a session lasts."""
_ATTRIBUTES = "Path=/; HttpOnly; SameSite=Strict"


@dataclass(frozen=True)
class Sessions:
    """The sessions at one port. `key`: 32 random bytes; `is_secure`: by TLS, so the cookie is sent by that alone."""

    key: bytes
    port: int
    is_secure: bool

    @property
    def cookie(self) -> str:
        """The cookie's name. Browsers do not tell ports of a host apart, and two controllers may be on one host."""
        return f"{'__Host-' if self.is_secure else ''}portlb-{self.port}"

    def begin(self, token: str, access: Access, now: float) -> str | None:
        """The Set-Cookie field for someone with this token; None if it is no person's token."""
        entry = from_token(token, access)
        if entry is None or entry.identity.role is Role.AGENT:
            return None
        end = int(now) + SECONDS
        value = f"{entry.identity.name}.{end}.{self._sum(entry, end)}"
        return f"{self.cookie}={value}; Max-Age={SECONDS}; {self._attributes}"

    def end(self) -> str:
        """The Set-Cookie field that ends a session."""
        return f"{self.cookie}=; Max-Age=0; {self._attributes}"

    def identity(self, cookies: str, access: Access, now: float) -> Identity | None:
        """The one whose session a Cookie field has, if it has one that holds."""
        pairs = (each.strip().partition("=") for each in cookies.split(";"))
        given = [value for name, _, value in pairs if name == self.cookie]
        if len(given) != 1:
            return None
        rest, _, found = given[0].rpartition(".")
        name, _, end = rest.rpartition(".")
        entry = next((each for each in access.entries if each.identity.name == name and each.digest), None)
        if entry is None or not (end.isascii() and end.isdigit() and len(end) < 12) or int(end) < now:
            return None
        return entry.identity if hmac.compare_digest(found.encode(), self._sum(entry, int(end)).encode()) else None

    @property
    def _attributes(self) -> str:
        return f"{_ATTRIBUTES}; Secure" if self.is_secure else _ATTRIBUTES

    def _sum(self, entry: Entry, end: int) -> str:
        message = f"{entry.identity.name}\n{end}\n".encode() + (entry.digest or b"")
        return hmac.new(self.key, message, hashlib.sha256).hexdigest()


def refusal(method: str, is_page: bool, origin: str | None) -> str:
    """Why a session is not enough for a request; empty if it is. The Origin was compared before, if there is one."""
    if method in READING:
        return ""
    if not is_page:
        return "a browser's session changes nothing by REST: send a token"
    return "" if origin is not None else "a form of a browser's session has an Origin"
